//! A flush of a link's queues, which is recorded however it ends.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::egress::DrainReport;
use crate::node::state::NodeState;
use crate::node::state::locks::lock;
use crate::node::state::neighbour::{LinkCommand, Neighbour};
use crate::stats::DropCause;

/// A flush in progress. Its drop records the sent frames, even when the future is dropped midway, and leaves the rest
/// to the neighbour's task.
pub(super) struct Flush<'a> {
    pub(super) neighbour: &'a Neighbour,
    pub(super) shared: &'a NodeState,
    pub(super) drained: DrainReport,
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
            // Without room in the queue, the next refused frame repeats the command.
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
        // The link counts its control frames itself.
        if packets > 0 {
            neighbour.unnoted_bytes.fetch_add(bytes, Relaxed);
            neighbour.unnoted.fetch_add(packets, SeqCst);
            if !neighbour.report_pending.swap(true, SeqCst)
                && neighbour.commands.try_push(LinkCommand::PacketsSent).is_err()
            {
                // The next flush repeats the command.
                neighbour.report_pending.store(false, SeqCst);
            }
        }
        let stalled = neighbour.egress.is_stalled();
        if stalled || (!lock(&neighbour.waiting).is_empty() && !neighbour.egress.is_backed_up()) {
            neighbour.wake();
        }
    }
}
