//! An announce as a destination keeps it.

use std::sync::Arc;

use crate::wire::route::{Chain, SignedAnnounce};

/// The number of an announce within its destination; [`NO_ANNOUNCE`] stands for none.
pub(super) type AnnounceSlot = u8;

pub(super) const NO_ANNOUNCE: AnnounceSlot = 0;

/// The hops of an announce for which no chain value has been proved.
pub(super) const UNPROVEN: u8 = u8::MAX;

/// An older announce, with the chain value of the fewest hops that were proved for it.
///
/// Only that value is kept, because the values of more hops follow from it by hashing.
pub(super) struct KeptAnnounce {
    /// The announce, shared with adverts that carry it.
    pub(super) announce: Arc<SignedAnnounce>,
    /// Its slot.
    pub(super) slot: AnnounceSlot,
    /// The fewest hops that were proved; [`UNPROVEN`] if none were.
    pub(super) hops: u8,
    /// The chain value of that many hops.
    pub(super) chain: Chain,
}
