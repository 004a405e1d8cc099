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
//! The files are in three layers, and each imports only those below it. At the bottom is the state, without any
//! knowledge of the router: `types`, `table` with its `destination`s and their `adjacency`s, `neighbour`, `accounts`,
//! `timers`, `score`, `verifications`, `seqno_relay` and what they consist of. Above it is [`Router`], which owns all of
//! it. On top are its methods, through which records pass in one direction: `receive` reads them, `verify` has new
//! signatures verified, `install` writes routes into the table, `select` chooses next hops, `advertise` decides when
//! neighbours are sent the change, and `seqno_request` requests newer sequence numbers where no route is feasible.
//! `neighbour_events` follows the links, `origin` keeps the node's own addresses, `timeout` and `sweep` do what is due;
//! `quota` and `charge` bound the work that neighbours cause; `scoring` avoids next hops that lose packets.
mod accounts;
mod adjacency;
mod advert;
mod advertise;
mod announce_cache;
mod announces;
mod charge;
mod destination;
mod flap_history;
mod install;
mod kept_announce;
mod metric;
mod neighbour;
mod neighbour_events;
mod offer;
mod origin;
mod quota;
mod receive;
mod score;
mod scoring;
mod select;
mod seqno_relay;
mod seqno_request;
#[cfg(test)]
mod specification;
mod sweep;
mod table;
mod timeout;
mod timers;
mod types;
mod verifications;
mod verify;
mod verify_job;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::address::Address;
use crate::rate_limit::RateLimiter;
use crate::time::Time;
use crate::types::RouteState;
use crate::wire::route::INFINITY;
use accounts::Accounts;
pub use accounts::Location;
pub use announce_cache::AnnounceCache;
use announces::ChainCache;
use destination::Destination;
use flap_history::FlapHistory;
use neighbour::NeighbourEntry;
use score::DeliveryScore;
use table::DestinationTable;
use timers::Timers;
use types::{DestinationKey, seconds};
pub use types::{FibEntry, LinkProperties, NeighbourId, RouteInfo, RouterConfig, RouterOutput};
use verifications::Verifications;
pub use verify_job::{VerifyJob, VerifyResults};

/// The routing table of one node, and the state that maintains it.
pub struct Router {
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
    /// Destinations marked for a new selection, in the order in which they changed.
    changed: Vec<DestinationKey>,
    /// Destinations with changes that are advertised with the next batch.
    batch: BTreeSet<DestinationKey>,
    /// The time of that batch.
    batch_at: Option<Time>,
    /// Addresses that applications send to, and the second until which each is pinned.
    wanted: BTreeMap<Address, u32>,
    /// The quota of new destinations that all unconfigured neighbours share.
    shared_quota: RateLimiter,
    /// The number of turns so far in which a waiting neighbour was admitted by it.
    admitted: u64,
    /// The work that neighbours have caused.
    accounts: Accounts,
    /// The chain value that was computed last.
    chain_cache: ChainCache,
    /// The limit of switches and requests with a small gain.
    low_gain: RateLimiter,
    /// Recent link failures.
    flap_history: FlapHistory,
    /// Announces that are being verified.
    checks: Verifications,
    /// Delivery scores by destination and neighbour. They are kept by address, because they outlive links.
    scores: BTreeMap<(Address, Address), DeliveryScore>,
    /// Outputs other than messages, in order.
    events: VecDeque<RouterOutput>,
}

impl Router {
    /// A router without neighbours and addresses. The seed is for jitter and request ids; each node needs its own,
    /// because equal jitter would make nodes send in step.
    pub fn new(now: Time, config: RouterConfig, seed: [u8; 32]) -> Self {
        let mut timers = Timers::default();
        timers.arm(now + timers::SWEEP, timers::Timer::Sweep);
        Router {
            random: ChaCha8Rng::from_seed(seed),
            table: DestinationTable::default(),
            neighbours: BTreeMap::new(),
            timers,
            changed: Vec::new(),
            batch: BTreeSet::new(),
            batch_at: None,
            wanted: BTreeMap::new(),
            shared_quota: RateLimiter::default(),
            admitted: 0,
            accounts: Accounts::default(),
            chain_cache: ChainCache::default(),
            low_gain: RateLimiter::default(),
            flap_history: FlapHistory::default(),
            checks: Verifications::default(),
            scores: BTreeMap::new(),
            events: VecDeque::new(),
            config,
        }
    }

    /// The next output; `None` if there is none.
    pub fn poll_output(&mut self, now: Time) -> Option<RouterOutput> {
        self.settle(now);
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
    pub fn next_deadline(&self) -> Option<Time> {
        match (self.timers.next(), self.batch_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Destinations in the table, own addresses included.
    pub fn destinations(&self) -> usize {
        self.table.len()
    }

    /// The number of armed timers.
    pub fn timers(&self) -> usize {
        self.timers.len()
    }

    /// An estimate of the memory of destinations and neighbours, in bytes. Announces that several routers share count
    /// for each.
    pub fn memory(&self) -> usize {
        let neighbours: usize = self.neighbours.values().map(NeighbourEntry::memory).sum();
        self.table.memory().saturating_add(neighbours)
    }

    /// All finite and retracted routes to reachable destinations, sorted by destination and neighbour. Own addresses
    /// are not among them.
    pub fn routes(&self, now: Time) -> Vec<RouteInfo> {
        let mut routes: Vec<RouteInfo> =
            self.table.destinations().flat_map(|(_, dest)| self.routes_of(now, dest)).collect();
        routes.sort_by_key(|route| (route.destination, route.neighbour));
        routes
    }

    /// The routes to one destination, sorted by neighbour; none to an own address.
    pub fn routes_to(&self, now: Time, destination: &Address) -> Vec<RouteInfo> {
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
            let left = adj.expires.saturating_sub(seconds(now));
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
