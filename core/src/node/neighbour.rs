//! A neighbour: a node one hop away, with the link to it and the task that serves the link. There is one task for each
//! neighbour; it does everything from the neighbour's inbox to the next queue itself, so that a busy neighbour delays
//! no other.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;

use crate::egress::{Class, DrainReport, PushOutcome};
use crate::netmod::NetmodError;
use crate::node::data_path::DeferredWork;
use crate::node::neighbour::flush::Flush;
use crate::node::state::NodeState;
use crate::node::state::locks::lock;
use crate::node::state::neighbour::{INBOX_BYTES, LinkCommand, Neighbour};
use crate::peering::Input;
use crate::stats::DropCause;

mod flush;
mod outputs;
mod service;
mod task;
#[cfg(test)]
mod tests;

/// Frames that are taken from the inbox at once.
const BATCH: usize = 64;
/// The period in which the link is given the count of sent packets. It judges silence by that, since a neighbour that
/// was sent nothing owes no acknowledgement.
const NOTE_EVERY: Duration = Duration::from_millis(20);
/// The longest frame, in bytes, that may use the whole inbox. Probes, receipts, most acknowledgements and hellos are
/// shorter. Their class is inside the seal, so the length is all that distinguishes them from bulk before a frame is opened.
const SHORT_FRAME: usize = 256;
/// The part of the inbox, in frames and in bytes, that is left to short frames: one of this many. Without it, the frames of
/// a long message would fill the inbox, and a ping beside them would be lost on a medium that loses nothing.
const SHORT_FRAME_PART: usize = 8;

impl Neighbour {
    /// Queues the content of a frame, and counts it when it is dropped. The caller flushes afterwards.
    pub(crate) fn push(&self, shared: &NodeState, class: Class, content: Bytes) -> PushOutcome {
        let pushed = self.egress.push(class, content);
        pushed.count(&shared.stats);
        pushed
    }

    /// Writes a batch of received frames into the inbox, which wakes the neighbour's task. Returns the number of frames
    /// for which there was no room. The batch is empty afterwards.
    pub(crate) fn push_frames(&self, batch: &mut Vec<BytesMut>) -> u64 {
        let capacity = self.inbox.capacity();
        // Only the task of the netmod writes frames, so the room does not shrink between here and the write.
        let mut frames = (capacity - capacity / SHORT_FRAME_PART).saturating_sub(self.inbox.len());
        let mut bytes = (INBOX_BYTES - INBOX_BYTES / SHORT_FRAME_PART).saturating_sub(self.inbox.bytes());
        let before = batch.len();
        batch.retain(|frame| {
            let has_room = frame.len() <= SHORT_FRAME || (frames > 0 && bytes >= frame.len());
            if has_room {
                frames = frames.saturating_sub(1);
                bytes = bytes.saturating_sub(frame.len());
            }
            has_room
        });
        let written = self.inbox.try_push_batch(batch).unwrap_or_default();
        batch.clear();
        (before - written) as u64
    }

    /// Sends queued frames as far as the medium accepts them now, and leaves the rest to the neighbour's task. So a
    /// slow medium delays only its own neighbours.
    pub(crate) fn flush(&self, shared: &NodeState) {
        let _ = self.flush_wait(shared).now_or_never();
    }

    /// Sends up to a portion of the queued frames. When the future is dropped midway, the neighbour's task continues.
    async fn flush_wait(&self, shared: &NodeState) {
        let mut flush = Flush { neighbour: self, shared, drained: DrainReport::default() };
        if let Err(error) = self.egress.drain(&mut flush.drained).await {
            tracing::debug!(neighbour = ?self.address, %error, "send failed");
            if matches!(error, NetmodError::Endpoint(_) | NetmodError::Gone(_)) {
                // One command serves for all refused frames until the task has handled it.
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

    fn resume_waiting(&self, work: &mut DeferredWork) {
        if !self.egress.is_backed_up() {
            let waiting = lock(&self.waiting).take();
            for conversation in waiting {
                work.pump_later(&conversation);
            }
        }
    }

    /// Takes the link out of service: it leaves the tables, its queues are dropped, and its task ends. Returns whether
    /// it was in the tables, so that one caller only announces the end.
    pub(crate) fn retire(&self, shared: &NodeState) -> bool {
        let was_known = shared.take_out_of_service(self);
        if was_known {
            shared.report_to_peering(Input::LinkLost { id: self.id, reason: None });
        }
        shared.stats.drop_n(DropCause::UnknownSession, self.egress.close());
        let waiting = lock(&self.waiting).take();
        drop(waiting);
        self.close_inbox();
        self.commands.close();
        self.routes.close();
        was_known
    }
}
