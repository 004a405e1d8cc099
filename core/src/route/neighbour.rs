//! Neighbours: links that come up, change, fail and go down.

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

/// The least cost of a link. It bounds the metric of a route from below by its hops, so that a forged metric of zero
/// is detected.
pub(super) const MIN_COST: u16 = 32;
/// The highest cost of a link. It is far below [`INFINITY`](crate::wire::route::INFINITY), so that long routes over
/// bad links stay finite.
const MAX_COST: u16 = 1000;
/// Delay after which a neighbour on probation is sent the table. A link that flaps often fails within it, so the dump
/// would be wasted.
pub(super) const PROBATION_DUMP_DELAY: Duration = Duration::from_secs(1);

/// A neighbour with a link that is up or away.
pub(super) struct NeighbourEntry {
    /// The neighbour's address.
    pub(super) address: Address,
    /// The cost of the link to it.
    pub(super) cost: u16,
    /// The longest packet that the link takes, in bytes.
    pub(super) mtu: u16,
    /// Whether the user has configured it. Others are strangers.
    pub(super) configured: bool,
    /// Its place in the network, which decides whose accounts it shares if it is a stranger.
    pub(super) location: Location,
    /// The part of its allowance that it shares with no other stranger.
    pub(super) reserve: Reserve,
    /// The last turn in which it was admitted from the strangers that wait for their common quota.
    pub(super) admitted: u64,
    /// Whether the link may be dead, because packets on it go unacknowledged.
    suspect: bool,
    /// Whether the link is out of service while its session is kept. Routes advertised over it are still valid when it
    /// is back.
    pub(super) away: bool,
    /// Whether the link flapped, so that its routes are the last resort for a while.
    probation: bool,
    probation_until: Time,
    /// The destinations that the neighbour's numbers stand for.
    idx: BTreeMap<u32, DestinationKey>,
    /// Numbers of destinations that a quota held back.
    pub(super) deferred: BTreeSet<u32>,
    /// Numbers of destinations that are charged already and whose announce is on its way, so that the announce is not
    /// charged again.
    pub(super) requested: BTreeSet<u32>,
    /// Offers whose announces are being verified, by the neighbour's numbers.
    pub(super) pending: BTreeMap<u32, PendingOffer>,
    /// Numbers of known destinations for which it has named an announce that is missing here. Its updates refer to the
    /// missing announce, so they must not be applied to the one that is in the table.
    pub(super) awaited: BTreeSet<u32>,
    /// Numbers of announces that arrived faster than they can be verified, and are requested again later.
    pub(super) postponed: BTreeSet<u32>,
    /// Announces for their origins that are being verified.
    pub(super) highest: usize,
    /// Destinations that it is still to be sent, the shortest route first, and whether it requested their announces.
    pub(super) queue: BTreeSet<(u16, DestinationKey, bool)>,
    /// The earliest time of the next chunk of the queue.
    pub(super) queue_at: Option<Time>,
    /// Bytes a second that the link carries, where that is known.
    pub(super) rate: Option<u64>,
    /// Destinations whose renewed announce it is still to be sent, the shortest route first.
    pub(super) renewals: BTreeSet<(u16, DestinationKey)>,
    /// The earliest time of the next renewal.
    pub(super) renew_at: Time,
    /// Bytes of all records for it so far.
    pub(super) sent_bytes: u64,
    /// Messages to be sent; the last one still takes records, because packing many records into one frame saves most
    /// of its overhead.
    pub(super) out: VecDeque<Vec<u8>>,
}

impl NeighbourEntry {
    /// Whether its routes are used only if there are no others, because the link is in doubt or has flapped.
    pub(super) fn is_last_resort(&self) -> bool {
        self.suspect || self.probation
    }

    /// The destination that this number stands for.
    pub(super) fn key(&self, idx: u32) -> Option<DestinationKey> {
        self.idx.get(&idx).copied()
    }

    /// Makes a number stand for a destination; returns the destination that it stood for before.
    pub(super) fn bind(&mut self, idx: u32, key: DestinationKey) -> Option<DestinationKey> {
        self.idx.insert(idx, key).filter(|before| *before != key)
    }

    /// The numbers that stand for a destination. There may be several, because a neighbour may number an address again
    /// after it evicted it.
    pub(super) fn indices_of(&self, key: DestinationKey) -> impl Iterator<Item = u32> {
        self.idx.iter().filter(move |(_, named)| **named == key).map(|(idx, _)| *idx)
    }

