//! The bytes of messages that senders have started and applications have not taken, by the host and the network that
//! brought them. See [`conversations::memory_budget`](crate::node::conversations) for the rules.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::node::state::conversation::{Charge, ConversationEntry, EntryState};
use crate::node::state::locks::lock;
use crate::route::Location;
use crate::time::Time;
use crate::types::MAX_MESSAGE;

/// The hosts of one network may occupy this many halves of what is left beside them: three fifths of all.
const NETWORK_HALVES: usize = 3;
/// With their reserves they may occupy this many times what is left beside them: four fifths of all.
const NETWORK_WITH_RESERVES: usize = 4;
/// The fraction of all that is the reserve of a host: the fifth between the two bounds, divided by the 32 strangers
/// that a medium has places for.
pub(crate) const RESERVE: usize = 5 * 32;
/// The least budget, in messages of the greatest length. One of them has to fit into the share of one host.
pub(crate) const LEAST: usize = 3;
/// The pause after a search that freed too little. A search visits all conversations, so packets of the same host cause
/// none meanwhile, and those without room are repeated by their sender.
pub(crate) const BARREN: Duration = Duration::from_millis(100);

/// See the [module's page](self).
pub(crate) struct MemoryBudget {
    pub(crate) limit: usize,
    pub(crate) used: AtomicUsize,
    /// Hosts whose last search freed too little, and the time of it.
    pub(crate) barren: Mutex<BTreeMap<u64, Time>>,
    pub(crate) brought: Mutex<UsageByOrigin>,
}

/// The bytes that neighbours have brought, by host and by network.
#[derive(Default)]
pub(crate) struct UsageByOrigin {
    pub(crate) hosts: HashMap<u64, usize>,
    pub(crate) networks: HashMap<u64, usize>,
}

impl UsageByOrigin {
    /// Counts `now` bytes of a host in place of the `before` that were counted for it.
    pub(crate) fn replace(&mut self, from: Location, before: usize, now: usize) {
        for (of, key) in [(&mut self.hosts, from.host), (&mut self.networks, from.network)] {
            match of.entry(key) {
                Entry::Occupied(mut known) => {
                    let bytes = known.get().saturating_sub(before) + now;
                    if bytes == 0 {
                        known.remove();
                    } else {
                        known.insert(bytes);
                    }
                }
                Entry::Vacant(unknown) if now > 0 => _ = unknown.insert(now),
                Entry::Vacant(_) => {}
            }
        }
    }

    pub(crate) fn of(&self, from: Location) -> (usize, usize) {
        let look = |of: &HashMap<u64, usize>, key| of.get(&key).copied().unwrap_or(0);
        (look(&self.hosts, from.host), look(&self.networks, from.network))
    }
}

impl MemoryBudget {
    pub(crate) fn new(limit: usize) -> Self {
        MemoryBudget {
            limit: limit.max(LEAST * MAX_MESSAGE),
            used: AtomicUsize::new(0),
            barren: Mutex::default(),
            brought: Mutex::default(),
        }
    }

    /// Whether so little is used that the shares make no difference.
    pub(crate) fn is_ample(&self) -> bool {
        self.used.load(Relaxed) <= self.limit / 4
    }

    /// Bytes that may still arrive from one host.
    pub(crate) fn left(&self, from: Location) -> usize {
        // Far from the bound the lock is avoided.
        if self.is_ample() {
            return self.limit / 8;
        }
        let left = self.limit.saturating_sub(self.used.load(Relaxed));
        let (of_host, of_network) = lock(&self.brought).of(from);
        let reserve = (self.limit / RESERVE).saturating_sub(of_host);
        let with_reserves = left.saturating_mul(NETWORK_WITH_RESERVES).saturating_sub(of_network);
        let network = self.left_to_network(left, of_network).max(reserve.min(with_reserves));
        left.saturating_sub(of_host).min(network) / 2
    }

    /// Bytes that may come yet from any one host of a network, without the reserves.
    pub(crate) fn left_to_network(&self, left: usize, of_network: usize) -> usize {
        (left.saturating_mul(NETWORK_HALVES) / 2).saturating_sub(of_network)
    }

    /// The hosts of this network that have to give way to this one, because the network's part limits it more than its own and they
    /// hold more than twice as much of that.
    pub(crate) fn larger_hosts(&self, from: Location) -> Box<dyn Fn(Location) -> bool> {
        let brought = lock(&self.brought);
        let (of_host, of_network) = brought.of(from);
        let left = self.limit.saturating_sub(self.used.load(Relaxed));
        if self.left_to_network(left, of_network) >= left.saturating_sub(of_host) {
            return Box::new(|_| false);
        }
        let hosts = brought.hosts.clone();
        Box::new(move |other| {
            let of_other = hosts.get(&other.host).copied().unwrap_or_default();
            other.network == from.network && of_other > of_host.saturating_mul(2)
        })
    }

    /// Charges the bytes that a conversation holds now, in place of its last charge.
    pub(crate) fn charge(&self, state: &mut EntryState) {
        let in_hand: usize = state.held.iter().map(|message| message.body.len()).sum();
        let in_hand = in_hand.saturating_add(state.unstored_bytes());
        let bytes = if state.gone { 0 } else { state.conversation.held_bytes() + in_hand };
        let charge = Charge { bytes, from: state.from };
        let before = std::mem::replace(&mut state.charge, charge);
        if before.bytes == bytes && (bytes == 0 || before.from == charge.from) {
            return;
        }
        let mut brought = lock(&self.brought);
        if before.from == charge.from {
            brought.replace(charge.from, before.bytes, bytes);
        } else {
            brought.replace(before.from, before.bytes, 0);
            brought.replace(charge.from, 0, bytes);
        }
        self.used.fetch_add(bytes, Relaxed);
        self.used.fetch_sub(before.bytes, Relaxed);
    }

    /// Whether a search for conversations of this host is due.
    pub(crate) fn is_worth_a_look(&self, now: Time, from: Location) -> bool {
        let mut barren = lock(&self.barren);
        barren.retain(|_, since| now.since(*since) < BARREN);
        !barren.contains_key(&from.host)
    }

    /// Marks a conversation as removed and returns its bytes.
    pub(crate) fn release(&self, entry: &ConversationEntry) {
        let mut state = lock(&entry.state);
        state.gone = true;
        self.charge(&mut state);
    }

    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }
}
