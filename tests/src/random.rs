//! Random numbers of simulations, drawn from a seed only, so that runs can be repeated.

use std::time::Duration;

/// Random numbers that a seed repeats (SplitMix64).
#[derive(Clone, Debug)]
pub struct SeededRandom(pub u64);

impl SeededRandom {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `below`; 0 when that is 0.
    pub fn below(&mut self, below: usize) -> usize {
        ((u128::from(self.draw()) * below as u128) >> 64) as usize
    }

    /// Whether an event with this probability happens.
    pub fn chance(&mut self, probability: f64) -> bool {
        (self.draw() >> 11) as f64 / ((1u64 << 53) as f64) < probability
    }

    /// A share below `most`.
    pub fn share(&mut self, most: f64) -> f64 {
        (self.draw() >> 11) as f64 / ((1u64 << 53) as f64) * most
    }

    /// A span of whole microseconds between `from` and `to`.
    pub fn span(&mut self, from: Duration, to: Duration) -> Duration {
        let micros = to.saturating_sub(from).as_micros();
        from + Duration::from_micros(self.below(usize::try_from(micros).unwrap_or(usize::MAX)) as u64)
    }

    /// Another source, for a part with draws of its own.
    pub fn fork(&mut self) -> SeededRandom {
        SeededRandom(self.draw())
    }
}