    /// Removes a number, unless it stands for another destination by now.
    pub(super) fn unbind(&mut self, idx: u32, key: DestinationKey) {
        if self.key(idx) == Some(key) {
            self.idx.remove(&idx);
        }
    }

    /// Whether the announce under this number is requested already or will be, so that it is not requested twice.
    pub(super) fn is_noted(&self, idx: u32) -> bool {
        self.requested.contains(&idx) || self.deferred.contains(&idx) || self.postponed.contains(&idx)
    }

    /// Notes that updates of this number refer to an announce that is missing here.
    pub(super) fn note_awaited(&mut self, idx: u32) {
        if self.awaited.len() < MAX_NOTED {
            self.awaited.insert(idx);
        }
    }

    /// Applies an UPDATE to an offer whose announce is still being verified, so that the order of the neighbour's
    /// records is kept.
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

    /// Appends a record to the message that leaves next.
    pub(super) fn send(&mut self, record: &Record) {
        self.send_with(|out| record.encode(out));
    }

    /// Appends the record that `write` encodes.
    pub(super) fn send_with<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) {
        let mut bytes = Vec::with_capacity(64);
        // Only an announce with too many extensions does not encode, and the decoder refuses such an announce, so none
        // is kept.
        if write(&mut bytes).is_err() {
            return;
        }
        self.sent_bytes = self.sent_bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        match self.out.back_mut().filter(|last| last.len().saturating_add(bytes.len()) <= PACKED_SIZE) {
            Some(last) => last.extend_from_slice(&bytes),
            None => self.out.push_back(bytes),
        }
    }

    /// The time that the bytes since `before` take on one part in `share` of the link; zero if its rate is unknown.
    pub(super) fn transmit_time(&self, before: u64, share: u64) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let bytes = self.sent_bytes.saturating_sub(before).saturating_mul(share);
        Duration::from_secs(bytes).checked_div(u32::try_from(rate).unwrap_or(u32::MAX)).unwrap_or_default()
    }

    // Sums do not overflow, because all of it is in memory at the same time.
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

/// Size up to which records are packed into a message, in bytes. A frame of any medium carries that much, so a message
/// is not fragmented.
pub(super) const PACKED_SIZE: usize = 1000;

impl Router {
    /// Sets the rate, in bytes a second, of a link that will come up under this id. The first dump of the table takes
    /// at most half of it, and renewals a fiftieth, because user traffic needs the link too. Without a rate nothing is
    /// held back.
    pub(crate) fn neighbour_rate(&mut self, id: NeighbourId, rate: u64) {
        if !self.neighbours.contains_key(&id) {
            self.rates.insert(id, rate.max(1));
        }
    }

    /// Sets the location of a neighbour that will come up under this id. Without one, the neighbour has a host and a
    /// network of its own.
    pub(crate) fn neighbour_location(&mut self, id: NeighbourId, location: Location) {
        if !self.neighbours.contains_key(&id) {
            self.locations.insert(id, location);
        }
    }

    /// A link is up. `mtu` is the longest packet that it takes, in bytes; `configured` is whether the user requested
    /// the link. A second call for a link that is up changes these values.
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

    /// Begins to send a neighbour what is queued for it, unless its link flaps: then its routes are a last resort
    /// first.
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

    /// The cost of the link has changed. A change below an eighth is ignored, because it would otherwise be sent
    /// through the whole mesh; small changes add up until they exceed it.
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

    /// The link may be dead. Other routes are used at once where there are any, but nothing is retracted yet, because
    /// most suspicions turn out false.
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

    /// The link is down, and the state of its session is gone on both sides.
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
            // Only a neighbour that offers a route can be in use or keep others from being used, so the remaining
            // destinations need no new selection.
            if dest.adjacency(id).is_some_and(|adj| adj.offers()) || dest.is_searching(now, id) {
                lost.push(key);
            }
            dest.adjacencies.retain(|adj| adj.neighbour != id);
        }
        for key in lost {
            self.reselect(now, key);
        }
    }

    /// The link is out of service, or back in service with the same session. While it is away, none of its routes is
    /// used and the neighbour is sent retractions only. Both sides keep the routes of the session, so that only
    /// changes need to be sent when it is back.
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

    /// Ends the probation of a link that has stayed up.
    pub(super) fn end_probation(&mut self, now: Time, id: NeighbourId) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        if neighbour.probation && neighbour.probation_until <= now {
            neighbour.probation = false;
            self.reselect_all(now, id);
        }
    }

    /// Selects a next hop again for every destination that the neighbour offers.
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
