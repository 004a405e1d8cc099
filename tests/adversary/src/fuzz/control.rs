//! The target `control`: any control messages of neighbours to a router.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::fuzz::records::{
    ANNOUNCE, OFFER, ORIGINS, SEQ_REQ, UPDATE, WANT, YOUR_HIGHEST, address, identity, record,
};
use crate::fuzz::script::Script;
use rouse_proto::address::Address;
use rouse_proto::route::{
    AnnounceCache, FibEntry, LinkProperties, NeighbourId, Router, RouterConfig, RouterOutput, VerifyJob,
};
use rouse_proto::time::Time;
use rouse_proto::wire::route::{INFINITY, MAX_MESSAGE, Record};

/// The most neighbours.
const NEIGHBOURS: usize = 4;

/// Flag in the first byte of a script: the table is so small that it overflows.
pub(crate) const SMALL: u8 = 1;
/// Flag: at the end so much time passes that all routes have expired.
pub(crate) const EXPIRE: u8 = 2;
/// Flag: signatures are verified when time passes, and not at once.
pub(crate) const LATE: u8 = 4;

/// Step of a script: a message of a neighbour, byte by byte.
pub(crate) const MESSAGE: u8 = 0;
/// Step: a link comes up, or changes.
pub(crate) const UP: u8 = 7;
/// Step: a link goes down.
pub(crate) const DOWN: u8 = 8;
/// Step: a link is suspected, or trusted again.
pub(crate) const DOUBT: u8 = 9;
/// Step: the cost of a link changes.
pub(crate) const COST: u8 = 10;
/// Step: time passes.
pub(crate) const WAIT: u8 = 11;
/// Step: an application sends to an address.
pub(crate) const SEND: u8 = 12;
/// Step: an address of the node is added or removed.
pub(crate) const OWN: u8 = 13;
/// Step: a next hop has delivered or lost packets.
pub(crate) const SCORE: u8 = 14;
const STEPS: u8 = 15;

/// The verified announces, shared by all runs, so that the fuzzer's time is not spent on signatures.
static VERIFIED: LazyLock<Arc<AnnounceCache>> = LazyLock::new(Arc::default);

/// A router of at most so many destinations.
pub(crate) fn make_router(now: Time, destinations: usize, seed: u8) -> Router {
    let config = RouterConfig {
        destinations,
        new_burst: 6,
        // The own announce is renewed rarely, so that the timers of the other steps dominate the run.
        refresh: Duration::from_secs(5000),
        shared: Some(VERIFIED.clone()),
        ..RouterConfig::default()
    };
    Router::new(now, config, [seed; 32])
}

/// The router under test, and its neighbours as far as the script has them.
struct ControlWorld {
    now: Time,
    router: Router,
    /// By place: the link that is up there.
    links: [Option<NeighbourId>; NEIGHBOURS],
    next_id: NeighbourId,
    own: BTreeSet<Address>,
    fib: BTreeMap<Address, FibEntry>,
    most: usize,
    sent: usize,
    /// Signatures to be verified.
    jobs: Vec<VerifyJob>,
    late: bool,
}

/// Runs a script against a router with several neighbours.
///
/// After each step, routes in use lead over links that are up, the table is within its bound, the router's messages decode and
/// encode to the same bytes, and deadlines move on. When everything has expired, no route is left.
pub fn control(data: &[u8]) {
    let mut script = Script::new(data);
    let flags = script.u8();
    let mut world = ControlWorld::new(flags & SMALL != 0);
    world.late = flags & LATE != 0;
    while let Some(step) = script.step() {
        world.step(step % STEPS, &mut script);
        world.check();
    }
    for route in world.router.routes(world.now) {
        assert!(world.is_up(route.neighbour), "a route over a link that is down");
    }
    if flags & EXPIRE != 0 {
        // Longer than any lifetime: without new announces every route must expire, even over links that are up.
        world.wait(Duration::from_secs(5500));
        assert!(world.fib.is_empty(), "routes that outlive their announces");
    }
}

