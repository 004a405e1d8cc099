//! The neighbour's task: frames from its inbox to the next queue, commands of other tasks, and the deadlines of the
//! link.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures::FutureExt;
use futures::future::{Either, select};

use super::BATCH;
use crate::link::{FrameContent, Link, LinkMetrics, LinkState};
use crate::netmod::Endpoint;
use crate::node::data_path::{DeferredWork, packets_arrived};
use crate::node::neighbour::NOTE_EVERY;
use crate::node::state::NodeState;
use crate::node::state::link_event::LinkEvent;
use crate::node::state::locks::lock;
use crate::node::state::neighbour::{LinkCommand, Neighbour};
use crate::peering::Input;
use crate::rt::{self, Alarm};
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::link::HEADER_LEN;

/// The time that a medium may take, when the link ends, to send the queued packets.
const QUEUED_SEND: Duration = Duration::from_millis(250);
/// The time that it may then take to send the goodbye.
const GOODBYE_SEND: Duration = Duration::from_millis(100);

/// The task of a neighbour, with its state between two rounds.
struct NeighbourTask {
    neighbour: Arc<Neighbour>,
    shared: Arc<NodeState>,
    link: Link,
    /// The batch of frames that is being handled.
    frames: Vec<BytesMut>,
    /// Work for other neighbours and for conversations, which is done once per round.
    work: DeferredWork,
    alarm: Alarm,
    /// The time at which the link is given the count of sent packets again.
    note_at: Option<Time>,
    /// A routing message that the link had no room for yet.
    held: Option<Vec<u8>>,
}

impl NeighbourTask {
    fn new(neighbour: Arc<Neighbour>, shared: Arc<NodeState>, link: Link) -> Self {
        let work = DeferredWork::of(neighbour.address, neighbour.origin());
        let frames = Vec::with_capacity(BATCH);
        NeighbourTask {
            neighbour,
            shared,
            link,
            frames,
            work,
            alarm: Alarm::default(),
            note_at: None,
            held: None,
        }
    }

    /// Runs rounds until the link ends. Returns the reason, or `None` when it has left with a goodbye.
    async fn serve(&mut self) -> Option<String> {
        loop {
            if let Some(reason) = self.neighbour.serve_link(&self.shared, &mut self.link).await {
                return Some(reason);
            }
            if *self.neighbour.leaving.read() {
                self.neighbour.send_goodbye(&self.shared, &mut self.link).await;
                return None;
            }
            if !self.neighbour.flush_until_leaving(&self.shared).await {
                continue;
            }
            self.neighbour.resume_waiting(&mut self.work);
            self.work.finish(&self.shared);
            let command = match self.wait().await {
                Ok(command) => command,
                Err(reason) => return Some(reason),
            };
            let now = self.shared.now();
            self.neighbour.open_frames(&self.shared, now, &mut self.link, &mut self.frames);
            self.neighbour.confirm(&self.shared, &self.link).await;
            self.work.from = self.neighbour.origin();
            packets_arrived(&self.shared, &mut self.frames, &mut self.work);
            // Commands are handled after frames too, so that a busy inbox does not delay them.
            let mut next = command.or_else(|| self.neighbour.commands.try_recv().ok());
            while let Some(command) = next {
                self.carry_out(now, command);
                next = self.neighbour.commands.try_recv().ok();
            }
            self.send_routes();
            if self.note_at.is_some_and(|at| at <= now) {
                self.note_at = self.neighbour.note_sent(&mut self.link, now).then(|| now + NOTE_EVERY);
            }
            if self.link.next_deadline().is_some_and(|deadline| deadline <= now) {
                self.link.handle_timeout(now);
            }
        }
    }

