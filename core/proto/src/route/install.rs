//! Installation of offered routes in the table, once their announces are verified.

use std::sync::Arc;

use super::Router;
use super::accounts::{FALSE_PROOF, HASHES, Resource};
use super::destination::Destination;
use super::kept_announce::AnnounceSlot;
use super::offer::OfferedRoute;
use super::types::{DestinationKey, NeighbourId};
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::route::{Chain, INFINITY, SignedAnnounce};

/// The result of verifying a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    Holds,
    False,
    /// The proof was not verified, because the quota was used up or its announce is missing. It is requested again;
    /// until then the route counts as no shorter than was proved before, so that an unproved claim attracts no
    /// traffic.
    Later,
}

impl Router {
    /// Verifies a neighbour's proof of its hops, within its quota.
    pub(super) fn prove(
        &mut self,
        now: Time,
        id: NeighbourId,
        key: DestinationKey,
        slot: AnnounceSlot,
        proof: (u8, Chain),
    ) -> Proof {
        let (hops, chain) = proof;
        let rounds = self.table.get(key).map_or(0, |dest| dest.rounds(slot, hops));
        // The quota is checked even when no rounds are needed, so that a neighbour that has sent false proofs is
        // refused entirely.
        if !self.try_charge(now, id, Resource::Hashes.tokens(HASHES, u32::from(rounds))) {
            return Proof::Later;
        }
        if self.table.get_mut(key).is_some_and(|dest| dest.prove(slot, hops, chain)) {
            return Proof::Holds;
        }
        self.charge_penalty(now, id, Resource::Hashes.tokens(HASHES, FALSE_PROOF));
        Proof::False
    }

    /// Installs the route that a neighbour offers with a verified announce. `proof` is a distance that was already
    /// proved while the announce was verified.
    pub(super) fn install_route(
        &mut self,
        now: Time,
        id: NeighbourId,
        announce: Arc<SignedAnnounce>,
        offered: OfferedRoute,
        proof: Option<(u8, Chain)>,
    ) -> Result<(), DropCause> {
        let key = match self.table.find(&announce.dst) {
            Some(key) => key,
            None if self.make_room(now) => self
                .table
                .insert(Destination::new(announce.clone(), now))
                .ok_or(DropCause::DestinationLimit)?,
            None => return Err(DropCause::DestinationLimit),
        };
        if self.is_own(key) {
            self.bind(id, offered.idx, key);
            return self.handle_own_announce(now, id, key, (*announce).clone());
        }
        let slot = self.keep_announce(now, id, key, &announce)?;
        let Some(dest) = self.table.get_mut(key) else { return Ok(()) };
        dest.until = dest.until.max(offered.expires);
        // Of two announces of one seq the first is kept. The proof of the second does not hold here, because it
        // belongs to another chain.
        let is_kept = dest.announce_at(slot).is_some_and(|kept| *kept == announce);
        if let Some((hops, chain)) = proof.filter(|_| is_kept) {
            dest.record_proof(slot, hops, chain);
        }
        let proof = if is_kept { self.prove(now, id, key, slot, offered.proof) } else { Proof::False };
        if proof != Proof::Holds {
            return self.refuse_route(now, id, key, &offered, proof);
        }
        self.bind(id, offered.idx, key);
        self.write_route(id, key, slot, &offered);
        Ok(())
    }

    /// Keeps an announce at its destination; returns its slot. The origin is sent the newest announce if it may lack
    /// it.
    fn keep_announce(
        &mut self,
        now: Time,
        id: NeighbourId,
        key: DestinationKey,
        announce: &Arc<SignedAnnounce>,
    ) -> Result<AnnounceSlot, DropCause> {
        let dest =
            self.table.get_mut(key).filter(|dest| !dest.is_evicted).ok_or(DropCause::DestinationLimit)?;
        let newest = dest.announce.clone();
        let slot = dest.keep(announce).ok_or(DropCause::DestinationLimit)?;
        if announce.seq > newest.seq {
            dest.set_learnt(now);
            self.report_to_origin(id, announce);
        } else if announce.seq < newest.seq {
            self.send_highest_to_origin(id, &newest);
        }
        Ok(slot)
    }

    /// Refuses a route whose distance is not proved. The former route of the neighbour does not hold either.
    fn refuse_route(
        &mut self,
        now: Time,
        id: NeighbourId,
        key: DestinationKey,
        offered: &OfferedRoute,
        proof: Proof,
    ) -> Result<(), DropCause> {
        let adj = self.table.get_mut(key).and_then(|dest| dest.adjacency_mut(id));
        if let Some(adj) = adj.filter(|adj| adj.offers()) {
            match proof {
                // A retraction of another idx would not affect this route, so that it could stay for ever.
                Proof::Later if adj.idx == offered.idx => adj.raise_metric(offered.metric),
                _ => adj.set_metric(INFINITY),
            }
            self.mark_changed(key);
        }
        match proof {
            Proof::Later => self.postpone(now, id, offered.idx, false),
            _ => Err(DropCause::BadAnnounce),
        }
    }

    /// Writes a proved route into the adjacency with its neighbour.
    fn write_route(
        &mut self,
        id: NeighbourId,
        key: DestinationKey,
        slot: AnnounceSlot,
        offered: &OfferedRoute,
    ) {
        let Some(adj) = self.table.get_mut(key).and_then(|dest| dest.adjacency_or_new(id)) else { return };
        let former = adj.idx;
        let moved = adj.offers() && former != offered.idx;
        adj.set_announce(slot, offered.proof.0);
        adj.set_metric(offered.feasibility_bound);
        adj.set_metric(offered.metric);
        adj.idx = offered.idx;
        adj.expires = offered.expires;
        adj.hops = offered.hops;
        adj.mtu = offered.mtu;
        if let Some(neighbour) = self.neighbours.get_mut(&id) {
            neighbour.requested.remove(&offered.idx);
            neighbour.deferred.remove(&offered.idx);
            if moved {
                neighbour.unbind(former, key);
            }
        }
        self.mark_changed(key);
    }
}
