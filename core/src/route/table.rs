//! The table of destinations, and the cache of announces that the routers of one process share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use slab::Slab;

use super::destination::Destination;
use super::{Router, RouterOutput};
use crate::address::Address;
use crate::time::Time;
use crate::wire::route::{INFINITY, SignedAnnounce, key_hash};

/// The index of a destination in the table. It is also the number that this node uses for it on the wire, so that no
/// map between the two is needed.
pub(super) type DestinationKey = u32;

/// Delay between searches for expired routes and destinations. Expiry is in minutes, so that one timer for all of them
/// is precise enough.
pub(super) const SWEEP: Duration = Duration::from_secs(30);
/// Seconds for which a feasibility distance outlives the last announce, so that copies that are still on their way
/// expire first.
pub(super) const GRACE: u32 = 60;

/// Whole seconds, the unit of lifetimes. They fit in 32 bits, which halves the size of each expiry in the table.
pub(super) fn seconds(now: Time) -> u32 {
    u32::try_from(now.as_nanos() / 1_000_000_000).unwrap_or(u32::MAX)
}

/// All destinations, by key and by key hash.
#[derive(Default)]
pub(super) struct DestinationTable {
    /// The destinations by key.
    destinations: Slab<Destination>,
    /// The keys by key hash.
    index: BTreeMap<u64, DestinationKey>,
    /// The number of evicted ones among them.
    pub(super) evicted: usize,
}

impl DestinationTable {
    /// Destinations that were not evicted.
    pub(super) fn len(&self) -> usize {
        self.destinations.len().saturating_sub(self.evicted)
    }

    pub(super) fn get(&self, key: DestinationKey) -> Option<&Destination> {
        self.destinations.get(usize::try_from(key).ok()?)
    }

    pub(super) fn get_mut(&mut self, key: DestinationKey) -> Option<&mut Destination> {
        self.destinations.get_mut(usize::try_from(key).ok()?)
    }

    /// The destination with this key hash.
    pub(super) fn by_hash(&self, hash: u64) -> Option<DestinationKey> {
        self.index.get(&hash).copied()
    }

    /// The destination with this address. The address is compared, because a hash of 64 bits can be made to collide.
    pub(super) fn find(&self, address: &Address) -> Option<DestinationKey> {
        let key = self.by_hash(key_hash(address))?;
        self.get(key).filter(|dest| dest.announce.dst == *address).map(|_| key)
    }

    /// The destinations in the order of their keys.
    pub(super) fn destinations(&self) -> impl Iterator<Item = (DestinationKey, &Destination)> {
        self.destinations.iter().filter_map(|(key, dest)| Some((DestinationKey::try_from(key).ok()?, dest)))
    }

    /// All keys, so that the table can be changed while it is traversed.
    pub(super) fn keys(&self) -> Vec<DestinationKey> {
        self.destinations().map(|(key, _)| key).collect()
    }

    /// Adds a destination; `None` if another one has its key hash, which does not happen by accident.
    pub(super) fn insert(&mut self, dest: Destination) -> Option<DestinationKey> {
        let hash = key_hash(&dest.announce.dst);
        if self.index.contains_key(&hash) {
            return None;
        }
        let key = DestinationKey::try_from(self.destinations.insert(dest)).ok()?;
        self.index.insert(hash, key);
        Some(key)
    }

    /// Removes a destination.
    pub(super) fn remove(&mut self, key: DestinationKey) -> Option<Destination> {
        let dest = self.destinations.try_remove(usize::try_from(key).ok()?)?;
        self.index.remove(&key_hash(&dest.announce.dst));
        self.evicted = self.evicted.saturating_sub(usize::from(dest.is_evicted));
        Some(dest)
    }

    #[cfg(any(test, feature = "sim"))]
    pub(super) fn memory(&self) -> usize {
        // A B-tree is two thirds full on average.
        let index = size_of::<(u64, DestinationKey)>().saturating_mul(3) / 2;
        let dest = size_of::<Destination>()
            .saturating_add(index)
            .saturating_add(16)
            .saturating_add(size_of::<SignedAnnounce>());
        self.destinations
            .iter()
            .fold(0, |sum, (_, destinations)| sum.saturating_add(dest).saturating_add(destinations.heap()))
    }
}

/// Verified announces that the routers of one process share, so that a simulation of many nodes verifies each only
/// once.
#[derive(Debug, Default)]
pub(crate) struct AnnounceCache(Mutex<BTreeMap<(Address, u64), Arc<SignedAnnounce>>>);

impl AnnounceCache {
    /// The shared copy of an announce that some router has verified.
    pub(super) fn get(&self, announce: &SignedAnnounce) -> Option<Arc<SignedAnnounce>> {
        let announces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        announces.get(&(announce.dst, announce.seq)).filter(|known| ***known == *announce).cloned()
    }

    /// Shares a verified announce.
    pub(super) fn put(&self, announce: Arc<SignedAnnounce>) {
        let mut announces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        announces.insert((announce.dst, announce.seq), announce);
    }
}

impl Router {
    /// Removes expired routes and destinations.
    pub(super) fn sweep(&mut self, now: Time) {
        let second = seconds(now);
        self.wanted.retain(|_, until| *until > second);
        self.sweep_scores(now);
        self.accounts.sweep(now);
        for key in self.table.keys() {
            let Some(dest) = self.table.get_mut(key) else { continue };
            let mut expired = false;
            for adj in &mut dest.adjacencies {
                if adj.offers() && adj.expires <= second {
                    adj.clear();
                    expired = true;
                    if let Some(neighbour) = self.neighbours.get_mut(&adj.neighbour) {
                        neighbour.unbind(adj.idx, key);
                    }
                }
            }
            dest.tidy(now);
            let forget = !dest.is_own() && !dest.is_evicted && dest.until.saturating_add(GRACE) <= second;
            if expired {
                self.reselect(now, key);
            }
            if forget {
                self.forget(key);
            }
        }
    }

    /// Removes a destination. Neighbours were sent its retraction before, because they would otherwise keep a number
    /// that stands for nothing.
    pub(super) fn forget(&mut self, key: DestinationKey) {
        let Some(dest) = self.table.remove(key) else { return };
        for adj in dest.adjacencies.iter().filter(|adj| adj.offers()) {
            if let Some(neighbour) = self.neighbours.get_mut(&adj.neighbour) {
                neighbour.unbind(adj.idx, key);
            }
        }
        self.batch.remove(&key);
        if dest.fib().is_some() {
            self.event(RouterOutput::Fib(dest.announce.dst, None));
            self.event(RouterOutput::Changed {
                destination: dest.announce.dst,
                next_hop: None,
                metric: INFINITY,
                hops: 0,
            });
        }
    }
}
