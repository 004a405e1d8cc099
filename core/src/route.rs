//! Routing: the destinations that can be reached, their next hops and their distances (pure).
//!
//! The protocol is a distance vector with the feasibility condition of RFC 8966 and sequence numbers signed by the
//! origins, so that next hops never form a loop, even while messages are lost or late. [`Router`] is a state machine
//! without clock and I/O. The shell keeps this contract with it:
//!
//! 1. It reports neighbours that come up, change and go down, hands over each control message in the order of sending,
//!    and calls [`Router::handle_timeout`] at [`Router::next_deadline`].
//! 2. After each call it takes everything from [`Router::poll_output`], in order: changes of the FIB come before the
//!    messages that advertise them, because a neighbour may send packets as soon as it has the message.
//! 3. The channel to a neighbour loses nothing, because an UPDATE carries only a difference. A link that went down
//!    comes up under another id; one that is only [away](Router::neighbour_away) continues where it stopped.
//!
//! Signatures are verified elsewhere, because that takes long: the router emits jobs ([`RouterOutput::Verify`]) and
//! takes their results ([`Router::verified`]).
//!
//! Records pass through the files in one direction: `receive` reads them, `verify` has new signatures verified,
//! `install` writes routes into the `table`, `select` chooses next hops, `advertise` decides when neighbours are sent
//! the change, and `seqno_request` requests newer sequence numbers where no route is feasible. `origin` keeps the
//! node's own addresses; `quota` and `accounts` bound the work that neighbours cause; `score` avoids next hops that
//! lose packets.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod accounts;
mod adjacency;
mod advert;
mod advertise;
mod announces;
mod destination;
mod flap_history;
mod install;
mod neighbour;
mod origin;
mod quota;
mod receive;
mod score;
mod select;
mod seqno_request;
#[cfg(test)]
mod specification;
mod table;
mod timers;
mod token_bucket;
mod verify;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::address::Address;
use crate::stats::DropCause;
use crate::time::Time;
use crate::types::RouteState;
use crate::wire::route::{INFINITY, MAX_IDX};
use accounts::Accounts;
pub(crate) use accounts::Location;
use destination::Destination;
use flap_history::FlapHistory;
use neighbour::NeighbourEntry;
use score::DeliveryScore;
pub(crate) use table::AnnounceCache;
use table::{DestinationKey, DestinationTable};
use timers::Timers;
use token_bucket::{Allowance, Bucket};
use verify::Verifications;
pub(crate) use verify::{VerifyJob, VerifyResults};

/// The shell's number for a neighbour. Each link has another one and none is used again, so that a late message cannot
/// be taken for one of a new link.
pub(crate) type NeighbourId = u32;

/// The bounds and intervals of a router.
#[derive(Clone, Debug)]
pub(crate) struct RouterConfig {
    /// Bound of the destinations, without own addresses. At most [`RouterConfig::MAX_DESTINATIONS`].
    pub(crate) destinations: usize,
    /// New destinations per second that a neighbour may introduce. Neighbours that the user has not configured share
    /// one such quota, because their number is unbounded.
    pub(crate) new_per_second: u32,
    /// New destinations that it may introduce at once.
    pub(crate) new_burst: u32,
    /// Lifetime of own announces, in seconds.
    pub(crate) lifetime: u16,
    /// Interval at which own announces are renewed. It is a third of the lifetime, so that a lost renewal does no
    /// harm.
    pub(crate) refresh: Duration,
    /// Time for which a destination stays pinned after [`Router::want_route`].
    pub(crate) pin: Duration,
    /// The cache of verified announces that routers of this process share, so that a simulation of many nodes verifies
    /// and keeps each only once.
    pub(crate) shared: Option<Arc<AnnounceCache>>,
}

impl RouterConfig {
    /// The largest bound. The numbers for destinations on a link are bounded, so the table is as well.
    pub(crate) const MAX_DESTINATIONS: usize = MAX_IDX as usize / 2;

