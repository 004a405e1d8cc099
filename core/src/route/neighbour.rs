//! Neighbours: links that come, change, fail and go.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::accounts::{Location, Reserve};
use super::quota::MAX_NOTED;
use super::select::check;
use super::table::DestinationKey;
use super::timers::Timer;
use super::verify::PendingOffer;
use super::{NeighbourId, Router};
use crate::address::Address;
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::route::{Record, Update, encode_your_highest};

/// A link costs at least this: the metric of a route is at least this for each of its hops.
pub(super) const MIN_COST: u16 = 32;
/// And at most this.
const MAX_COST: u16 = 1000;
/// A neighbour on probation is told of the table only after this.
pub(super) const PROBATION_DUMP_DELAY: Duration = Duration::from_secs(1);

/// A neighbour with a live link.
pub(super) struct NeighbourEntry {
    pub(super) address: Address,
    pub(super) cost: u16,
    pub(super) mtu: u16,
    pub(super) configured: bool,
    /// Where it is, which says whose quotas it draws on if nobody configured it.
    pub(super) location: Location,
    pub(super) reserve: Reserve,
    /// Its last turn when strangers were let in that waited for their common quota.
    pub(super) admitted: u64,
    suspect: bool,
    /// Nothing gets there, and its session is kept: what was said over it holds when it is back.
    pub(super) away: bool,
    probation: bool,
    probation_until: Time,
    /// Its numbers for destinations, and ours.
    idx: BTreeMap<u32, DestinationKey>,
    /// Its numbers for destinations that a quota held back.
    pub(super) deferred: BTreeSet<u32>,
    /// Its numbers for destinations that were paid for, and whose announce is on its way.
    pub(super) requested: BTreeSet<u32>,
    /// What it offers with announces that are being verified, by its numbers.
    pub(super) pending: BTreeMap<u32, PendingOffer>,
    /// Its numbers for known destinations of which it has named an announce that we do not have: what it says of them is about
    /// that core.
    pub(super) awaited: BTreeSet<u32>,
    /// Its numbers for what came faster than it can be verified.
    pub(super) postponed: BTreeSet<u32>,
    /// Announces for their origins that are being verified.
    pub(super) highest: usize,
    /// Destinations that it is still to be told of, the nearest first, and whether it asked for their announces.
    pub(super) queue: BTreeSet<(u16, DestinationKey, bool)>,
    pub(super) queue_at: Option<Time>,
    /// Bytes a second that the link carries, where that is known.
    pub(super) rate: Option<u64>,
    /// Destinations whose renewed announce it is still to be told of, the nearest first, and when the next may leave.
    pub(super) renewals: BTreeSet<(u16, DestinationKey)>,
    pub(super) renew_at: Time,
    /// Bytes of all records for it so far.
    pub(super) sent_bytes: u64,
    /// Messages on their way out; the last one still takes records.
    pub(super) out: VecDeque<Vec<u8>>,
}

impl NeighbourEntry {
    /// Whether its routes are the last resort.
    pub(super) fn is_last_resort(&self) -> bool {
        self.suspect || self.probation
    }

    /// The destination that it calls so.
    pub(super) fn key(&self, idx: u32) -> Option<DestinationKey> {
        self.idx.get(&idx).copied()
    }

    /// Notes what it calls a destination; returns the destination that it called so before.
    pub(super) fn bind(&mut self, idx: u32, key: DestinationKey) -> Option<DestinationKey> {
        self.idx.insert(idx, key).filter(|before| *before != key)
    }

    /// What it calls a destination.
    pub(super) fn indices_of(&self, key: DestinationKey) -> impl Iterator<Item = u32> {
        self.idx.iter().filter(move |(_, named)| **named == key).map(|(idx, _)| *idx)
    }

    pub(super) fn unbind(&mut self, idx: u32, key: DestinationKey) {
        if self.key(idx) == Some(key) {
            self.idx.remove(&idx);
        }
    }

    /// Whether a destination that it calls so is asked for, or will be.
    pub(super) fn is_noted(&self, idx: u32) -> bool {
        self.requested.contains(&idx) || self.deferred.contains(&idx) || self.postponed.contains(&idx)
    }

    /// What it says of this number is from now on about an announce that we do not have yet.
    pub(super) fn note_awaited(&mut self, idx: u32) {
        if self.awaited.len() < MAX_NOTED {
            self.awaited.insert(idx);
        }
    }

    /// It says how far it is from a destination whose announce is being verified.
    pub(super) fn update_pending(&mut self, update: Update) -> Result<(), DropCause> {
        let Update { idx, metric, hops, chain } = update;
        let Some(offered) = self.pending.get_mut(&idx).map(|pending| &mut pending.offered) else {
            return Ok(());
        };
        let proof = match chain {
            Some(chain) if hops < offered.proof.0 => (hops, chain),
            _ => offered.proof,
        };
        if check(metric, hops).is_err() || hops < proof.0 {
            self.pending.remove(&idx);
            return Err(DropCause::BadAnnounce);
        }
        offered.metric = metric;
        offered.feasibility_bound = offered.feasibility_bound.min(metric);
        offered.hops = hops;
        offered.proof = proof;
        Ok(())
    }

