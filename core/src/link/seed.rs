//! Seeds for keys, drawn so that who takes a node's memory learns nothing of those before.

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use zeroize::Zeroizing;

/// Draws a seed, and then has the generator begin anew from what it gives next: its state leads to no earlier output (fast
/// key erasure, Bernstein 2017). Otherwise the ephemeral keys of the past could be computed from it, and the sessions opened.
pub(crate) fn fresh_seed(rng: &mut ChaCha20Rng) -> Zeroizing<[u8; 32]> {
    let (mut seed, mut next) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
    rng.fill_bytes(seed.as_mut());
    rng.fill_bytes(next.as_mut());
    *rng = ChaCha20Rng::from_seed(*next);
    seed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_generator_does_not_lead_back_to_what_it_gave() {
        let mut rng = ChaCha20Rng::from_seed([7; 32]);
        let mut seen = Vec::new();
        for _ in 0..5 {
            let before = rng.get_seed();
            seen.push(*fresh_seed(&mut rng));
            assert_ne!(rng.get_seed(), before);
            // All that it has is its seed: neither from the start nor anywhere near does it repeat what it gave.
            let mut again = ChaCha20Rng::from_seed(rng.get_seed());
            for _ in 0..100 {
                let mut out = [0; 32];
                again.fill_bytes(&mut out);
                assert!(!seen.contains(&out));
            }
        }
        let mut same = ChaCha20Rng::from_seed([7; 32]);
        assert!(seen.iter().all(|seed| *seed == *fresh_seed(&mut same)), "a simulation repeats");
    }
}
