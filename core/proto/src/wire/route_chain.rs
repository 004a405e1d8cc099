//! The hop chain: a proof that a router is not nearer to an origin than it claims.
//!
//! For each sequence number the origin draws a secret value and signs its hash of [`LINKS`] rounds, the anchor. It gives its
//! neighbours the value itself, and each router hashes once before it passes the value on. A router at `h` hops cannot compute the
//! value of fewer hops, since it would have to invert the hash; any router can verify a value by hashing it up to the anchor.

use crate::address::Address;

/// A value of the chain, or its anchor.
pub type Chain = [u8; 16];

/// Rounds from the origin's value to the anchor: no route crosses more links.
pub const LINKS: u8 = 64;

/// The label of each round, so that no other use of the hash yields values of a chain.
pub(crate) const LABEL: &[u8; 8] = b"rousehop";

/// The value after this many further rounds. One round is the first 16 bytes of BLAKE3 over `LABEL`, destination, sequence number
/// (little endian) and the value: 64 bytes, a single block.
pub fn advance(dst: &Address, seq: u64, chain: Chain, rounds: u8) -> Chain {
    let mut chain = chain;
    for _ in 0..rounds {
        let mut block = [0; 64];
        let parts = [&LABEL[..], dst.as_bytes(), &seq.to_le_bytes(), &chain];
        for (to, from) in block.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        let hash = blake3::hash(&block);
        chain.copy_from_slice(hash.as_bytes().split_first_chunk::<16>().map_or(&[0; 16], |(head, _)| head));
    }
    chain
}

/// Whether `chain` proves that a node is `hops` links away from the origin that signed `anchor`.
pub fn leads_to(dst: &Address, seq: u64, (hops, chain): (u8, Chain), anchor: &Chain) -> bool {
    LINKS.checked_sub(hops).is_some_and(|rounds| advance(dst, seq, chain, rounds) == *anchor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_the_head_of_one_hash_of_one_block() {
        let dst = Address::from_bytes([0xd5; 32]);
        let mut block = b"rousehop".to_vec();
        block.extend([0xd5; 32]);
        block.extend(0x0102_0304_0506_0708u64.to_le_bytes());
        block.extend([0xc4; 16]);
        assert_eq!(block.len(), 64);
        let once = advance(&dst, 0x0102_0304_0506_0708, [0xc4; 16], 1);
        assert_eq!(once, blake3::hash(&block).as_bytes()[..16]);
        assert_eq!(advance(&dst, 9, [1; 16], 5), advance(&dst, 9, advance(&dst, 9, [1; 16], 2), 3));
        assert_ne!(advance(&dst, 9, [1; 16], 1), advance(&dst, 8, [1; 16], 1), "each seq has its own");
    }

    #[test]
    fn a_value_proves_its_own_hops_and_no_others() {
        let dst = Address::from_bytes([3; 32]);
        let anchor = advance(&dst, 7, [9; 16], LINKS);
        let fifth = advance(&dst, 7, [9; 16], 5);
        assert!(leads_to(&dst, 7, (5, fifth), &anchor));
        for hops in (0..=LINKS).filter(|hops| *hops != 5) {
            assert!(!leads_to(&dst, 7, (hops, fifth), &anchor), "{hops}");
        }
        assert!(!leads_to(&dst, 7, (65, fifth), &anchor));
    }
}
