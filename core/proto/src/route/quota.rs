//! Bounds of the table: the rate of new destinations, and the choice of the evicted one when the table is full.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Router;
use super::accounts::Resource;
use super::destination::Destination;
use super::neighbour::{MAX_NOTED, NeighbourEntry};
use super::timers::Timer;
use super::types::{DestinationKey, NeighbourId, seconds};
use crate::address::Address;
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::route::Record;

/// Time for which an evicted destination keeps its feasibility distance, so that no update that is still on its way
/// can make a loop.
pub(super) const EVICTION_HOLD: Duration = Duration::from_secs(5);
/// Bound of evicted destinations in that state.
pub(super) const MAX_EVICTED: usize = 4096;
/// Bound of unknown destinations that applications send to.
const MAX_WANTED: usize = 4096;
/// Delay between attempts to admit destinations that were held back.
const DEFERRED: Duration = Duration::from_millis(50);
/// Bound of the announces that are requested again in one attempt for each neighbour.
const MAX_RETRIES: u32 = 64;

impl Router {
    /// Pins a destination that an application sends to, or that packets are forwarded to. The caller repeats this
    /// while it lasts, at least as often as the pin in the configuration expires. A pinned destination is not evicted,
    /// and no quota holds it back, because local traffic matters more than a stranger's announces.
    pub fn want_route(&mut self, now: Time, dest: &Address) {
        let until = seconds(now + self.config.pin).saturating_add(1);
        if self.wanted.len() >= MAX_WANTED && !self.wanted.contains_key(dest) {
            let second = seconds(now);
            self.wanted.retain(|_, until| *until > second);
            if self.wanted.len() >= MAX_WANTED {
                return;
            }
        }
        self.wanted.insert(*dest, until);
    }

    /// Whether an address is pinned.
    fn pinned(&self, now: Time, address: &Address) -> bool {
        self.wanted.get(address).is_some_and(|until| *until > seconds(now))
    }

    /// Takes a token of the neighbour's quota for a new destination. Neighbours themselves and pinned destinations are
    /// free.
    pub(super) fn may_introduce(&mut self, now: Time, id: NeighbourId, address: Option<&Address>) -> bool {
        if address.is_some_and(|address| self.pinned(now, address)) {
            return true;
        }
        let Some(neighbour) = self.neighbours.get(&id) else { return false };
        if address == Some(&neighbour.address) {
            return true;
        }
        if neighbour.configured {
            return self.try_charge(now, id, Resource::New.tokens(self.config.new_allowance(), 1));
        }
        // Neighbours that wait are served first, because the fastest sender would otherwise take the whole quota.
        let waiting = self.neighbours.values().any(|one| !one.configured && !one.deferred.is_empty());
        !waiting && self.take_shared_quota(now)
    }

    /// Takes a token of the quota that all strangers share.
    fn take_shared_quota(&mut self, now: Time) -> bool {
        self.shared_quota.try_take(now, self.config.new_allowance())
    }

    /// The next of the strangers that wait for the shared quota. Hosts take turns, and so do the strangers on each
    /// host, because a host may have any number of identities.
    fn next_waiting_stranger(&self) -> Option<NeighbourId> {
        let strangers = || self.neighbours.iter().filter(|(_, one)| !one.configured);
        let mut hosts: BTreeMap<u64, u64> = BTreeMap::new();
        for (_, one) in strangers() {
            let last = hosts.entry(one.location.host).or_default();
            *last = one.admitted.max(*last);
        }
        let waiting = strangers().filter(|(_, one)| !one.deferred.is_empty());
        let turn = |one: &NeighbourEntry| (hosts.get(&one.location.host).copied(), one.admitted);
        waiting.min_by_key(|(id, one)| (turn(one), **id)).map(|(id, _)| *id)
    }

    /// Requests the first destination of a neighbour that was held back.
    fn request_first_deferred(&mut self, id: NeighbourId) {
        let first = self.neighbours.get_mut(&id).and_then(|neighbour| neighbour.deferred.pop_first());
        if let Some(idx) = first {
            self.send_want(id, idx, true);
        }
    }

