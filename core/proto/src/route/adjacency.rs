//! The state of one destination at one neighbour: the route that it advertised to us, and the one that we advertised
//! to it.

use super::kept_announce::{AnnounceSlot, NO_ANNOUNCE};
use super::types::NeighbourId;
use crate::wire::route::INFINITY;

/// The two routes that a pair of neighbours has advertised to each other for one destination.
///
/// Both directions are in one entry because nearly every neighbour that advertises a destination is also advertised
/// to, and a table has one entry for each destination and neighbour. For the same reason fields are narrow and unset
/// values are special numbers, which saves the padding of `Option`.
pub(super) struct Adjacency {
    /// The neighbour that this entry belongs to.
    pub(super) neighbour: NeighbourId,
    /// The neighbour's number for the destination.
    pub(super) idx: u32,
    /// Expiry of the route that it advertised, in seconds.
    pub(super) expires: u32,
    /// The metric that it advertised, without the link to it; [`INFINITY`] when it has retracted the route.
    pub(super) metric: u16,
    /// An upper bound of the neighbour's feasibility distance: the least metric that it has advertised for this seq
    /// since it last retracted. Feasibility is decided by this and not by the present metric, because a neighbour
    /// keeps its feasibility distance when its metric rises.
    pub(super) feasibility_bound: u16,
    /// The longest packet of the route that it advertised, in bytes.
    pub(super) mtu: u16,
    /// The metric that we last advertised to it; [`INFINITY`] when it knows of no route through us.
    pub(super) advertised_metric: u16,
    /// The MTU that we last advertised to it, in bytes.
    pub(super) advertised_mtu: u16,
    /// The announce that it last advertised; [`NO_ANNOUNCE`] if there was none, or its route has expired.
    pub(super) announce: AnnounceSlot,
    /// The announce that we last advertised to it.
    pub(super) advertised: AnnounceSlot,
    /// The hops that it advertised, without the link to it.
    pub(super) hops: u8,
    /// The fewest hops that it has proved for its announce. Only fewer need another proof, because those of more hops
    /// follow from it.
    pub(super) proved: u8,
    /// The hops that we last advertised to it.
    pub(super) advertised_hops: u8,
    /// The fewest hops that we have proved to it since we last sent it an announce.
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

    /// Whether the neighbour refers to an announce of the destination. The route may be retracted all the same.
    pub(super) fn offers(&self) -> bool {
        self.announce != NO_ANNOUNCE
    }

    /// Stores a metric for the announce that the neighbour last named. A retraction resets the bound, because the
    /// neighbour may drop its feasibility distance with it.
    pub(super) fn set_metric(&mut self, metric: u16) {
        self.metric = metric;
        self.feasibility_bound =
            if metric == INFINITY { INFINITY } else { self.feasibility_bound.min(metric) };
    }

    /// Stores a proved distance, or a retraction.
    pub(super) fn set_distance(&mut self, metric: u16, hops: u8) {
        self.set_metric(metric);
        if metric != INFINITY {
            self.hops = hops;
            self.proved = self.proved.min(hops);
        }
    }

    /// Stores a distance whose proof is not verified yet. It may make the route longer and never shorter, because an
    /// unproved claim must not attract traffic, and a retracted route stays retracted. The bound stays as well: the
    /// neighbour keeps its feasibility distance as long as it retracts nothing, so a route that was safe stays safe.
    pub(super) fn raise_metric(&mut self, metric: u16) {
        self.set_metric(self.metric.max(metric));
    }

    /// Stores the announce that the neighbour refers to from now on, with the hops that it has proved for it. Another
    /// announce resets the bound, because a feasibility distance holds for one seq only.
    pub(super) fn set_announce(&mut self, announce: AnnounceSlot, proved: u8) {
        if self.announce != announce {
            self.feasibility_bound = INFINITY;
            self.proved = proved;
        }
        self.announce = announce;
        self.proved = self.proved.min(proved);
    }

    /// Removes the route that the neighbour advertised. The other direction stays, because the neighbour still has our
    /// route.
    pub(super) fn clear(&mut self) {
        self.announce = NO_ANNOUNCE;
        self.set_metric(INFINITY);
    }
}
