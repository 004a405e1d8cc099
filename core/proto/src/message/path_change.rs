//! The change of a conversation to another path, and the report of how the present one carries its packets.

use super::Conversation;
use super::recovery::Piece;
use super::sending::Sending;
use crate::time::Time;

impl Conversation {
    /// Packets take another way from now on: what is open is sent over it at once if the last way was silent.
    pub fn on_path_change(&mut self, now: Time) {
        self.tick(now);
        self.outcome.on_path_change(now + self.sending.recovery.rtt.probe_interval());
        let Self { sending, confirming, .. } = self;
        let Some(Sending { queue, recovery, .. }) = sending.get_mut() else { return };
        recovery.on_path_change(now, |piece| match piece {
            Piece::Receipt(_) => *confirming = 0,
            piece => queue.on_lost(piece),
        });
    }

    /// The numbers of packets that arrived over the present way and that were lost since the last report; `None`
    /// when there is nothing to report.
    pub fn outcome(&mut self, now: Time) -> Option<(u32, u32)> {
        self.outcome.report(now)
    }
}
