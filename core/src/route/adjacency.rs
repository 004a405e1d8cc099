//! Adjacency.

use super::NeighbourId;
use super::announces::{AnnounceSlot, NO_ANNOUNCE};
use crate::wire::route::INFINITY;

/// What a neighbour says of a destination, and what it was told.
pub(super) struct Adjacency {
    pub(super) neighbour: NeighbourId,
    /// Its own name for the destination.
    pub(super) idx: u32,
    /// When what it says expires, in seconds.
    pub(super) expires: u32,
    pub(super) metric: u16,
    /// The least metric that it has told for this seq since it last retracted: its own feasibility distance is not
    /// above that, so this, not the metric of the moment, says whether it can be behind us.
    pub(super) feasibility_bound: u16,
    pub(super) mtu: u16,
    pub(super) advertised_metric: u16,
    pub(super) advertised_mtu: u16,
    /// The announce it passed on last; none when it has never said anything, or what it said expired.
    pub(super) announce: AnnounceSlot,
    /// The announce that it was last told of.
    pub(super) advertised: AnnounceSlot,
    pub(super) hops: u8,
    /// The fewest hops that it has proved for this core.
    pub(super) proved: u8,
    pub(super) advertised_hops: u8,
    /// The fewest hops that it was told of since it was last sent an announce: they were proved to it.
    pub(super) advertised_proved: u8,
}

impl Adjacency {
    pub(super) fn new(neighbour: NeighbourId) -> Self {
        Adjacency {
            neighbour,
            idx: 0,
            expires: 0,
            metric: INFINITY,
            feasibility_bound: INFINITY,
            mtu: 0,
            advertised_metric: INFINITY,
            advertised_mtu: 0,
            announce: NO_ANNOUNCE,
            advertised: NO_ANNOUNCE,
            hops: 0,
            proved: 0,
            advertised_hops: 0,
            advertised_proved: 0,
        }
    }

    pub(super) fn offers(&self) -> bool {
        self.announce != NO_ANNOUNCE
    }

    /// It says how far it is, for the announce that it named last.
    pub(super) fn set_metric(&mut self, metric: u16) {
        self.metric = metric;
        self.feasibility_bound =
            if metric == INFINITY { INFINITY } else { self.feasibility_bound.min(metric) };
    }

    /// It tells a distance that is proved, or retracts.
    pub(super) fn set_distance(&mut self, metric: u16, hops: u8) {
        self.set_metric(metric);
        if metric != INFINITY {
            self.hops = hops;
            self.proved = self.proved.min(hops);
        }
    }

    /// It tells a distance whose proof is not looked at yet. A route does not come nearer by that, only farther; one that was
    /// retracted stays so. *nearest* stays as well: the neighbour keeps its feasibility distance as long as it retracts nothing,
    /// so a route that was safe is safe.
    pub(super) fn raise_metric(&mut self, metric: u16) {
        self.set_metric(self.metric.max(metric));
    }

    /// From now on it speaks of this announce, for which it proved to be `hops` away.
    pub(super) fn set_announce(&mut self, announce: AnnounceSlot, proved: u8) {
        if self.announce != announce {
            self.feasibility_bound = INFINITY;
            self.proved = proved;
        }
        self.announce = announce;
        self.proved = self.proved.min(proved);
    }

    /// What it said does not hold any more.
    pub(super) fn clear(&mut self) {
        self.announce = NO_ANNOUNCE;
        self.set_metric(INFINITY);
    }
}
