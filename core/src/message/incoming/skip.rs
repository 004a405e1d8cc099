//! Sequences that their sender has given up.

use std::ops::Bound::{Excluded, Included};

use super::{Incoming, SKIPPED_COST, release};
use crate::stats::DropCause;

impl Incoming {
    /// `count` sequences from `first` are given up by the sender.
    pub fn skip(&mut self, first: u64, count: u16) -> Result<(), DropCause> {
        let window = self.taken().saturating_add(u64::from(self.credit_messages));
        let wanted = first.saturating_add(u64::from(count));
        let (start, mut end) = (first.max(self.next), wanted.min(window));
        if start >= end {
            self.duplicates = self.duplicates.saturating_add(u64::from(wanted <= self.next));
            return if wanted > window { Err(DropCause::OverCredit) } else { Ok(()) };
        }
        // One range with those that it touches: the one before grows, those behind go up in it.
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

    /// Goes on beyond what was given up.
    pub(super) fn pass_skipped(&mut self) {
        while let Some(first) = self.skipped.first_entry().filter(|first| *first.key() <= self.next) {
            let end = first.remove();
            self.settle(end);
        }
        release(&mut self.skipped);
    }
}
