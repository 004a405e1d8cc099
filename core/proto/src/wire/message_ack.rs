//! Acknowledgements: ranges of packet numbers.

use super::MAX_RANGES;

/// Ranges of packet numbers, the highest first, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Ack {
    /// The time from the arrival of the highest packet to this ack, in microseconds. The sender subtracts it from its round-trip
    /// time (RFC 9002, section 5.3).
    pub delay_us: u32,
    ranges: [(u64, u64); MAX_RANGES],
    count: usize,
}

impl Ack {
    /// An ack without ranges.
    pub fn new(delay_us: u32) -> Self {
        Ack { delay_us, ..Ack::default() }
    }

    /// Adds the next lower range; false when there is no more room.
    pub fn push(&mut self, low: u64, high: u64) -> bool {
        let Some(slot) = self.ranges.get_mut(self.count) else { return false };
        *slot = (low, high);
        self.count = self.count.saturating_add(1);
        true
    }

    /// The ranges as (low, high), the highest first.
    pub fn ranges(&self) -> &[(u64, u64)] {
        self.ranges.get(..self.count).unwrap_or_default()
    }

    /// The highest number.
    pub fn largest(&self) -> u64 {
        self.ranges.first().map_or(0, |range| range.1)
    }
}
