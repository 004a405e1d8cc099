//! Routes: who can be reached, over which neighbour, how far (pure).
//!
//! A distance vector with the feasibility condition of RFC 8966 and sequence numbers signed by the origins: next hops
//! never form a loop, whatever is lost or late. [`Router`] is a state machine without clock and without I/O. The shell
//! keeps this contract with it:
//!
//! 1. It tells the router of neighbours that come, change and go, hands it each control message in the order
//!    of sending, and asks it to look again when [`Router::next_deadline`] has come.
//! 2. After each call it takes everything from [`Router::poll_output`], in order: changes of the FIB come before the
//!    messages that tell neighbours of them, because a neighbour may rely on what it was told.
//! 3. The channel to a neighbour loses nothing, and a link that went down begins anew under another id. One that is only
//!    [away](Router::neighbour_away) goes on where it stopped.
//!
//! Signatures are verified elsewhere: the router hands out jobs ([`RouterOutput::Verify`]) and takes what they bring
//! ([`Router::verified`]).
//!
//! Inside, one way: `receive` writes what a neighbour says into the `table`, by way of `verify` where a signature is new, `select` picks next hops, `advertise` decides who
//! must hear of it and when, `seek` asks for newer sequence numbers where only routes remain that might loop. `origin` keeps
//! the node's own addresses, `quota` the bounds.
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

/// The shell's name for a neighbour: one for each link, never used again.
pub(crate) type NeighbourId = u32;

/// What bounds and paces a router.
#[derive(Clone, Debug)]
pub(crate) struct RouterConfig {
    /// Destinations at most, those of one's own not counted. At most [`RouterConfig::MAX_DESTINATIONS`].
    pub(crate) destinations: usize,
    /// New destinations per second that a neighbour may introduce. Neighbours that nobody configured share one
    /// such quota.
    pub(crate) new_per_second: u32,
    /// New destinations that it may introduce at once.
    pub(crate) new_burst: u32,
    /// Seconds that an announce of one's own is good for.
    pub(crate) lifetime: u16,
    /// How often one's own announces are renewed.
    pub(crate) refresh: Duration,
    /// How long a destination stays pinned after [`Router::want_route`].
    pub(crate) pin: Duration,
    /// VerifyResults announces shared with other routers of this process; a simulation of many nodes verifies and keeps
    /// each only once.
    pub(crate) shared: Option<Arc<AnnounceCache>>,
}

impl RouterConfig {
    /// No table may be larger: the numbers that name destinations on a link are bounded.
    pub(crate) const MAX_DESTINATIONS: usize = MAX_IDX as usize / 2;

    fn new_allowance(&self) -> Allowance {
        Allowance { rate: self.new_per_second, burst: self.new_burst }
    }
}

/// As the protocol has it: 32 768 destinations, 20 new a second after a burst of 2048, a lifetime of 90 min renewed
/// every 30 min.
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

/// What the data path needs to know of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FibEntry {
    /// The neighbour in use.
    pub(crate) next: NeighbourId,
    /// The second best that cannot loop either: to be used at once while the link to `next` is in doubt.
    pub(crate) alternate: Option<NeighbourId>,
    pub(crate) metric: u16,
    /// Links to cross.
    pub(crate) hops: u8,
    /// The longest packet that fits all the way, in bytes.
    pub(crate) mtu: u16,
}

/// What the shell has to do or to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RouterOutput {
    /// Send this control message, at most 4096 bytes.
    Send {
        /// To whom.
        neighbour: NeighbourId,
        /// The encoded message.
        message: Vec<u8>,
    },
    /// The destination is reached this way now; `None` when it is not reachable any more.
    Fib(Address, Option<FibEntry>),
    /// The next hop appeared, changed or disappeared: for the user.
    Changed {
        /// Whither.
        destination: Address,
        /// `None` when it is not reachable any more.
        next_hop: Option<NeighbourId>,
        /// [`INFINITY`] when it is not reachable any more.
        metric: u16,
        /// Links to cross; 0 when it is not reachable any more.
        hops: u8,
    },
    /// Somebody else announces this address of ours and does not give way: we have stopped outbidding them.
    IdentityConflict(Address),
    /// The epoch of an address of ours, to be stored: the next start passes a higher one to
    /// [`Router::add_origin`].
    EpochUsed {
        /// Which address.
        address: Address,
        /// Its epoch now.
        epoch: u32,
    },
    /// Run this job where it holds nothing up, a few at a time in any order, and hand back what it brings to
    /// [`Router::verified`].
    Verify(VerifyJob),
    /// Refusals beyond the one that [`Router::handle`] returned, to be counted.
    Dropped(DropCause, u64),
}

