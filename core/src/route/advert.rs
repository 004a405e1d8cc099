//! Adverts.

use std::sync::Arc;

use super::announces::{AnnounceSlot, NO_ANNOUNCE};
use super::destination::Destination;
use super::select::MAX_HOPS;
use super::{NeighbourId, Router};
use crate::time::Time;
use crate::wire::route::{INFINITY, SignedAnnounce, epoch};

/// What we would tell of a destination now.
pub(super) struct Advert {
    pub(super) announce: Arc<SignedAnnounce>,
    pub(super) slot: AnnounceSlot,
    pub(super) metric: u16,
    pub(super) hops: u8,
    pub(super) mtu: u16,
    pub(super) expires: u32,
}

impl Advert {
    pub(super) fn seq(&self) -> u64 {
        self.announce.seq
    }
}

/// How what a neighbour was told differs from what is so; the later, the more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Difference {
    /// Not at all.
    None,
    /// There is a newer seq of the same epoch.
    Seq,
    /// The distance or the MTU, or the origin restarted.
    Distance,
    /// It knows of no route.
    Found,
    /// It thinks there is one.
    Lost,
}

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

/// Whether an UPDATE will do, which costs least. A distance that has not grown may be told for an older seq, because that
/// promises less; one that has grown may be of use only with the newer seq.
pub(super) fn suffices_update(advert: &Advert, dest: &Destination, id: NeighbourId, newest: bool) -> bool {
    let Some(adj) = dest.adjacency(id).filter(|adj| adj.advertised != NO_ANNOUNCE) else { return false };
    let (seq, advertised) = (advert.announce.seq, dest.seq_at(adj.advertised));
    let found = adj.advertised_metric == INFINITY;
    let newer = seq != advertised
        && (newest || found || advert.metric >= adj.advertised_metric || epoch(seq) != epoch(advertised));
    // An UPDATE says nothing of the MTU, and a retracted idx of another seq nothing at all.
    !newer && advert.mtu == adj.advertised_mtu && dest.has_chain(adj.advertised, advert.hops)
}

impl Router {
    /// What we tell others of a destination; `None` when we have no route.
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
