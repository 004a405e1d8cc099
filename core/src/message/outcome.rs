//! The outcome of packets on the present way, for those who choose the way.
//!
//! Only packets that took the present way count. One that is acknowledged has arrived; one that is lost is lost, unless its ack comes
//! late; and a second silence with no sign of life since the first is a verdict. An innocent way that is lossy or narrow must not
//! be taken for one that swallows packets:
//!
//! - A queue that overflows loses many packets at once, so of the losses of one round trip only [`OF_A_ROUND`] count.
//! - Where packets cross on the way, those that were overtaken are taken for lost too soon: see [`Losses`].
//! - Where packets are lost now and then, so are probes and their acks, and it takes more time-outs to be sure: see [`LossShare`].

use std::collections::VecDeque;
use std::time::Duration;

use super::rtt::MAX_ACK_DELAY;
use crate::time::Time;

/// Probe time-outs count when they are so far apart: a busy host is silent for a while, too.
pub(super) const SILENCE_EVERY: Duration = Duration::from_millis(250);
/// Losses are reported this far apart, or when there are so many as make a verdict.
const REPORT_EVERY: Duration = Duration::from_millis(20);
/// So many packets are judged together.
pub(super) const VERDICT: u32 = 16;
/// Losses of one round trip that count, so that no fewer than three round trips make a verdict.
pub(super) const OF_A_ROUND: u32 = 4;
/// A verdict takes one more time-out for each 16th of the packets that was lost lately,
pub(super) const SHARE: u32 = 16;
/// and at most so many more.
pub(super) const MORE_TIMEOUTS: u32 = 3;
/// From so many packets on, the older ones count for half.
pub(super) const ENOUGH: u32 = 64;

/// Packets that were taken for lost and may still turn out to have been overtaken.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Their numbers, and when their loss is certain.
    open: VecDeque<(u64, Time)>,
    of_round: u32,
}

impl Losses {
    /// Takes note of a packet whose loss is certain at `due`, and whether it is the first to be lost of its round trip. One of
    /// another way, or with nothing in it but a ping, does not count.
    pub fn add(&mut self, number: u64, due: Time, is_first: bool, counts: bool) {
        if is_first {
            self.of_round = 0;
        }
        let has_room = self.open.len() < VERDICT as usize;
        if counts && self.of_round < OF_A_ROUND && has_room {
            self.of_round = self.of_round.saturating_add(1);
            self.open.push_back((number, due));
        }
    }

    /// An ack names the packets from `low` to `high`; returns how many of those that were taken for lost are among them.
    pub fn acked(&mut self, low: u64, high: u64) -> u32 {
        let before = self.open.len();
        self.open.retain(|(number, _)| !(low..=high).contains(number));
        u32::try_from(before.saturating_sub(self.open.len())).unwrap_or(u32::MAX)
    }

    /// Returns how many have become certain.
    pub fn certain(&mut self, now: Time) -> u32 {
        let before = self.open.len();
        self.open.retain(|(_, due)| *due > now);
        u32::try_from(before.saturating_sub(self.open.len())).unwrap_or(u32::MAX)
    }

    /// Forgets those of another way.
    pub fn clear(&mut self) {
        *self = Losses::default();
    }
}

/// The share of packets that were lost lately, in one direction.
#[derive(Debug, Default)]
struct LossShare {
    arrived: u32,
    lost: u32,
}

impl LossShare {
    fn note(&mut self, arrived: u32, lost: u32) {
        self.arrived = self.arrived.saturating_add(arrived.min(ENOUGH));
        self.lost = self.lost.saturating_add(lost.min(ENOUGH));
        while self.arrived.saturating_add(self.lost) > ENOUGH {
            self.arrived /= 2;
            self.lost /= 2;
        }
    }

    /// Time-outs beside the second that it takes to suspect a way that loses so much.
    fn more_timeouts(&self) -> u32 {
        let all = self.arrived.saturating_add(self.lost).max(SHARE);
        let parts = self.lost.saturating_mul(SHARE).div_ceil(all);
        parts.min(MORE_TIMEOUTS)
    }
}

