//! Token buckets, one for each key, in a table of bounded size so that forged sources cannot exhaust the memory.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Time;

/// The maximum number of keys in one table.
pub(in crate::link) const MAX_BUCKETS: usize = 1024;
/// The minimum time between two searches of a full table for buckets to remove, because a search reads the whole table.
const SWEEP: Duration = Duration::from_millis(100);
/// One token, in the unit of the buckets. It makes the refill of a nanosecond at one token a second a whole number.
const ONE: u64 = 1_000_000_000;

/// The rate of a token bucket.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// The number of tokens that are added in a second.
    pub each_second: u32,
    /// The maximum number of tokens in the bucket.
    pub burst: u32,
}

impl Rate {
    /// A bucket of `burst` tokens that gains `each_second` of them in a second.
    pub const fn new(each_second: u32, burst: u32) -> Self {
        Rate { each_second, burst }
    }

    /// The content of a full bucket.
    fn full(self) -> u64 {
        u64::from(self.burst).saturating_mul(ONE)
    }
}

/// A table of token buckets by key.
pub struct TokenBuckets<K> {
    map: BTreeMap<K, TokenBucket>,
    swept: Time,
}

struct TokenBucket {
    tokens: u64,
    at: Time,
}

impl<K> Default for TokenBuckets<K> {
    fn default() -> Self {
        TokenBuckets { map: BTreeMap::new(), swept: Time::ZERO }
    }
}

impl<K: Ord> TokenBuckets<K> {
    /// Takes a token, if there is one. A key that finds no place in the table receives none: when all buckets are in
    /// use, new keys are refused so that known ones keep their rate.
    pub fn take_token(&mut self, now: Time, key: K, rate: Rate) -> bool {
        if !self.map.contains_key(&key) && self.map.len() >= MAX_BUCKETS && !self.sweep(now, rate) {
            return false;
        }
        let bucket = self.map.entry(key).or_insert(TokenBucket { tokens: rate.full(), at: now });
        bucket.tokens = bucket.after(now, rate);
        bucket.at = now;
        match bucket.tokens.checked_sub(ONE) {
            Some(rest) => {
                bucket.tokens = rest;
                true
            }
            None => false,
        }
    }

    /// Whether there is a token. A key without a bucket has all of its tokens.
    pub fn has_token(&self, now: Time, key: K, rate: Rate) -> bool {
        self.map.get(&key).is_none_or(|bucket| bucket.after(now, rate) >= ONE)
    }

    /// Removes the buckets that are full again, since a new one would be the same. Returns whether there is room now.
    fn sweep(&mut self, now: Time, rate: Rate) -> bool {
        if now.since(self.swept) >= SWEEP {
            self.swept = now;
            self.map.retain(|_, bucket| bucket.after(now, rate) < rate.full());
        }
        self.map.len() < MAX_BUCKETS
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }
}

impl TokenBucket {
    /// The content at `now`.
    fn after(&self, now: Time, rate: Rate) -> u64 {
        let nanos = u64::try_from(now.since(self.at).as_nanos()).unwrap_or(u64::MAX);
        let more = nanos.saturating_mul(u64::from(rate.each_second));
        self.tokens.saturating_add(more).min(rate.full())
    }
}