    /// Puts a record into the message that leaves next.
    pub(super) fn send(&mut self, record: &Record) {
        self.send_with(|out| record.encode(out));
    }

    /// The same with a record that `write` appends.
    pub(super) fn send_with<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) {
        let mut bytes = Vec::with_capacity(64);
        // Only an announce with too many extensions does not encode, and none such is ever kept.
        if write(&mut bytes).is_err() {
            return;
        }
        self.sent_bytes = self.sent_bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        match self.out.back_mut().filter(|last| last.len().saturating_add(bytes.len()) <= PACKED_SIZE) {
            Some(last) => last.extend_from_slice(&bytes),
            None => self.out.push_back(bytes),
        }
    }

    /// How long what was said since `before` takes of one part in `share` of the link; no time where its rate is not known.
    pub(super) fn transmit_time(&self, before: u64, share: u64) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let bytes = self.sent_bytes.saturating_sub(before).saturating_mul(share);
        Duration::from_secs(bytes).checked_div(u32::try_from(rate).unwrap_or(u32::MAX)).unwrap_or_default()
    }

    // What lies in memory does not overflow when it is added up.
    #[cfg(any(test, feature = "sim"))]
    #[allow(clippy::arithmetic_side_effects)]
    pub(super) fn memory(&self) -> usize {
        let idx = self.idx.len().saturating_mul(size_of::<(u32, DestinationKey)>());
        let numbers = [&self.deferred, &self.requested, &self.awaited, &self.postponed]
            .map(BTreeSet::len)
            .iter()
            .sum::<usize>();
        let pending = self.pending.len().saturating_mul(size_of::<(u32, PendingOffer)>());
        let sets = numbers.saturating_mul(size_of::<u32>()).saturating_add(pending);
        let renewals = self.renewals.len().saturating_mul(size_of::<(u16, DestinationKey)>());
        let queue = self
            .queue
            .len()
            .saturating_mul(size_of::<(u16, DestinationKey, bool)>())
            .saturating_add(renewals);
        let fixed = (queue.saturating_mul(3) / 2).saturating_add(size_of::<Self>());
        (idx.saturating_add(sets).saturating_mul(3) / 2).saturating_add(fixed)
    }
}

/// Records are packed into messages up to this many bytes, which a single frame of any medium takes.
pub(super) const PACKED_SIZE: usize = 1000;

impl Router {
    /// How many bytes a second a link carries that will come up under this id: the first dump of the table takes half of it
    /// at most, and renewals a fiftieth. Where it is not told nothing is held back.
    pub(crate) fn neighbour_rate(&mut self, id: NeighbourId, rate: u64) {
        if !self.neighbours.contains_key(&id) {
            self.rates.insert(id, rate.max(1));
        }
    }

    /// Where the neighbour is that will come up under this id. One that is not placed has a host and a network to itself.
    pub(crate) fn neighbour_location(&mut self, id: NeighbourId, location: Location) {
        if !self.neighbours.contains_key(&id) {
            self.locations.insert(id, location);
        }
    }

    /// A link is up. `mtu` is the longest packet it takes, in bytes; `configured` whether the user asked for it. Calling it
    /// again for a link that is up changes what it says.
    pub(crate) fn neighbour_up(
        &mut self,
        now: Time,
        id: NeighbourId,
        address: Address,
        cost: u16,
        mtu: u16,
        configured: bool,
    ) {
        let cost = cost.clamp(MIN_COST, MAX_COST);
        match self.neighbours.get_mut(&id) {
            Some(neighbour) if neighbour.address == address => {
                neighbour.configured = configured;
                let longer = neighbour.mtu != mtu;
                neighbour.mtu = mtu;
                if longer {
                    self.reselect_all(now, id);
                }
                return self.neighbour_cost(now, id, cost);
            }
            Some(_) => self.neighbour_down(now, id),
            None => {}
        }
        let adverts =
            self.table.destinations().filter_map(|(key, dest)| Some((self.advert(now, dest)?.metric, key)));
        let queue = adverts.map(|(metric, key)| (metric, key, false)).collect();
        let mut neighbour = NeighbourEntry {
            address,
            cost,
            mtu,
            configured,
            suspect: false,
            away: false,
            probation: false,
            probation_until: now,
            idx: BTreeMap::new(),
            deferred: BTreeSet::new(),
            requested: BTreeSet::new(),
            pending: BTreeMap::new(),
            awaited: BTreeSet::new(),
            postponed: BTreeSet::new(),
            highest: 0,
            location: self.locations.remove(&id).unwrap_or_else(|| Location::of(&address)),
            reserve: Reserve::new(now),
            admitted: self.admitted,
            queue,
            queue_at: None,
            rate: self.rates.remove(&id),
            renewals: BTreeSet::new(),
            renew_at: Time::ZERO,
            sent_bytes: 0,
            out: VecDeque::new(),
        };
        let dest = self.table.find(&address).and_then(|key| self.table.get(key));
        if let Some(dest) = dest.filter(|dest| !dest.is_own()) {
            neighbour.send_with(|out| encode_your_highest(&dest.announce, out));
        }
        self.neighbours.insert(id, neighbour);
        self.begin_service(now, id);
    }

