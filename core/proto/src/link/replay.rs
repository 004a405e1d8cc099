//! The replay window: each frame counter is accepted once.
//!
//! It is a ring of bits indexed by the counter, as RFC 6479 describes. To advance, the window clears whole words and
//! shifts nothing, so that the cost is bounded however far it moves.

/// The number of words in the ring. One more than the window needs, because that of the highest counter is only partly
/// filled.
const WORDS: u64 = 33;
/// The number of bits in a word.
const BITS: u64 = u64::BITS as u64;

/// The number of counters behind the highest one that are still accepted. Frames that are reordered further than this
/// are dropped, since they cannot be distinguished from replays.
pub(super) const WINDOW: u64 = (WORDS - 1) * BITS;

/// The set of the latest counters that were accepted.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    words: [u64; WORDS as usize],
    /// One more than the highest counter that was accepted.
    next: u64,
    /// The number of counters that were accepted.
    seen: u64,
}

impl Default for ReplayWindow {
    fn default() -> Self {
        ReplayWindow { words: [0; WORDS as usize], next: 0, seen: 0 }
    }
}

impl ReplayWindow {
    /// Whether this counter was not accepted yet and is within the window. Nothing changes, so that the check can
    /// precede the authentication of the frame.
    pub fn is_new(&self, counter: u64) -> bool {
        if counter >= self.next {
            return true;
        }
        if self.next.saturating_sub(counter) > WINDOW {
            return false;
        }
        self.word(counter).is_some_and(|word| word & bit(counter) == 0)
    }

    /// Marks the counter of an authenticated frame as accepted.
    pub fn mark(&mut self, counter: u64) {
        if counter >= self.next {
            let first = self.next.div_ceil(BITS);
            let last = counter / BITS;
            // A move by more than the whole ring clears each word once, which bounds the cost.
            for word in first.max(last.saturating_sub(WORDS))..=last {
                if let Some(word) = self.words.get_mut(slot(word)) {
                    *word = 0;
                }
            }
            self.next = counter.saturating_add(1);
        }
        self.seen = self.seen.saturating_add(1);
        if let Some(word) = self.words.get_mut(slot(counter / BITS)) {
            *word |= bit(counter);
        }
    }

    /// One more than the highest counter that was accepted, which is the minimum number of frames sent.
    pub fn expected(&self) -> u64 {
        self.next
    }

    /// The number of frames that were accepted.
    pub fn received(&self) -> u64 {
        self.seen
    }

    fn word(&self, counter: u64) -> Option<u64> {
        self.words.get(slot(counter / BITS)).copied()
    }
}

/// The position of a word in the ring.
fn slot(word: u64) -> usize {
    (word % WORDS) as usize
}

/// The mask of a counter in its word.
fn bit(counter: u64) -> u64 {
    1 << (counter % BITS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_counter_is_accepted_once() {
        let mut window = ReplayWindow::default();
        for counter in [0, 1, 5, 3, 64, 63, 2047, 2048, 4000, 1953] {
            assert!(window.is_new(counter), "{counter}");
            window.mark(counter);
            assert!(!window.is_new(counter), "{counter}");
        }
        assert_eq!((window.expected(), window.received()), (4001, 10));
    }

    #[test]
    fn the_window_is_2048_frames_deep() {
        let mut window = ReplayWindow::default();
        window.mark(10_000);
        assert!(window.is_new(10_001 - WINDOW));
        assert!(!window.is_new(10_000 - WINDOW));
        assert_eq!(WINDOW, 2048);
    }

    proptest! {
        #[test]
        fn the_window_agrees_with_a_set_of_all_counters(steps in prop::collection::vec((0u64..3, 0u64..5000), 1..300)) {
            let mut window = ReplayWindow::default();
            let mut seen = BTreeSet::new();
            for (kind, by) in steps {
                let next = seen.last().map_or(0, |last| last + 1);
                let counter = match kind {
                    0 => next,
                    1 => next + by,
                    _ => next.saturating_sub(by),
                };
                let new = !seen.contains(&counter) && (counter >= next || next - counter <= WINDOW);
                prop_assert_eq!(window.is_new(counter), new);
                if new {
                    window.mark(counter);
                    seen.insert(counter);
                }
            }
        }
    }
}
