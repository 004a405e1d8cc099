//! The indices by which frames name a session.

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use zeroize::Zeroize;

/// Generator of session indices: each is drawn once in 2³² handshakes, and the next cannot be guessed, so that an
/// attacker that does not see the frames cannot address a handshake.
///
/// It is a counter that is encrypted by a four-round Feistel network over its two halves. Such a network is a
/// permutation whatever its round function is, so no index repeats.
pub struct Indices {
    key: [u8; 32],
    next: u32,
}

impl Indices {
    /// A sequence with a random key and a random begin.
    pub fn new(rng: &mut ChaCha20Rng) -> Self {
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        Indices { key, next: rng.next_u32() }
    }

    /// The next index.
    pub fn draw(&mut self) -> u32 {
        let [a, b, c, d] = self.next.to_le_bytes();
        self.next = self.next.wrapping_add(1);
        let (mut left, mut right) = ([a, b], [c, d]);
        for round in 0..4u8 {
            let [r0, r1] = right;
            let mixed = blake3::keyed_hash(&self.key, &[round, r0, r1]);
            let &[m0, m1, ..] = mixed.as_bytes();
            let [l0, l1] = left;
            (left, right) = (right, [l0 ^ m0, l1 ^ m1]);
        }
        let ([a, b], [c, d]) = (left, right);
        u32::from_le_bytes([a, b, c, d])
    }
}

impl Drop for Indices {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}
