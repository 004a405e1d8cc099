//! The table: destinations, and what each neighbour says and was told of them.
//!
//! Laid out to be lean: what every destination has stands in [`Dest`], what it has only while something goes on in a
//! [`Work`] of its own, and signed cores are shared.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use slab::Slab;

use super::origin::Origin;
use super::seek::{Ask, Relay};
use super::{FibEntry, NeighbourId, Router, RouterOutput};
use crate::address::Address;
use crate::time::Time;
use crate::wire::route::{Core, INFINITY, key_hash};

/// A destination's place in the table; on the wire it is the idx.
pub(super) type Key = u32;

/// How often expired routes and destinations are looked for.
pub(super) const SWEEP: Duration = Duration::from_secs(30);
/// A feasibility distance outlives the last announce by so many seconds: copies still on their way expire first.
const GRACE: u32 = 60;

/// Whole seconds, the unit of lifetimes.
pub(super) fn seconds(now: Time) -> u32 {
    u32::try_from(now.as_nanos() / 1_000_000_000).unwrap_or(u32::MAX)
}

/// What a neighbour says of a destination, and what it was told.
pub(super) struct Adj {
    /// The newest core it has passed on; `None` when it has never said anything, or what it said expired.
    pub(super) core: Option<Arc<Core>>,
    /// The seq that it was last told of; 0 is none.
    pub(super) told_seq: u64,
    pub(super) neighbour: NeighbourId,
    /// Its own name for the destination.
    pub(super) idx: u32,
    /// When what it says expires, in seconds.
    pub(super) expires: u32,
    pub(super) metric: u16,
    /// The least metric that it has told for this seq since it last retracted: its own feasibility distance is not
    /// above that, so this, not the metric of the moment, says whether it can be behind us.
    pub(super) nearest: u16,
    pub(super) mtu: u16,
    pub(super) told_metric: u16,
    pub(super) told_mtu: u16,
    pub(super) hops: u8,
    pub(super) told_hops: u8,
}

impl Adj {
    pub(super) fn new(neighbour: NeighbourId) -> Self {
        Adj {
            core: None,
            told_seq: 0,
            neighbour,
            idx: 0,
            expires: 0,
            metric: INFINITY,
            nearest: INFINITY,
            mtu: 0,
            told_metric: INFINITY,
            told_mtu: 0,
            hops: 0,
            told_hops: 0,
        }
    }

    /// It says how far it is, for the seq that it named last.
    pub(super) fn set_metric(&mut self, metric: u16) {
        self.metric = metric;
        self.nearest = if metric == INFINITY { INFINITY } else { self.nearest.min(metric) };
    }

    /// It says how far it is, for the seq of this core.
    pub(super) fn set_core(&mut self, core: Arc<Core>, metric: u16) {
        if self.core.as_ref().is_none_or(|before| before.seq != core.seq) {
            self.nearest = INFINITY;
        }
        self.core = Some(core);
        self.set_metric(metric);
    }

    /// What it said does not hold any more.
    pub(super) fn clear(&mut self) {
        self.core = None;
        self.set_metric(INFINITY);
    }
}

/// A destination.
pub(super) struct Dest {
    /// The highest announce seen, whoever offers it.
    pub(super) core: Arc<Core>,
    /// The feasibility distance: the best that was ever told to anybody (RFC 8966, section 3.5.1).
    pub(super) fd_seq: u64,
    /// Sorted by neighbour.
    pub(super) adj: Vec<Adj>,
    /// What goes on at the moment.
    pub(super) work: Option<Box<Work>>,
    /// Set when the address is our own.
    pub(super) own: Option<Box<Origin>>,
    /// The neighbour in use.
    pub(super) selected: Option<NeighbourId>,
    /// As the shell was last told.
    pub(super) fib: Option<FibEntry>,
    /// When the last announce of it expires, in seconds.
    pub(super) until: u32,
    /// Expiry of the announce that was last passed on to everybody, in seconds.
    pub(super) spread_until: u32,
    /// When the core was learnt, in seconds.
    pub(super) learnt: u32,
    pub(super) fd_metric: u16,
    /// Evicted: only kept until no packet in flight can loop for its feasibility distance being forgotten.
    pub(super) dying: bool,
}

