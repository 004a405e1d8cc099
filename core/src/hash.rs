//! A cheap keyed hash of addresses, for tables with keys that remote nodes choose.
//!
//! Addresses look random, but an attacker could search for addresses that collide in a table. Therefore the hash has a secret
//! random key: multilinear hashing over 64-bit words with keys of 128 bits, of which the upper half is kept. It is strongly
//! universal (Lemire and Kaser, "Strongly universal string hashing is fast", 2014): any two addresses that an attacker picks
//! have equal bits only with the probability of chance.
//!
//! That holds for pairs only. Since the sum is linear, addresses at equal distances have sums at equal distances, and with one
//! key in some hundred a whole series of them would fall into a few places. Therefore a one-to-one mix follows (the last step of
//! MurmurHash3): it keeps the probabilities of pairs and breaks up the series.

use std::hash::{BuildHasher, Hasher, RandomState};

use crate::rt;

/// Words of an address.
const WORDS: usize = 4;

/// The key of one table, drawn at random when the table is made.
#[derive(Clone, Debug)]
pub(crate) struct Keyed {
    keys: [u128; WORDS + 1],
}

impl Default for Keyed {
    fn default() -> Self {
        let mut drawn = [[0; 16]; WORDS + 1];
        if rt::fill_random(drawn.as_flattened_mut()).is_err() {
            // The standard library's hasher draws its keys as well as the system allows.
            let random = RandomState::new();
            let half = |n: usize| u128::from(random.hash_one(n));
            return Keyed { keys: std::array::from_fn(|n| half(2 * n) << 64 | half(2 * n + 1)) };
        }
        Keyed { keys: drawn.map(u128::from_le_bytes) }
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
        mixed((sum >> 64) as u64)
    }
}

/// Each bit of the result depends on all bits of `sum`, and no two sums have the same result.
#[inline]
fn mixed(sum: u64) -> u64 {
    let sum = (sum ^ (sum >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let sum = (sum ^ (sum >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    sum ^ (sum >> 33)
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

    // The length that precedes the bytes of an array is ignored, because all addresses have the same.
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

    /// The number of 64 places into which the hashes of `addresses` fall, and the most that fall into one.
    fn places(shift: u32, addresses: impl Iterator<Item = [u8; 32]>) -> (usize, u32) {
        let (keyed, mut places) = (Keyed::default(), [0u32; 64]);
        addresses.for_each(|bytes| places[(keyed.hash(&bytes) >> shift) as usize % 64] += 1);
        (places.iter().filter(|count| **count > 0).count(), places.into_iter().max().unwrap_or(0))
    }

    #[test]
    fn addresses_at_equal_distances_spread_over_all_places_whatever_the_key() {
        // Twenty times as many addresses as places: chance leaves one place empty in one table of 7 million, and gives no place
        // 70 of them.
        let within = |at: usize| {
            move |n: u32| {
                let mut bytes = [0; 32];
                bytes[at..at + 4].copy_from_slice(&n.to_le_bytes());
                bytes
            }
        };
        for shift in [0, 20, 57] {
            for _ in 0..1000 {
                for at in [0, 7, 14] {
                    let (used, most) = places(shift, (0..1280).map(within(at)));
                    assert!(used >= 63 && most < 70, "from byte {at} on: {used} places, {most} in one");
                }
                // Six addresses with all bytes equal. By chance they share a place in one table of a thousand million.
                let (_, most) = places(shift, (2..8).map(|n| [n; 32]));
                assert!(most < 6, "all in one place");
            }
        }
    }
}
