//! The signed announces of a destination: each is kept once, with the proof of the distance that it has travelled.
//!
//! Adjacencies refer to an announce by a small number, its slot, because a pointer in each of them would cost far more
//! memory. The newest announce is a field of [`Destination`]; an older one is kept only while an adjacency refers to
//! it, so that a neighbour that is behind can still be sent short updates.

use std::sync::Arc;

use super::adjacency::Adjacency;
use super::destination::Destination;
use super::kept_announce::{AnnounceSlot, KeptAnnounce, NO_ANNOUNCE, UNPROVEN};
use crate::wire::route::{Chain, LINKS, SignedAnnounce, advance, leads_to};

/// The chain value that was computed last, with its anchor and hops. One advert is sent to many neighbours in a row,
/// so that the hashing is done once and not for each of them.
#[derive(Default)]
pub(super) struct ChainCache(Option<(Chain, u8, Chain)>);

impl ChainCache {
    /// The chain value of that many hops for the announce in this slot.
    pub(super) fn chain(&mut self, dest: &Destination, slot: AnnounceSlot, hops: u8) -> Option<Chain> {
        // The anchor identifies a chain, so that it also covers announces that differ in their seq.
        let anchor = dest.announce_at(slot)?.anchor;
        if let Some((_, _, chain)) = self.0.filter(|(known, at, _)| (*known, *at) == (anchor, hops)) {
            return Some(chain);
        }
        let chain = dest.chain_at(slot, hops)?;
        self.0 = Some((anchor, hops, chain));
        Some(chain)
    }
}

impl Destination {
    /// The announces besides the newest.
    fn older(&self) -> &[KeptAnnounce] {
        self.rare.as_ref().map_or(&[], |rare| &rare.older)
    }

    /// The announce in a slot.
    pub(super) fn announce_at(&self, slot: AnnounceSlot) -> Option<&Arc<SignedAnnounce>> {
        match slot {
            NO_ANNOUNCE => None,
            slot if slot == self.slot => Some(&self.announce),
            slot => self.older().iter().find(|known| known.slot == slot).map(|known| &known.announce),
        }
    }

    /// The seq of the announce in a slot; 0 for none.
    pub(super) fn seq_at(&self, slot: AnnounceSlot) -> u64 {
        self.announce_at(slot).map_or(0, |announce| announce.seq)
    }

    /// The slot of the verified announce with this seq.
    pub(super) fn slot_of(&self, seq: u64) -> Option<AnnounceSlot> {
        if self.announce.seq == seq {
            return Some(self.slot);
        }
        self.older().iter().find(|known| known.announce.seq == seq).map(|known| known.slot)
    }

    /// The verified announce that equals this unverified one. A hit saves the verification of its signature.
    pub(super) fn verified_equal(&self, announce: &SignedAnnounce) -> Option<Arc<SignedAnnounce>> {
        self.announce_at(self.slot_of(announce.seq)?).filter(|known| ***known == *announce).cloned()
    }

    /// Keeps a verified announce and returns its slot; `None` when all slots are taken. Of two announces with one seq
    /// the first stays, because adjacencies may already rest on its chain.
    pub(super) fn keep(&mut self, announce: &Arc<SignedAnnounce>) -> Option<AnnounceSlot> {
        if let Some(slot) = self.slot_of(announce.seq) {
            return Some(slot);
        }
        self.prune();
        let taken = |slot: &AnnounceSlot| self.announce_at(*slot).is_none();
        let slot = (1..=AnnounceSlot::MAX).find(taken)?;
        let mut known = KeptAnnounce { announce: announce.clone(), slot, hops: UNPROVEN, chain: [0; 16] };
        if announce.seq > self.announce.seq {
            std::mem::swap(&mut known.announce, &mut self.announce);
            std::mem::swap(&mut known.slot, &mut self.slot);
            std::mem::swap(&mut known.hops, &mut self.hops);
            std::mem::swap(&mut known.chain, &mut self.chain);
            let refers = |adj: &Adjacency| adj.announce == known.slot || adj.advertised == known.slot;
            if !self.adjacencies.iter().any(refers) {
                return Some(slot);
            }
        }
        self.rare.get_or_insert_default().older.push(known);
        Some(slot)
    }

    /// Removes older announces that no adjacency refers to.
    pub(super) fn prune(&mut self) {
        let adj = &self.adjacencies;
        if let Some(rare) = self.rare.as_mut() {
            rare.older.retain(|known| {
                adj.iter().any(|adj| adj.announce == known.slot || adj.advertised == known.slot)
            });
        }
    }

    /// The announce in a slot, with its proved hops and their chain value.
    fn announce_with_proof(&self, slot: AnnounceSlot) -> Option<(&Arc<SignedAnnounce>, u8, Chain)> {
        if slot == self.slot {
            return Some((&self.announce, self.hops, self.chain));
        }
        let known = self.older().iter().find(|known| known.slot == slot)?;
        Some((&known.announce, known.hops, known.chain))
    }

    /// Rounds of hashing that [`Destination::prove`] takes for that many hops: they are charged before the work is
    /// done.
    pub(super) fn rounds(&self, slot: AnnounceSlot, hops: u8) -> u8 {
        match self.announce_with_proof(slot) {
            Some((_, UNPROVEN, _)) => LINKS.saturating_sub(hops),
            Some((_, least, _)) => hops.abs_diff(least),
            None => 0,
        }
    }

