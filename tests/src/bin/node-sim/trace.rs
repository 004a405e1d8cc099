//! The trace of a run: a hash of every event and every frame, and on request a readable log.

use std::fmt;
use std::time::Duration;

/// The events of a run, in their order.
pub(crate) struct Trace {
    hash: u64,
    is_shown: bool,
}

impl Trace {
    pub(crate) fn new(is_shown: bool) -> Self {
        // The offset basis of FNV-1a.
        Trace { hash: 0xcbf2_9ce4_8422_2325, is_shown }
    }

    /// The hash of all that has happened.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Adds an event.
    pub(crate) fn note(&mut self, now: Duration, text: fmt::Arguments<'_>) {
        let line = format!("{:>12.6} s  {text}", now.as_secs_f64());
        if self.is_shown {
            println!("{line}");
        }
        self.add(line.as_bytes());
    }

    /// Adds bytes that are too many to be shown.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.mix(u64::from(*byte));
        }
    }

    /// Adds a number.
    pub(crate) fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    }
}
