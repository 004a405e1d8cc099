//! Token buckets, by which all work of the router that others cause is limited.

use std::time::Duration;

use crate::time::Time;

/// A rate: that many tokens a second, after a burst of that many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    pub(super) rate: u32,
    pub(super) burst: u32,
}

/// A token bucket, stored as the time at which it will be full again (the generic cell rate algorithm). One number is
/// enough, because the level follows from it and the time now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket(Time);

impl Bucket {
    /// Takes a token if there is one.
    pub(super) fn take(&mut self, now: Time, allowance: Allowance) -> bool {
        let free = self.has(now, allowance, 1);
        if free {
            self.spend(now, allowance, 1);
        }
        free
    }

    /// Whether there are that many tokens.
    pub(super) fn has(self, now: Time, allowance: Allowance, tokens: u32) -> bool {
        let Some(each) = Duration::from_secs(1).checked_div(allowance.rate) else { return false };
        let full = self.0.max(now) + each.saturating_mul(tokens);
        full.since(now) <= each.saturating_mul(allowance.burst)
    }

    /// Takes tokens whether they are available or not. The debt is bounded by one burst, so that a neighbour is never
    /// locked out for long.
    pub(super) fn spend(&mut self, now: Time, allowance: Allowance, tokens: u32) {
        let Some(each) = Duration::from_secs(1).checked_div(allowance.rate) else { return };
        let most = now + each.saturating_mul(allowance.burst.saturating_mul(2));
        self.0 = (self.0.max(now) + each.saturating_mul(tokens)).min(most);
    }

    /// Whether no token is missing.
    pub(super) fn is_full(self, now: Time) -> bool {
        self.0 <= now
    }

    /// The time at which the bucket is out of debt.
    pub(super) fn settled_at(self, allowance: Allowance) -> Time {
        let Some(each) = Duration::from_secs(1).checked_div(allowance.rate) else { return Time::ZERO };
        self.0 - each.saturating_mul(allowance.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::default();
        let (now, allowance) = (Time::from_millis(5_000), Allowance { rate: 20, burst: 30 });
        assert_eq!((0..100).filter(|_| bucket.take(now, allowance)).count(), 30);
        assert!(!bucket.take(now + Duration::from_millis(49), allowance));
        assert!(bucket.take(now + Duration::from_millis(50), allowance));
        assert!(!bucket.take(now + Duration::from_millis(50), allowance));
        let later = now + Duration::from_secs(3600);
        assert_eq!((0..100).filter(|_| bucket.take(later, allowance)).count(), 30);
        let nothing = Allowance { rate: 0, burst: 30 };
        assert!(!Bucket::default().take(now, nothing), "a rate of nothing gives nothing");
    }
}
