//! A message that has arrived in part.
//!
//! Memory follows the bytes that arrived and never the length that the sender claims: the beginning grows in one
//! buffer, and pieces beyond a gap wait beside it. Both are copies, since a slice would keep the receive buffer of a
//! whole train allocated.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::ops::Range;

use super::message_run::CompleteMessage;
use crate::types::{Attributes, Timestamp};
use crate::wire::message::Reader;

/// The memory of a partial message besides its bytes.
pub(super) const PART_COST: usize = 320;
/// The memory of a piece beyond a gap besides its bytes.
pub(super) const PIECE_COST: usize = 96;
/// The smallest part that a sender cuts, in bytes, except at the end of a message.
pub(super) const SMALL_PIECE: usize = 128;
/// The most smaller pieces that may wait beyond a gap, since each costs more memory than it has bytes.
pub(super) const MAX_SMALL_PIECES: usize = 64;

/// The position of a part in its message, and of its bytes in the packet.
#[derive(Clone, Debug)]
pub(super) struct FragmentSpan {
    pub total: u32,
    pub offset: u32,
    pub bytes: Range<usize>,
}

/// The reason why a part was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FragmentRefusal {
    /// It contradicts earlier parts.
    Contradiction,
    /// Too many small pieces wait beyond a gap.
    TooManyPieces,
}

/// The parts of one message that have arrived.
#[derive(Debug)]
pub(super) struct Reassembly {
    pub sent_at: Timestamp,
    /// The attributes of the message as they arrived, in which all parts have to agree because any of them may be the
    /// first.
    pub attributes: Box<[u8]>,
    total: usize,
    /// The bytes from the beginning up to the first gap.
    prefix: Vec<u8>,
    /// The pieces beyond the prefix by their offset, disjoint.
    later: BTreeMap<usize, Box<[u8]>>,
    /// The sum of the lengths of `later`, and the number of small pieces in it.
    later_bytes: usize,
    small: usize,
}

impl Reassembly {
    pub(super) fn new(sent_at: Timestamp, attributes: &[u8], total: usize) -> Self {
        Reassembly {
            sent_at,
            attributes: attributes.into(),
            total,
            prefix: Vec::new(),
            later: BTreeMap::new(),
            later_bytes: 0,
            small: 0,
        }
    }

    /// The bytes that have arrived.
    pub(super) fn bytes(&self) -> usize {
        self.prefix.len().saturating_add(self.later_bytes)
    }

    /// The memory held besides those bytes.
    pub(super) fn structure(&self) -> usize {
        let spare = self.prefix.capacity().saturating_sub(self.prefix.len());
        let pieces = self.later.len().saturating_mul(PIECE_COST);
        pieces.saturating_add(PART_COST).saturating_add(self.attributes.len()).saturating_add(spare)
    }

    /// The number of bytes of `offset..end` that are new.
    pub(super) fn missing(&self, offset: usize, end: usize) -> usize {
        let from = offset.max(self.prefix.len());
        let mut missing = end.saturating_sub(from);
        let before = self.later.range(..from).next_back();
        let within = self.later.range((Included(from), Unbounded));
        for (start, piece) in before.into_iter().chain(within).take_while(|(start, _)| **start < end) {
            let overlap = end.min(end_of(*start, piece)).saturating_sub(from.max(*start));
            missing = missing.saturating_sub(overlap);
        }
        missing
    }

    /// Inserts a part. Bytes that had arrived before are not overwritten, so that a later packet cannot change them.
    pub(super) fn insert(
        &mut self,
        total: usize,
        offset: usize,
        bytes: &[u8],
    ) -> Result<(), FragmentRefusal> {
        if total != self.total || offset.saturating_add(bytes.len()) > total {
            return Err(FragmentRefusal::Contradiction);
        }
        if offset > self.prefix.len() {
            return self.insert_later(offset, bytes);
        }
        let mut rest = bytes.get(self.prefix.len().saturating_sub(offset)..).unwrap_or_default();
        // Pieces within this part may have arrived before it.
        while !rest.is_empty() {
            let until = self.later.first_key_value().map_or(usize::MAX, |(start, _)| *start);
            let (new, behind) = rest.split_at(rest.len().min(until.saturating_sub(self.prefix.len())));
            self.extend_prefix(new);
            let joined = self.join();
            rest = behind.get(joined..).unwrap_or_default();
        }
        self.join();
        Ok(())
    }

    pub(super) fn is_complete(&self) -> bool {
        self.prefix.len() == self.total
    }

    /// The message, if it is complete, with the sequence `seq`.
    pub(super) fn into_message(self, seq: u64) -> CompleteMessage {
        let attributes = match self.attributes.as_ref() {
            [] => Attributes::default(),
            encoded => Reader::new(encoded).attributes().unwrap_or_default(),
        };
        CompleteMessage { seq, sent_at: self.sent_at, attributes, body: self.prefix.into() }
    }

    /// Appends to the prefix. The buffer doubles until half of the message is there and then gets the size of the
    /// whole, so that it never exceeds twice the bytes that arrived.
    fn extend_prefix(&mut self, new: &[u8]) {
        let needed = self.prefix.len().saturating_add(new.len());
        if needed > self.prefix.capacity() {
            let size = self.total.min(needed.saturating_mul(2));
            self.prefix.reserve_exact(size.saturating_sub(self.prefix.len()));
        }
        self.prefix.extend_from_slice(new);
    }