impl ControlWorld {
    fn new(small: bool) -> Self {
        let now = Time::from_millis(1_000_000);
        let most = if small { 3 } else { 64 };
        let mut world = ControlWorld {
            now,
            router: make_router(now, most, 0),
            links: [None; NEIGHBOURS],
            next_id: 0,
            own: BTreeSet::new(),
            fib: BTreeMap::new(),
            most,
            sent: 0,
            jobs: Vec::new(),
            late: false,
        };
        world.add_own(0);
        for place in 0..2 {
            world.up(place, 40, 1200, place == 0);
        }
        world
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        let place = script.below(NEIGHBOURS);
        match step {
            MESSAGE => self.hear(place, script.bytes()),
            ANNOUNCE | OFFER | WANT | UPDATE | SEQ_REQ | YOUR_HIGHEST => {
                self.hear_record(place, &record(step, script));
            }
            UP => self.up(place, script.u16(), script.u16(), script.u8() & 1 != 0),
            DOWN => {
                if let Some(id) = self.links[place].take() {
                    self.router.neighbour_down(self.now, id);
                }
            }
            DOUBT => {
                if let Some(id) = self.links[place] {
                    self.router.neighbour_suspect(self.now, id, script.u8() & 1 != 0);
                }
            }
            COST => {
                if let Some(id) = self.links[place] {
                    self.router.neighbour_cost(id, script.u16());
                }
            }
            WAIT => {
                let units = u64::from(script.u8());
                let unit = [1, 100, 10_000][place % 3];
                self.wait(Duration::from_millis(units * unit));
            }
            SCORE => {
                if let Some(id) = self.links[place] {
                    let (to, delivered) = (address(script.below(ORIGINS)), script.u8().into());
                    self.router.score(self.now, &to, id, delivered, script.u8().into());
                }
            }
            SEND => self.router.want_route(self.now, &address(script.below(ORIGINS))),
            _ => {
                let origin = script.below(ORIGINS);
                if self.own.len() > 1 && self.own.remove(&address(origin)) {
                    self.router.remove_origin(&address(origin));
                } else {
                    self.add_own(origin);
                }
            }
        }
        self.collect();
    }

    fn add_own(&mut self, origin: usize) {
        if self.own.insert(address(origin)) {
            self.router.add_origin(self.now, identity(origin), 1000);
            self.collect();
        }
    }

    fn up(&mut self, place: usize, cost: u16, mtu: u16, configured: bool) {
        let id = self.links[place].unwrap_or_else(|| {
            self.next_id += 1;
            self.next_id
        });
        self.links[place] = Some(id);
        self.router.neighbour_up(
            self.now,
            id,
            LinkProperties::new(address(place + 1), cost, mtu, configured),
        );
        self.collect();
    }

    fn hear_record(&mut self, place: usize, record: &Record) {
        let mut message = Vec::new();
        record.encode(&mut message).expect("a plain record encodes");
        self.hear(place, &message);
    }

    fn hear(&mut self, place: usize, message: &[u8]) {
        let heard = match self.links[place] {
            Some(id) => self.router.handle(self.now, id, message),
            None => {
                let gone = self.next_id + 1;
                let heard = self.router.handle(self.now, gone, message);
                assert!(heard.is_err(), "a message of a link that is down was accepted");
                heard
            }
        };
        assert!(heard.is_err() || (1..=MAX_MESSAGE).contains(&message.len()));
    }

    fn wait(&mut self, span: Duration) {
        self.verify();
        let end = self.now + span;
        for round in 0.. {
            let Some(next) = self.router.next_deadline().filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            self.router.handle_timeout(self.now);
            self.collect();
            assert!(round < 100_000, "a deadline that does not move");
        }
        self.now = end;
    }

    /// Verifies the waiting signatures, and those that follow from them.
    fn verify(&mut self) {
        self.late = std::mem::replace(&mut self.late, false) && {
            for job in std::mem::take(&mut self.jobs) {
                self.router.verified(self.now, job.run());
            }
            self.collect();
            true
        };
    }

    fn collect(&mut self) {
        while let Some(output) = self.router.poll_output(self.now) {
            match output {
                RouterOutput::Send { neighbour, message } => {
                    assert!(self.is_up(neighbour), "a message to a link that is down");
                    self.sent += 1;
                    assert!((1..=MAX_MESSAGE).contains(&message.len()));
                    encodes_again(&message);
                }
                RouterOutput::Fib(address, Some(entry)) => {
                    self.fib.insert(address, entry);
                }
                RouterOutput::Fib(address, None) => {
                    self.fib.remove(&address);
                }
                RouterOutput::Verify(job) if self.late => self.jobs.push(job),
                RouterOutput::Verify(job) => self.router.verified(self.now, job.run()),
                RouterOutput::Changed { metric, next_hop, .. } => {
                    assert_eq!(next_hop.is_none(), metric == INFINITY);
                }
                _ => {}
            }
        }
    }

    fn is_up(&self, id: NeighbourId) -> bool {
        self.links.contains(&Some(id))
    }

    fn check(&self) {
        for (address, entry) in &self.fib {
            assert!(self.is_up(entry.next), "a route over a link that is gone");
            assert!(!self.own.contains(address), "a route to ourselves");
            assert!(entry.metric < INFINITY && entry.hops > 0);
            if let Some(alternate) = entry.alternate {
                assert!(self.is_up(alternate) && alternate != entry.next, "an alternate that is none");
            }
        }
        // Addresses of our own are let in whatever the bound.
        assert!(self.fib.len() <= self.most + ORIGINS, "more routes than there may be");
    }
}

/// A message reads as records that are written with the same bytes.
fn encodes_again(message: &[u8]) {
    let (mut rest, mut again) = (message, Vec::new());
    while !rest.is_empty() {
        let (record, left) = Record::decode(rest).expect("the router's messages are well formed");
        record.encode(&mut again).expect("what was read encodes");
        rest = left;
    }
    assert_eq!(again, message);
}