    /// The rate of new destinations.
    fn new_allowance(&self) -> Allowance {
        Allowance { rate: self.new_per_second, burst: self.new_burst }
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

/// The route to a destination, as the data path uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FibEntry {
    /// The next hop.
    pub(crate) next: NeighbourId,
    /// The second best feasible route, to be used at once while the link to `next` is in doubt. It is published ahead,
    /// so that the data path need not wait for the router.
    pub(crate) alternate: Option<NeighbourId>,
    /// The cost of all links.
    pub(crate) metric: u16,
    /// Links to the destination.
    pub(crate) hops: u8,
    /// The longest packet that passes all of them, in bytes.
    pub(crate) mtu: u16,
}

/// An action or a notification for the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RouterOutput {
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
        /// The metric; [`INFINITY`] if it is unreachable.
        metric: u16,
        /// Links to the destination; 0 if it is unreachable.
        hops: u8,
    },
    /// Another node announces this own address and keeps outbidding this node, which has stopped.
    IdentityConflict(Address),
    /// Store the epoch of an own address, because the next start has to pass a higher one to [`Router::add_origin`].
    EpochUsed {
        /// The own address.
        address: Address,
        /// Its present epoch.
        epoch: u32,
    },
    /// Run this job where it delays nothing, and return its results to [`Router::verified`]. Several may run at a
    /// time, in any order.
    Verify(VerifyJob),
    /// Count refusals beyond the one that [`Router::handle`] returned.
    Dropped(DropCause, u64),
}

/// A route, for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteInfo {
    /// The destination.
    pub(crate) destination: Address,
    /// The neighbour that it leads over.
    pub(crate) neighbour: NeighbourId,
    /// The cost of all links; four times that while the route is avoided because packets on it were lost.
    pub(crate) metric: u16,
    /// Links to the destination.
    pub(crate) hops: u8,
    /// The sequence number of its announce.
    pub(crate) seq: u64,
    /// Time since the origin signed the announce.
    pub(crate) age: Duration,
    /// Its part in the selection.
    pub(crate) state: RouteState,
}

/// The routing table of one node, and the state that maintains it.
pub(crate) struct Router {
    /// Bounds and intervals.
    config: RouterConfig,
    /// The source of jitter and request ids.
    random: ChaCha8Rng,
    /// All destinations.
    table: DestinationTable,
    /// The neighbours whose links are up or away.
    neighbours: BTreeMap<NeighbourId, NeighbourEntry>,
    /// The armed timers.
    timers: Timers,
    /// Destinations with changes that are advertised with the next batch.
    batch: BTreeSet<DestinationKey>,
    /// The time of that batch.
    batch_at: Option<Time>,
    /// Addresses that applications send to, and the second until which each is pinned.
    wanted: BTreeMap<Address, u32>,
    /// The quota of new destinations that all unconfigured neighbours share.
    shared_quota: Bucket,
    /// The number of turns so far in which a waiting neighbour was admitted by it.
    admitted: u64,
    /// The work that neighbours have caused.
    accounts: Accounts,
    /// The chain value that was computed last.
    chain_cache: announces::ChainCache,
    /// The limit of switches and requests with a small gain.
    low_gain: Bucket,
    /// Recent link failures.
    flap_history: FlapHistory,
    /// Announces that are being verified.
    checks: Verifications,
    /// Delivery scores by destination and neighbour. They are kept by address, because they outlive links.
    scores: BTreeMap<(Address, Address), DeliveryScore>,
    /// Rates of links that will come up.
    rates: BTreeMap<NeighbourId, u64>,
    /// Locations of neighbours whose links will come up.
    locations: BTreeMap<NeighbourId, Location>,
    /// Outputs other than messages, in order.
    events: VecDeque<RouterOutput>,
}

impl Router {
    /// A router without neighbours and addresses. The seed is for jitter and request ids; each node needs its own,
    /// because equal jitter would make nodes send in step.
    pub(crate) fn new(now: Time, config: RouterConfig, seed: [u8; 32]) -> Self {
        let mut timers = Timers::default();
        timers.arm(now + table::SWEEP, timers::Timer::Sweep);
        Router {
            random: ChaCha8Rng::from_seed(seed),
            table: DestinationTable::default(),
            neighbours: BTreeMap::new(),
            timers,
            batch: BTreeSet::new(),
            batch_at: None,
            wanted: BTreeMap::new(),
            shared_quota: Bucket::default(),
            admitted: 0,
            accounts: Accounts::default(),
            chain_cache: announces::ChainCache::default(),
            low_gain: Bucket::default(),
            flap_history: FlapHistory::default(),
            checks: Verifications::default(),
            scores: BTreeMap::new(),
            rates: BTreeMap::new(),
            locations: BTreeMap::new(),
            events: VecDeque::new(),
            config,
        }
    }

