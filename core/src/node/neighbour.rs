//! One task for each neighbour: it waits on that neighbour's inbox and does everything up to the next queue itself.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::{Either, select};

use super::forward::{Work, packet_arrived};
use super::links::LinkEvent;
use super::medium::Medium;
use super::routing::RouterEvent;
use super::shared::{Shared, lock, write};
use super::traffic::Conv;
use crate::address::Address;
use crate::egress::{Class, Drained, Egress, Pushed};
use crate::inbox::{Full, Inbox};
use crate::link::{Inner, Link, LinkMetrics, LinkOutput, LinkState, Path};
use crate::rt::Alarm;
use crate::stats::DropCause;
use crate::types::{Event, Peer, PeerState, Timestamp};
use crate::wire::link::HEADER_LEN;

/// Frames taken from the inbox in one wake.
const BATCH: usize = 64;
/// Bytes that a neighbour's inbox may hold.
const INBOX_BYTES: usize = 4 << 20;
/// Orders that may wait. The router sends a neighbour at most its whole table.
const ORDERS: usize = 65_536;
/// While packets go out, the link is told how many every so often: it judges silence by that.
const NOTE_EVERY: Duration = Duration::from_millis(20);

/// What other tasks ask of a neighbour's task.
pub(crate) enum Order {
    /// Send this routing message, reliably and in order.
    Control(Vec<u8>),
    /// Packets have gone out: see how many.
    Sent,
    /// There is something to send, or room for those who wait.
    Look,
    /// Say goodbye and end.
    Goodbye,
}

/// A neighbour: the link to it, as the other tasks see it.
pub(crate) struct Neighbour {
    /// Its number, for the router.
    pub(crate) id: u32,
    pub(crate) address: Address,
    pub(crate) path: Path,
    pub(crate) medium: Arc<Medium>,
    /// Whether this node began the session.
    pub(crate) initiator: bool,
    /// The random number that it drew at its start.
    pub(crate) instance: u64,
    pub(crate) local_index: u32,
    /// The longest frame.
    pub(crate) mtu: usize,
    pub(crate) configured: bool,
    pub(crate) inbox: Inbox<BytesMut>,
    pub(crate) orders: Inbox<Order>,
    egress: Egress,
    suspect: AtomicBool,
    view: Mutex<View>,
    rx_bytes: AtomicU64,
    tx_bytes: AtomicU64,
    /// Frames sent since the task last looked, and their bytes.
    unnoted: AtomicU64,
    unnoted_bytes: AtomicU64,
    /// Whether the task has been told to look.
    told: AtomicBool,
    /// Conversations that wait until less is queued.
    waiting: Mutex<Vec<Arc<Conv>>>,
    /// Whether a new session has been asked for.
    worn: AtomicBool,
    /// Whether a frame has been opened.
    confirmed: AtomicBool,
}

/// What a person sees of the link.
struct View {
    state: PeerState,
    since: Timestamp,
    metrics: LinkMetrics,
    last_error: Option<String>,
}

/// What a neighbour is made of.
pub(crate) struct Made {
    pub(crate) id: u32,
    pub(crate) address: Address,
    pub(crate) path: Path,
    pub(crate) medium: Arc<Medium>,
    pub(crate) initiator: bool,
    /// The random number that it drew at its start.
    pub(crate) instance: u64,
    pub(crate) local_index: u32,
    pub(crate) mtu: usize,
    pub(crate) configured: bool,
    pub(crate) egress: Egress,
    pub(crate) metrics: LinkMetrics,
}

