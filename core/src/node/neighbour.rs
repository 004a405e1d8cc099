//! One task for each neighbour: it waits on that neighbour's inbox and does everything up to the next queue itself.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::{Either, select};

mod announced;
mod router_feed;
mod service;
mod task;
#[cfg(test)]
mod tests;
mod unvalidated;

use self::announced::{Announced, Turn};
pub(crate) use self::router_feed::{LinkChanges, RouterFeed};
use self::unvalidated::UnvalidatedFrames;

use super::conversations::ConversationEntry;
use super::data_path::{DeferredWork, packets_arrived, payload_mtu};
use super::medium::Medium;
use super::state::{NodeState, lock};
use super::tasks::peering::LinkEvent;
use super::tasks::router::RouterEvent;
use crate::address::Address;
use crate::egress::{Class, DrainReport, Egress, PushGuard, PushOutcome};
use crate::inbox::{Full, Inbox};
use crate::link::{DownReason, FrameContent, Link, LinkMetrics, LinkOutput, LinkState, Path};
use crate::netmod::{Endpoint, NetmodError};
use crate::notify::Notify;
use crate::route::Location;
use crate::rt::Alarm;
use crate::stats::DropCause;
use crate::time::Time;
use crate::types::{Event, Peer, PeerState, Timestamp};
use crate::wire::link::HEADER_LEN;

/// Frames taken from the inbox in one wake.
const BATCH: usize = 64;
/// Bytes that a neighbour's inbox may hold.
const INBOX_BYTES: usize = 4 << 20;
/// Orders that may wait.
const COMMANDS: usize = 4096;
/// Routing messages that may wait for room in the link, and their bytes: the router sends a neighbour at most its whole table, of
/// 32 768 records that have 444 bytes at most.
const ROUTES: usize = 65_536;
const ROUTES_BYTES: usize = 16 << 20;
/// While packets go out, the link is told how many every so often: it judges silence by that.
const NOTE_EVERY: Duration = Duration::from_millis(20);

/// What other tasks ask of a neighbour's task.
pub(crate) enum LinkCommand {
    /// Packets have gone out: see how many.
    PacketsSent,
    /// There is something to send, or room for those who wait.
    Wake,
    /// The medium says that nothing arrives there any more.
    MediumCut,
    /// The key is worn.
    KeyWorn,
    /// The medium has refused a frame of so many bytes as too long.
    FrameTooLong(usize),
    /// The medium has refused to send a frame to this endpoint.
    SendRefused,
    /// A frame of this link's that came from elsewhere.
    UnvalidatedFrame { endpoint: Endpoint, frame: BytesMut },
    /// A fault of the program.
    #[cfg(test)]
    Panic,
}

/// A neighbour: the link to it, as the other tasks see it.
pub(crate) struct Neighbour {
    /// Its number, for the router.
    pub(crate) id: u32,
    pub(crate) address: Address,
    path: Mutex<Path>,
    pub(crate) medium: Arc<Medium>,
    /// Whether this node began the session.
    pub(crate) initiator: bool,
    pub(crate) local_index: u32,
    /// The longest frame now, and when the link began.
    mtu: AtomicUsize,
    base_mtu: usize,
    configured: AtomicBool,
    pub(crate) inbox: Inbox<BytesMut>,
    pub(crate) commands: Inbox<LinkCommand>,
    /// For the router.
    pub(crate) router_feed: RouterFeed,
    /// Routing messages to be sent, reliably and in order. They wait for room in the link, and keep no command waiting.
    pub(crate) routes: Inbox<Vec<u8>>,
    egress: Egress,
    suspect: AtomicBool,
    /// While it is suspect, when it was heard last, in nanoseconds.
    silent_since: AtomicU64,
    /// Out of service, its session kept.
    away: AtomicBool,
    status: Mutex<LinkStatus>,
    rx_bytes: AtomicU64,
    tx_bytes: AtomicU64,
    /// Frames sent since the task last looked, and their bytes.
    unnoted: AtomicU64,
    unnoted_bytes: AtomicU64,
    /// Whether the task has been told to look.
    told: AtomicBool,
    /// Whether the link is to end with a goodbye. Neither a full queue nor a medium that takes long delays the notice of it.
    leaving: Notify<bool>,
    /// The account that its packets are counted on. See [`Neighbour::origin`].
    origin: Mutex<Location>,
    /// Conversations that wait until less is queued.
    waiting: Mutex<Vec<Arc<ConversationEntry>>>,
    /// The longest frame sent since the task last looked, in bytes.
    longest: AtomicUsize,
    unvalidated: Mutex<UnvalidatedFrames>,
    /// Whether new keys have been asked for.
    worn: AtomicBool,
    /// Whether the task has been told that the medium refuses to send.
    refused: AtomicBool,
    /// Whether a frame has been opened.
    confirmed: AtomicBool,
    /// What the router knows of the link.
    service: AtomicU8,
    /// What the subscribers know of it.
    announced: Mutex<Announced>,
}