    /// Waits for frames, a command, a routing message or the next deadline. Frames and the routing message stay in the
    /// task, a command is returned.
    ///
    /// # Errors
    /// The reason for which the link ends: its inbox is closed.
    async fn wait(&mut self) -> Result<Option<LinkCommand>, String> {
        let deadline = self.link.next_deadline().into_iter().chain(self.note_at).min();
        self.alarm.set(deadline.map(|time| self.shared.instant(time)));
        let neighbour = &self.neighbour;
        let incoming = std::pin::pin!(neighbour.inbox.recv_batch_into(&mut self.frames, BATCH));
        let commands = std::pin::pin!(neighbour.commands.recv());
        // While the link has no room, further routing messages stay in their queue.
        let full = self.held.is_some();
        let routes = std::pin::pin!(async {
            if full { std::future::pending().await } else { neighbour.routes.recv().await }
        });
        match select(incoming, select(commands, select(routes, self.alarm.wait()))).await {
            Either::Left((Ok(_), _)) | Either::Right((Either::Right((Either::Right(_), _)), _)) => Ok(None),
            Either::Right((Either::Left((Ok(command), _)), _)) => Ok(Some(command)),
            Either::Right((Either::Right((Either::Left((Ok(message), _)), _)), _)) => {
                self.held = Some(message);
                Ok(None)
            }
            // The inbox is closed: another task has retired the link and announced its end, or the router has closed it.
            _ => Err("the link could not keep up with the routes".to_owned()),
        }
    }

    fn carry_out(&mut self, now: Time, command: LinkCommand) {
        match command {
            LinkCommand::PacketsSent => self.note_at = Some(now),
            LinkCommand::Wake => {}
            LinkCommand::MediumCut => self.link.on_medium_cut(now),
            LinkCommand::MediumRestored => self.link.on_medium_restored(now),
            LinkCommand::SendRefused => {
                self.neighbour.refused.store(false, Relaxed);
                self.link.on_send_refused(now);
            }
            LinkCommand::KeyWorn => self.link.on_key_worn(now),
            LinkCommand::FrameTooLong(length) => self.link.on_frame_too_long(now, length),
            LinkCommand::UnvalidatedFrame { endpoint, frame } => {
                let link = &mut self.link;
                self.neighbour.unvalidated_arrived(&self.shared, link, (endpoint, frame), &mut self.work);
            }
            #[cfg(test)]
            LinkCommand::Panic => panic!("a fault of the test"),
        }
    }

    /// Hands routing messages to the link as long as it has room.
    fn send_routes(&mut self) {
        while let Some(message) = self.held.take().or_else(|| self.neighbour.routes.try_recv().ok()) {
            if self.link.send_control(&message).is_err() {
                let LinkMetrics { state, control_queued, .. } = self.link.metrics();
                if control_queued > 0 || matches!(state, LinkState::Down(_)) {
                    self.held = Some(message);
                    break;
                }
                tracing::error!(bytes = message.len(), "routing message that no link takes");
            }
        }
    }

    /// Ends a link that has failed.
    async fn end(&mut self, reason: &str) {
        self.neighbour.ended(&self.shared, reason).await;
        // A closed inbox receives nothing more, so these frames are the last to count.
        while let Ok(left) = self.neighbour.inbox.try_recv_batch(&mut self.frames, BATCH) {
            self.shared.stats.drop_n(DropCause::UnknownSession, left as u64);
            self.frames.clear();
        }
    }
}

impl Neighbour {
    /// Starts the neighbour's task. A panic in it ends this link and no other.
    pub(crate) fn start(self: Arc<Self>, shared: &Arc<NodeState>, link: Link) {
        let (neighbour, theirs) = (self.clone(), shared.clone());
        shared.spawn(Box::pin(self.run(shared.clone(), link)), move |message| async move {
            let reason = format!("its task panicked: {message}");
            tracing::error!(neighbour = %neighbour.address, reason, "this is a fault of the program: please report it");
            neighbour.ended(&theirs, &reason).await;
        });
    }

    /// Runs the neighbour's task until the link ends.
    pub(crate) async fn run(self: Arc<Self>, shared: Arc<NodeState>, link: Link) {
        let mut task = NeighbourTask::new(self, shared, link);
        if let Some(reason) = task.serve().await {
            task.end(&reason).await;
        }
    }

    /// Sends what is queued, up to a portion. Returns `false` when the link was asked to leave before the medium had taken that.
    async fn flush_until_leaving(&self, shared: &NodeState) -> bool {
        let leaving = std::pin::pin!(self.leaving.when(|leaving| leaving.then_some(())));
        let flush = std::pin::pin!(self.flush_wait(shared));
        matches!(select(flush, leaving).await, Either::Left(_))
    }

    /// Ends the link with a goodbye. The packets that are queued go first, since the neighbour drops those that come after it.
    /// The medium has a moment for them, and the rest is dropped: a medium that takes nothing must not delay the end.
    pub(crate) async fn send_goodbye(&self, shared: &NodeState, link: &mut Link) {
        self.egress.begin_end();
        rt::timeout(QUEUED_SEND, self.flush_all(shared)).await;
        let dropped = self.egress.push_last(link.goodbye().into());
        shared.stats.drop_n(DropCause::UnknownSession, dropped);
        rt::timeout(GOODBYE_SEND, self.flush_all(shared)).await;
        if self.retire(shared) {
            self.announce_end(shared, "goodbye sent").await;
        }
    }

