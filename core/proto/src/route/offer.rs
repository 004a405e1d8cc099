//! Offered routes, before their announces are verified.

use super::types::seconds;
use crate::time::Time;
use crate::wire::route::{Chain, RouteAttributes};

/// The route that a neighbour offers together with an announce.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfferedRoute {
    /// The neighbour's number for the destination.
    pub(super) idx: u32,
    /// The metric without the link to the neighbour.
    pub(super) metric: u16,
    /// The least metric that it has advertised for this announce, which bounds its feasibility distance.
    pub(super) feasibility_bound: u16,
    /// Links between the neighbour and the destination.
    pub(super) hops: u8,
    /// The longest packet that passes them, in bytes.
    pub(super) mtu: u16,
    /// Expiry in seconds.
    pub(super) expires: u32,
    /// The fewest hops that it has claimed, and their chain value. A later update with more hops does not replace
    /// them, because the proof of fewer covers it.
    pub(super) proof: (u8, Chain),
}

impl OfferedRoute {
    pub(super) fn new(now: Time, attributes: RouteAttributes) -> Self {
        let RouteAttributes { idx, metric, hops, mtu, remaining, chain } = attributes;
        let expires = seconds(now).saturating_add(u32::from(remaining));
        OfferedRoute { idx, metric, feasibility_bound: metric, hops, mtu, expires, proof: (hops, chain) }
    }
}

/// An offer whose announce is being verified.
pub(super) struct PendingOffer {
    /// The verification that it waits for.
    pub(super) ticket: u64,
    pub(super) offered: OfferedRoute,
    /// Whether the neighbour sent the announce itself, so that it is charged for a forgery.
    pub(super) announced: bool,
}