    /// Moves the pieces that the prefix has reached into it. Returns their bytes.
    fn join(&mut self) -> usize {
        let mut joined = 0usize;
        while let Some(first) = self.later.first_entry()
            && *first.key() <= self.prefix.len()
        {
            let piece = first.remove();
            self.forget(&piece);
            self.extend_prefix(&piece);
            joined = joined.saturating_add(piece.len());
        }
        joined
    }

    /// Inserts the new bytes of a part between the existing pieces. Pieces that it encloses are merged with it.
    fn insert_later(&mut self, offset: usize, bytes: &[u8]) -> Result<(), FragmentRefusal> {
        let (mut from, mut end) = (offset, offset.saturating_add(bytes.len()));
        // Bytes that are there stay, so the part is trimmed where existing pieces overlap its ends.
        if let Some((start, piece)) = self.later.range(..=from).next_back() {
            from = from.max(end_of(*start, piece));
        }
        if let Some((start, piece)) = self.later.range((Unbounded, Excluded(end))).next_back()
            && *start >= from
            && end_of(*start, piece) > end
        {
            end = *start;
        }
        let Some(new) = bytes.get(from.saturating_sub(offset)..end.saturating_sub(offset)) else {
            return Ok(());
        };
        // Enclosed pieces are merged into the part, so they make room within the bound of small ones.
        let enclosed = self.later.range(from..end.max(from)).filter(|(_, piece)| is_small(piece)).count();
        // The end of a message may be small, since the sender cannot make it longer.
        let is_end = from.saturating_add(new.len()) == self.total;
        if is_small(new) && !is_end && self.small.saturating_sub(enclosed) >= MAX_SMALL_PIECES {
            return Err(FragmentRefusal::TooManyPieces);
        }
        let mut run: Box<[u8]> = new.into();
        while let Some(start) = self.later.range(from..end.max(from)).next().map(|(start, _)| *start) {
            let Some(piece) = self.later.remove(&start) else { break };
            self.forget(&piece);
            let at = start.saturating_sub(from);
            if let Some(place) = run.get_mut(at..at.saturating_add(piece.len())) {
                place.copy_from_slice(&piece);
            }
        }
        if !run.is_empty() {
            self.later_bytes = self.later_bytes.saturating_add(run.len());
            self.small = self.small.saturating_add(usize::from(is_small(&run)));
            self.later.insert(from, run);
        }
        Ok(())
    }

    /// Removes a piece from the counts of those beyond the prefix.
    fn forget(&mut self, piece: &[u8]) {
        self.later_bytes = self.later_bytes.saturating_sub(piece.len());
        self.small = self.small.saturating_sub(usize::from(is_small(piece)));
    }
}

fn is_small(piece: &[u8]) -> bool {
    piece.len() < SMALL_PIECE
}

fn end_of(start: usize, piece: &[u8]) -> usize {
    start.saturating_add(piece.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_came_first_stays_whatever_the_order_and_overlap_of_parts(
            total in 1usize..600,
            cuts in prop::collection::vec((0usize..600, 1usize..160), 0..60),
        ) {
            let mut parts = Reassembly::new(Timestamp(1), &[], total);
            let mut first: Vec<Option<u8>> = vec![None; total];
            // Each part has its own contents; the last part is the whole message.
            let cuts = cuts.into_iter().chain([(0, total)]);
            for (content, (offset, length)) in (1u8..).zip(cuts) {
                let (offset, end) = (offset.min(total), (offset + length).min(total));
                let new = first[offset..end].iter().filter(|byte| byte.is_none()).count();
                prop_assert_eq!(parts.missing(offset, end), new);
                for byte in &mut first[offset..end] {
                    byte.get_or_insert(content);
                }
                parts.insert(total, offset, &vec![content; end - offset]).unwrap();
                prop_assert_eq!(parts.bytes(), first.iter().flatten().count());
                prop_assert_eq!(parts.is_complete(), first.iter().all(Option::is_some));
            }
            prop_assert!(parts.is_complete());
            let expected: Vec<u8> = first.into_iter().flatten().collect();
            prop_assert_eq!(parts.into_message(0).body, expected);
        }
    }

    #[test]
    fn memory_follows_what_has_arrived() {
        let mut parts = Reassembly::new(Timestamp(1), &[], 16 << 20);
        let piece = [1; 1000];
        for nth in 0..100 {
            parts.insert(16 << 20, nth * 1000, &piece).unwrap();
            assert!(parts.prefix.capacity() <= 2 * parts.bytes());
        }
    }

    #[test]
    fn a_part_that_contradicts_the_others_is_refused() {
        let mut parts = Reassembly::new(Timestamp(1), &[], 100);
        assert_eq!(parts.insert(99, 0, &[1; 60]), Err(FragmentRefusal::Contradiction));
        assert_eq!(parts.insert(100, 41, &[1; 60]), Err(FragmentRefusal::Contradiction));
    }

    #[test]
    fn a_flood_of_tiny_parts_is_refused_and_larger_ones_are_not() {
        let mut parts = Reassembly::new(Timestamp(1), &[], 1 << 20);
        let refused =
            (1..500).find_map(|nth| parts.insert(1 << 20, nth * 2, &[1]).err().map(|why| (nth, why)));
        assert_eq!(refused, Some((MAX_SMALL_PIECES + 1, FragmentRefusal::TooManyPieces)));
        for nth in 1..4000 {
            parts.insert(1 << 20, nth * 256, &[2; SMALL_PIECE]).unwrap();
        }
        assert_eq!(parts.insert(1 << 20, (1 << 20) - 1, &[3]), Ok(()), "the end of a message may be short");
    }
}
