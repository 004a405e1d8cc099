//! The packet numbers received: the source of acks, and the detection of duplicate packets.

use std::collections::VecDeque;

use crate::time::Time;
use crate::wire::message::Ack;

/// The most ranges remembered, so that a sender that skips numbers cannot grow memory. Numbers below them count as
/// seen.
pub(super) const MAX_RANGES: usize = 128;

/// A sorted set of ranges of packet numbers, both ends included, the lowest first.
#[derive(Debug, Default)]
pub(super) struct ReceivedNumbers {
    ranges: VecDeque<(u64, u64)>,
    /// Numbers below this count as seen, because it is not remembered which of them arrived.
    forgotten: u64,
    /// The arrival of the largest number, from which the delay of an ack is measured.
    largest_at: Time,
}

impl ReceivedNumbers {
    /// Whether `number` arrived before, or is too old to be known.
    pub(super) fn contains(&self, number: u64) -> bool {
        number < self.forgotten
            || self.ranges.iter().rev().find(|range| range.0 <= number).is_some_and(|range| number <= range.1)
    }

    /// The highest number received.
    pub(super) fn largest(&self) -> Option<u64> {
        self.ranges.back().map(|range| range.1)
    }

    /// Records the arrival of `number`. In order, which is the usual case, it takes constant time.
    pub(super) fn insert(&mut self, now: Time, number: u64) {
        if self.largest().is_none_or(|largest| number > largest) {
            self.largest_at = now;
        }
        // The ranges that begin at or below the number.
        let below = match self.ranges.back() {
            Some(last) if last.0 <= number => self.ranges.len(),
            _ => self.ranges.partition_point(|range| range.0 <= number),
        };
        let before = below.checked_sub(1);
        let joins_before = before
            .and_then(|at| self.ranges.get(at))
            .is_some_and(|range| number <= range.1.saturating_add(1));
        let joins_after = self.ranges.get(below).is_some_and(|range| range.0 == number.saturating_add(1));
        match (before.filter(|_| joins_before), joins_after) {
            (Some(at), true) => {
                let high = self.ranges.remove(below).map_or(number, |range| range.1);
                self.extend_up(at, high);
            }
            (Some(at), false) => self.extend_up(at, number),
            (None, true) => {
                if let Some(range) = self.ranges.get_mut(below) {
                    range.0 = number;
                }
            }
            (None, false) => {
                if self.ranges.capacity() == 0 {
                    // A forged source address sends one packet, for which room for four ranges would be wasted.
                    self.ranges.reserve_exact(1);
                }
                self.ranges.insert(below, (number, number));
            }
        }
        if self.ranges.len() > MAX_RANGES
            && let Some(oldest) = self.ranges.pop_front()
        {
            self.forgotten = self.forgotten.max(oldest.1.saturating_add(1));
        }
    }

    /// Drops all numbers below `number`: the sender knows their state, so they need not be acknowledged any more.
    pub(super) fn forget_below(&mut self, number: u64) {
        self.forgotten = self.forgotten.max(number);
        while let Some(front) = self.ranges.front_mut() {
            // The highest range stays, because it holds the largest number received.
            if front.1 >= self.forgotten || self.ranges.len() == 1 {
                break;
            }
            self.ranges.pop_front();
        }
        if let Some(front) = self.ranges.front_mut() {
            front.0 = front.0.max(self.forgotten.min(front.1));
        }
    }

    /// The ack for the received numbers, with at most `room` ranges; `None` before the first packet.
    pub(super) fn ack(&self, now: Time, room: usize) -> Option<Ack> {
        self.largest()?;
        let delay = now.since(self.largest_at).as_micros();
        let mut ack = Ack::new(u32::try_from(delay).unwrap_or(u32::MAX));
        for &(low, high) in self.ranges.iter().rev().take(room) {
            if !ack.push(low, high) {
                break;
            }
        }
        Some(ack)
    }

    fn extend_up(&mut self, at: usize, high: u64) {
        if let Some(range) = self.ranges.get_mut(at) {
            range.1 = range.1.max(high);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_below_what_is_remembered_counts_as_seen() {
        let mut received = ReceivedNumbers::default();
        for number in 0..2 * MAX_RANGES as u64 + 2 {
            received.insert(Time::ZERO, number * 2);
        }
        assert!(received.contains(1), "its range was forgotten");
        assert!(!received.contains(4 * MAX_RANGES as u64 + 1));
        received.forget_below(1_000_000);
        assert!(received.contains(999_999));
        assert_eq!(received.largest(), Some(4 * MAX_RANGES as u64 + 2));
    }

    proptest! {
        #[test]
        fn ranges_hold_just_what_was_inserted(numbers in prop::collection::vec(0u64..100, 0..200)) {
            let mut received = ReceivedNumbers::default();
            let mut model = BTreeSet::new();
            for number in numbers {
                prop_assert_eq!(received.contains(number), !model.insert(number));
                received.insert(Time::ZERO, number);
            }
            for number in 0..100 {
                prop_assert_eq!(received.contains(number), model.contains(&number));
            }
            for pair in received.ranges.iter().zip(received.ranges.iter().skip(1)) {
                prop_assert!(pair.0.1 + 1 < pair.1.0, "ranges are apart and sorted");
            }
        }
    }
}
