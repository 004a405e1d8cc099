//! The memory budget of messages that senders have started and applications have not taken: one bound for all.
//!
//! Each sender has credit of its own, but a node that invents source addresses could fill the credit of each. So all
//! senders together have [`Limits::reassembly`](super::Limits::reassembly) bytes, and those behind the links of one
//! host may occupy at most as much as is left beside them (the dynamic threshold of shared-memory switches: Choudhury
//! and Hahne, 1998). A host that floods gets half of all, two get a third each, the hosts of one network three fifths,
//! so that senders elsewhere always find room. Beside that, each host has a small reserve, up to four fifths of all for
//! the hosts of one network: otherwise a few of them that fill the network's part would leave nothing to the others.
//! A configured neighbour counts as a host of its own.
//!
//! When the share of a host is used up, conversations that it brought are removed, those with the longest silence
//! first. When the part of its network limits it, conversations of hosts that hold more than twice as much are removed
//! before its own. Nothing is lost, because no message has a receipt before an application has it, and its sender
//! repeats it to a conversation that does not know it. When nothing can be removed, packets are not acknowledged, so
//! that their sender repeats them later.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{ConversationEntry, ConversationKey, Conversations, EntryState};
use crate::node::state::{NodeState, lock, read, write};
use crate::route::Location;
use crate::stats::DropCause;
use crate::time::Time;
use crate::types::MAX_MESSAGE;

/// The fraction of the budget that is freed at once, so that the search is not repeated for every packet.
const SHARE: usize = 8;
/// The hosts of one network may occupy this many halves of what is left beside them: three fifths of all.
const NETWORK_HALVES: usize = 3;
/// With their reserves they may occupy this many times what is left beside them: four fifths of all.
const NETWORK_WITH_RESERVES: usize = 4;
/// The fraction of all that is the reserve of a host: the fifth between the two bounds, divided by the 32 strangers
/// that a medium has places for.
const RESERVE: usize = 5 * 32;
/// The least budget, in messages of the greatest length. One of them has to fit into the share of one host.
const LEAST: usize = 3;

/// The pause after a search that freed too little. A search visits all conversations, so packets of the same host cause
/// none meanwhile, and those without room are repeated by their sender.
const BARREN: Duration = Duration::from_millis(100);

/// See the [module's page](self).
pub(super) struct MemoryBudget {
    limit: usize,
    used: AtomicUsize,
    /// Hosts whose last search freed too little, and the time of it.
    barren: Mutex<BTreeMap<u64, Time>>,
    brought: Mutex<UsageByOrigin>,
}

/// The bytes that a conversation was charged with, and the account that they were charged to.
#[derive(Clone, Copy, Default)]
pub(super) struct Charge {
    bytes: usize,
    from: Location,
}

/// The bytes that neighbours have brought, by host and by network.
#[derive(Default)]
struct UsageByOrigin {
    hosts: HashMap<u64, usize>,
    networks: HashMap<u64, usize>,
}

impl UsageByOrigin {
    fn add(&mut self, from: Location, bytes: usize) {
        for (of, key) in [(&mut self.hosts, from.host), (&mut self.networks, from.network)] {
            *of.entry(key).or_default() += bytes;
        }
    }

    fn remove(&mut self, from: Location, bytes: usize) {
        for (of, key) in [(&mut self.hosts, from.host), (&mut self.networks, from.network)] {
            if let Some(known) = of.get_mut(&key) {
                *known = known.saturating_sub(bytes);
                if *known == 0 {
                    of.remove(&key);
                }
            }
        }
    }

    fn of(&self, from: Location) -> (usize, usize) {
        let look = |of: &HashMap<u64, usize>, key| of.get(&key).copied().unwrap_or(0);
        (look(&self.hosts, from.host), look(&self.networks, from.network))
    }
}

impl MemoryBudget {
    pub(super) fn new(limit: usize) -> Self {
        MemoryBudget {
            limit: limit.max(LEAST * MAX_MESSAGE),
            used: AtomicUsize::new(0),
            barren: Mutex::default(),
            brought: Mutex::default(),
        }
    }