    /// Notes a destination that the quota held back. It is requested later, because its neighbour does not advertise
    /// it again by itself.
    pub(super) fn defer(&mut self, now: Time, id: NeighbourId, idx: u32) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        if neighbour.deferred.len() < MAX_NOTED && neighbour.deferred.insert(idx) {
            self.timers.arm(next_tick(now), Timer::Deferred);
        }
    }

    /// Notes an announce that cannot be verified now, to request it again later; `paid` is whether it took a token of
    /// the quota.
    pub(super) fn postpone(
        &mut self,
        now: Time,
        id: NeighbourId,
        idx: u32,
        paid: bool,
    ) -> Result<(), DropCause> {
        if let Some(neighbour) = self.neighbours.get_mut(&id) {
            neighbour.note_awaited(idx);
            if paid && neighbour.requested.len() < MAX_NOTED {
                neighbour.requested.insert(idx);
            }
            if neighbour.postponed.len() < MAX_NOTED && neighbour.postponed.insert(idx) {
                self.timers.arm(next_tick(now), Timer::Deferred);
            }
        }
        Err(DropCause::VerifyLimit)
    }

    /// Requests the announce of an unknown destination or a missing announce of a known one; `paid` is whether it took
    /// a token.
    pub(super) fn send_want(&mut self, id: NeighbourId, idx: u32, paid: bool) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        if paid && neighbour.requested.len() < MAX_NOTED {
            neighbour.requested.insert(idx);
        }
        neighbour.send(&Record::Want { idx });
    }

    /// Requests the destinations and announces that were held back, as far as the quotas allow now.
    pub(super) fn request_deferred(&mut self, now: Time) {
        let mut left = false;
        let ids: Vec<NeighbourId> = self.neighbours.keys().copied().collect();
        for id in ids {
            // No more than the neighbour's allowance covers, because an answer that cannot be verified would be
            // requested once more.
            for nth in 1..=MAX_RETRIES {
                let first = self.neighbours.get(&id).and_then(|one| one.postponed.first().copied());
                let Some(idx) = first.filter(|_| self.has_room_to_check(now, id, nth)) else {
                    left |= first.is_some();
                    break;
                };
                if let Some(neighbour) = self.neighbours.get_mut(&id) {
                    neighbour.postponed.remove(&idx);
                }
                self.send_want(id, idx, false);
            }
            left |= self.neighbours.get(&id).is_some_and(|one| !one.postponed.is_empty());
            while self.neighbours.get(&id).is_some_and(|one| one.configured && !one.deferred.is_empty()) {
                if !self.may_introduce(now, id, None) {
                    left = true;
                    break;
                }
                self.request_first_deferred(id);
            }
        }
        while let Some(id) = self.next_waiting_stranger() {
            if !self.take_shared_quota(now) {
                left = true;
                break;
            }
            self.admitted = self.admitted.saturating_add(1);
            if let Some(neighbour) = self.neighbours.get_mut(&id) {
                neighbour.admitted = self.admitted;
            }
            self.request_first_deferred(id);
        }
        if left {
            self.timers.arm(next_tick(now), Timer::Deferred);
        }
    }

    /// Makes room for one more destination; `false` if all of them are in use or pinned.
    ///
    /// The neighbour with the most destinations loses some, so that a neighbour that invents identities evicts its own
    /// first.
    pub(super) fn make_room(&mut self, now: Time) -> bool {
        let bound = self.config.destinations.min(super::RouterConfig::MAX_DESTINATIONS);
        if self.table.len() < bound {
            return true;
        }
        if self.table.evicted >= MAX_EVICTED {
            return false;
        }
        let mut load: BTreeMap<Option<NeighbourId>, usize> = BTreeMap::new();
        for (_, dest) in self.table.destinations() {
            let count = load.entry(through(dest)).or_default();
            *count = count.saturating_add(1);
        }
        // Destinations without a route come first, then the farthest of the neighbour with the most.
        let mut candidates: Vec<(bool, usize, u16, DestinationKey)> = self
            .table
            .destinations()
            .filter(|(_, dest)| !dest.is_own() && !dest.is_evicted && !self.pinned(now, &dest.announce.dst))
            .map(|(key, dest)| {
                let load = load.get(&through(dest)).copied().unwrap_or(0);
                (dest.fib().is_none(), load, dest.fib().map_or(0, |fib| fib.metric), key)
            })
            .collect();
        candidates.sort_unstable_by(|a, b| b.cmp(a));
        // Several at once, because a scan of the whole table for each new destination would be costly.
        let several = (bound / 256).max(1).saturating_add(self.table.len().saturating_sub(bound));
        for (_, _, _, key) in candidates.into_iter().take(several) {
            self.evict(now, key);
        }
        self.table.len() < bound
    }

    /// Evicts a destination: it is retracted now and removed after [`EVICTION_HOLD`].
    fn evict(&mut self, now: Time, key: DestinationKey) {
        let Some(dest) = self.table.get_mut(key) else { return };
        dest.is_evicted = true;
        self.table.evicted = self.table.evicted.saturating_add(1);
        self.timers.arm(now + EVICTION_HOLD, Timer::FreeEvicted(key));
        self.mark_changed(key);
    }

    /// Removes an evicted destination.
    pub(super) fn free_evicted(&mut self, _now: Time, key: DestinationKey) {
        if self.table.get(key).is_some_and(|dest| dest.is_evicted) {
            self.forget(key);
        }
    }
}

/// The neighbour that a destination is charged to: its next hop, or else the first that offered it.
fn through(dest: &Destination) -> Option<NeighbourId> {
    dest.selected().or_else(|| dest.adjacencies.first().map(|adj| adj.neighbour))
}

/// The next attempt. Attempts are on a grid, so that many neighbours share one timer.
fn next_tick(now: Time) -> Time {
    let tick = u64::try_from(DEFERRED.as_nanos()).unwrap_or(u64::MAX);
    let ticks = now.as_nanos().checked_div(tick).unwrap_or(0).saturating_add(1);
    Time::from_nanos(ticks.saturating_mul(tick))
}
