//! Seeds for keys, drawn so that a later copy of the node's memory reveals no earlier seed.

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use zeroize::Zeroizing;

/// Draws a seed and replaces the generator's own state by its next output, so that the state leads to no earlier output
/// (fast key erasure, Bernstein 2017). Otherwise a copy of the state would yield all ephemeral keys since the start,
/// and with them the sessions, so that forward secrecy would be lost.
pub fn fresh_seed(rng: &mut ChaCha20Rng) -> Zeroizing<[u8; 32]> {
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
    fn the_state_of_a_generator_does_not_lead_back_to_its_earlier_seeds() {
        let mut rng = ChaCha20Rng::from_seed([7; 32]);
        let mut seen = Vec::new();
        for _ in 0..5 {
            let before = rng.get_seed();
            seen.push(*fresh_seed(&mut rng));
            assert_ne!(rng.get_seed(), before);
            // The generator has no state but its seed, so its next outputs must not contain an earlier seed.
            let mut replay = ChaCha20Rng::from_seed(rng.get_seed());
            for _ in 0..100 {
                let mut out = [0; 32];
                replay.fill_bytes(&mut out);
                assert!(!seen.contains(&out));
            }
        }
        let mut same = ChaCha20Rng::from_seed([7; 32]);
        assert!(
            seen.iter().all(|seed| *seed == *fresh_seed(&mut same)),
            "the same start gives the same seeds, so that a simulation can be repeated"
        );
    }
}
