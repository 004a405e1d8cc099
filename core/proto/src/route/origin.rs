//! The addresses of this node: their announces, and the reaction to a higher announce of the same address.
//!
//! Only the origin can raise its seq, because it signs each announce. Neighbours request that when their routes are
//! infeasible; an announce above its own shows a past that the node has forgotten, or another node with the same
//! identity.

use std::sync::Arc;
use std::time::Duration;

use rand_core::RngCore;

use super::Router;
use super::adjacency::Adjacency;
use super::destination::{Destination, Origin};
use super::neighbour::NeighbourEntry;
use super::timers::Timer;
use super::types::{DestinationKey, NeighbourId, RouterOutput, seconds};
use crate::address::Address;
use crate::identity::Identity;
use crate::rate_limit::{Rate, RateLimiter};
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::route::{LINKS, SignedAnnounce, advance, epoch};

/// Seqs raised on request. The rate is bounded because every seq is a signature, and an update through the mesh.
pub(super) const RAISE: Rate = Rate::each_second(10, 16);
/// Number of times that all neighbours are sent a raised seq. It is smaller, because one request must not make this
/// node send more the more neighbours it has.
pub(super) const ADVERTISE_RAISED: Rate = Rate::each_second(1, 4);
/// Jumps above a higher announce within [`JUMP_WINDOW`] after which the identity is taken to be in use elsewhere. Two
/// nodes that outbid each other would otherwise never stop.
pub(super) const MAX_JUMPS: usize = 3;
pub(super) const JUMP_WINDOW: Duration = Duration::from_secs(60);
/// Time for which the node then stops outbidding.
pub(super) const YIELD: Duration = Duration::from_secs(600);

impl Router {
    /// Makes `identity`'s address an address of this node, and announces it. A node may have many. `epoch` must be
    /// higher than any that [`RouterOutput::EpochUsed`] reported for the address; if none was stored, it is the unix
    /// time in seconds.
    pub fn add_origin(&mut self, now: Time, identity: Identity, epoch: u32) {
        let address = identity.address();
        let origin = Origin {
            identity,
            refresh_at: now,
            raise_bucket: RateLimiter::default(),
            advertise_bucket: RateLimiter::default(),
            jumps: Vec::new(),
            yield_until: Time::ZERO,
        };
        // Not the first of the epoch, so that two nodes that share an identity and its epoch most likely differ in
        // their seq.
        let mut seq = first_of(epoch).saturating_add(u64::from(self.random.next_u32() & 0xffff));
        let key = match self.table.find(&address) {
            Some(key) => {
                let Some(dest) = self.table.get_mut(key) else { return };
                if dest.announce.seq >= first_of(epoch) {
                    seq = above(dest.announce.seq);
                }
                dest.adjacencies.iter_mut().for_each(Adjacency::clear);
                dest.select(None);
                dest.drop_transient();
                if dest.is_evicted {
                    dest.is_evicted = false;
                    self.table.evicted = self.table.evicted.saturating_sub(1);
                }
                self.publish(now, key);
                key
            }
            None => {
                let announce = unsigned(address, seq, 0, [0; 16]);
                let Some(key) = self.table.insert(Destination::new(Arc::new(announce), now)) else { return };
                key
            }
        };
        if let Some(dest) = self.table.get_mut(key) {
            dest.set_own(Some(origin));
        }
        self.renew(now, key, seq);
        self.event(RouterOutput::EpochUsed { address, epoch: crate::wire::route::epoch(seq) });
        self.schedule_adverts(now, key);
    }

    /// Gives up an address of this node.
    pub fn remove_origin(&mut self, address: &Address) {
        let Some(key) = self.table.find(address) else { return };
        let Some(dest) = self.table.get_mut(key).filter(|dest| dest.is_own()) else { return };
        dest.set_own(None);
        self.mark_changed(key);
        // Requests the present routes to the address, because routes to an own address were not kept.
        let indices =
            |(id, one): (&NeighbourId, &NeighbourEntry)| one.indices_of(key).map(|idx| (*id, idx)).collect();
        let indices: Vec<Vec<(NeighbourId, u32)>> = self.neighbours.iter().map(indices).collect();
        for (id, idx) in indices.into_iter().flatten() {
            self.send_want(id, idx, false);
        }
    }

    /// Whether the destination is an address of this node.
    pub(super) fn is_own(&self, key: DestinationKey) -> bool {
        self.table.get(key).is_some_and(Destination::is_own)
    }