impl Neighbour {
    pub(crate) fn new(made: Made, inbox_frames: usize) -> Self {
        Neighbour {
            id: made.id,
            address: made.address,
            path: made.path,
            medium: made.medium,
            initiator: made.initiator,
            instance: made.instance,
            local_index: made.local_index,
            mtu: made.mtu,
            configured: made.configured,
            inbox: Inbox::with_bytes(
                inbox_frames,
                INBOX_BYTES,
                |frame: &BytesMut| frame.len(),
                Full::RefuseNewest,
            ),
            orders: Inbox::new(ORDERS, Full::RefuseNewest),
            egress: made.egress,
            suspect: AtomicBool::new(false),
            view: Mutex::new(View {
                state: PeerState::Up,
                since: Timestamp::now(),
                metrics: made.metrics,
                last_error: None,
            }),
            rx_bytes: AtomicU64::new(0),
            tx_bytes: AtomicU64::new(0),
            unnoted: AtomicU64::new(0),
            unnoted_bytes: AtomicU64::new(0),
            told: AtomicBool::new(false),
            waiting: Mutex::default(),
            worn: AtomicBool::new(false),
            confirmed: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect.load(Relaxed)
    }

    /// Where it is, for people.
    pub(crate) fn endpoint(&self) -> String {
        self.medium.netmod.describe(&self.path.endpoint)
    }

    pub(crate) fn peer(&self) -> Peer {
        let view = lock(&self.view);
        Peer {
            address: Some(self.address),
            name: None,
            endpoint: self.endpoint(),
            netmod: self.medium.netmod.uri(),
            state: view.state,
            rtt_ms: view.metrics.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
            loss: Some(view.metrics.loss),
            metric: Some(view.metrics.cost),
            rx_bytes: self.rx_bytes.load(Relaxed),
            tx_bytes: self.tx_bytes.load(Relaxed),
            since: view.since,
            last_error: view.last_error.clone(),
        }
    }

    /// Queues the content of a frame; counts it when it has to be dropped. Flush afterwards.
    pub(crate) fn push(&self, shared: &Shared, class: Class, content: Bytes) -> Pushed {
        let pushed = self.egress.push(class, content);
        match pushed {
            Pushed::Queued => {}
            Pushed::Full => shared.stats.drop(DropCause::EgressFull),
            Pushed::Closed => shared.stats.drop(DropCause::UnknownSession),
        }
        pushed
    }

    /// Sends what is queued as far as the medium takes it now; the neighbour's task does the rest. So one slow medium
    /// holds nobody up but its own neighbours.
    pub(crate) fn flush(&self, shared: &Shared) {
        let _ = self.flush_wait(shared).now_or_never();
    }

    /// Sends what is queued, up to a portion. When the future is dropped midway, the neighbour's task takes it up.
    async fn flush_wait(&self, shared: &Shared) {
        let mut flush = Flush { neighbour: self, shared, drained: Drained::default() };
        if let Err(error) = self.egress.drain(&mut flush.drained).await {
            tracing::debug!(neighbour = ?self.address, %error, "send failed");
            lock(&self.view).last_error = Some(error.to_string());
        }
    }

    /// Whether a conversation had better wait. If so it will be pumped when the queue is shorter.
    pub(crate) fn makes_wait(&self, conversation: &Arc<Conv>) -> bool {
        if !self.egress.is_backed_up() {
            return false;
        }
        let mut waiting = lock(&self.waiting);
        if !waiting.iter().any(|known| Arc::ptr_eq(known, conversation)) {
            waiting.push(conversation.clone());
        }
        drop(waiting);
        // If it has become shorter between the first look and here, nobody else may see who waits.
        if !self.egress.is_backed_up() {
            self.wake();
        }
        true
    }

    /// Has the neighbour's task look around.
    fn wake(&self) {
        // If there is no room, it is going to look anyway.
        let _ = self.orders.try_push(Order::Look);
    }

    fn let_in(&self, work: &mut Work) {
        if !self.egress.is_backed_up() {
            for conversation in std::mem::take(&mut *lock(&self.waiting)) {
                work.pump_later(&conversation);
            }
        }
    }

    /// Takes the link out of service: the tables forget it, its queues are dropped, its task ends.
    pub(crate) fn retire(&self, shared: &Shared) -> bool {
        write(&shared.sessions).remove(&self.local_index);
        let was_known = write(&shared.neighbours).remove(&self.id).is_some();
        shared.stats.drop_n(DropCause::UnknownSession, self.egress.close());
        lock(&self.waiting).clear();
        self.inbox.close();
        self.orders.close();
        was_known
    }

    /// The neighbour's task.
    pub(crate) async fn run(self: Arc<Self>, shared: Arc<Shared>, mut link: Link) {
        let mut frames = Vec::with_capacity(BATCH);
        let mut work = Work::default();
        let mut alarm = Alarm::default();
        let mut note_at = None;
        // What the link had no room for yet.
        let mut held: Option<Vec<u8>> = None;
        let reason = loop {
            if let Some(reason) = self.serve_link(&shared, &mut link).await {
                break reason;
            }
            self.flush_wait(&shared).await;
            self.let_in(&mut work);
            work.finish(&shared);

            let deadline = link.next_deadline().into_iter().chain(note_at).min();
            alarm.set(deadline.map(|time| shared.instant(time)));
            let mut order = {
                let mut incoming = std::pin::pin!(self.inbox.recv_batch_into(&mut frames, BATCH));
                // While the link has no room, what it is to send stays where it is.
                let mut orders = std::pin::pin!(async {
                    if held.is_some() { std::future::pending().await } else { self.orders.recv().await }
                });
                match select(&mut incoming, select(&mut orders, alarm.wait())).await {
                    Either::Left((Ok(_), _)) => None,
                    Either::Right((Either::Left((Ok(order), _)), _)) => Some(order),
                    Either::Right((Either::Right(_), _)) => None,
                    // Retired by another task, which has told everybody; or closed by the router.
                    Either::Left((Err(_), _)) | Either::Right((Either::Left((Err(_), _)), _)) => {
                        break "the link could not keep up with the routes".to_owned();
                    }
                }
            };
            let now = shared.now();
            for frame in frames.drain(..) {
                self.frame_arrived(&shared, &mut link, frame, &mut work);
            }
            if let Some(message) = held.take() {
                order = Some(Order::Control(message));
            }
            // Also when frames came: a busy inbox must not keep orders waiting.
            while let Some(next) = order.take().or_else(|| self.orders.try_recv().ok()) {
                match next {
                    Order::Control(message) => {
                        if link.send_control(&message).is_err() {
                            if link.metrics().control_queued > 0 {
                                held = Some(message);
                                break;
                            }
                            tracing::error!(bytes = message.len(), "routing message that no link takes");
                        }
                    }
                    Order::Sent => note_at = Some(now),
                    Order::Look => {}
                    Order::Goodbye => return self.say_goodbye(&shared, &mut link).await,
                }
            }
            if note_at.is_some_and(|at| at <= now) {
                note_at = self.note_sent(&mut link, now).then(|| now + NOTE_EVERY);
            }
            if link.next_deadline().is_some_and(|deadline| deadline <= now) {
                link.handle_timeout(now);
            }
        };
        // The last word, if the medium takes it at once.
        self.flush(&shared);
        self.ended(&shared, &reason).await;
    }

    async fn say_goodbye(&self, shared: &Shared, link: &mut Link) {
        self.push(shared, Class::Control, link.goodbye().into());
        let mut patience = 100;
        while !self.egress.is_empty() && patience > 0 {
            self.flush(shared);
            crate::rt::sleep(Duration::from_millis(1)).await;
            patience -= 1;
        }
        if self.retire(shared) {
            self.announce_end(shared, "goodbye said").await;
        }
    }

    /// Tells the link what has gone out. Returns whether to look again.
    fn note_sent(&self, link: &mut Link, now: crate::time::Time) -> bool {
        let frames = self.unnoted.swap(0, SeqCst);
        if frames > 0 {
            let bytes = self.unnoted_bytes.swap(0, Relaxed);
            link.note_sent(now, u32::try_from(frames).unwrap_or(u32::MAX), bytes as usize);
            return true;
        }
        self.told.store(false, SeqCst);
        // Who sent between the two lines above saw `told` and told nobody.
        let again = self.unnoted.load(SeqCst) > 0;
        if again {
            self.told.store(true, Relaxed);
        }
        again
    }

    fn frame_arrived(&self, shared: &Shared, link: &mut Link, mut frame: BytesMut, work: &mut Work) {
        self.rx_bytes.fetch_add(frame.len() as u64, Relaxed);
        let opened = link.handle_frame(shared.now(), &mut frame);
        if opened.is_ok() && !self.confirmed.swap(true, Relaxed) {
            let confirmed = LinkEvent::Confirmed { local_index: self.local_index };
            let _ = shared.link_events.try_push(confirmed);
        }
        match opened {
            Ok(Inner::Packet(body)) => {
                // The kind byte stays: the packet goes on as the content of another frame.
                let content = body.len() + 1;
                let _ = frame.split_to(HEADER_LEN);
                frame.truncate(content);
                packet_arrived(shared, frame, work);
            }
            Ok(Inner::Nothing) => {}
            Err(cause) => shared.stats.drop(cause),
        }
    }

    /// Carries out what the link asks for. Returns why it ended, if it did.
    async fn serve_link(&self, shared: &Shared, link: &mut Link) -> Option<String> {
        let mut changed = false;
        let mut down = None;
        while let Some(output) = link.poll_output(shared.now()) {
            changed = true;
            match output {
                LinkOutput::Transmit(content) => {
                    if self.push(shared, Class::Control, content.into()) == Pushed::Closed {
                        link.exhausted();
                    }
                }
                LinkOutput::Control(message) => {
                    let event = RouterEvent::Control { id: self.id, message };
                    let _ = shared.router_events.push(event).await;
                }
                LinkOutput::CostChanged(cost) => {
                    let _ = shared.router_events.push(RouterEvent::Cost { id: self.id, cost }).await;
                }
                LinkOutput::StateChanged(LinkState::Down(reason)) => down = Some(reason.to_string()),
                LinkOutput::StateChanged(state) => {
                    let suspect = matches!(state, LinkState::Suspect);
                    self.suspect.store(suspect, Relaxed);
                    self.set_state(if suspect { PeerState::Suspect } else { PeerState::Up });
                    tracing::debug!(neighbour = ?self.address, suspect, "link");
                    let _ = shared.router_events.push(RouterEvent::Suspect { id: self.id, suspect }).await;
                }
            }
        }
        if changed {
            lock(&self.view).metrics = link.metrics();
        }
        down
    }

    fn set_state(&self, state: PeerState) {
        let mut view = lock(&self.view);
        view.state = state;
        view.since = Timestamp::now();
    }

    /// The link is gone by itself: tells everybody.
    async fn ended(&self, shared: &Shared, reason: &str) {
        if !self.retire(shared) {
            return;
        }
        self.announce_end(shared, reason).await;
        let _ = shared.link_events.try_push(LinkEvent::Look);
    }

    /// Tells the router and the subscribers that this link is no more.
    pub(crate) async fn announce_end(&self, shared: &Shared, reason: &str) {
        tracing::info!(neighbour = %self.address, endpoint = %self.endpoint(), reason, "neighbour down");
        let _ = shared.router_events.push(RouterEvent::Down { id: self.id }).await;
        shared.publish(Event::NeighbourDown {
            address: self.address,
            endpoint: self.endpoint(),
            reason: reason.to_owned(),
        });
    }
}

/// A flush under way. On drop it books what was sent, and hands the rest to the neighbour's task.
struct Flush<'a> {
    neighbour: &'a Neighbour,
    shared: &'a Shared,
    drained: Drained,
}

impl Drop for Flush<'_> {
    fn drop(&mut self) {
        let neighbour = self.neighbour;
        let Drained { frames, packets, bytes, failed, worn } = self.drained;
        if worn && !neighbour.worn.swap(true, Relaxed) {
            let _ = self.shared.link_events.try_push(LinkEvent::Worn { path: neighbour.path });
        }
        if failed > 0 {
            self.shared.stats.drop_n(DropCause::SendFailed, failed);
        }
        if frames > 0 {
            neighbour.medium.count_sent(self.shared, frames, bytes);
            neighbour.tx_bytes.fetch_add(bytes, Relaxed);
        }
        // The link counts its own control itself.
        if packets > 0 {
            neighbour.unnoted_bytes.fetch_add(bytes, Relaxed);
            neighbour.unnoted.fetch_add(packets, SeqCst);
            if !neighbour.told.swap(true, SeqCst) {
                let _ = neighbour.orders.try_push(Order::Sent);
            }
        }
        let stalled = neighbour.egress.is_stalled();
        if stalled || (!lock(&neighbour.waiting).is_empty() && !neighbour.egress.is_backed_up()) {
            neighbour.wake();
        }
    }
}
