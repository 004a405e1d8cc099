//! The end of a conversation: the conditions under which it may be dropped or made smaller.

use std::time::Duration;

use super::sending::Sending;
use super::{Conversation, MAX_PACKET_AGE, MAX_SILENCE};
use crate::time::Time;

impl Conversation {
    /// Whether the conversation may be dropped: nothing waits on either side, the peer has its receipts, and no packet
    /// of it can still arrive. A message that arrived in part does not prevent it, since its sender is silent and will
    /// retransmit it to the next incarnation.
    pub fn is_idle(&self, now: Time) -> bool {
        let nothing_waits = !self.has_waiting() && !self.has_message() && self.incoming.untaken() == 0;
        let settled = self.incoming.taken() <= self.confirmed && !self.sending.recovery.is_in_flight();
        let silence = now.since(self.last_used);
        nothing_waits && (silence >= MAX_SILENCE || (settled && silence >= MAX_PACKET_AGE))
    }

    /// Whether there was never a session, for `silence`, so that the peer has not proved its address. A request for one
    /// may have been an old one that was replayed. The conversation may be dropped if no message waits for the peer.
    pub fn is_unproven(&self, now: Time, silence: Duration) -> bool {
        !self.meeting.is_proven() && now.since(self.last_used) >= silence && !self.has_waiting()
    }

    /// Whether an application here has sent the peer a message or taken one of it. Before, the peer may be one of many
    /// identities that one node has made.
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// Whether something could be sent now, or is in flight.
    pub fn is_under_way(&self) -> bool {
        self.sending.queue.has_work() || self.sending.recovery.is_in_flight()
    }

    /// Whether packets are in flight of which the last left at `since` or later, and fewer bytes than `bytes` wait to be sent.
    pub fn may_gather(&self, since: Time, bytes: u64) -> bool {
        let Sending { recovery, queue, .. } = &*self.sending;
        recovery.is_in_flight()
            && recovery.last_sent().is_some_and(|at| at >= since)
            && queue.unsent() < bytes
    }

    /// Messages that are with the application and not yet taken.
    pub fn untaken(&self) -> usize {
        self.incoming.untaken()
    }

    /// The time since the last packet of the peer or message to it.
    pub fn silence(&self, now: Time) -> Duration {
        now.since(self.last_used)
    }

    /// Releases the memory that is kept only for reuse, because the conversation is quiet.
    pub fn release_memory(&mut self) {
        self.sending.release_memory();
    }

    /// Whether it may be dropped although parts of messages wait here. The peer then finds a new incarnation and
    /// retransmits the messages without a receipt. It may not be dropped while messages to the peer wait, nor before
    /// the peer has its receipts or has been silent for long, since it would then retransmit messages that were taken.
    /// `kept` of them may be lost with it, since no application has them.
    pub fn may_restart(&self, now: Time, kept: usize) -> bool {
        let settled = self.incoming.taken() <= self.confirmed || now.since(self.last_used) >= MAX_PACKET_AGE;
        settled
            && self.meeting.undelivered().len() == 0
            && self.incoming.untaken() <= kept
            && !self.has_waiting()
    }
}
