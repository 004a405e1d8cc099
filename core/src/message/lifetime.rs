//! When a conversation rests, and when it may be dropped.

use std::time::Duration;

use super::{Conversation, MAX_PACKET_AGE, MAX_SILENCE};
use crate::time::Time;

impl Conversation {
    /// Whether the conversation may be dropped: nothing waits on either side, the peer knows its receipts, and
    /// no packet of it can still be on its way. A message that had arrived in part does not keep it: its sender
    /// has been silent, and begins anew with the incarnation that comes after.
    pub fn is_idle(&self, now: Time) -> bool {
        let nothing_waits =
            self.waiting().messages == 0 && !self.has_message() && self.incoming.untaken() == 0;
        let settled = self.incoming.taken() <= self.confirmed && !self.sending.recovery.is_in_flight();
        let silence = now.since(self.last_used);
        nothing_waits && (silence >= MAX_SILENCE || (settled && silence >= MAX_PACKET_AGE))
    }

    /// Whether it was begun by one that has been silent for so long and never showed that it hears what is sent to its
    /// address: a source that somebody has invented, as far as can be seen. Nothing of ours waits for it.
    pub fn is_unproven(&self, now: Time, silence: Duration) -> bool {
        !self.proven && now.since(self.last_used) >= silence && self.waiting().messages == 0
    }

    /// Whether the peer has shown that it hears what is sent to its address.
    pub fn is_proven(&self) -> bool {
        self.proven
    }

    /// Whether something could leave now, or has left and not arrived.
    pub fn is_under_way(&self) -> bool {
        self.sending.queue.has_work() || self.sending.recovery.is_in_flight()
    }

    /// Messages that are with the application, which has not taken them.
    pub fn untaken(&self) -> usize {
        self.incoming.untaken()
    }

    /// How long the peer has been silent, and nothing was sent to it.
    pub fn silence(&self, now: Time) -> Duration {
        now.since(self.last_used)
    }

    /// Nothing happens: gives back what is held only to be ready.
    pub fn release_memory(&mut self, now: Time) {
        self.incarnations.expire_claims(now);
        self.sending.release_memory();
    }

    /// Whether it may be dropped although parts of messages wait here: the peer meets a new one, and sends again what has no
    /// receipt. Not while something of ours waits, and only when the peer knows its receipts or has been silent for long, or it
    /// would send again what was taken.
    pub fn may_restart(&self, now: Time) -> bool {
        let settled = self.incoming.taken() <= self.confirmed || now.since(self.last_used) >= MAX_PACKET_AGE;
        settled
            && self.incarnations.undelivered().len() == 0
            && self.incoming.untaken() == 0
            && self.waiting().messages == 0
    }
}
