//! The table of destinations, and the cache of announces that the routers of one process share.

use std::collections::BTreeMap;

use slab::Slab;

use super::destination::Destination;
use super::types::DestinationKey;
use crate::address::Address;
use crate::wire::route::{SignedAnnounce, key_hash};

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
