//! Addresses of our own: their announces, and what happens when somebody holds a higher one.

use std::sync::Arc;
use std::time::Duration;

use rand_core::RngCore;

use super::adjacency::Adjacency;
use super::destination::Destination;
use super::neighbour::NeighbourEntry;
use super::table::{DestinationKey, seconds};
use super::timers::Timer;
use super::token_bucket::{Allowance, Bucket};
use super::{NeighbourId, Router, RouterOutput};
use crate::address::Address;
use crate::identity::Identity;
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::route::{LINKS, SignedAnnounce, advance, epoch};

/// Seqs raised on request: so many at once, then so many a second.
pub(super) const RAISE: Allowance = Allowance { rate: 10, burst: 16 };
/// Times that all neighbours are told of such a seq at once: what one request makes this node send must not grow with their number.
pub(super) const ADVERTISE_RAISED: Allowance = Allowance { rate: 1, burst: 4 };
/// Jumps above a higher announce within [`JUMP_WINDOW`], before we take it that the identity is in use elsewhere.
pub(super) const MAX_JUMPS: usize = 3;
pub(super) const JUMP_WINDOW: Duration = Duration::from_secs(60);
/// For so long we do not outbid then.
pub(super) const YIELD: Duration = Duration::from_secs(600);

/// An address of our own.
pub(super) struct Origin {
    identity: Identity,
    refresh_at: Time,
    raise_bucket: Bucket,
    advertise_bucket: Bucket,
    jumps: Vec<Time>,
    yield_until: Time,
}

impl Router {
    /// This node is `identity`'s address from now on, and announces it. A node may have many. `epoch` must be higher than any
    /// that [`RouterOutput::EpochUsed`] reported for it; where none was stored, unix time in seconds.
    pub(crate) fn add_origin(&mut self, now: Time, identity: Identity, epoch: u32) {
        let address = identity.address();
        let origin = Origin {
            identity,
            refresh_at: now,
            raise_bucket: Bucket::default(),
            advertise_bucket: Bucket::default(),
            jumps: Vec::new(),
            yield_until: Time::ZERO,
        };
        // Not the first of the epoch: two nodes that share an identity, and its epoch, had better differ.
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

    /// The address is not ours any more.
    pub(crate) fn remove_origin(&mut self, now: Time, address: &Address) {
        let Some(key) = self.table.find(address) else { return };
        let Some(dest) = self.table.get_mut(key).filter(|dest| dest.is_own()) else { return };
        dest.set_own(None);
        self.reselect(now, key);
        // Where it is now: while it was ours we kept nothing of what others said of it.
        let indices =
            |(id, one): (&NeighbourId, &NeighbourEntry)| one.indices_of(key).map(|idx| (*id, idx)).collect();
        let indices: Vec<Vec<(NeighbourId, u32)>> = self.neighbours.iter().map(indices).collect();
        for (id, idx) in indices.into_iter().flatten() {
            self.send_want(id, idx, false);
        }
    }

    pub(super) fn is_own(&self, key: DestinationKey) -> bool {
        self.table.get(key).is_some_and(Destination::is_own)
    }

    /// Signs a new announce and plans the next.
    fn renew(&mut self, now: Time, key: DestinationKey, seq: u64) {
        let lifetime = self.config.lifetime;
        let refresh = self.config.refresh;
        let refresh_at = now + self.jitter(refresh.mul_f64(0.95), refresh);
        let Some(dest) = self.table.get_mut(key) else { return };
        let dst = dest.announce.dst;
        let Some(own) = dest.own_mut() else { return };
        let chain = own.identity.chain_seed(seq);
        let mut announce = unsigned(dst, seq, lifetime, advance(&dst, seq, chain, LINKS));
        // Without extensions there is nothing that would not encode.
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

    pub(super) fn refresh(&mut self, now: Time, key: DestinationKey) {
        let Some(dest) = self.table.get_mut(key) else { return };
        let Some(own) = dest.own_mut() else { return };
        if own.refresh_at > now {
            // It was raised meanwhile.
            let at = own.refresh_at;
            self.timers.arm_first(at, Timer::Refresh(key));
        } else {
            let seq = dest.announce.seq.saturating_add(1);
            self.renew(now, key, seq);
            self.schedule_adverts(now, key);
        }
    }

    /// A neighbour asks for this seq at least. We go one up: nobody drives us further than one step at a time.
    pub(super) fn raise(&mut self, now: Time, key: DestinationKey, seq: u64) {
        let Some(dest) = self.table.get_mut(key).filter(|dest| dest.announce.seq < seq) else { return };
        let next = dest.announce.seq.saturating_add(1);
        let Some(own) = dest.own_mut() else { return };
        if own.raise_bucket.take(now, RAISE) {
            let advertises = own.advertise_bucket.take(now, ADVERTISE_RAISED);
            self.renew(now, key, next);
            self.schedule_adverts(now, key);
            if advertises {
                self.advertise_to_neighbours(now, key);
            }
        }
    }

    /// Tells all neighbours of the new seq, and not only those that asked: a seq is asked for where a link to us has failed, its
    /// other end may see nothing of that, and what is sent over it and not acknowledged shows it.
    fn advertise_to_neighbours(&mut self, now: Time, key: DestinationKey) {
        let ids: Vec<NeighbourId> = self.neighbours.keys().copied().collect();
        for id in ids {
            self.advertise(now, key, id, false);
        }
    }

    /// Somebody passes on an announce of an address of ours. When it is above what we said since the start, it counts if it
    /// verifies.
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

    /// Such an announce has verified: it is from our past, which we forgot, or from somebody else with our identity. We
    /// go above it.
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

fn unsigned(dst: Address, seq: u64, lifetime: u16, anchor: [u8; 16]) -> SignedAnnounce {
    SignedAnnounce { dst, seq, lifetime, caps: 0, anchor, signature: [0; 64], optional: None }
}

fn first_of(epoch: u32) -> u64 {
    (u64::from(epoch) << 32) | 1
}

/// The first seq of the epoch after; after the last epoch there is only counting.
fn above(seq: u64) -> u64 {
    match epoch(seq).checked_add(1) {
        Some(epoch) => first_of(epoch),
        None => seq.saturating_add(1),
    }
}