    /// Sends the queued packets and then this goodbye, as far as the medium takes them now. The packets go first, as in
    /// [`send_goodbye`](Self::send_goodbye), but there is no time for a slow medium.
    pub(super) fn flush_goodbye(&self, shared: &NodeState, goodbye: Vec<u8>) {
        self.egress.begin_end();
        let _ = self.flush_all(shared).now_or_never();
        let dropped = self.egress.push_last(goodbye.into());
        shared.stats.drop_n(DropCause::UnknownSession, dropped);
        self.flush(shared);
    }

    /// Sends until nothing is queued, on a link that is about to end.
    async fn flush_all(&self, shared: &NodeState) {
        while !self.egress.is_empty() {
            // Read before the flush, so that a drain that ends meanwhile is not waited for.
            let ended = self.egress.drains_ended();
            self.flush_wait(shared).await;
            if !self.egress.is_empty() && !self.egress.is_stalled() {
                // Another task is sending, and this one continues when that has ended.
                self.egress.drain_ended(ended).await;
            }
        }
    }

    /// Reports the sent packets to the link. Returns whether to report again later.
    pub(super) fn note_sent(&self, link: &mut Link, now: Time) -> bool {
        let frames = self.unnoted.swap(0, SeqCst);
        if frames > 0 {
            let bytes = self.unnoted_bytes.swap(0, Relaxed);
            let frames = u32::try_from(frames).unwrap_or(u32::MAX);
            link.note_sent(now, frames, bytes as usize);
            link.note_longest(now, frames, self.longest.swap(0, Relaxed));
            return true;
        }
        self.report_pending.store(false, SeqCst);
        // A packet sent between the two statements above found the mark still set and added no command.
        let again = self.unnoted.load(SeqCst) > 0;
        if again {
            self.report_pending.store(true, Relaxed);
        }
        again
    }

    /// Opens the frames of one batch, which arrived `now`, and handles control. The packets are left in `frames`.
    fn open_frames(&self, shared: &NodeState, now: Time, link: &mut Link, frames: &mut Vec<BytesMut>) {
        let bytes = frames.iter().map(|frame| frame.len() as u64).sum();
        self.rx_bytes.fetch_add(bytes, Relaxed);
        let mut opened = false;
        frames.retain_mut(|frame| match link.handle_frame(now, frame) {
            Ok(inner) => {
                opened = true;
                let FrameContent::Packet(body) = inner else { return false };
                // The kind byte stays, since the packet becomes the content of another frame.
                let content = body.len() + 1;
                frame.advance(HEADER_LEN);
                frame.truncate(content);
                true
            }
            Err(cause) => {
                shared.stats.drop(cause);
                false
            }
        });
        if opened && !self.confirmed.load(Relaxed) && !self.confirmed.swap(true, Relaxed) {
            // It may wait, since it only saves repetitions of the finish.
            let confirmed = LinkEvent::Input(Input::LinkConfirmed { id: self.id });
            let _ = shared.link_events.try_push(confirmed);
        }
    }

    /// Handles a frame that arrived from an endpoint where the neighbour is not known to be.
    fn unvalidated_arrived(
        &self,
        shared: &NodeState,
        link: &mut Link,
        (endpoint, mut frame): (Endpoint, BytesMut),
        work: &mut DeferredWork,
    ) {
        lock(&self.unvalidated).done();
        let now = shared.now();
        // The neighbour may have moved there since the frame arrived.
        let opened = match endpoint == self.path().endpoint {
            true => link.handle_frame(now, &mut frame),
            false => link.handle_frame_from(now, endpoint, &mut frame),
        };
        match opened {
            Ok(FrameContent::Packet(body)) => {
                let content = body.len() + 1;
                self.rx_bytes.fetch_add(frame.len() as u64, Relaxed);
                frame.advance(HEADER_LEN);
                frame.truncate(content);
                packets_arrived(shared, &mut vec![frame], work);
            }
            Ok(FrameContent::Consumed) => {}
            Err(cause) => shared.stats.drop(cause),
        }
    }
}