/// What a person sees of the link.
struct LinkStatus {
    state: PeerState,
    since: Timestamp,
    metrics: LinkMetrics,
    last_error: Option<String>,
}

/// What a neighbour is made of.
pub(crate) struct NeighbourParts {
    pub(crate) id: u32,
    pub(crate) address: Address,
    pub(crate) path: Path,
    pub(crate) medium: Arc<Medium>,
    pub(crate) initiator: bool,
    pub(crate) local_index: u32,
    pub(crate) mtu: usize,
    pub(crate) configured: bool,
    pub(crate) egress: Egress,
    pub(crate) metrics: LinkMetrics,
}

impl Neighbour {
    pub(crate) fn new(parts: NeighbourParts, inbox_frames: usize) -> Self {
        let neighbour = Neighbour {
            id: parts.id,
            address: parts.address,
            path: Mutex::new(parts.path),
            medium: parts.medium,
            initiator: parts.initiator,
            local_index: parts.local_index,
            mtu: AtomicUsize::new(parts.mtu),
            base_mtu: parts.mtu,
            configured: AtomicBool::new(parts.configured),
            inbox: Inbox::with_bytes(
                inbox_frames,
                INBOX_BYTES,
                |frame: &BytesMut| frame.len(),
                Full::RefuseNewest,
            ),
            commands: Inbox::new(COMMANDS, Full::RefuseNewest),
            router_feed: RouterFeed::default(),
            routes: Inbox::with_bytes(ROUTES, ROUTES_BYTES, Vec::len, Full::RefuseNewest),
            egress: parts.egress,
            suspect: AtomicBool::new(false),
            silent_since: AtomicU64::new(0),
            away: AtomicBool::new(false),
            status: Mutex::new(LinkStatus {
                state: PeerState::Connecting,
                since: Timestamp::now(),
                metrics: parts.metrics,
                last_error: None,
            }),
            rx_bytes: AtomicU64::new(0),
            tx_bytes: AtomicU64::new(0),
            unnoted: AtomicU64::new(0),
            unnoted_bytes: AtomicU64::new(0),
            told: AtomicBool::new(false),
            leaving: Notify::new(false),
            origin: Mutex::default(),
            waiting: Mutex::default(),
            longest: AtomicUsize::new(0),
            unvalidated: Mutex::default(),
            worn: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            confirmed: AtomicBool::new(false),
            service: AtomicU8::new(service::BEFORE),
            announced: Mutex::default(),
        };
        neighbour.find_origin();
        neighbour
    }

    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect.load(Relaxed)
    }

    /// When it was heard last, if it is suspect.
    pub(crate) fn silent_since(&self) -> Option<Time> {
        self.is_suspect().then(|| Time::from_nanos(self.silent_since.load(Relaxed)))
    }

    /// Whether the way to it is cut, so that it is out of service, though its session is kept.
    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Relaxed)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> Path {
        *lock(&self.path)
    }

    /// The longest frame that the way to it takes now, in bytes.
    pub(crate) fn mtu(&self) -> usize {
        self.mtu.load(Relaxed)
    }

    /// The longest frame in bytes, if it is less than nearly every way takes.
    pub(crate) fn narrow_mtu(&self) -> Option<usize> {
        Some(self.mtu()).filter(|mtu| *mtu < self.base_mtu)
    }

    /// Takes a frame of this link's that came from an `endpoint` where the neighbour is not known to be. Returns whether there
    /// was room for it.
    pub(crate) fn offer_unvalidated(&self, now: Time, endpoint: Endpoint, frame: &[u8]) -> bool {
        if !lock(&self.unvalidated).admit(now) {
            return false;
        }
        // What the command wakes finds no lock taken.
        let taken = self
            .commands
            .try_push(LinkCommand::UnvalidatedFrame { endpoint, frame: BytesMut::from(frame) })
            .is_ok();
        if !taken {
            lock(&self.unvalidated).done();
        }
        taken
    }

    /// Where it is, for people.
    pub(crate) fn endpoint(&self) -> String {
        self.medium.netmod.describe(&self.path().endpoint)
    }

    pub(crate) fn peer(&self) -> Peer {
        let status = lock(&self.status);
        Peer {
            address: Some(self.address),
            name: None,
            endpoint: self.endpoint(),
            netmod: self.medium.netmod.uri(),
            state: status.state,
            rtt_ms: status.metrics.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
            loss: Some(status.metrics.loss),
            metric: Some(status.metrics.cost),
            rx_bytes: self.rx_bytes.load(Relaxed),
            tx_bytes: self.tx_bytes.load(Relaxed),
            since: status.since,
            last_error: status.last_error.clone(),
        }
    }

    /// Queues the content of a frame; counts it when it has to be dropped. Flush afterwards.
    pub(crate) fn push(&self, shared: &NodeState, class: Class, content: Bytes) -> PushOutcome {
        let pushed = self.egress.push(class, content);
        pushed.count(&shared.stats);
        pushed
    }

    /// The queues, for more than one frame. Count what comes of each; flush afterwards.
    pub(crate) fn pushing(&self) -> PushGuard<'_> {
        self.egress.pushing()
    }

    /// Sends what is queued as far as the medium takes it now; the neighbour's task does the rest. So one slow medium
    /// holds nobody up but its own neighbours.
    pub(crate) fn flush(&self, shared: &NodeState) {
        let _ = self.flush_wait(shared).now_or_never();
    }

    /// Sends what is queued, up to a portion. When the future is dropped midway, the neighbour's task takes it up.
    async fn flush_wait(&self, shared: &NodeState) {
        let mut flush = Flush { neighbour: self, shared, drained: DrainReport::default() };
        if let Err(error) = self.egress.drain(&mut flush.drained).await {
            tracing::debug!(neighbour = ?self.address, %error, "send failed");
            if matches!(error, NetmodError::Endpoint(_) | NetmodError::Gone(_)) {
                // One command for all that is refused until the task looks.
                if !self.refused.swap(true, Relaxed)
                    && self.commands.try_push(LinkCommand::SendRefused).is_err()
                {
                    self.refused.store(false, Relaxed);
                }
            }
            self.medium.note_send_error(&error);
            lock(&self.status).last_error = Some(error.to_string());
        }
    }

    /// Whether a conversation had better wait. If so it will be pumped when the queue is shorter.
    pub(crate) fn makes_wait(&self, conversation: &Arc<ConversationEntry>) -> bool {
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
    pub(crate) fn wake(&self) {
        // If there is no room, it is going to look anyway.
        let _ = self.commands.try_push(LinkCommand::Wake);
    }

    fn let_in(&self, work: &mut DeferredWork) {
        if !self.egress.is_backed_up() {
            for conversation in std::mem::take(&mut *lock(&self.waiting)) {
                work.pump_later(&conversation);
            }
        }
    }

    /// Takes the link out of service: the tables forget it, its queues are dropped, its task ends.
    pub(crate) fn retire(&self, shared: &NodeState) -> bool {
        let was_known = shared.take_out_of_service(self);
        shared.stats.drop_n(DropCause::UnknownSession, self.egress.close());
        lock(&self.waiting).clear();
        self.inbox.close();
        self.commands.close();
        self.routes.close();
        was_known
    }
}