/// What goes on with a destination at the moment.
#[derive(Default)]
pub(super) struct Work {
    /// A feasible route is better than the selected one since then.
    pub(super) better_since: Option<Time>,
    /// A route that might loop is much better than the selected one since then.
    pub(super) wish_since: Option<Time>,
    /// When the next request for such a route may leave.
    pub(super) wish_again: Time,
    /// No change of distance is told before.
    pub(super) hold_until: Time,
    pub(super) hold: Duration,
    /// When a refreshed core is passed on.
    pub(super) spread_at: Option<Time>,
    /// Our own search for a newer seq.
    pub(super) ask: Option<Ask>,
    /// Searches of others that came by.
    pub(super) relay: Option<Relay>,
}

impl Work {
    fn is_over(&self, now: Time) -> bool {
        self.better_since.is_none()
            && self.wish_since.is_none()
            && self.wish_again < now
            && self.hold_until + self.hold + self.hold < now
            && self.spread_at.is_none()
            && self.ask.is_none()
            && self.relay.as_ref().is_none_or(|relay| relay.is_over(now))
    }
}

impl Dest {
    pub(super) fn new(core: Arc<Core>, now: Time) -> Self {
        Dest {
            core,
            fd_seq: 0,
            adj: Vec::new(),
            work: None,
            own: None,
            selected: None,
            fib: None,
            until: 0,
            spread_until: 0,
            learnt: seconds(now),
            fd_metric: INFINITY,
            dying: false,
        }
    }

    pub(super) fn work(&mut self) -> &mut Work {
        self.work.get_or_insert_default()
    }

    pub(super) fn adj(&self, neighbour: NeighbourId) -> Option<&Adj> {
        let at = self.adj.binary_search_by_key(&neighbour, |adj| adj.neighbour).ok()?;
        self.adj.get(at)
    }

    pub(super) fn adj_mut(&mut self, neighbour: NeighbourId) -> Option<&mut Adj> {
        let at = self.adj.binary_search_by_key(&neighbour, |adj| adj.neighbour).ok()?;
        self.adj.get_mut(at)
    }

    pub(super) fn adj_or_new(&mut self, neighbour: NeighbourId) -> Option<&mut Adj> {
        let at = match self.adj.binary_search_by_key(&neighbour, |adj| adj.neighbour) {
            Ok(at) => at,
            Err(at) => {
                // Most have a handful of neighbours: no room to spare.
                if self.adj.len() == self.adj.capacity() {
                    self.adj.reserve_exact(2);
                }
                self.adj.insert(at, Adj::new(neighbour));
                at
            }
        };
        self.adj.get_mut(at)
    }

    /// Whether a route told with this seq and metric cannot lead back here (RFC 8966, section 3.5.1).
    pub(super) fn feasible(&self, seq: u64, metric: u16) -> bool {
        seq > self.fd_seq || (seq == self.fd_seq && metric < self.fd_metric)
    }

    /// Notes that (seq, metric) was told to somebody; returns whether that lowered the feasibility distance.
    pub(super) fn lower(&mut self, seq: u64, metric: u16) -> bool {
        let lowers = self.feasible(seq, metric);
        if lowers {
            self.fd_seq = seq;
            self.fd_metric = metric;
        }
        lowers
    }

    /// A verified core equal to what only claims to be one, or `None`.
    pub(super) fn known(&self, core: &Core) -> Option<Arc<Core>> {
        self.cores().find(|known| ***known == *core).cloned()
    }

    /// A verified core with this seq.
    pub(super) fn known_seq(&self, seq: u64) -> Option<Arc<Core>> {
        self.cores().find(|known| known.seq == seq).cloned()
    }

    fn cores(&self) -> impl Iterator<Item = &Arc<Core>> {
        std::iter::once(&self.core).chain(self.adj.iter().filter_map(|adj| adj.core.as_ref()))
    }
}

