//! Links that come up, change, fail and go down.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::Router;
use super::accounts::{Location, Reserve};
use super::metric::{MAX_COST, MIN_COST};
use super::neighbour::NeighbourEntry;
use super::timers::Timer;
use super::types::{DestinationKey, LinkProperties, NeighbourId};
use crate::time::Time;
use crate::wire::route::encode_your_highest;

/// Delay after which a neighbour on probation is sent the table. A link that flaps often fails within it, so the dump
/// would be wasted.
pub(super) const PROBATION_DUMP_DELAY: Duration = Duration::from_secs(1);

impl Router {
    /// A link is up. A second call for a link that is up changes its cost, its MTU and whether it is configured.
    pub fn neighbour_up(&mut self, now: Time, id: NeighbourId, link: LinkProperties) {
        let LinkProperties { address, cost, mtu, configured, rate, location } = link;
        let cost = cost.clamp(MIN_COST, MAX_COST);
        match self.neighbours.get_mut(&id) {
            Some(neighbour) if neighbour.address == address => {
                neighbour.configured = configured;
                let longer = neighbour.mtu != mtu;
                neighbour.mtu = mtu;
                if longer {
                    self.mark_all_changed(id);
                }
                return self.neighbour_cost(id, cost);
            }
            Some(_) => {
                self.neighbour_down(now, id);
                // The table that the new link is sent must not have routes over the old one.
                self.settle(now);
            }
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
            location: location.unwrap_or_else(|| Location::of(&address)),
            reserve: Reserve::new(now),
            admitted: self.admitted,
            queue,
            queue_at: None,
            rate: rate.map(|rate| rate.max(1)),
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
    pub fn neighbour_cost(&mut self, id: NeighbourId, cost: u16) {
        let cost = cost.clamp(MIN_COST, MAX_COST);
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        if cost.abs_diff(neighbour.cost).saturating_mul(8) >= neighbour.cost {
            neighbour.cost = cost;
            self.mark_all_changed(id);
        }
    }

    /// The longest packet that the link takes has changed, in bytes.
    pub fn neighbour_mtu(&mut self, id: NeighbourId, mtu: u16) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        if neighbour.mtu != mtu {
            neighbour.mtu = mtu;
            self.mark_all_changed(id);
        }
    }

    /// The link may be dead. Other routes are used at once where there are any, but nothing is retracted yet, because
    /// most suspicions turn out false.
    pub fn neighbour_suspect(&mut self, now: Time, id: NeighbourId, suspect: bool) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        if neighbour.suspect != suspect {
            neighbour.suspect = suspect;
            let address = neighbour.address;
            if suspect {
                self.drop_recent_penalties(now, &address);
            }
            self.mark_all_changed(id);
        }
    }

    /// The link is down, and the state of its session is gone on both sides.
    pub fn neighbour_down(&mut self, now: Time, id: NeighbourId) {
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
        lost.into_iter().for_each(|key| self.mark_changed(key));
    }

    /// The link is out of service, or back in service with the same session. While it is away, none of its routes is
    /// used and the neighbour is sent retractions only. Both sides keep the routes of the session, so that only
    /// changes need to be sent when it is back.
    pub fn neighbour_away(&mut self, now: Time, id: NeighbourId, away: bool) {
        let Some(neighbour) = self.neighbours.get_mut(&id).filter(|neighbour| neighbour.away != away) else {
            return;
        };
        neighbour.away = away;
        let address = neighbour.address;
        if away {
            self.flap_history.down(now, address);
            self.drop_recent_penalties(now, &address);
            return self.mark_all_changed(id);
        }
        let changed = self.changes_for(now, id);
        if let Some(neighbour) = self.neighbours.get_mut(&id) {
            neighbour.queue.extend(changed);
        }
        self.begin_service(now, id);
        self.mark_all_changed(id);
    }

    /// Ends the probation of a link that has stayed up.
    pub(super) fn end_probation(&mut self, now: Time, id: NeighbourId) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        if neighbour.probation && neighbour.probation_until <= now {
            neighbour.probation = false;
            self.mark_all_changed(id);
        }
    }

    /// Marks every destination that the neighbour offers.
    fn mark_all_changed(&mut self, id: NeighbourId) {
        let offered =
            |dest: &super::destination::Destination| dest.adjacency(id).is_some_and(|adj| adj.offers());
        let keys: Vec<DestinationKey> =
            self.table.destinations().filter(|(_, dest)| offered(dest)).map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.mark_changed(key));
    }
}
