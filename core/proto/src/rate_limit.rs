//! Rate limits, by which all work that others cause is bounded: one limiter, and a table of them by key.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Time;

/// The maximum number of keys in one table.
pub const MAX_KEYS: usize = 1024;
/// The minimum time between two searches of a full table for limiters to remove, because a search reads the whole table.
const SWEEP: Duration = Duration::from_millis(100);

/// A rate of tokens, and the number of them that may be taken at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The number of tokens that are added in a period.
    pub tokens: u32,
    period: Duration,
    /// The maximum number of tokens that wait to be taken.
    pub burst: u32,
}

impl Rate {
    /// So many tokens a second.
    pub const fn each_second(tokens: u32, burst: u32) -> Self {
        Rate { tokens, period: Duration::from_secs(1), burst }
    }

    /// One token in each period.
    pub const fn one_per(period: Duration, burst: u32) -> Self {
        Rate { tokens: 1, period, burst }
    }

    /// This rate and burst, multiplied.
    pub fn times(self, factor: u32) -> Self {
        Rate { tokens: self.tokens.saturating_mul(factor), burst: self.burst.saturating_mul(factor), ..self }
    }

    /// One of `parts` equal parts of this rate and burst. A part that is less than a token in a period has none.
    pub fn part(self, parts: u32) -> Self {
        let of = |tokens: u32| tokens.checked_div(parts).unwrap_or_default();
        Rate { tokens: of(self.tokens), burst: of(self.burst), ..self }
    }

    /// The time in which one token is added; `None` for a rate of nothing.
    fn interval(self) -> Option<Duration> {
        self.period.checked_div(self.tokens)
    }
}

/// A token bucket, stored as the time at which it will be full again (the generic cell rate algorithm). One number is
/// enough, because the level follows from it and the time now.
#[derive(Clone, Copy, Debug, Default)]
pub struct RateLimiter(Time);

impl RateLimiter {
    /// Takes a token if there is one.
    pub fn try_take(&mut self, now: Time, rate: Rate) -> bool {
        let free = self.has(now, rate, 1);
        if free {
            self.spend(now, rate, 1);
        }
        free
    }

    /// Whether there are that many tokens.
    pub fn has(self, now: Time, rate: Rate, tokens: u32) -> bool {
        let Some(each) = rate.interval() else { return false };
        let full = self.0.max(now) + each.saturating_mul(tokens);
        full.since(now) <= each.saturating_mul(rate.burst)
    }

    /// Takes tokens whether they are available or not. The debt is bounded by one burst, so that a neighbour is never
    /// locked out for long.
    pub fn spend(&mut self, now: Time, rate: Rate, tokens: u32) {
        let Some(each) = rate.interval() else { return };
        let most = now + each.saturating_mul(rate.burst.saturating_mul(2));
        self.0 = (self.0.max(now) + each.saturating_mul(tokens)).min(most);
    }

    /// Whether no token is missing.
    pub fn is_full(self, now: Time) -> bool {
        self.0 <= now
    }

    /// The time at which the limiter is out of debt.
    pub fn settled_at(self, rate: Rate) -> Time {
        let Some(each) = rate.interval() else { return Time::ZERO };
        self.0 - each.saturating_mul(rate.burst)
    }
}

/// A table of rate limiters by key, of bounded size so that forged sources cannot exhaust the memory.
#[derive(Debug)]
pub struct KeyedRateLimiter<K> {
    map: BTreeMap<K, RateLimiter>,
    swept: Time,
}

impl<K> Default for KeyedRateLimiter<K> {
    fn default() -> Self {
        KeyedRateLimiter { map: BTreeMap::new(), swept: Time::ZERO }
    }
}

impl<K: Ord> KeyedRateLimiter<K> {
    /// Takes a token, if there is one. A key that finds no place in the table receives none: when all limiters are in
    /// use, new keys are refused so that known ones keep their rate.
    pub fn try_take(&mut self, now: Time, key: K, rate: Rate) -> bool {
        if !self.map.contains_key(&key) && self.map.len() >= MAX_KEYS && !self.sweep(now) {
            return false;
        }
        self.map.entry(key).or_default().try_take(now, rate)
    }

    /// Whether there is a token. A key without a limiter has all of its tokens.
    pub fn has_token(&self, now: Time, key: K, rate: Rate) -> bool {
        self.map.get(&key).copied().unwrap_or_default().has(now, rate, 1)
    }

    /// Removes the limiters that are full again, since a new one would be the same. Returns whether there is room now.
    fn sweep(&mut self, now: Time) -> bool {
        if now.since(self.swept) >= SWEEP {
            self.swept = now;
            self.map.retain(|_, limiter| !limiter.is_full(now));
        }
        self.map.len() < MAX_KEYS
    }

    /// The number of keys in the table.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limiter_gives_its_burst_and_then_its_rate() {
        let mut limiter = RateLimiter::default();
        let (now, rate) = (Time::from_millis(5_000), Rate::each_second(20, 30));
        assert_eq!((0..100).filter(|_| limiter.try_take(now, rate)).count(), 30);
        assert!(!limiter.try_take(now + Duration::from_millis(49), rate));
        assert!(limiter.try_take(now + Duration::from_millis(50), rate));
        assert!(!limiter.try_take(now + Duration::from_millis(50), rate));
        let later = now + Duration::from_secs(3600);
        assert_eq!((0..100).filter(|_| limiter.try_take(later, rate)).count(), 30);
        let nothing = Rate::each_second(0, 30);
        assert!(!RateLimiter::default().try_take(now, nothing), "a rate of nothing gives nothing");
    }

    #[test]
    fn a_rate_can_be_less_than_a_token_in_a_second() {
        let (mut limiter, rate) = (RateLimiter::default(), Rate::one_per(Duration::from_secs(4), 2));
        assert_eq!((0..10).filter(|_| limiter.try_take(Time::ZERO, rate)).count(), 2);
        assert!(!limiter.try_take(Time::from_millis(3_999), rate));
        assert!(limiter.try_take(Time::from_millis(4_000), rate));
    }

    #[test]
    fn a_full_table_refuses_new_keys_until_known_ones_are_full_again() {
        let (mut table, rate) = (KeyedRateLimiter::default(), Rate::each_second(1, 1));
        let now = Time::from_millis(1_000);
        assert_eq!((0..2 * MAX_KEYS).filter(|key| table.try_take(now, *key, rate)).count(), MAX_KEYS);
        assert!(table.has_token(now, MAX_KEYS + 1, rate) && !table.has_token(now, 0, rate));
        assert!(table.try_take(now + Duration::from_secs(1), MAX_KEYS + 1, rate));
        assert_eq!(table.len(), 1);
    }
}
