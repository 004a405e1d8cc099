//! The cache of verified announces that the routers of one process share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::address::Address;
use crate::wire::route::SignedAnnounce;

/// Verified announces that the routers of one process share, so that a simulation of many nodes verifies each only
/// once.
#[derive(Debug, Default)]
pub struct AnnounceCache(Mutex<BTreeMap<(Address, u64), Arc<SignedAnnounce>>>);

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
