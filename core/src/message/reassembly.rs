//! A message that has arrived in part.
//!
//! Memory follows what has arrived, never what the sender claims: the beginning grows in one buffer, parts from
//! beyond a gap wait as they came.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::types::Timestamp;

/// A part shorter than this share of its packet is copied out, so that it does not keep the packet alive.
const SHARE: usize = 2;

/// Why a part was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It contradicts the parts before it.
    Contradiction,
    /// Too many small parts wait for a gap to be filled.
    TooManyParts,
}

/// The parts of one message.
#[derive(Debug)]
pub(super) struct Reassembly {
    pub sent_at: Timestamp,
    total: usize,
    head: Vec<u8>,
    /// Sorted, apart from each other, all beyond the head.
    later: VecDeque<(usize, Bytes)>,
    later_bytes: usize,
}

impl Reassembly {
    pub fn new(sent_at: Timestamp, total: usize) -> Self {
        Reassembly { sent_at, total, head: Vec::new(), later: VecDeque::new(), later_bytes: 0 }
    }

    /// Bytes that have arrived.
    pub fn bytes(&self) -> usize {
        self.head.len().saturating_add(self.later_bytes)
    }

    /// How many bytes of `offset..end` are new.
    pub fn missing(&self, offset: usize, end: usize) -> usize {
        let from = offset.max(self.head.len());
        let mut missing = end.saturating_sub(from);
        for (start, part) in self.later.iter().skip(self.first_ending_after(from)) {
            if *start >= end {
                break;
            }
            let overlap = end.min(part_end(*start, part)).saturating_sub(from.max(*start));
            missing = missing.saturating_sub(overlap);
        }
        missing
    }

    /// Takes a part. What had arrived before stays as it was. `packet_len` is the length of the packet of which
    /// `bytes` are a slice.
    pub fn insert(
        &mut self,
        total: usize,
        offset: usize,
        bytes: Bytes,
        packet_len: usize,
    ) -> Result<(), Refused> {
        let end = offset.saturating_add(bytes.len());
        if total != self.total || end > total {
            return Err(Refused::Contradiction);
        }
        if offset <= self.head.len() {
            if let Some(new) = bytes.get(self.head.len().saturating_sub(offset)..) {
                self.extend_head(new);
            }
            self.join();
            return Ok(());
        }
        // A sender cuts at packets, which are never as small as this.
        if self.later.len() >= (total / 128).saturating_add(64) {
            return Err(Refused::TooManyParts);
        }
        self.insert_later(offset, bytes, packet_len);
        Ok(())
    }

    pub fn is_complete(&self) -> bool {
        self.head.len() == self.total
    }

    /// The message, once it is complete.
    pub fn into_body(self) -> Bytes {
        self.head.into()
    }

    /// Appends to the head. The buffer doubles until half of the message is there, and then has the size of the
    /// whole: never more than twice what has arrived.
    fn extend_head(&mut self, new: &[u8]) {
        let needed = self.head.len().saturating_add(new.len());
        if needed > self.head.capacity() {
            let size = self.total.min(needed.saturating_mul(2));
            self.head.reserve_exact(size.saturating_sub(self.head.len()));
        }
        self.head.extend_from_slice(new);
    }

    /// Moves the parts that the head has reached into it.
    fn join(&mut self) {
        while let Some((start, part)) = self.later.pop_front() {
            if start > self.head.len() {
                self.later.push_front((start, part));
                break;
            }
            self.later_bytes = self.later_bytes.saturating_sub(part.len());
            if let Some(new) = part.get(self.head.len().saturating_sub(start)..) {
                self.extend_head(new);
            }
        }
    }

    /// Puts what is new of a part between those that are there.
    fn insert_later(&mut self, offset: usize, bytes: Bytes, packet_len: usize) {
        let end = offset.saturating_add(bytes.len());
        let mut from = offset;
        let mut at = self.first_ending_after(from);
        while from < end {
            let next = self.later.get(at).map(|(start, part)| (*start, part_end(*start, part)));
            let until = next.map_or(end, |(start, _)| end.min(start));
            if from < until {
                let piece = bytes.slice(from.saturating_sub(offset)..until.saturating_sub(offset));
                self.later_bytes = self.later_bytes.saturating_add(piece.len());
                self.later.insert(at, (from, unpinned(piece, packet_len)));
                at = at.saturating_add(1);
            }
            let Some((_, next_end)) = next else { break };
            from = from.max(next_end);
            at = at.saturating_add(1);
        }
    }

    fn first_ending_after(&self, from: usize) -> usize {
        match self.later.back() {
            Some((start, part)) if part_end(*start, part) <= from => self.later.len(),
            _ => self.later.partition_point(|(start, part)| part_end(*start, part) <= from),
        }
    }
}

fn part_end(start: usize, part: &Bytes) -> usize {
    start.saturating_add(part.len())
}

/// A slice of a packet that is most of it stays a slice; a small one is copied.
pub(super) fn unpinned(slice: Bytes, packet_len: usize) -> Bytes {
    if slice.len().saturating_mul(SHARE) < packet_len { Bytes::copy_from_slice(&slice) } else { slice }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_in_any_order_and_overlap_make_the_message(
            total in 1usize..300,
            cuts in prop::collection::vec((0usize..300, 1usize..80), 0..60),
        ) {
            let body: Vec<u8> = (0..total).map(|at| at as u8).collect();
            let whole = Bytes::from(body.clone());
            let mut parts = Reassembly::new(Timestamp(1), total);
            let mut have = vec![false; total];
            for (offset, length) in cuts {
                let (offset, end) = (offset.min(total), (offset + length).min(total));
                let new = have[offset..end].iter().filter(|have| !**have).count();
                prop_assert_eq!(parts.missing(offset, end), new);
                have[offset..end].fill(true);
                parts.insert(total, offset, whole.slice(offset..end), 0).unwrap();
                prop_assert_eq!(parts.bytes(), have.iter().filter(|have| **have).count());
                prop_assert_eq!(parts.is_complete(), have.iter().all(|have| *have));
            }
            parts.insert(total, 0, whole.clone(), 0).unwrap();
            prop_assert!(parts.is_complete());
            prop_assert_eq!(parts.into_body(), whole);
        }
    }

    #[test]
    fn memory_follows_what_has_arrived() {
        let mut parts = Reassembly::new(Timestamp(1), 16 << 20);
        let piece = Bytes::from(vec![1; 1000]);
        for nth in 0..100 {
            parts.insert(16 << 20, nth * 1000, piece.clone(), 1000).unwrap();
            assert!(parts.head.capacity() <= 2 * parts.bytes());
        }
    }

    #[test]
    fn a_part_that_contradicts_the_others_is_refused() {
        let mut parts = Reassembly::new(Timestamp(1), 100);
        let piece = Bytes::from(vec![1; 60]);
        assert_eq!(parts.insert(99, 0, piece.clone(), 60), Err(Refused::Contradiction));
        assert_eq!(parts.insert(100, 41, piece, 60), Err(Refused::Contradiction));
    }

    #[test]
    fn a_flood_of_tiny_parts_is_refused() {
        let mut parts = Reassembly::new(Timestamp(1), 1000);
        let refused = (1..500)
            .map(|nth| parts.insert(1000, nth * 2, Bytes::from_static(&[1]), 100))
            .find(|result| result.is_err());
        assert_eq!(refused, Some(Err(Refused::TooManyParts)));
    }
}
