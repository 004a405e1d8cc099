//! Random numbers of a run, drawn from its seed only, so that runs can be repeated.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

pub(crate) fn seeded(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A number in [0, 1).
pub(crate) fn unit(random: &mut ChaCha8Rng) -> f64 {
    f64::from(random.next_u32()) / (f64::from(u32::MAX) + 1.0)
}

/// A number below `below`; 0 when that is 0.
pub(crate) fn pick(random: &mut ChaCha8Rng, below: usize) -> usize {
    (unit(random) * below as f64) as usize
}

/// A span between `from` and `to`.
pub(crate) fn between(random: &mut ChaCha8Rng, from: Duration, to: Duration) -> Duration {
    from + to.saturating_sub(from).mul_f64(unit(random))
}

pub(crate) fn seed_of(random: &mut ChaCha8Rng) -> [u8; 32] {
    let mut seed = [0; 32];
    random.fill_bytes(&mut seed);
    seed
}