    /// The same with its proof to be changed.
    fn proof_at(&mut self, slot: AnnounceSlot) -> Option<(&Arc<SignedAnnounce>, &mut u8, &mut Chain)> {
        if slot == self.slot {
            return Some((&self.announce, &mut self.hops, &mut self.chain));
        }
        let older = &mut self.rare.as_mut()?.older;
        let known = older.iter_mut().find(|known| known.slot == slot)?;
        Some((&known.announce, &mut known.hops, &mut known.chain))
    }

    /// Whether the chain value proves that many hops for the announce in this slot. A proof of fewer hops than before
    /// replaces the kept one, because all others follow from it.
    pub(super) fn prove(&mut self, slot: AnnounceSlot, hops: u8, chain: Chain) -> bool {
        let Some((announce, least, value)) = self.proof_at(slot) else { return false };
        let holds = match hops.checked_sub(*least) {
            Some(rounds) => advance(&announce.dst, announce.seq, *value, rounds) == chain,
            None if *least == UNPROVEN => {
                leads_to(&announce.dst, announce.seq, (hops, chain), &announce.anchor)
            }
            None => advance(&announce.dst, announce.seq, chain, least.saturating_sub(hops)) == *value,
        };
        if holds && hops < *least {
            (*least, *value) = (hops, chain);
        }
        holds
    }

    /// Keeps a proof that was already verified elsewhere.
    pub(super) fn record_proof(&mut self, slot: AnnounceSlot, hops: u8, chain: Chain) {
        if let Some((_, least, value)) = self.proof_at(slot).filter(|(_, least, _)| hops < **least) {
            (*least, *value) = (hops, chain);
        }
    }

    /// Whether a chain value of that many hops can be computed. One of fewer hops than are proved cannot, because the
    /// hash cannot be inverted; this keeps a relay from claiming to be nearer than it is.
    pub(super) fn has_chain(&self, slot: AnnounceSlot, hops: u8) -> bool {
        self.announce_with_proof(slot).is_some_and(|(_, least, _)| hops < LINKS && hops >= least)
    }

    /// The chain value of that many hops.
    pub(super) fn chain_at(&self, slot: AnnounceSlot, hops: u8) -> Option<Chain> {
        let (announce, least, value) =
            self.announce_with_proof(slot).filter(|_| self.has_chain(slot, hops))?;
        Some(advance(&announce.dst, announce.seq, value, hops.saturating_sub(least)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::time::Time;

    fn signed_announce(seq: u64) -> Arc<SignedAnnounce> {
        let dst = Address::from_bytes([1; 32]);
        let anchor = advance(&dst, seq, [5; 16], LINKS);
        Arc::new(SignedAnnounce {
            dst,
            seq,
            lifetime: 5400,
            caps: 0,
            anchor,
            signature: [0; 64],
            optional: None,
        })
    }

    #[test]
    fn announces_are_kept_as_long_as_a_neighbour_refers_to_them() {
        let mut dest = Destination::new(signed_announce(5), Time::ZERO);
        let five = dest.slot_of(5).unwrap();
        dest.adjacency_or_new(1).unwrap().set_announce(five, 1);
        let seven = dest.keep(&signed_announce(7)).unwrap();
        let six = dest.keep(&signed_announce(6)).unwrap();
        dest.adjacency_or_new(2).unwrap().advertised = six;
        assert_eq!([five, six, seven].map(|slot| dest.seq_at(slot)), [5, 6, 7]);
        assert_eq!((dest.announce.seq, dest.keep(&signed_announce(5))), (7, Some(five)));
        dest.adjacency_mut(1).unwrap().set_announce(seven, 1);
        dest.tidy(Time::ZERO);
        assert_eq!([five, six, seven].map(|slot| dest.seq_at(slot)), [0, 6, 7]);
        assert_eq!(dest.keep(&signed_announce(8)), Some(five), "a slot that is free is used again");
        dest.adjacencies.clear();
        dest.tidy(Time::ZERO);
        assert!(dest.rare.is_none() && dest.announce.seq == 8);
    }

    #[test]
    fn from_the_fewest_hops_that_were_proved_follow_all_others_and_no_fewer() {
        let mut dest = Destination::new(signed_announce(5), Time::ZERO);
        let slot = dest.slot_of(5).unwrap();
        let value = |hops| advance(&Address::from_bytes([1; 32]), 5, [5; 16], hops);
        assert!(!dest.prove(slot, 2, value(3)));
        assert_eq!(dest.chain_at(slot, 5), None);
        assert!(dest.prove(slot, 4, value(4)));
        assert!(dest.prove(slot, 6, value(6)) && !dest.prove(slot, 6, value(4)));
        assert_eq!((dest.chain_at(slot, 3), dest.chain_at(slot, 5)), (None, Some(value(5))));
        assert!(!dest.prove(slot, 3, value(4)) && dest.prove(slot, 3, value(3)));
        assert_eq!(dest.chain_at(slot, 3), Some(value(3)));
        assert_eq!(dest.chain_at(slot, 64), None);
    }
}
