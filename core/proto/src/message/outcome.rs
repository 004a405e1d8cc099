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
/// A verdict takes one more time-out for each 16th, whole or begun, of the packets that was lost recently, because a
/// lossy path loses probes as well.
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
    pub(super) fn add(&mut self, number: u64, due: Time, is_first: bool, counts: bool) {
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
    pub(super) fn acked(&mut self, low: u64, high: u64) -> u32 {
        let before = self.open.len();
        self.open.retain(|(number, _)| !(low..=high).contains(number));
        u32::try_from(before.saturating_sub(self.open.len())).unwrap_or(u32::MAX)
    }

    /// Removes the losses that have become certain and returns their number.
    pub(super) fn certain(&mut self, now: Time) -> u32 {
        let before = self.open.len();
        self.open.retain(|(_, due)| *due > now);
        u32::try_from(before.saturating_sub(self.open.len())).unwrap_or(u32::MAX)
    }

    /// Drops all losses, because they belong to another path.
    pub(super) fn clear(&mut self) {
        *self = Losses::default();
    }
}

/// The share of packets that were lost recently, in one direction. It is kept small, since each conversation has one.
#[derive(Debug, Default)]
struct LossShare {
    arrived: u8,
    lost: u8,
}

impl LossShare {
    fn note(&mut self, arrived: u32, lost: u32) {
        let [mut arrived, mut lost] = [(self.arrived, arrived), (self.lost, lost)]
            .map(|(before, more)| u32::from(before).saturating_add(more.min(ENOUGH)));
        while arrived.saturating_add(lost) > ENOUGH {
            arrived /= 2;
            lost /= 2;
        }
        // Neither exceeds `ENOUGH`.
        [self.arrived, self.lost] = [arrived, lost].map(|count| u8::try_from(count).unwrap_or(u8::MAX));
    }

    /// Time-outs beyond the second that a verdict against a path with these losses takes.
    fn more_timeouts(&self) -> u32 {
        let [arrived, lost] = [self.arrived, self.lost].map(u32::from);
        let all = arrived.saturating_add(lost).max(SHARE);
        let parts = lost.saturating_mul(SHARE).div_ceil(all);
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

/// The outcome of packets since the last report. The larger part is allocated when there is something to count, since most
/// conversations of a node that only receives never have it.
#[derive(Debug, Default)]
pub(super) struct PathOutcome {
    /// The losses of the peer's packets.
    received: LossShare,
    /// The time from which a silence counts.
    begin: Option<Time>,
    counts: Option<Box<OutcomeCounts>>,
}

#[derive(Debug, Default)]
struct OutcomeCounts {
    delivered: u32,
    lost: u32,
    /// The peer has learnt from our acks whether its packets below this number arrived.
    floor: u64,
    /// The silence after probes, and the one after acks.
    probes: Silence,
    acks: Silence,
    /// The losses of own packets.
    sent: LossShare,
    /// Whether the last report was of losses. Only then is a recovery reported as well, so that a good path causes no
    /// reports.
    bad: bool,
    reported: Time,
}

impl OutcomeCounts {
    fn starting_at(begin: Option<Time>) -> Self {
        let silence = begin.map(Silence::starting_at).unwrap_or_default();
        OutcomeCounts { probes: silence, acks: silence, ..OutcomeCounts::default() }
    }

    fn add_verdict(&mut self) {
        self.lost = self.lost.saturating_add(VERDICT);
        // The packets arrived before the silence, so they do not count against it.
        self.delivered = 0;
    }
}

impl PathOutcome {
    fn counts(&mut self) -> &mut OutcomeCounts {
        let begin = self.begin;
        self.counts.get_or_insert_with(|| Box::new(OutcomeCounts::starting_at(begin)))
    }

    /// Adds packets that arrived and packets that were lost, as an ack or a time-out has shown.
    pub(super) fn note(&mut self, (delivered, lost): (u32, u32)) {
        if (delivered, lost) == (0, 0) {
            return;
        }
        let counts = self.counts();
        counts.sent.note(delivered, lost);
        counts.delivered = counts.delivered.saturating_add(delivered);
        counts.lost = counts.lost.saturating_add(lost);
        if delivered > 0 {
            counts.probes.reset();
            counts.acks.reset();
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
        let counts = self.counts();
        if counts.probes.count_timeout(now, more) {
            counts.add_verdict();
        }
    }

    /// Either direction may cause the silence, so that the worse one decides.
    fn more_timeouts(&self) -> u32 {
        let sent = self.counts.as_ref().map_or(0, |counts| counts.sent.more_timeouts());
        sent.max(self.received.more_timeouts())
    }

    /// The peer has shown up to which packet it has our acks, and whether it repeats packets that were acknowledged.
    pub(super) fn note_acks(&mut self, now: Time, floor: u64, all_known: bool) {
        let more = self.more_timeouts();
        let known = self.counts.as_ref().map_or(0, |counts| counts.floor);
        if floor > known {
            let counts = self.counts();
            counts.floor = floor;
            counts.delivered = counts.delivered.saturating_add(1);
            // This proves nothing for own probes, because the peer may have known it for long.
            counts.acks.reset();
        } else if all_known {
            let counts = self.counts();
            if counts.acks.count_timeout(now, more) {
                counts.add_verdict();
            }
        }
    }

    /// Packets are sent over another path from now on. A silence counts only from `begin` on, because the peer may have to
    /// find another path back.
    pub(super) fn on_path_change(&mut self, begin: Time) {
        self.received = LossShare::default();
        self.begin = Some(begin);
        if let Some(counts) = &mut self.counts {
            **counts = OutcomeCounts { floor: counts.floor, ..OutcomeCounts::starting_at(Some(begin)) };
        }
    }

    pub(super) fn report(&mut self, now: Time) -> Option<(u32, u32)> {
        let counts = self.counts.as_mut()?;
        let due = match counts.lost {
            0 => counts.bad && counts.delivered >= VERDICT,
            lost => lost >= VERDICT / 2 || now.since(counts.reported) >= REPORT_EVERY,
        };
        if !due {
            return None;
        }
        let report = (std::mem::take(&mut counts.delivered), std::mem::take(&mut counts.lost));
        counts.bad = report.1 > 0;
        counts.reported = now;
        Some(report)
    }
}
