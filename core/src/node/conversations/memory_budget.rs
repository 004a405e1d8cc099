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

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::node::state::NodeState;
use crate::node::state::conversation::Charge;
use crate::node::state::conversations::Conversations;
use crate::node::state::locks::{lock, read, write};
use crate::route::Location;
use crate::stats::DropCause;
use crate::time::Time;
use crate::types::Ends;

/// The fraction of the budget that is freed at once, so that the search is not repeated for every packet.
const SHARE: usize = 8;

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
        let mut removable: Vec<(u8, Time, Arc<Ends>)> = all
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
                let is_removable =
                    bytes > 0 && state.is_free() && state.conversation.may_restart(now, state.refused());
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
                self.release(&entry);
                dropped += 1;
            }
        }
        shared.stats.drop_n(DropCause::ReassemblyLimit, dropped);
        is_enough()
    }
}

#[cfg(test)]
pub(super) mod tests;
