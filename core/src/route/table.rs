//! The table of destinations, and the announces that routers of one process share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use slab::Slab;

use super::destination::Destination;
use super::{Router, RouterOutput};
use crate::address::Address;
use crate::time::Time;
use crate::wire::route::{INFINITY, SignedAnnounce, key_hash};

/// A destination's place in the table; on the wire it is the idx.
pub(super) type DestinationKey = u32;

/// How often expired routes and destinations are looked for.
pub(super) const SWEEP: Duration = Duration::from_secs(30);
/// A feasibility distance outlives the last announce by so many seconds: copies still on their way expire first.
pub(super) const GRACE: u32 = 60;

/// Whole seconds, the unit of lifetimes.
pub(super) fn seconds(now: Time) -> u32 {
    u32::try_from(now.as_nanos() / 1_000_000_000).unwrap_or(u32::MAX)
}

/// All destinations, by key and by key hash.
#[derive(Default)]
pub(super) struct DestinationTable {
    destinations: Slab<Destination>,
    index: BTreeMap<u64, DestinationKey>,
    /// Of them, evicted.
    pub(super) evicted: usize,
}

impl DestinationTable {
    pub(super) fn len(&self) -> usize {
        self.destinations.len().saturating_sub(self.evicted)
    }

    pub(super) fn get(&self, key: DestinationKey) -> Option<&Destination> {
        self.destinations.get(usize::try_from(key).ok()?)
    }

    pub(super) fn get_mut(&mut self, key: DestinationKey) -> Option<&mut Destination> {
        self.destinations.get_mut(usize::try_from(key).ok()?)
    }

    /// The destination with this hash of its key.
    pub(super) fn by_hash(&self, hash: u64) -> Option<DestinationKey> {
        self.index.get(&hash).copied()
    }

    /// The destination with this address.
    pub(super) fn find(&self, address: &Address) -> Option<DestinationKey> {
        let key = self.by_hash(key_hash(address))?;
        self.get(key).filter(|dest| dest.announce.dst == *address).map(|_| key)
    }

    /// In the order of their keys.
    pub(super) fn destinations(&self) -> impl Iterator<Item = (DestinationKey, &Destination)> {
        self.destinations.iter().filter_map(|(key, dest)| Some((DestinationKey::try_from(key).ok()?, dest)))
    }

    pub(super) fn keys(&self) -> Vec<DestinationKey> {
        self.destinations().map(|(key, _)| key).collect()
    }

    /// Adds a destination; `None` when another one has the same key hash, which nobody meets by accident.
    pub(super) fn insert(&mut self, dest: Destination) -> Option<DestinationKey> {
        let hash = key_hash(&dest.announce.dst);
        if self.index.contains_key(&hash) {
            return None;
        }
        let key = DestinationKey::try_from(self.destinations.insert(dest)).ok()?;
        self.index.insert(hash, key);
        Some(key)
    }

    pub(super) fn remove(&mut self, key: DestinationKey) -> Option<Destination> {
        let dest = self.destinations.try_remove(usize::try_from(key).ok()?)?;
        self.index.remove(&key_hash(&dest.announce.dst));
        self.evicted = self.evicted.saturating_sub(usize::from(dest.is_evicted));
        Some(dest)
    }

    #[cfg(any(test, feature = "sim"))]
    pub(super) fn memory(&self) -> usize {
        // A B-tree is two thirds full on the average.
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

/// VerifyResults announces that several routers of one process share.
#[derive(Debug, Default)]
pub(crate) struct AnnounceCache(Mutex<BTreeMap<(Address, u64), Arc<SignedAnnounce>>>);

impl AnnounceCache {
    /// The shared copy of an announce that some router verified.
    pub(super) fn get(&self, announce: &SignedAnnounce) -> Option<Arc<SignedAnnounce>> {
        let announces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        announces.get(&(announce.dst, announce.seq)).filter(|known| ***known == *announce).cloned()
    }

    /// Shares an announce that was verified.
    pub(super) fn put(&self, announce: Arc<SignedAnnounce>) {
        let mut announces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        announces.insert((announce.dst, announce.seq), announce);
    }
}

impl Router {
    /// Drops what has expired.
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

    /// Frees a destination. Whoever was told of it has been told that it is gone.
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
