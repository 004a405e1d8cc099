//! The route to advertise now, and its difference from the route that a neighbour was last sent.

use std::sync::Arc;

use super::Router;
use super::destination::Destination;
use super::kept_announce::{AnnounceSlot, NO_ANNOUNCE};
use super::metric::MAX_HOPS;
use super::types::{DestinationKey, NeighbourId, seconds};
use crate::time::Time;
use crate::wire::route::{Chain, INFINITY, RouteAttributes, SignedAnnounce, epoch};

/// The route that this node advertises for a destination at the moment.
pub(super) struct Advert {
    /// The announce of the origin on which the route rests.
    pub(super) announce: Arc<SignedAnnounce>,
    /// The slot of that announce at its destination.
    pub(super) slot: AnnounceSlot,
    /// Cost to the destination from here.
    pub(super) metric: u16,
    /// Links between here and the destination.
    pub(super) hops: u8,
    /// The longest packet that passes all of them, in bytes.
    pub(super) mtu: u16,
    /// Expiry of the announce, in seconds.
    pub(super) expires: u32,
}

impl Advert {
    pub(super) fn seq(&self) -> u64 {
        self.announce.seq
    }

    /// The attributes under this node's number `idx`, with the chain value that proves the hops.
    pub(super) fn attributes(&self, now: Time, idx: DestinationKey, chain: Chain) -> RouteAttributes {
        let left = self.expires.saturating_sub(seconds(now));
        let remaining = u16::try_from(left).unwrap_or(u16::MAX);
        RouteAttributes { idx, metric: self.metric, hops: self.hops, mtu: self.mtu, remaining, chain }
    }
}

/// The difference between the present route and the one that a neighbour was last sent, in ascending urgency. Urgency
/// decides the delay: a loss must be sent at once because packets are dropped or loop until then, whereas a renewed
/// announce changes no packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Difference {
    /// The neighbour has the present route.
    None,
    /// The announce has a newer seq of the same epoch.
    Seq,
    /// Distance or MTU have changed, or the origin has restarted.
    Distance,
    /// The neighbour has no route through us, and there is one.
    Found,
    /// The neighbour has a route through us that does not exist any more.
    Lost,
}

/// Compares the present route with the one that this neighbour was last sent.
pub(super) fn difference(advert: Option<&Advert>, dest: &Destination, id: NeighbourId) -> Difference {
    let advertised = dest.adjacency(id).filter(|adj| adj.advertised_metric < INFINITY);
    match (advert, advertised) {
        (None, None) => Difference::None,
        (None, Some(_)) => Difference::Lost,
        (Some(_), None) => Difference::Found,
        (Some(advert), Some(advertised)) => {
            let (is, was) = (
                (advert.metric, advert.hops, advert.mtu),
                (advertised.advertised_metric, advertised.advertised_hops, advertised.advertised_mtu),
            );
            if is != was || epoch(advert.announce.seq) != epoch(dest.seq_at(advertised.advertised)) {
                Difference::Distance
            } else if advert.slot != advertised.advertised {
                Difference::Seq
            } else {
                Difference::None
            }
        }
    }
}

/// Whether an UPDATE is enough, which is the shortest record. A distance that has not grown may refer to an older seq,
/// because it promises less than the newer one; one that has grown may be feasible for the neighbour only with the
/// newer seq.
pub(super) fn suffices_update(advert: &Advert, dest: &Destination, id: NeighbourId, newest: bool) -> bool {
    let Some(adj) = dest.adjacency(id).filter(|adj| adj.advertised != NO_ANNOUNCE) else { return false };
    let (seq, advertised) = (advert.announce.seq, dest.seq_at(adj.advertised));
    let found = adj.advertised_metric == INFINITY;
    let newer = seq != advertised
        && (newest || found || advert.metric >= adj.advertised_metric || epoch(seq) != epoch(advertised));
    // An UPDATE carries no MTU, and it cannot revive a retracted idx with another seq.
    !newer && advert.mtu == adj.advertised_mtu && dest.has_chain(adj.advertised, advert.hops)
}

impl Router {
    /// The route to advertise for a destination; `None` without a selected route. Penalties of the local score do not
    /// count in its metric, because feasibility distances must be sums of link costs.
    pub(super) fn advert(&self, now: Time, dest: &Destination) -> Option<Advert> {
        if dest.is_own() {
            let (announce, slot, expires) = (dest.announce.clone(), dest.slot, dest.until);
            return Some(Advert { announce, slot, metric: 0, hops: 0, mtu: u16::MAX, expires });
        }
        let adj = dest.adjacency(dest.selected()?)?;
        let neighbour = self.neighbours.get(&adj.neighbour)?;
        let route = super::select::candidate(dest, adj, neighbour, now)?;
        (route.hops < MAX_HOPS).then_some(())?;
        let announce = dest.announce_at(adj.announce)?.clone();
        Some(Advert {
            announce,
            slot: adj.announce,
            metric: route.total,
            hops: route.hops,
            mtu: adj.mtu.min(neighbour.mtu),
            expires: adj.expires,
        })
    }
}