/// A route, for people to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteInfo {
    pub(crate) destination: Address,
    pub(crate) neighbour: NeighbourId,
    /// All the way, the link to the neighbour included; four times that while the route is avoided because what went
    /// this way did not arrive.
    pub(crate) metric: u16,
    pub(crate) hops: u8,
    pub(crate) seq: u64,
    /// BetterSince the origin signed it.
    pub(crate) age: Duration,
    pub(crate) state: RouteState,
}

/// The routing table of one node and all that keeps it right.
pub(crate) struct Router {
    config: RouterConfig,
    random: ChaCha8Rng,
    table: DestinationTable,
    neighbours: BTreeMap<NeighbourId, NeighbourEntry>,
    timers: Timers,
    /// Destinations with changes to be told when the batch leaves.
    batch: BTreeSet<DestinationKey>,
    batch_at: Option<Time>,
    /// Addresses that applications send to, and until when (seconds) that counts.
    wanted: BTreeMap<Address, u32>,
    /// The quota of all neighbours that nobody configured.
    shared_quota: Bucket,
    /// How often somebody was let in who waited for that.
    admitted: u64,
    accounts: Accounts,
    chain_cache: announces::ChainCache,
    /// For changes that gain little.
    low_gain: Bucket,
    flap_history: FlapHistory,
    checks: Verifications,
    /// By destination and neighbour.
    scores: BTreeMap<(Address, Address), DeliveryScore>,
    /// Of links that will come up.
    rates: BTreeMap<NeighbourId, u64>,
    locations: BTreeMap<NeighbourId, Location>,
    events: VecDeque<RouterOutput>,
}

impl Router {
    /// A router without neighbours and addresses. The seed is for jitter and request ids: give each node its own.
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

    /// What is to be done; `None` when that was all.
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

    /// When [`Router::handle_timeout`] wants to be called, if nothing happens before.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        match (self.timers.next(), self.batch_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Destinations known, those of one's own included.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Timers armed.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn timers(&self) -> usize {
        self.timers.len()
    }

    /// An estimate of the memory that destinations and neighbours take, in bytes. Announces that several routers share
    /// count for each.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn memory(&self) -> usize {
        let neighbours: usize = self.neighbours.values().map(NeighbourEntry::memory).sum();
        self.table.memory().saturating_add(neighbours)
    }

    /// Every route known, used or not, sorted by destination and neighbour. One's own addresses are not among them, nor are
    /// destinations to which no way is left.
    pub(crate) fn routes(&self, now: Time) -> Vec<RouteInfo> {
        let mut routes: Vec<RouteInfo> =
            self.table.destinations().flat_map(|(_, dest)| self.routes_of(now, dest)).collect();
        routes.sort_by_key(|route| (route.destination, route.neighbour));
        routes
    }

    /// The routes to one destination, sorted by neighbour; none to an address of one's own.
    pub(crate) fn routes_to(&self, now: Time, destination: &Address) -> Vec<RouteInfo> {
        let dest = self.table.find(destination).and_then(|key| self.table.get(key));
        dest.into_iter().flat_map(|dest| self.routes_of(now, dest)).collect()
    }

    fn routes_of<'a>(&'a self, now: Time, dest: &'a Destination) -> impl Iterator<Item = RouteInfo> + 'a {
        // Kept for its feasibility distance, a destination that has gone is nothing to look at.
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

    /// A moment between `from` and `to` after now.
    fn jitter(&mut self, from: Duration, to: Duration) -> Duration {
        let share = f64::from(self.random.next_u32()) / (f64::from(u32::MAX) + 1.0);
        from.saturating_add(to.saturating_sub(from).mul_f64(share))
    }

    fn event(&mut self, event: RouterOutput) {
        self.events.push_back(event);
    }
}