    /// Signs an announce with this seq and schedules the next renewal. The moment is random, so that the addresses of
    /// many nodes are not renewed together.
    fn renew(&mut self, now: Time, key: DestinationKey, seq: u64) {
        let lifetime = self.config.lifetime;
        let refresh = self.config.refresh;
        let refresh_at = now + self.jitter(refresh.mul_f64(0.95), refresh);
        let Some(dest) = self.table.get_mut(key) else { return };
        let dst = dest.announce.dst;
        let Some(own) = dest.own_mut() else { return };
        let chain = own.identity.chain_seed(seq);
        let mut announce = unsigned(dst, seq, lifetime, advance(&dst, seq, chain, LINKS));
        // An announce without extensions always encodes.
        let Ok(signed) = announce.signed() else { return };
        announce.signature = own.identity.sign(&signed);
        own.refresh_at = refresh_at;
        let announce = Arc::new(announce);
        if let Some(cache) = &self.config.shared {
            cache.put(announce.clone());
        }
        if dest.announce.seq == seq {
            dest.announce = announce;
        } else if dest.keep(&announce).is_none() {
            return;
        }
        if let Some(slot) = dest.slot_of(seq) {
            dest.record_proof(slot, 0, chain);
        }
        dest.until = seconds(now).saturating_add(u32::from(lifetime));
        dest.set_learnt(now);
        self.timers.arm_first(refresh_at, Timer::Refresh(key));
    }

    /// Renews an announce that is due.
    pub(super) fn refresh(&mut self, now: Time, key: DestinationKey) {
        let Some(dest) = self.table.get_mut(key) else { return };
        let Some(own) = dest.own_mut() else { return };
        if own.refresh_at > now {
            // It was raised since the timer was armed, so a renewal is not due yet.
            let at = own.refresh_at;
            self.timers.arm_first(at, Timer::Refresh(key));
        } else {
            let seq = dest.announce.seq.saturating_add(1);
            self.renew(now, key, seq);
            self.schedule_adverts(now, key);
        }
    }

    /// A neighbour requests this seq or a higher one. The seq is raised by one only, because a forged request must not
    /// exhaust the seqs of the epoch.
    pub(super) fn raise(&mut self, now: Time, key: DestinationKey, seq: u64) {
        let Some(dest) = self.table.get_mut(key).filter(|dest| dest.announce.seq < seq) else { return };
        let next = dest.announce.seq.saturating_add(1);
        let Some(own) = dest.own_mut() else { return };
        if own.raise_bucket.try_take(now, RAISE) {
            let advertises = own.advertise_bucket.try_take(now, ADVERTISE_RAISED);
            self.renew(now, key, next);
            self.schedule_adverts(now, key);
            if advertises {
                self.advertise_to_neighbours(now, key);
            }
        }
    }

    /// Sends all neighbours the new seq, and not the requesters alone. A seq is requested where a link to this node
    /// has failed, and the other end of that link may not have noticed; the missing acknowledgement shows it the
    /// failure. On a slow link it counts as a renewal, because requests must not take more of the link than its share.
    fn advertise_to_neighbours(&mut self, now: Time, key: DestinationKey) {
        let ids: Vec<NeighbourId> = self.neighbours.keys().copied().collect();
        for id in ids {
            // The metric of an own address is 0.
            self.advertise_renewal(now, key, id, 0);
        }
    }

    /// Handles an announce of an own address from elsewhere. It is verified only if it is above the present one,
    /// because older announces of this node circulate all the time.
    pub(super) fn handle_own_announce(
        &mut self,
        now: Time,
        id: NeighbourId,
        key: DestinationKey,
        announce: SignedAnnounce,
    ) -> Result<(), DropCause> {
        let Some(dest) = self.table.get(key) else { return Ok(()) };
        if announce.seq < dest.announce.seq || announce == *dest.announce {
            return Ok(());
        }
        self.check_highest(now, id, announce)
    }

    /// Raises the seq above a verified announce of an own address: this node has made it and forgotten it, or another
    /// node has the same identity. Routes rest on the highest seq, so a lower one would never be used.
    pub(super) fn outbid(&mut self, now: Time, key: DestinationKey, announce: &SignedAnnounce) {
        let Some(dest) = self.table.get_mut(key) else { return };
        if announce.seq < dest.announce.seq || *announce == *dest.announce {
            return;
        }
        let Some(own) = dest.own_mut() else { return };
        if own.yield_until > now {
            return;
        }
        own.jumps.retain(|jump| now.since(*jump) < JUMP_WINDOW);
        if own.jumps.len() >= MAX_JUMPS {
            own.yield_until = now + YIELD;
            return self.event(RouterOutput::IdentityConflict(announce.dst));
        }
        own.jumps.push(now);
        let seq = above(announce.seq);
        self.renew(now, key, seq);
        self.event(RouterOutput::EpochUsed { address: announce.dst, epoch: epoch(seq) });
        self.schedule_adverts(now, key);
    }
}

/// An announce that is still to be signed.
fn unsigned(dst: Address, seq: u64, lifetime: u16, anchor: [u8; 16]) -> SignedAnnounce {
    SignedAnnounce { dst, seq, lifetime, caps: 0, anchor, signature: [0; 64], optional: None }
}

/// The first seq of an epoch. A seq is the epoch in its upper half and a counter in its lower half.
fn first_of(epoch: u32) -> u64 {
    (u64::from(epoch) << 32) | 1
}

/// The first seq of the next epoch. There is none after the last, so that one is counted up.
fn above(seq: u64) -> u64 {
    match epoch(seq).checked_add(1) {
        Some(epoch) => first_of(epoch),
        None => seq.saturating_add(1),
    }
}