/// All destinations, by key and by key hash.
#[derive(Default)]
pub(super) struct Table {
    dests: Slab<Dest>,
    index: BTreeMap<u64, Key>,
    /// Of them, evicted.
    pub(super) dying: usize,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.dests.len().saturating_sub(self.dying)
    }

    pub(super) fn get(&self, key: Key) -> Option<&Dest> {
        self.dests.get(usize::try_from(key).ok()?)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Dest> {
        self.dests.get_mut(usize::try_from(key).ok()?)
    }

    /// The destination with this hash of its key.
    pub(super) fn by_hash(&self, hash: u64) -> Option<Key> {
        self.index.get(&hash).copied()
    }

    /// The destination with this address.
    pub(super) fn find(&self, address: &Address) -> Option<Key> {
        let key = self.by_hash(key_hash(address))?;
        self.get(key).filter(|dest| dest.core.dst == *address).map(|_| key)
    }

    /// In the order of their keys.
    pub(super) fn dests(&self) -> impl Iterator<Item = (Key, &Dest)> {
        self.dests.iter().filter_map(|(key, dest)| Some((Key::try_from(key).ok()?, dest)))
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.dests().map(|(key, _)| key).collect()
    }

    /// Adds a destination; `None` when another one has the same key hash, which nobody meets by accident.
    pub(super) fn insert(&mut self, dest: Dest) -> Option<Key> {
        let hash = key_hash(&dest.core.dst);
        if self.index.contains_key(&hash) {
            return None;
        }
        let key = Key::try_from(self.dests.insert(dest)).ok()?;
        self.index.insert(hash, key);
        Some(key)
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Dest> {
        let dest = self.dests.try_remove(usize::try_from(key).ok()?)?;
        self.index.remove(&key_hash(&dest.core.dst));
        self.dying = self.dying.saturating_sub(usize::from(dest.dying));
        Some(dest)
    }

    #[cfg(any(test, feature = "sim"))]
    pub(super) fn memory(&self) -> usize {
        // A B-tree is two thirds full on the average.
        let index = size_of::<(u64, Key)>().saturating_mul(3) / 2;
        let dest =
            size_of::<Dest>().saturating_add(index).saturating_add(16).saturating_add(size_of::<Core>());
        self.dests.iter().fold(0, |sum, (_, dests)| {
            let adj = dests.adj.capacity().saturating_mul(size_of::<Adj>());
            let work = dests.work.as_ref().map_or(0, |_| size_of::<Work>());
            sum.saturating_add(dest)
                .saturating_add(adj)
                .saturating_add(work)
                .saturating_add(dests.core.heap())
        })
    }
}

/// Verified announces that several routers of one process share.
#[derive(Debug, Default)]
pub(crate) struct CoreCache(Mutex<BTreeMap<(Address, u64), Arc<Core>>>);

impl CoreCache {
    /// The shared copy of a core that some router verified.
    pub(super) fn get(&self, core: &Core) -> Option<Arc<Core>> {
        let cores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cores.get(&(core.dst, core.seq)).filter(|known| ***known == *core).cloned()
    }

    /// Shares a core that was verified.
    pub(super) fn put(&self, core: Arc<Core>) {
        let mut cores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cores.insert((core.dst, core.seq), core);
    }
}

impl Router {
    /// Drops what has expired.
    pub(super) fn sweep(&mut self, now: Time) {
        let second = seconds(now);
        self.wanted.retain(|_, until| *until > second);
        for key in self.table.keys() {
            let Some(dest) = self.table.get_mut(key) else { continue };
            if dest.work.as_ref().is_some_and(|work| work.is_over(now)) {
                dest.work = None;
            }
            let mut expired = false;
            for adj in &mut dest.adj {
                if adj.core.is_some() && adj.expires <= second {
                    adj.clear();
                    expired = true;
                    if let Some(neighbour) = self.neighbours.get_mut(&adj.neighbour) {
                        neighbour.unbind(adj.idx, key);
                    }
                }
            }
            let forget = dest.own.is_none() && !dest.dying && dest.until.saturating_add(GRACE) <= second;
            if expired {
                self.reselect(now, key);
            }
            if forget {
                self.forget(key);
            }
        }
    }

    /// Frees a destination. Whoever was told of it has been told that it is gone.
    pub(super) fn forget(&mut self, key: Key) {
        let Some(dest) = self.table.remove(key) else { return };
        for adj in dest.adj.iter().filter(|adj| adj.core.is_some()) {
            if let Some(neighbour) = self.neighbours.get_mut(&adj.neighbour) {
                neighbour.unbind(adj.idx, key);
            }
        }
        self.batch.remove(&key);
        if dest.fib.is_some() {
            self.event(RouterOutput::Fib(dest.core.dst, None));
            self.event(RouterOutput::Changed {
                destination: dest.core.dst,
                next_hop: None,
                metric: INFINITY,
                hops: 0,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_and_what_a_neighbour_says_of_it_are_lean() {
        assert!(size_of::<Adj>() <= 40, "{}", size_of::<Adj>());
        let dest = size_of::<Dest>() + size_of::<Core>() + 16 + size_of::<(u64, Key)>() * 3 / 2;
        assert!(dest <= 264, "{dest}");
    }
}
