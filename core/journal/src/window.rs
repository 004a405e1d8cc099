//! The sequences of one incarnation of a sender that need not be received any more: a floor, and ranges above it.

use std::ops::Range;

use crate::record::{FieldReader, FieldWriter};

/// The ranges above the floor that a window records. A sender has at most 4096 messages in transmission, so that more
/// ranges than half of them occur only where a sender breaks the protocol.
const MAX_RANGES: usize = 2048;

/// The sequences that were received from one incarnation of a sender. All below the floor were received or withdrawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceiveWindow {
    /// The incarnation of the sender.
    pub incarnation: u64,
    floor: u64,
    /// Disjoint ranges above the floor, in order, with gaps between them.
    above: Vec<Range<u64>>,
}

impl ReceiveWindow {
    /// The window of an incarnation of which nothing was received yet.
    ///
    /// ```
    /// use rouse_journal::ReceiveWindow;
    ///
    /// let mut window = ReceiveWindow::new(7);
    /// assert!(window.insert(1..2));
    /// assert_eq!((window.floor(), window.contains(1)), (0, true));
    /// assert!(window.insert(0..1));
    /// assert_eq!(window.floor(), 2);
    /// ```
    pub fn new(incarnation: u64) -> Self {
        ReceiveWindow { incarnation, ..ReceiveWindow::default() }
    }

    /// The lowest sequence that may still be received.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The ranges above the floor that were received, in order.
    pub fn above(&self) -> &[Range<u64>] {
        &self.above
    }

    /// Whether this sequence was received or withdrawn.
    pub fn contains(&self, seq: u64) -> bool {
        let next = self.above.partition_point(|range| range.end <= seq);
        seq < self.floor || self.above.get(next).is_some_and(|range| range.contains(&seq))
    }

    /// Whether all of this range was received or withdrawn.
    pub fn covers(&self, wanted: &Range<u64>) -> bool {
        let next = self.above.partition_point(|range| range.end <= wanted.start.max(self.floor));
        let inside = |range: &Range<u64>| range.start <= wanted.start && wanted.end <= range.end;
        wanted.is_empty() || wanted.end <= self.floor || self.above.get(next).is_some_and(inside)
    }

    /// Raises the floor; it never falls.
    pub fn advance(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
        let passed = self.above.partition_point(|range| range.start <= self.floor);
        if let Some(last) = self.above.drain(..passed).next_back() {
            self.floor = self.floor.max(last.end);
        }
    }

    /// Adds a range. Returns false, and changes nothing, when there would be too many ranges to record.
    pub fn insert(&mut self, new: Range<u64>) -> bool {
        if new.start <= self.floor {
            self.advance(new.end);
            return true;
        }
        if new.is_empty() {
            return true;
        }
        // The ranges that overlap or touch the new one become one with it.
        let first = self.above.partition_point(|range| range.end < new.start);
        let end = self.above.partition_point(|range| range.start <= new.end);
        if first == end && self.above.len() >= MAX_RANGES {
            return false;
        }
        let merged = self.above.get(first..end).unwrap_or_default();
        let start = merged.first().map_or(new.start, |range| range.start.min(new.start));
        let stop = merged.last().map_or(new.end, |range| range.end.max(new.end));
        self.above.splice(first..end, std::iter::once(start..stop));
        true
    }

    pub(crate) fn write(&self, fields: &mut FieldWriter) {
        fields.u64(self.incarnation);
        fields.u64(self.floor);
        fields.u32(u32::try_from(self.above.len()).unwrap_or(u32::MAX));
        for range in &self.above {
            fields.u64(range.start);
            fields.u64(range.end);
        }
    }

    pub(crate) fn read(fields: &mut FieldReader<'_>) -> Option<Self> {
        let mut window =
            ReceiveWindow { incarnation: fields.u64()?, floor: fields.u64()?, above: Vec::new() };
        for _ in 0..fields.u32()? {
            let range = fields.u64()?..fields.u64()?;
            if window.above.len() >= MAX_RANGES {
                return None;
            }
            window.above.push(range);
        }
        Some(window)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{Strategy, any};
    use proptest::{collection, prop_assert, prop_assert_eq, proptest};

    use super::{MAX_RANGES, ReceiveWindow};
    use crate::record::{FieldReader, FieldWriter};

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64, u64),
        Advance(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = (any::<bool>(), 0u64..200, 0u64..12).prop_map(|(insert, at, length)| match insert {
            true => Step::Insert(at, at + length),
            false => Step::Advance(at / 4),
        });
        collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn a_window_is_the_set_of_what_was_inserted_and_its_floor_never_falls(steps in steps()) {
            let mut window = ReceiveWindow::new(1);
            let mut model = BTreeSet::new();
            for step in steps {
                let floor = window.floor();
                match step {
                    Step::Insert(start, end) => {
                        prop_assert!(window.insert(start..end));
                        model.extend(start..end);
                    }
                    Step::Advance(to) => {
                        window.advance(to);
                        model.extend(0..to);
                    }
                }
                prop_assert!(window.floor() >= floor);
                prop_assert_eq!(window.floor(), (0..).find(|seq| !model.contains(seq)).unwrap_or(0));
                for seq in 0..220 {
                    prop_assert_eq!(window.contains(seq), model.contains(&seq), "{}", seq);
                    let all = (seq..seq + 5).all(|seq| model.contains(&seq));
                    prop_assert_eq!(window.covers(&(seq..seq + 5)), all, "{}", seq);
                }
                prop_assert!(window.above().windows(2).all(|pair| pair[0].end < pair[1].start));
            }
            let mut fields = FieldWriter::default();
            window.write(&mut fields);
            prop_assert_eq!(ReceiveWindow::read(&mut FieldReader::new(&fields.finish())), Some(window));
        }
    }

    #[test]
    fn a_sender_that_leaves_gaps_everywhere_is_refused_and_what_joins_ranges_is_not() {
        let mut window = ReceiveWindow::new(1);
        let inserted = (0..).take_while(|n| window.insert(2 * n + 2..2 * n + 3)).count();
        assert_eq!(inserted, MAX_RANGES);
        assert!(window.insert(3..4), "it closes a gap");
        assert!(window.insert(9000..9001), "there is one range less now");
        assert!(!window.insert(9003..9004));
    }
}
