//! How the way bears what is sent over it, for those who choose the way.
//!
//! Only what took the present way counts. A packet that is acknowledged has arrived; one that is lost is lost; and a
//! second silence with no sign of life since the first is a verdict.

use std::time::Duration;

use super::Conversation;
use super::recovery::Piece;
use super::sending::Sending;
use crate::time::Time;

/// Probe time-outs count when they are so far apart: a busy host is silent for a while, too.
pub(super) const SILENCE_EVERY: Duration = Duration::from_millis(250);
/// Losses are reported this far apart, or when there are so many as make a verdict.
const REPORT_EVERY: Duration = Duration::from_millis(20);
/// So many packets are judged together.
pub(super) const VERDICT: u32 = 16;

/// What became of packets since the last report.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    delivered: u32,
    lost: u32,
    /// The peer knows the fate of all its packets below this, by our acks.
    floor: u64,
    /// The last silence, and whether there was one with no sign of life since.
    silent: Option<Time>,
    suspect: bool,
    /// Whether the last report was of losses: whoever heard it wants to hear when it is better, too.
    bad: bool,
    reported: Time,
}

impl Outcome {
    /// What an ack or a time-out has shown.
    pub(super) fn note(&mut self, (delivered, lost): (u32, u32)) {
        self.delivered = self.delivered.saturating_add(delivered);
        self.lost = self.lost.saturating_add(lost);
        self.suspect &= delivered == 0;
    }

    /// A probe time-out.
    pub(super) fn silence(&mut self, now: Time) {
        if self.silent.is_none_or(|last| now.since(last) >= SILENCE_EVERY) {
            self.silent = Some(now);
            if std::mem::replace(&mut self.suspect, true) {
                self.lost = self.lost.saturating_add(VERDICT);
            }
        }
    }

    /// The peer shows how far it has had our acks, and whether it sends what we had acknowledged.
    pub(super) fn note_acks(&mut self, now: Time, floor: u64, all_known: bool) {
        if floor > self.floor {
            self.floor = floor;
            self.note((1, 0));
        } else if all_known {
            self.silence(now);
        }
    }

    fn report(&mut self, now: Time) -> Option<(u32, u32)> {
        let due = match self.lost {
            0 => self.bad && self.delivered >= VERDICT,
            lost => lost >= VERDICT / 2 || now.since(self.reported) >= REPORT_EVERY,
        };
        if !due {
            return None;
        }
        let report = (std::mem::take(&mut self.delivered), std::mem::take(&mut self.lost));
        self.bad = report.1 > 0;
        self.reported = now;
        Some(report)
    }
}

impl Conversation {
    /// Packets take another way from now on: what is open is sent over it at once if the last way was silent.
    pub fn on_path_change(&mut self, now: Time) {
        self.tick(now);
        // The first silence is for the peer, which may have to find another way back.
        self.outcome = Outcome {
            floor: self.outcome.floor,
            silent: Some(now + self.sending.recovery.rtt.probe_interval()),
            ..Outcome::default()
        };
        let Self { sending, confirming, .. } = self;
        let Some(Sending { queue, recovery, .. }) = sending.get_mut() else { return };
        recovery.on_path_change(now, |piece| match piece {
            Piece::Receipt(_) => *confirming = 0,
            piece => queue.on_lost(piece),
        });
    }

    /// How many packets arrived over the present way and how many after them were lost since the last report; `None`
    /// when there is nothing worth a word.
    pub fn outcome(&mut self, now: Time) -> Option<(u32, u32)> {
        self.outcome.report(now)
    }
}