    /// A link is new, or back in service: unless it comes and goes, its neighbour is told what waits for it.
    fn begin_service(&mut self, now: Time, id: NeighbourId) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        match self.flap_history.probation(now, &neighbour.address) {
            Some(probation) => {
                neighbour.probation = true;
                neighbour.probation_until = now + probation;
                neighbour.queue_at = Some(now + PROBATION_DUMP_DELAY);
                self.timers.arm(now + PROBATION_DUMP_DELAY, Timer::Queue(id));
                self.timers.arm(now + probation, Timer::Probation(id));
            }
            None => {
                neighbour.queue_at = None;
                self.serve_queue(now, id);
            }
        }
    }

    /// The link's cost has changed. Changes below an eighth are not worth telling the mesh, and wait for more.
    pub(crate) fn neighbour_cost(&mut self, now: Time, id: NeighbourId, cost: u16) {
        let cost = cost.clamp(MIN_COST, MAX_COST);
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        if cost.abs_diff(neighbour.cost).saturating_mul(8) >= neighbour.cost {
            neighbour.cost = cost;
            self.reselect_all(now, id);
        }
    }

    /// The longest packet that the link takes has changed, in bytes.
    pub(crate) fn neighbour_mtu(&mut self, now: Time, id: NeighbourId, mtu: u16) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        if neighbour.mtu != mtu {
            neighbour.mtu = mtu;
            self.reselect_all(now, id);
        }
    }

    /// The link may be dead: other routes are used at once where there are any, and nothing is retracted yet.
    pub(crate) fn neighbour_suspect(&mut self, now: Time, id: NeighbourId, suspect: bool) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        if neighbour.suspect != suspect {
            neighbour.suspect = suspect;
            let address = neighbour.address;
            if suspect {
                self.drop_recent_penalties(now, &address);
            }
            self.reselect_all(now, id);
        }
    }

    /// The link is gone, and all that was said over it.
    pub(crate) fn neighbour_down(&mut self, now: Time, id: NeighbourId) {
        self.rates.remove(&id);
        self.locations.remove(&id);
        let Some(neighbour) = self.neighbours.remove(&id) else { return };
        if !neighbour.away {
            self.flap_history.down(now, neighbour.address);
            self.drop_recent_penalties(now, &neighbour.address);
        }
        let mut lost = Vec::new();
        for key in self.table.keys() {
            let Some(dest) = self.table.get_mut(key) else { continue };
            // Only who offers a route can be in use, or keep others from it: what it was told is no matter any more.
            if dest.adjacency(id).is_some_and(|adj| adj.offers()) || dest.is_searching(now, id) {
                lost.push(key);
            }
            dest.adjacencies.retain(|adj| adj.neighbour != id);
        }
        for key in lost {
            self.reselect(now, key);
        }
    }

    /// The link is out of service, or back in it with the same session. While it is away none of its routes is used, and its
    /// neighbour is told of nothing but what is lost. When it is back all that was said holds on both sides, and only what has
    /// changed meanwhile is told.
    pub(crate) fn neighbour_away(&mut self, now: Time, id: NeighbourId, away: bool) {
        let Some(neighbour) = self.neighbours.get_mut(&id).filter(|neighbour| neighbour.away != away) else {
            return;
        };
        neighbour.away = away;
        let address = neighbour.address;
        if away {
            self.flap_history.down(now, address);
            self.drop_recent_penalties(now, &address);
            return self.reselect_all(now, id);
        }
        let changed = self.changes_for(now, id);
        if let Some(neighbour) = self.neighbours.get_mut(&id) {
            neighbour.queue.extend(changed);
        }
        self.begin_service(now, id);
        self.reselect_all(now, id);
    }

    pub(super) fn end_probation(&mut self, now: Time, id: NeighbourId) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        if neighbour.probation && neighbour.probation_until <= now {
            neighbour.probation = false;
            self.reselect_all(now, id);
        }
    }

    /// Looks again at every destination that the neighbour offers.
    fn reselect_all(&mut self, now: Time, id: NeighbourId) {
        let offered =
            |dest: &super::destination::Destination| dest.adjacency(id).is_some_and(|adj| adj.offers());
        let keys: Vec<DestinationKey> =
            self.table.destinations().filter(|(_, dest)| offered(dest)).map(|(key, _)| key).collect();
        for key in keys {
            self.reselect(now, key);
        }
    }
}
