//! The outcome of packets on the present path, which routing uses to avoid next hops that lose packets.
//!
//! Only packets that took the present path count. An acknowledged packet has arrived; a lost one counts as lost unless
//! its ack arrives late; and a second probe time-out with nothing received since the first is a verdict against the
//! path. A path that is merely lossy or narrow must not be taken for one that drops everything, because leaving it
//! would gain nothing. Therefore:
//!
//! - A queue that overflows loses many packets at once, so only [`OF_A_ROUND`] losses of one round trip count.
//! - Packets that were overtaken are taken for lost too soon, so a loss counts only once it is certain: see
//!   [`Losses`].
//! - Where packets are lost now and then, so are probes and their acks, and a verdict takes more time-outs: see
//!   [`LossShare`].

use std::collections::VecDeque;
use std::time::Duration;

use super::rtt::MAX_ACK_DELAY;
use crate::time::Time;

/// Least delay between probe time-outs that count, because a busy host may be silent for a moment as well.
pub(super) const SILENCE_EVERY: Duration = Duration::from_millis(250);
/// Least delay between reports of losses, unless there are enough for a verdict. It bounds the work that a lossy path
/// causes.
const REPORT_EVERY: Duration = Duration::from_millis(20);
/// Packets that are judged together.
pub(super) const VERDICT: u32 = 16;
/// Losses of one round trip that count, so that no fewer than three round trips lead to a verdict.
pub(super) const OF_A_ROUND: u32 = 4;
/// A verdict takes one more time-out for each 16th of the packets that was lost recently, because a lossy path loses
/// probes as well.
pub(super) const SHARE: u32 = 16;
/// Bound of these additional time-outs, so that a path that drops everything is left in the end.
pub(super) const MORE_TIMEOUTS: u32 = 3;
/// Packets from which on older ones count half, so that the share follows changes of the path.
pub(super) const ENOUGH: u32 = 64;

/// Packets that are taken for lost and may still turn out to have been overtaken.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Their numbers, and the times at which their loss is certain.
    open: VecDeque<(u64, Time)>,
    of_round: u32,
}

impl Losses {
    /// Adds a packet whose loss is certain at `due`; `is_first` is whether it is the first lost one of its round trip. A packet of
    /// another path does not count, nor does one with nothing but a ping in it.
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

    /// An ack covers the packets from `low` to `high`; returns how many of those taken for lost are among them.
    pub fn acked(&mut self, low: u64, high: u64) -> u32 {
        let before = self.open.len();
        self.open.retain(|(number, _)| !(low..=high).contains(number));
        u32::try_from(before.saturating_sub(self.open.len())).unwrap_or(u32::MAX)
    }

    /// Removes the losses that have become certain and returns their number.
    pub fn certain(&mut self, now: Time) -> u32 {
        let before = self.open.len();
        self.open.retain(|(_, due)| *due > now);
        u32::try_from(before.saturating_sub(self.open.len())).unwrap_or(u32::MAX)
    }

    /// Drops all losses, because they belong to another path.
    pub fn clear(&mut self) {
        *self = Losses::default();
    }
}

/// The share of packets that were lost recently, in one direction.
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

    /// Time-outs beyond the second that a verdict against a path with these losses takes.
    fn more_timeouts(&self) -> u32 {
        let all = self.arrived.saturating_add(self.lost).max(SHARE);
        let parts = self.lost.saturating_mul(SHARE).div_ceil(all);
        parts.min(MORE_TIMEOUTS)
    }
}

/// A time during which nothing was received that shows the path to work.
#[derive(Clone, Copy, Debug, Default)]
struct Silence {
    /// The last time-out that was far enough from the one before, and whether nothing was received since it.
    last: Option<Time>,
    suspect: bool,
    /// The last time-out of all, and the number of time-outs since something was received.
    timeout: Option<Time>,
    timeouts: u32,
}

impl Silence {
    /// A silence whose time-outs count only from [`SILENCE_EVERY`] after `begin`.
    fn starting_at(begin: Time) -> Self {
        Silence { last: Some(begin), ..Silence::default() }
    }

    /// Counts a time-out; returns whether it leads to a verdict: it is the second or later that is far enough from the one before,
    /// and there were two and `more` of any kind, because a lossy path loses probes as well.
    fn count_timeout(&mut self, now: Time, more: u32) -> bool {
        // Two probes of one time-out count once, because they are lost together.
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

    fn reset(&mut self) {
        self.suspect = false;
        self.timeouts = 0;
    }
}

/// The outcome of packets since the last report.
#[derive(Debug, Default)]
pub(super) struct PathOutcome {
    delivered: u32,
    lost: u32,
    /// The peer has learnt from our acks whether its packets below this number arrived.
    floor: u64,
    /// The silence after probes, and the one after acks.
    probes: Silence,
    acks: Silence,
    /// The losses of own packets, and of the peer's.
    sent: LossShare,
    received: LossShare,
    /// Whether the last report was of losses. Only then is a recovery reported as well, so that a good path causes no
    /// reports.
    bad: bool,
    reported: Time,
}

impl PathOutcome {
    /// Adds packets that arrived and packets that were lost, as an ack or a time-out has shown.
    pub(super) fn note(&mut self, (delivered, lost): (u32, u32)) {
        self.sent.note(delivered, lost);
        self.delivered = self.delivered.saturating_add(delivered);
        self.lost = self.lost.saturating_add(lost);
        if delivered > 0 {
            self.probes.reset();
            self.acks.reset();
        }
    }

    /// A packet of the peer has arrived. `largest` is the highest number before it, so that a gap shows losses.
    pub(super) fn packet_arrived(&mut self, number: u64, largest: Option<u64>) {
        let missed = largest.and_then(|largest| number.checked_sub(largest.saturating_add(1)));
        if largest.is_some() && missed.is_none() {
            // The packet had been overtaken, so the gap that it left was no loss.
            self.received.lost = self.received.lost.saturating_sub(1);
        }
        self.received.note(1, u32::try_from(missed.unwrap_or(0)).unwrap_or(u32::MAX));
    }

    /// A probe time-out has passed.
    pub(super) fn probe_timeout(&mut self, now: Time) {
        let more = self.more_timeouts();
        if self.probes.count_timeout(now, more) {
            self.add_verdict();
        }
    }

    /// Either direction may cause the silence, so that the worse one decides.
    fn more_timeouts(&self) -> u32 {
        self.sent.more_timeouts().max(self.received.more_timeouts())
    }

    fn add_verdict(&mut self) {
        self.lost = self.lost.saturating_add(VERDICT);
        // The packets arrived before the silence, so they do not count against it.
        self.delivered = 0;
    }

    /// The peer has shown up to which packet it has our acks, and whether it repeats packets that were acknowledged.
    pub(super) fn note_acks(&mut self, now: Time, floor: u64, all_known: bool) {
        if floor > self.floor {
            self.floor = floor;
            self.delivered = self.delivered.saturating_add(1);
            // This proves nothing for own probes, because the peer may have known it for long.
            self.acks.reset();
        } else if all_known {
            let more = self.more_timeouts();
            if self.acks.count_timeout(now, more) {
                self.add_verdict();
            }
        }
    }

    /// Packets are sent over another path from now on. A silence counts only from `begin` on, because the peer may have to find another
    /// path back.
    pub(super) fn on_path_change(&mut self, begin: Time) {
        let silence = Silence::starting_at(begin);
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
