//! The types that the router and its caller exchange, and the units of its table.

use std::sync::Arc;
use std::time::Duration;

use super::accounts::Location;
use super::announce_cache::AnnounceCache;
use super::verify_job::VerifyJob;
use crate::address::Address;
use crate::rate_limit::Rate;
use crate::stats::DropCause;
use crate::time::Time;
use crate::types::RouteState;
use crate::wire::route::MAX_IDX;

/// The shell's number for a neighbour. Each link has another one and none is used again, so that a late message cannot
/// be taken for one of a new link.
pub type NeighbourId = u32;

/// The bounds and intervals of a router.
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// Bound of the destinations, without own addresses. At most [`RouterConfig::MAX_DESTINATIONS`].
    pub destinations: usize,
    /// New destinations per second that a neighbour may introduce. Neighbours that the user has not configured share
    /// one such quota, because their number is unbounded.
    pub new_per_second: u32,
    /// New destinations that it may introduce at once.
    pub new_burst: u32,
    /// Lifetime of own announces, in seconds.
    pub lifetime: u16,
    /// Interval at which own announces are renewed. It is a third of the lifetime, so that a lost renewal does no
    /// harm.
    pub refresh: Duration,
    /// Time for which a destination stays pinned after [`Router::want_route`](super::Router::want_route).
    pub pin: Duration,
    /// The cache of verified announces that routers of this process share, so that a simulation of many nodes verifies
    /// and keeps each only once.
    pub shared: Option<Arc<AnnounceCache>>,
}

impl RouterConfig {
    /// The largest bound. The numbers for destinations on a link are bounded, so the table is as well.
    pub const MAX_DESTINATIONS: usize = MAX_IDX as usize / 2;

    /// The rate of new destinations.
    pub(super) fn new_allowance(&self) -> Rate {
        Rate::each_second(self.new_per_second, self.new_burst)
    }
}

/// The defaults of the protocol: 32 768 destinations, 20 new ones a second after a burst of 2048, and a lifetime of 90
/// min renewed every 30 min.
impl Default for RouterConfig {
    fn default() -> Self {
        RouterConfig {
            destinations: 32_768,
            new_per_second: 20,
            new_burst: 2048,
            lifetime: 5400,
            refresh: Duration::from_secs(1800),
            pin: Duration::from_secs(600),
            shared: None,
        }
    }
}

/// A link that comes up.
#[derive(Clone, Copy, Debug)]
pub struct LinkProperties {
    /// The neighbour's address.
    pub address: Address,
    /// The cost of the link.
    pub cost: u16,
    /// The longest packet that the link takes, in bytes.
    pub mtu: u16,
    /// Whether the user requested the link.
    pub configured: bool,
    /// Bytes a second that the link carries. The first dump of the table takes at most half of it, and renewals a
    /// fiftieth, because user traffic needs the link too. Where it is unknown nothing is held back.
    pub rate: Option<u64>,
    /// The neighbour's place in the network. A neighbour without one has a host and a network of its own.
    pub location: Option<Location>,
}

impl LinkProperties {
    /// A link whose rate and location are unknown.
    pub fn new(address: Address, cost: u16, mtu: u16, configured: bool) -> Self {
        LinkProperties { address, cost, mtu, configured, rate: None, location: None }
    }
}

/// The route to a destination, as the data path uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FibEntry {
    /// The next hop.
    pub next: NeighbourId,
    /// The second best feasible route, to be used at once while the link to `next` is in doubt. It is published ahead,
    /// so that the data path need not wait for the router.
    pub alternate: Option<NeighbourId>,
    /// The cost of all links.
    pub metric: u16,
    /// Links to the destination.
    pub hops: u8,
    /// The longest packet that passes all of them, in bytes.
    pub mtu: u16,
}

/// An action or a notification for the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouterOutput {
    /// Send this control message of at most 4096 bytes.
    Send {
        /// The receiver.
        neighbour: NeighbourId,
        /// The encoded message.
        message: Vec<u8>,
    },
    /// Use this route to the destination from now on; `None` if it is unreachable.
    Fib(Address, Option<FibEntry>),
    /// The next hop has appeared, changed or disappeared. This is for the user and not for the data path.
    Changed {
        /// The destination.
        destination: Address,
        /// The next hop; `None` if it is unreachable.
        next_hop: Option<NeighbourId>,
        /// The metric; [`INFINITY`](crate::wire::route::INFINITY) if it is unreachable.
        metric: u16,
        /// Links to the destination; 0 if it is unreachable.
        hops: u8,
    },
    /// Another node announces this own address and keeps outbidding this node, which has stopped.
    IdentityConflict(Address),
    /// Store the epoch of an own address, because the next start has to pass a higher one to
    /// [`Router::add_origin`](super::Router::add_origin).
    EpochUsed {
        /// The own address.
        address: Address,
        /// Its present epoch.
        epoch: u32,
    },
    /// Run this job where it delays nothing, and return its results to
    /// [`Router::verified`](super::Router::verified). Several may run at a
    /// time, in any order.
    Verify(VerifyJob),
    /// Count refusals beyond the one that [`Router::handle`](super::Router::handle) returned.
    Dropped(DropCause, u64),
}

/// A route, for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteInfo {
    /// The destination.
    pub destination: Address,
    /// The neighbour that it leads over.
    pub neighbour: NeighbourId,
    /// The cost of all links; four times that while the route is avoided because packets on it were lost.
    pub metric: u16,
    /// Links to the destination.
    pub hops: u8,
    /// The sequence number of its announce.
    pub seq: u64,
    /// Time since the origin signed the announce.
    pub age: Duration,
    /// Its part in the selection.
    pub state: RouteState,
}

/// The index of a destination in the table. It is also the number that this node uses for it on the wire, so that no
/// map between the two is needed.
pub(super) type DestinationKey = u32;

/// Whole seconds, the unit of lifetimes. They fit in 32 bits, which halves the size of each expiry in the table.
pub(super) fn seconds(now: Time) -> u32 {
    u32::try_from(now.as_nanos() / 1_000_000_000).unwrap_or(u32::MAX)
}
