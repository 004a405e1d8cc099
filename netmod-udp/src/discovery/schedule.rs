//! The schedule of beacons on one interface: frequent at first, then seldom, early when something is new, and bounded
//! in rate whatever happens.
//!
//! The module is pure: the time is a parameter.

use std::time::{Duration, Instant};

use crate::mix::mix;

/// The pauses between the first rounds, which are thus sent at 0, 0.2, 0.5, 1 and 2 s.
pub(crate) const START: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_millis(300),
    Duration::from_millis(500),
    Duration::from_millis(1000),
];

/// The pause between later rounds: it begins with the short one and grows to the long one while nothing changes.
pub(crate) const SHORT: Duration = Duration::from_secs(5);
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// The shortest pause between two rounds, so that interfaces that flap cause no storm.
pub(crate) const GAP: Duration = Duration::from_millis(100);

/// The shortest pause between two answers to new senders.
pub(crate) const ANSWERS: Duration = Duration::from_secs(1);

/// The number of rounds that are repeated early because not all beacons of the last one could be sent. An address that
/// an interface was just given cannot be used for up to 2 s, while duplicate address detection runs (RFC 4862, section
/// 5.4).
pub(crate) const RETRIES: u32 = 6;

/// The pause before a repeated round.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// The times at which beacons are sent on one interface.
#[derive(Debug)]
pub(crate) struct BeaconSchedule {
    due: Instant,
    /// The number of rounds since the start.
    step: usize,
    period: Duration,
    last: Option<Instant>,
    answered: Option<Instant>,
    retries: u32,
    /// A counter from which the jitter is derived; it begins with a number that differs from node to node.
    random: u64,
}

impl BeaconSchedule {
    /// A schedule with a first round that is due at once. `seed` makes the jitter differ from that of other nodes.
    pub(crate) fn new(now: Instant, seed: u64) -> Self {
        BeaconSchedule {
            due: now,
            step: 0,
            period: SHORT,
            last: None,
            answered: None,
            retries: RETRIES,
            random: seed,
        }
    }

    /// When the next round is due.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Records that a round was sent; `complete` is whether every beacon of it could be sent.
    pub(crate) fn sent(&mut self, now: Instant, complete: bool) {
        self.last = Some(now);
        let pause = match START.get(self.step) {
            Some(&pause) => pause,
            None if !complete && self.retries > 0 => {
                self.retries -= 1;
                self.jittered(RETRY)
            }
            None => {
                let period = self.period;
                self.period = (period * 3 / 2).min(LONG);
                self.jittered(period)
            }
        };
        self.step = self.step.saturating_add(1);
        self.due = now + pause;
    }

    /// Starts over, because beacons can now be sent in a way that was not there before.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.step = 0;
        self.period = SHORT;
        self.retries = RETRIES;
        self.due = self.soonest(now);
    }

    /// Sends a round early, because a new sender needs a beacon of this node to find it. The pause is random, since all
    /// nodes of the network answer the same sender.
    pub(crate) fn answer(&mut self, now: Instant) {
        self.period = SHORT;
        let pause = self.jittered(GAP);
        let mut due = self.soonest(now + pause);
        if let Some(answered) = self.answered {
            due = due.max(answered + ANSWERS);
        }
        if due < self.due {
            self.due = due;
            self.answered = Some(due);
        }
    }

    fn soonest(&self, now: Instant) -> Instant {
        self.last.map_or(now, |last| now.max(last + GAP))
    }

    /// `period` with a jitter of up to a fifth in both directions.
    fn jittered(&mut self, period: Duration) -> Duration {
        self.random = self.random.wrapping_add(1);
        period * 4 / 5 + period * 2 / 5 * ((mix(self.random) >> 32) as u32) / u32::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The pauses between `count` rounds.
    fn pauses(schedule: &mut BeaconSchedule, count: usize, complete: bool) -> Vec<Duration> {
        let mut pauses = Vec::new();
        for _ in 0..count {
            let now = schedule.due();
            schedule.sent(now, complete);
            pauses.push(schedule.due() - now);
        }
        pauses
    }

    #[test]
    fn beacons_are_frequent_at_first_and_seldom_while_nothing_changes() {
        let start = Instant::now();
        let mut schedule = BeaconSchedule::new(start, 1);
        assert_eq!(schedule.due(), start);
        let pauses = pauses(&mut schedule, 20, true);
        assert_eq!(pauses[..4].iter().map(Duration::as_millis).collect::<Vec<_>>(), [200, 300, 500, 1000]);
        assert!((4 * SECOND..=6 * SECOND).contains(&pauses[4]), "{pauses:?}");
        assert!(pauses[12..].iter().all(|pause| (24 * SECOND..=36 * SECOND).contains(pause)), "{pauses:?}");
        assert!(pauses[12..].iter().any(|pause| *pause != pauses[12]), "no jitter: {pauses:?}");
    }

    #[test]
    fn the_jitter_of_two_nodes_differs() {
        let start = Instant::now();
        let (mut a, mut b) = (BeaconSchedule::new(start, 1000), BeaconSchedule::new(start, 2000));
        assert_eq!(pauses(&mut a, 4, true), pauses(&mut b, 4, true));
        assert_ne!(pauses(&mut a, 4, true), pauses(&mut b, 4, true));
    }

    #[test]
    fn a_restart_begins_with_the_first_pauses_at_once() {
        let mut schedule = BeaconSchedule::new(Instant::now(), 1);
        pauses(&mut schedule, 20, true);
        let now = schedule.due() - 2 * SECOND;
        schedule.restart(now);
        assert_eq!(schedule.due(), now);
        assert_eq!(pauses(&mut schedule, 1, true), [START[0]]);
    }

    #[test]
    fn repeated_restarts_cause_no_storm() {
        let start = Instant::now();
        let mut schedule = BeaconSchedule::new(start, 1);
        let mut rounds = 0;
        for millisecond in 0..1000 {
            let now = start + Duration::from_millis(millisecond);
            schedule.restart(now);
            if schedule.due() <= now {
                schedule.sent(now, true);
                rounds += 1;
            }
        }
        assert_eq!(rounds, 10);
    }

    #[test]
    fn a_new_sender_is_answered_soon() {
        let mut schedule = BeaconSchedule::new(Instant::now(), 1);
        pauses(&mut schedule, 20, true);
        let now = schedule.due() - 10 * SECOND;
        schedule.answer(now);
        assert!(schedule.due() > now && schedule.due() < now + 2 * GAP);
        assert!(pauses(&mut schedule, 1, true)[0] <= 6 * SECOND);
    }

    #[test]
    fn many_new_senders_are_answered_once_a_second() {
        let mut schedule = BeaconSchedule::new(Instant::now(), 1);
        pauses(&mut schedule, 20, true);
        let start = schedule.due();
        let mut rounds = 0;
        for millisecond in 0..10_000 {
            let now = start + Duration::from_millis(millisecond);
            schedule.answer(now);
            if schedule.due() <= now {
                schedule.sent(now, true);
                rounds += 1;
            }
        }
        assert!((10..=12).contains(&rounds), "{rounds}");
    }

    #[test]
    fn an_incomplete_round_is_repeated_a_bounded_number_of_times() {
        let mut schedule = BeaconSchedule::new(Instant::now(), 1);
        let pauses = pauses(&mut schedule, 30, false);
        assert!(pauses[4..10].iter().all(|pause| *pause <= 2 * SECOND), "{pauses:?}");
        assert!(pauses[20..].iter().all(|pause| *pause >= 24 * SECOND), "{pauses:?}");
    }
}
