//! A cheap keyed hash of addresses, for tables that strangers write into.
//!
//! Addresses look random, but whoever makes them may search for such as fall into one place. So their hash has a key
//! that nobody knows: multilinear hashing over 64-bit words with keys of 128 bits, of which the upper half is kept. It
//! is strongly universal (Lemire and Kaser, "Strongly universal string hashing is fast", 2014): whichever two
//! addresses somebody picks, they meet in any given bits with the probability that chance gives them.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Words of an address.
const WORDS: usize = 4;

/// A key, drawn anew for each table.
#[derive(Clone, Debug)]
pub(crate) struct Keyed {
    keys: [u128; WORDS + 1],
}

impl Default for Keyed {
    fn default() -> Self {
        // Keyed from the system's randomness.
        let random = RandomState::new();
        let half = |n: usize| u128::from(random.hash_one(n));
        Keyed { keys: std::array::from_fn(|n| half(2 * n) << 64 | half(2 * n + 1)) }
    }
}

impl Keyed {
    /// The hash of an address.
    #[inline]
    pub(crate) fn hash(&self, bytes: &[u8; 32]) -> u64 {
        let (words, _) = bytes.as_chunks::<8>();
        let [first, keys @ ..] = &self.keys;
        let sum = words.iter().zip(keys).fold(*first, |sum, (word, key)| {
            sum.wrapping_add(key.wrapping_mul(u128::from(u64::from_le_bytes(*word))))
        });
        (sum >> 64) as u64
    }
}

impl BuildHasher for Keyed {
    type Hasher = AddressHasher;

    #[inline]
    fn build_hasher(&self) -> AddressHasher {
        AddressHasher { keyed: self.clone(), hash: 0 }
    }
}

/// Hashes one [`Address`](crate::Address), and nothing else.
pub(crate) struct AddressHasher {
    keyed: Keyed,
    hash: u64,
}

impl Hasher for AddressHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        match bytes.first_chunk::<32>() {
            Some(address) => self.hash = self.keyed.hash(address),
            None => debug_assert!(false, "an address has 32 bytes"),
        }
    }

    // The length that goes before the bytes of an array: it is always the same.
    #[inline]
    fn write_usize(&mut self, _: usize) {}

    #[inline]
    fn finish(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    #[test]
    fn each_byte_counts_and_each_table_has_its_own_hash() {
        let (one, other) = (Keyed::default(), Keyed::default());
        let address = |at: usize, value: u8| {
            let mut bytes = [9; 32];
            bytes[at] = value;
            Address::from_bytes(bytes)
        };
        let plain = one.hash_one(address(0, 9));
        assert_eq!(plain, one.hash(&[9; 32]));
        assert_ne!(plain, other.hash(&[9; 32]));
        for at in 0..32 {
            assert_ne!(one.hash_one(address(at, 8)), plain, "byte {at}");
        }
    }

    #[test]
    fn addresses_that_differ_little_spread_over_all_places() {
        for shift in [0, 20, 57] {
            let keyed = Keyed::default();
            let mut places = [0u32; 64];
            for n in 0..6400u32 {
                let mut bytes = [0; 32];
                bytes[14..18].copy_from_slice(&n.to_le_bytes());
                places[(keyed.hash(&bytes) >> shift) as usize % 64] += 1;
            }
            assert!(places.iter().all(|count| (1..1000).contains(count)), "{places:?}");
        }
    }
}