/// A flush under way. On drop it books what was sent, and hands the rest to the neighbour's task.
struct Flush<'a> {
    neighbour: &'a Neighbour,
    shared: &'a NodeState,
    drained: DrainReport,
}

impl Drop for Flush<'_> {
    fn drop(&mut self) {
        let neighbour = self.neighbour;
        let DrainReport { frames, packets, bytes, longest, failed, overdue, worn, too_long } = self.drained;
        neighbour.longest.fetch_max(longest, Relaxed);
        if worn
            && !neighbour.worn.swap(true, Relaxed)
            && neighbour.commands.try_push(LinkCommand::KeyWorn).is_err()
        {
            neighbour.worn.store(false, Relaxed);
        }
        if let Some(length) = too_long {
            // Without room, the next frame that is refused tells it.
            let _ = neighbour.commands.try_push(LinkCommand::FrameTooLong(length));
        }
        if failed > 0 {
            self.shared.stats.drop_n(DropCause::SendFailed, failed);
        }
        if overdue > 0 {
            self.shared.stats.drop_n(DropCause::QueueDelay, overdue);
        }
        if frames > 0 {
            neighbour.medium.count_sent(self.shared, frames, bytes);
            neighbour.tx_bytes.fetch_add(bytes, Relaxed);
        }
        // The link counts its own control itself.
        if packets > 0 {
            neighbour.unnoted_bytes.fetch_add(bytes, Relaxed);
            neighbour.unnoted.fetch_add(packets, SeqCst);
            if !neighbour.told.swap(true, SeqCst)
                && neighbour.commands.try_push(LinkCommand::PacketsSent).is_err()
            {
                // The next flush tells it.
                neighbour.told.store(false, SeqCst);
            }
        }
        let stalled = neighbour.egress.is_stalled();
        if stalled || (!lock(&neighbour.waiting).is_empty() && !neighbour.egress.is_backed_up()) {
            neighbour.wake();
        }
    }
}