    /// The next output; `None` if there is none.
    pub(crate) fn poll_output(&mut self, _now: Time) -> Option<RouterOutput> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        if let Some(job) = self.next_job() {
            return Some(job);
        }
        self.neighbours.iter_mut().find_map(|(id, neighbour)| {
            let message = neighbour.out.pop_front()?;
            Some(RouterOutput::Send { neighbour: *id, message })
        })
    }

    /// The time at which [`Router::handle_timeout`] has to be called, if nothing happens before.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        match (self.timers.next(), self.batch_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Destinations in the table, own addresses included.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// The number of armed timers.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn timers(&self) -> usize {
        self.timers.len()
    }

    /// An estimate of the memory of destinations and neighbours, in bytes. Announces that several routers share count
    /// for each.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn memory(&self) -> usize {
        let neighbours: usize = self.neighbours.values().map(NeighbourEntry::memory).sum();
        self.table.memory().saturating_add(neighbours)
    }

    /// All finite and retracted routes to reachable destinations, sorted by destination and neighbour. Own addresses
    /// are not among them.
    pub(crate) fn routes(&self, now: Time) -> Vec<RouteInfo> {
        let mut routes: Vec<RouteInfo> =
            self.table.destinations().flat_map(|(_, dest)| self.routes_of(now, dest)).collect();
        routes.sort_by_key(|route| (route.destination, route.neighbour));
        routes
    }

    /// The routes to one destination, sorted by neighbour; none to an own address.
    pub(crate) fn routes_to(&self, now: Time, destination: &Address) -> Vec<RouteInfo> {
        let dest = self.table.find(destination).and_then(|key| self.table.get(key));
        dest.into_iter().flat_map(|dest| self.routes_of(now, dest)).collect()
    }

    /// The routes to one destination.
    fn routes_of<'a>(&'a self, now: Time, dest: &'a Destination) -> impl Iterator<Item = RouteInfo> + 'a {
        // A destination without a finite route is kept only for its feasibility distance, so it is not displayed.
        let finite = |adj: &adjacency::Adjacency| {
            let neighbour = self.neighbours.get(&adj.neighbour);
            neighbour.is_some_and(|neighbour| self.candidate(now, dest, adj, neighbour).is_some())
        };
        let is_there = !dest.is_own() && dest.adjacencies.iter().any(finite);
        let others = dest.adjacencies.iter().filter(move |_| is_there);
        others.filter_map(move |adj| {
            let announce = dest.announce_at(adj.announce)?;
            let candidate = self.candidate(now, dest, adj, self.neighbours.get(&adj.neighbour)?);
            let left = adj.expires.saturating_sub(table::seconds(now));
            Some(RouteInfo {
                destination: dest.announce.dst,
                neighbour: adj.neighbour,
                metric: candidate.as_ref().map_or(INFINITY, |candidate| candidate.rank),
                hops: adj.hops.saturating_add(1),
                seq: announce.seq,
                age: Duration::from_secs(u64::from(u32::from(announce.lifetime).saturating_sub(left))),
                state: match candidate {
                    Some(_) if dest.selected() == Some(adj.neighbour) => RouteState::Active,
                    Some(candidate) if candidate.feasible && candidate.avoided => RouteState::Avoided,
                    Some(candidate) if candidate.feasible => RouteState::Standby,
                    Some(_) => RouteState::Infeasible,
                    None => RouteState::Retracted,
                },
            })
        })
    }

    /// A random duration between `from` and `to`.
    fn jitter(&mut self, from: Duration, to: Duration) -> Duration {
        let share = f64::from(self.random.next_u32()) / (f64::from(u32::MAX) + 1.0);
        from.saturating_add(to.saturating_sub(from).mul_f64(share))
    }

    /// Appends an output.
    fn event(&mut self, event: RouterOutput) {
        self.events.push_back(event);
    }
}
