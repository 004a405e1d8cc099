//! The choice of the addresses that may become neighbours.

use std::collections::BTreeSet;

use crate::address::Address;

/// The addresses that may become neighbours. It decides about links alone: messages of other nodes arrive over any
/// neighbour, because they are sealed between their ends.
///
/// ```
/// use std::collections::BTreeSet;
/// use rouse_proto::address::Address;
/// use rouse_proto::peering::NeighbourFilter;
/// # use rouse_proto::identity::Identity;
/// # let [alice, bob] = [1, 2].map(|seed| Identity::from_seed(&[seed; 32]).address());
///
/// let all_but_bob = NeighbourFilter { deny: BTreeSet::from([bob]), ..NeighbourFilter::default() };
/// assert!(all_but_bob.admits(&alice) && !all_but_bob.admits(&bob));
/// let only_alice = NeighbourFilter { allow: Some(BTreeSet::from([alice])), ..NeighbourFilter::default() };
/// assert!(only_alice.admits(&alice) && !only_alice.admits(&bob));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NeighbourFilter {
    /// The only addresses that may become neighbours; `None` for all.
    pub allow: Option<BTreeSet<Address>>,
    /// Addresses that may not, even if they are allowed as well.
    pub deny: BTreeSet<Address>,
}

impl NeighbourFilter {
    /// Whether this address may become a neighbour.
    pub fn admits(&self, address: &Address) -> bool {
        !self.deny.contains(address) && self.allow.as_ref().is_none_or(|allow| allow.contains(address))
    }
}
