//! The random bytes of a run that is repeated.

/// Random bytes that follow from a seed: the output of BLAKE3 as a stream.
pub(super) struct Seeded {
    stream: blake3::OutputReader,
}

impl Seeded {
    pub(super) fn new(seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("rouse virtual runtime");
        hasher.update(&seed.to_le_bytes());
        Seeded { stream: hasher.finalize_xof() }
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        self.stream.fill(bytes);
    }

    /// A number below `below`, which is not 0.
    pub(super) fn below(&mut self, below: usize) -> usize {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        ((u128::from(u64::from_le_bytes(bytes)) * below as u128) >> 64) as usize
    }
}