/// A time with no sign of life.
#[derive(Clone, Copy, Debug, Default)]
struct Silence {
    /// The last time-out that was far enough from the one before, and whether there was one with no sign of life since.
    last: Option<Time>,
    suspect: bool,
    /// The last time-out of all, and the number of them with no sign of life since.
    timeout: Option<Time>,
    timeouts: u32,
}

impl Silence {
    /// One that counts only from [`SILENCE_EVERY`] after `begin`.
    fn beginning(begin: Time) -> Self {
        Silence { last: Some(begin), ..Silence::default() }
    }

    /// One more time-out; returns whether it is the second or later that is far enough from the others, and there were two and so
    /// many `more` of any kind.
    fn goes_on(&mut self, now: Time, more: u32) -> bool {
        // Two probes of one time-out are no more than one.
        if self.timeout.is_none_or(|last| now.since(last) >= MAX_ACK_DELAY) {
            self.timeout = Some(now);
            self.timeouts = self.timeouts.saturating_add(1);
        }
        let far = self.last.is_none_or(|last| now.since(last) >= SILENCE_EVERY);
        if far {
            self.last = Some(now);
        }
        far && std::mem::replace(&mut self.suspect, true) && self.timeouts >= more.saturating_add(2)
    }

    fn end(&mut self) {
        self.suspect = false;
        self.timeouts = 0;
    }
}

/// The outcome of packets since the last report.
#[derive(Debug, Default)]
pub(super) struct PathOutcome {
    delivered: u32,
    lost: u32,
    /// The peer knows the fate of all its packets below this, by our acks.
    floor: u64,
    /// That of our probes, and of our acks.
    probes: Silence,
    acks: Silence,
    /// Our packets, and the peer's.
    sent: LossShare,
    heard: LossShare,
    /// Whether the last report was of losses: its reader wants to learn when it is better, too.
    bad: bool,
    reported: Time,
}

impl PathOutcome {
    /// Takes note of packets that an ack or a time-out has shown to have arrived, and to be lost.
    pub(super) fn note(&mut self, (delivered, lost): (u32, u32)) {
        self.sent.note(delivered, lost);
        self.delivered = self.delivered.saturating_add(delivered);
        self.lost = self.lost.saturating_add(lost);
        if delivered > 0 {
            self.probes.end();
            self.acks.end();
        }
    }

    /// A packet of the peer has come, and the one with the highest number before it was `largest`.
    pub(super) fn heard(&mut self, number: u64, largest: Option<u64>) {
        let missed = largest.and_then(|largest| number.checked_sub(largest.saturating_add(1)));
        if largest.is_some() && missed.is_none() {
            // One that had been overtaken.
            self.heard.lost = self.heard.lost.saturating_sub(1);
        }
        self.heard.note(1, u32::try_from(missed.unwrap_or(0)).unwrap_or(u32::MAX));
    }

    /// A probe time-out.
    pub(super) fn silence(&mut self, now: Time) {
        let more = self.more_timeouts();
        if self.probes.goes_on(now, more) {
            self.condemn();
        }
    }

    /// What is silent may be either direction.
    fn more_timeouts(&self) -> u32 {
        self.sent.more_timeouts().max(self.heard.more_timeouts())
    }

    fn condemn(&mut self) {
        self.lost = self.lost.saturating_add(VERDICT);
        // They arrived before.
        self.delivered = 0;
    }

    /// The peer shows how far it has had our acks, and whether it sends what we had acknowledged.
    pub(super) fn note_acks(&mut self, now: Time, floor: u64, all_known: bool) {
        if floor > self.floor {
            self.floor = floor;
            self.delivered = self.delivered.saturating_add(1);
            // Of our probes this proves nothing: it may have been known to the peer for long.
            self.acks.end();
        } else if all_known {
            let more = self.more_timeouts();
            if self.acks.goes_on(now, more) {
                self.condemn();
            }
        }
    }

    /// Packets are sent over another path from now on. A silence counts only from `begin` on, because the peer may have to find another
    /// path back.
    pub(super) fn on_path_change(&mut self, begin: Time) {
        let silence = Silence::beginning(begin);
        *self = PathOutcome { floor: self.floor, probes: silence, acks: silence, ..PathOutcome::default() };
    }

    pub(super) fn report(&mut self, now: Time) -> Option<(u32, u32)> {
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