    /// Bytes that may still arrive from one host.
    pub(super) fn left(&self, from: Location) -> usize {
        let left = self.limit.saturating_sub(self.used.load(Relaxed));
        // Far from the bound the shares make no difference, so the lock is avoided.
        let plenty = self.limit / 2;
        if left >= self.limit - plenty / 2 {
            return plenty / 4;
        }
        let (of_host, of_network) = lock(&self.brought).of(from);
        let reserve = (self.limit / RESERVE).saturating_sub(of_host);
        let with_reserves = left.saturating_mul(NETWORK_WITH_RESERVES).saturating_sub(of_network);
        let network = self.left_to_network(left, of_network).max(reserve.min(with_reserves));
        left.saturating_sub(of_host).min(network) / 2
    }

    /// Bytes that may come yet from any one host of a network, without the reserves.
    fn left_to_network(&self, left: usize, of_network: usize) -> usize {
        (left.saturating_mul(NETWORK_HALVES) / 2).saturating_sub(of_network)
    }

    /// The hosts of this network that have to give way to this one, because the network's part limits it more than its own and they
    /// hold more than twice as much of that.
    fn larger_hosts(&self, from: Location) -> Box<dyn Fn(Location) -> bool> {
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
    pub(super) fn charge(&self, state: &mut EntryState) {
        let in_hand: usize = state.held.iter().map(|message| message.body.len()).sum();
        let bytes = if state.gone { 0 } else { state.conversation.held_bytes() + in_hand };
        let charge = Charge { bytes, from: state.from };
        let before = std::mem::replace(&mut state.charge, charge);
        if before.bytes == 0 && bytes == 0 {
            return;
        }
        let mut brought = lock(&self.brought);
        brought.remove(before.from, before.bytes);
        if bytes > 0 {
            brought.add(charge.from, bytes);
        }
        self.used.fetch_add(bytes, Relaxed);
        self.used.fetch_sub(before.bytes, Relaxed);
    }

    /// Whether a search for conversations of this host is due.
    fn is_worth_a_look(&self, now: Time, from: Location) -> bool {
        let mut barren = lock(&self.barren);
        barren.retain(|_, since| now.since(*since) < BARREN);
        !barren.contains_key(&from.host)
    }

    /// Marks a conversation as removed and returns its bytes.
    pub(super) fn release(&self, entry: &ConversationEntry) {
        let mut state = lock(&entry.state);
        state.gone = true;
        self.charge(&mut state);
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }
}

impl Conversations {
    /// Removes conversations of a host to make room for others of the same host. Those of hosts without a link any more
    /// are removed too.
    pub(super) fn make_room(&self, shared: &NodeState, from: Location) {
        let now = shared.now();
        if self.budget.is_worth_a_look(now, from) && !self.make_room_at(shared, now, from) {
            lock(&self.budget.barren).insert(from.host, now);
        }
    }

    /// Searches all conversations. Returns whether that freed as much as it should.
    fn make_room_at(&self, shared: &NodeState, now: Time, from: Location) -> bool {
        let mut all = write(&self.by_ends);
        let linked: BTreeSet<u64> =
            read(&shared.neighbours).values().map(|neighbour| neighbour.origin().host).collect();
        let is_larger = self.budget.larger_hosts(from);
        let mut removable: Vec<(u8, Time, Arc<ConversationKey>)> = all
            .iter()
            .filter_map(|(key, entry)| {
                let state = lock(&entry.state);
                let Charge { bytes, from: brought } = state.charge;
                let rank = match () {
                    () if !linked.contains(&brought.host) => 0,
                    () if is_larger(brought) => 1,
                    () if brought.host == from.host => 2,
                    () => return None,
                };
                let is_removable = bytes > 0 && state.is_free() && state.conversation.may_restart(now);
                is_removable.then_some((rank, state.used, key.clone()))
            })
            .collect();
        removable.sort_unstable();
        let (mut dropped, before) = (0, self.budget.used.load(Relaxed));
        let is_enough = || before.saturating_sub(self.budget.used.load(Relaxed)) >= self.budget.limit / SHARE;
        for (.., key) in removable {
            if is_enough() {
                break;
            }
            if let Some(entry) = all.remove(&key) {
                self.budget.release(&entry);
                dropped += 1;
            }
        }
        shared.stats.drop_n(DropCause::ReassemblyLimit, dropped);
        is_enough()
    }
}

#[cfg(test)]
pub(super) mod tests;
