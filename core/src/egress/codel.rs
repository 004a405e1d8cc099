//! CoDel: the decision whether the head of a queue should be dropped.
//!
//! After RFC 8289, section 5: when the packets of a queue wait longer than [`TARGET`] during a whole [`INTERVAL`], the
//! queue is not a burst but a standing queue, which adds delay without adding throughput. From then on its head is
//! dropped, at first once per interval, then at a rate that grows with the square root of the number of drops, because
//! the congestion control of the senders responds to such a rate, until the wait is short again.

use std::time::Duration;

use crate::time::Time;

/// The acceptable sojourn time of a packet in a standing queue (RFC 8289, section 4.4).
pub(super) const TARGET: Duration = Duration::from_millis(5);
/// The time for which the sojourn must exceed [`TARGET`] before the first drop (RFC 8289, section 4.3).
pub(super) const INTERVAL: Duration = Duration::from_millis(100);
/// A queue with at most this many bytes is never a standing queue, since one packet has to wait for its transmission.
const MTU: usize = 1500;

/// The CoDel state of one queue.
#[derive(Clone, Debug)]
pub(super) struct Codel {
    /// The time at which the sojourn will have exceeded [`TARGET`] for a whole [`INTERVAL`]; `None` while it is short.
    first_above: Option<Time>,
    drop_next: Time,
    count: u32,
    previous_count: u32,
    dropping: bool,
}

impl Codel {
    pub(super) const fn new() -> Self {
        Codel { first_above: None, drop_next: Time::ZERO, count: 0, previous_count: 0, dropping: false }
    }

    /// Whether the head of the queue, which has waited for `waited`, should be dropped. `bytes` is the length of the
    /// queue. The caller repeats this for the next head, until one may be sent.
    pub(super) fn should_drop(&mut self, now: Time, waited: Duration, bytes: usize) -> bool {
        let standing = self.is_standing(now, waited, bytes);
        if !standing {
            self.dropping = false;
        } else if self.dropping {
            if now < self.drop_next {
                return false;
            }
            self.count = self.count.saturating_add(1);
            self.drop_next = self.drop_next + self.control_law();
        } else {
            // If the last dropping state ended recently, its rate was about right, so the count continues from there.
            let delta = self.count.saturating_sub(self.previous_count);
            let recent = now.since(self.drop_next) < INTERVAL * 16;
            self.count = if delta > 1 && recent { delta } else { 1 };
            self.previous_count = self.count;
            self.dropping = true;
            self.drop_next = now + self.control_law();
        }
        standing
    }

    fn is_standing(&mut self, now: Time, waited: Duration, bytes: usize) -> bool {
        if waited < TARGET || bytes <= MTU {
            self.first_above = None;
            return false;
        }
        *self.first_above.get_or_insert(now + INTERVAL) <= now
    }

    fn control_law(&self) -> Duration {
        INTERVAL.div_f64(f64::from(self.count.max(1)).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_millis(20);

    /// The milliseconds at which a packet is dropped, of one packet per millisecond that has waited for `waited`.
    fn dropped(codel: &mut Codel, from: u64, waited: Duration) -> Vec<u64> {
        (0..1000).filter(|ms| codel.should_drop(at(from + ms), waited, 100_000)).collect()
    }

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_short_wait_or_a_burst_costs_nothing() {
        let mut codel = Codel::new();
        assert!(dropped(&mut codel, 1000, Duration::from_millis(4)).is_empty());
        assert!(
            (0..99).all(|ms| !codel.should_drop(at(5000 + ms), LONG, 100_000)),
            "shorter than an interval"
        );
        assert!(!codel.should_drop(at(5099), Duration::ZERO, 100_000));
        assert!(
            (0..99).all(|ms| !codel.should_drop(at(5100 + ms), LONG, 100_000)),
            "the interval starts again"
        );
        assert!((0..999).all(|ms| !codel.should_drop(at(9000 + ms), LONG, MTU)), "one packet is no queue");
    }

    #[test]
    fn a_standing_queue_loses_its_head_more_and_more_often() {
        let mut codel = Codel::new();
        let times = dropped(&mut codel, 1000, LONG);
        // After 100 ms, then one more after each 100 / √n ms.
        assert_eq!(times[..6], [100, 200, 271, 329, 379, 424]);
        let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{gaps:?}");
    }

    #[test]
    fn dropping_resumes_at_its_rate_when_it_ended_recently() {
        let mut codel = Codel::new();
        let first = dropped(&mut codel, 1000, LONG).len();
        assert!(!codel.should_drop(at(2000), Duration::ZERO, 100_000));
        let second = dropped(&mut codel, 2001, LONG);
        assert!(second.len() > first, "{} and {first}", second.len());
        assert!(!codel.should_drop(at(9000), Duration::ZERO, 100_000));
        assert_eq!(dropped(&mut codel, 9001, LONG).len(), first, "long after, the rate starts again");
    }
}
