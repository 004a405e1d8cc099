//! The rate limit of frames that arrive for one link from another endpoint than the neighbour's.
//!
//! Any node that has captured a frame can send it from anywhere, so these frames must cost little: they have a burst
//! and a rate for each link, and a bounded share of its task's commands.

use std::time::Duration;

use crate::rate_limit::{Rate, RateLimiter};
use crate::time::Time;

/// Frames that may be handled at once, and that may wait.
const BURST: u32 = 64;
/// One frame in each 16 ms.
const RATE: Rate = Rate::one_per(Duration::from_millis(16), BURST);

/// See the [module's page](self).
#[derive(Debug, Default)]
pub(crate) struct UnvalidatedFrames {
    limiter: RateLimiter,
    waiting: u32,
}

impl UnvalidatedFrames {
    /// Whether one more frame is admitted. It counts as waiting until [`UnvalidatedFrames::done`].
    pub(crate) fn admit(&mut self, now: Time) -> bool {
        let admitted = self.waiting < BURST && self.limiter.try_take(now, RATE);
        if admitted {
            self.waiting = self.waiting.saturating_add(1);
        }
        admitted
    }

    /// Records that a waiting frame has been handled.
    pub(crate) fn done(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_a_burst_and_a_rate() {
        let mut unvalidated = UnvalidatedFrames::default();
        let mut flood = |now: Time, count: u32| {
            let admitted = (0..count).filter(|_| unvalidated.admit(now)).count();
            (0..admitted).for_each(|_| unvalidated.done());
            admitted
        };
        assert_eq!(flood(Time::ZERO, 1000), 64);
        assert_eq!(flood(Time::ZERO + Duration::from_millis(160), 1000), 10);
        assert_eq!(flood(Time::ZERO + Duration::from_secs(60), 1000), 64);
    }

    #[test]
    fn no_more_frames_wait_than_a_burst() {
        let mut unvalidated = UnvalidatedFrames::default();
        let admitted = (0..10_000u64).filter(|n| unvalidated.admit(Time::from_millis(n * 100))).count();
        assert_eq!(admitted, 64);
        unvalidated.done();
        assert!(unvalidated.admit(Time::from_millis(2_000_000)));
    }
}
