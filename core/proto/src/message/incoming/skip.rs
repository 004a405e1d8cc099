//! Sequences that their sender has withdrawn.

use std::ops::Bound::{Excluded, Included};
use std::ops::Range;

use super::removal::release;
use super::{Incoming, SKIPPED_COST};
use crate::stats::DropCause;

impl Incoming {
    /// Accepts the withdrawal of `count` sequences from `first` on.
    pub(crate) fn skip(&mut self, first: u64, count: u16) -> Result<(), DropCause> {
        let window = self.taken().saturating_add(u64::from(self.credit_messages));
        let wanted = first.saturating_add(u64::from(count));
        let (start, mut end) = (first.max(self.next), wanted.min(window));
        if start >= end {
            self.duplicates = self.duplicates.saturating_add(u64::from(wanted <= self.next));
            return if wanted > window { Err(DropCause::OverCredit) } else { Ok(()) };
        }
        // Merged into one range with those that it touches, so that many withdrawals in sequence need the memory of
        // one.
        let before = self.skipped.range(..=start).next_back().filter(|(_, to)| **to >= start);
        let from = before.map_or(start, |(from, _)| *from);
        end = before.map_or(end, |(_, to)| end.max(*to));
        while let Some((behind, to)) = self.skipped.range((Excluded(from), Included(end))).next() {
            let behind = *behind;
            end = end.max(*to);
            self.skipped.remove(&behind);
        }
        match self.skipped.get_mut(&from) {
            Some(to) => *to = end,
            None => {
                self.spend(SKIPPED_COST, 0)?;
                self.skipped.insert(from, end);
            }
        }
        self.pass_skipped();
        if wanted > window { Err(DropCause::OverCredit) } else { Ok(()) }
    }

    /// Begins with these sequences settled: all below `floor`, and those in `above`, which are disjoint and in order.
    pub(crate) fn restore(&mut self, floor: u64, above: &[Range<u64>]) {
        self.next = floor;
        self.skipped = above.iter().map(|range| (range.start, range.end)).collect();
        self.pass_skipped();
    }

    /// Advances beyond withdrawn sequences, so that they do not hold up the messages after them.
    pub(super) fn pass_skipped(&mut self) {
        while let Some(first) = self.skipped.first_entry().filter(|first| *first.key() <= self.next) {
            let end = first.remove();
            self.settle(end);
        }
        release(&mut self.skipped);
    }
}
