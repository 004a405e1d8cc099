//! The limits of metrics, hops and MTU that every genuine route keeps.

use crate::stats::DropCause;
use crate::wire::route::{INFINITY, LINKS, RouteAttributes};

/// The least cost of a link. It bounds the metric of a route from below by its hops, so that a forged metric of zero
/// is detected.
pub(super) const MIN_COST: u16 = 32;

/// The highest cost of a link. It is far below [`INFINITY`](crate::wire::route::INFINITY), so that long routes over
/// bad links stay finite.
pub(super) const MAX_COST: u16 = 1000;

/// The most links of a route.
pub(super) const MAX_HOPS: u8 = LINKS;

/// The longest packet that every link carries, in bytes. A route that claims less would keep others from sending over
/// it, so it is refused.
const MIN_MTU: u16 = 446;

/// Refuses attributes that no genuine route can have.
pub(super) fn check_attributes(route: &RouteAttributes) -> Result<(), DropCause> {
    if route.mtu < MIN_MTU { Err(DropCause::BadAnnounce) } else { check(route.metric, route.hops) }
}

/// Refuses a metric below the least cost of that many hops, because each link costs at least [`MIN_COST`].
pub(super) fn check(metric: u16, hops: u8) -> Result<(), DropCause> {
    let fair = metric < INFINITY && hops < MAX_HOPS && metric >= MIN_COST.saturating_mul(u16::from(hops));
    if fair { Ok(()) } else { Err(DropCause::BadAnnounce) }
}
