//! Many routers under a virtual clock.
//!
//! Channels are ordered and lossless, with a latency drawn per link. After every event each next hop that has changed is
//! followed to its end: a loop ends the run at once, naming the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use super::topology::Links;
use crate::address::Address;
use crate::identity::Identity;
use crate::route::{CoreCache, FibEntry, NeighbourId, Router, RouterConfig, RouterOutput, Verified};
use crate::stats::DropCause;
use crate::time::Time;

/// A number in [0, 1).
pub(super) fn unit(random: &mut ChaCha8Rng) -> f64 {
    f64::from(random.next_u32()) / (f64::from(u32::MAX) + 1.0)
}

pub(super) fn pick(random: &mut ChaCha8Rng, below: usize) -> usize {
    (unit(random) * below as f64) as usize
}

pub(super) fn seeded(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) struct Node {
    pub(super) router: Router,
    /// What a shell's FIB would hold, by the number of the destination.
    pub(super) fib: Vec<Option<FibEntry>>,
    /// Neighbour → link.
    pub(super) links: BTreeMap<NeighbourId, usize>,
    pub(super) alive: bool,
    /// Whatever comes here is swallowed.
    pub(super) hole: bool,
    deadline: Option<Time>,
    pub(super) sent: u64,
    /// How often the next hop towards each destination changed.
    pub(super) switches: BTreeMap<Address, u64>,
    pub(super) drops: Vec<DropCause>,
    pub(super) epoch: u32,
    pub(super) conflicts: usize,
    /// Tells what it is from what it was before it started anew.
    started: u64,
}

pub(super) struct Link {
    pub(super) ends: [usize; 2],
    latency: Duration,
    /// Each end's name for the other, while the link is up.
    pub(super) ids: Option<[NeighbourId; 2]>,
    /// The same, and after the link was cut the last names, until an end starts anew.
    pub(super) names: Option<[NeighbourId; 2]>,
    /// When the last message to each end arrives.
    last: [Time; 2],
}

enum Event {
    Deliver { to: usize, id: NeighbourId, message: Vec<u8> },
    Down { at: usize, id: NeighbourId },
    Verified { at: usize, started: u64, verified: Verified },
}

pub(super) struct Net {
    pub(super) now: Time,
    pub(super) nodes: Vec<Node>,
    pub(super) addresses: Vec<Address>,
    pub(super) numbers: BTreeMap<Address, usize>,
    pub(super) links: Vec<Link>,
    events: BTreeMap<(Time, u64), Event>,
    deadlines: BTreeSet<(Time, usize)>,
    count: u64,
    ids: NeighbourId,
    pub(super) random: ChaCha8Rng,
    pub(super) seed: u64,
    config: RouterConfig,
    /// How long it takes at most to verify a signature that is not in the cache.
    verifying: Duration,
    /// Check primaries and alternates together, which costs more.
    pub(super) thorough: bool,
}

pub(super) fn identity(number: usize) -> Identity {
    let mut seed = [0x5a; 32];
    seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
    Identity::from_seed(&seed)
}

impl Net {
    /// Nodes with their links, all of which come up at the beginning.
    pub(super) fn new(nodes: usize, links: &Links, seed: u64) -> Self {
        Self::verifying(nodes, links, seed, Duration::ZERO)
    }

    /// The same, where each node verifies every signature by itself, and takes up to `verifying` for it.
    pub(super) fn verifying(nodes: usize, links: &Links, seed: u64, verifying: Duration) -> Self {
        let shared = verifying.is_zero().then(|| Arc::new(CoreCache::default()));
        let mut net = Net {
            now: Time::from_millis(1_000_000),
            nodes: Vec::new(),
            addresses: (0..nodes).map(|node| identity(node).address()).collect(),
            numbers: BTreeMap::new(),
            links: Vec::new(),
            events: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            count: 0,
            ids: 0,
            random: seeded(seed),
            seed,
            config: RouterConfig { shared, ..RouterConfig::default() },
            verifying,
            thorough: false,
        };
        net.numbers = net.addresses.iter().enumerate().map(|(number, address)| (*address, number)).collect();
        for node in 0..nodes {
            let made = net.make(node, 1000);
            net.nodes.push(made);
            net.settle(node);
        }
        for (a, b) in links {
            let latency = ms(1) + Duration::from_micros(500 + (unit(&mut net.random) * 3500.0) as u64);
            net.links.push(Link { ends: [*a, *b], latency, ids: None, names: None, last: [Time::ZERO; 2] });
        }
        for link in 0..net.links.len() {
            net.raise(link);
        }
        net
    }

    /// The same, run until all is calm.
    pub(super) fn settled(nodes: usize, links: &Links, seed: u64) -> Self {
        let mut net = Net::new(nodes, links, seed);
        net.run(ms(5_000));
        net.assert_reachable();
        net
    }

    fn make(&mut self, number: usize, epoch: u32) -> Node {
        let mut seed = [0; 32];
        self.random.fill_bytes(&mut seed);
        let mut router = Router::new(self.now, self.config.clone(), seed);
        router.add_origin(self.now, identity(number), epoch);
        self.count += 1;
        Node {
            router,
            fib: vec![None; self.addresses.len()],
            links: BTreeMap::new(),
            alive: true,
            hole: false,
            deadline: None,
            sent: 0,
            switches: BTreeMap::new(),
            drops: Vec::new(),
            epoch,
            conflicts: 0,
            started: self.count,
        }
    }

    pub(super) fn other_end(&self, link: usize, node: usize) -> usize {
        let ends = self.links[link].ends;
        ends[usize::from(ends[0] == node)]
    }

    pub(super) fn link_count(&self) -> usize {
        self.links.len()
    }

    /// The link comes up, if both ends live.
    pub(super) fn raise(&mut self, link: usize) {
        let Link { ends, latency, ids, .. } = self.links[link];
        if ids.is_some() || ends.iter().any(|end| !self.nodes[*end].alive) {
            return;
        }
        let ids = [self.ids, self.ids + 1];
        self.ids += 2;
        self.links[link].ids = Some(ids);
        self.links[link].names = Some(ids);
        self.links[link].last = [self.now; 2];
        // A quarter of a round trip in half milliseconds on top of the least, as a link layer would measure it.
        let cost = 32 + u16::try_from(latency.as_micros() * 2 / 500).unwrap();
        for side in 0..2 {
            let (node, other) = (ends[side], ends[1 - side]);
            self.nodes[node].links.insert(ids[side], link);
            let address = self.addresses[other];
            self.nodes[node].router.neighbour_up(self.now, ids[side], address, cost, 1200, true);
        }
        self.settle(ends[0]);
        self.settle(ends[1]);
    }

    /// The link is cut. Its ends notice within 5 ms; what was under way is lost.
    pub(super) fn cut(&mut self, link: usize) {
        let Some(ids) = self.links[link].ids.take() else { return };
        let ends = self.links[link].ends;
        for side in 0..2 {
            let after = Duration::from_micros((unit(&mut self.random) * 5_000.0) as u64);
            self.push(self.now + after, Event::Down { at: ends[side], id: ids[side] });
        }
        self.events.retain(|_, event| match event {
            Event::Deliver { id, .. } => !ids.contains(id),
            Event::Down { .. } | Event::Verified { .. } => true,
        });
    }

    /// Both ends measure another cost.
    pub(super) fn set_cost(&mut self, link: usize, cost: u16) {
        let Some(ids) = self.links[link].ids else { return };
        for (end, id) in self.links[link].ends.into_iter().zip(ids) {
            self.with(end, |router, now| router.neighbour_cost(now, id, cost));
        }
    }

    /// Both ends come to doubt the link, or trust it again.
    pub(super) fn suspect(&mut self, link: usize, on: bool) {
        let Some(ids) = self.links[link].ids else { return };
        for (end, id) in self.links[link].ends.into_iter().zip(ids) {
            self.with(end, |router, now| router.neighbour_suspect(now, id, on));
        }
    }

    pub(super) fn links_of(&self, node: usize) -> Vec<usize> {
        (0..self.links.len()).filter(|link| self.links[*link].ends.contains(&node)).collect()
    }

    pub(super) fn kill(&mut self, node: usize) {
        for link in self.links_of(node) {
            self.cut(link);
        }
        self.nodes[node].alive = false;
        self.nodes[node].fib.fill(None);
        if let Some(at) = self.nodes[node].deadline.take() {
            self.deadlines.remove(&(at, node));
        }
    }

    /// The node starts anew, knowing nothing but its identity and `epoch`, and its links come up.
    pub(super) fn start(&mut self, node: usize, epoch: u32) {
        self.nodes[node] = self.make(node, epoch);
        self.settle(node);
        for link in self.links_of(node) {
            self.links[link].names = None;
            self.raise(link);
        }
    }

    pub(super) fn with<T>(&mut self, node: usize, act: impl FnOnce(&mut Router, Time) -> T) -> T {
        let result = act(&mut self.nodes[node].router, self.now);
        self.settle(node);
        result
    }

    /// Hands a message to a node as if its neighbour at the other end of the link had sent it.
    pub(super) fn inject(&mut self, node: usize, link: usize, message: &[u8]) -> Result<(), DropCause> {
        let side = usize::from(self.links[link].ends[1] == node);
        let id = self.links[link].ids.unwrap()[side];
        self.with(node, |router, now| router.handle(now, id, message))
    }

    fn push(&mut self, at: Time, event: Event) {
        self.count += 1;
        self.events.insert((at, self.count), event);
    }

    /// Takes a node's outputs.
    fn settle(&mut self, node: usize) {
        let mut changed = Vec::new();
        while let Some(output) = self.nodes[node].router.poll_output(self.now) {
            match output {
                RouterOutput::Send { neighbour, message } => self.send(node, neighbour, message),
                RouterOutput::Fib(address, entry) => {
                    let to = self.numbers[&address];
                    self.nodes[node].fib[to] = entry;
                    changed.push(to);
                }
                RouterOutput::Changed { destination, .. } => {
                    *self.nodes[node].switches.entry(destination).or_default() += 1;
                }
                RouterOutput::EpochUsed { epoch, .. } => self.nodes[node].epoch = epoch,
                RouterOutput::Verify(job) => {
                    let after = self.verifying.mul_f64(unit(&mut self.random));
                    let verified = job.run();
                    if after.is_zero() {
                        self.nodes[node].router.verified(self.now, verified);
                    } else {
                        let started = self.nodes[node].started;
                        self.push(self.now + after, Event::Verified { at: node, started, verified });
                    }
                }
                RouterOutput::IdentityConflict(_) => self.nodes[node].conflicts += 1,
                RouterOutput::Dropped(cause, count) => {
                    for _ in 0..count {
                        self.nodes[node].drops.push(cause);
                    }
                }
            }
        }
        for to in changed {
            self.assert_no_loop(node, to);
        }
        let next = self.nodes[node].router.next_deadline();
        if next != self.nodes[node].deadline {
            if let Some(at) = self.nodes[node].deadline {
                self.deadlines.remove(&(at, node));
            }
            self.deadlines.extend(next.map(|at| (at, node)));
            self.nodes[node].deadline = next;
        }
    }

    fn send(&mut self, node: usize, neighbour: NeighbourId, message: Vec<u8>) {
        assert!(message.len() <= 4096);
        self.nodes[node].sent += message.len() as u64;
        let Some(link) = self.nodes[node].links.get(&neighbour).copied() else { return };
        let Some(ids) = self.links[link].ids.filter(|ids| ids.contains(&neighbour)) else { return };
        let other = usize::from(ids[0] == neighbour);
        let jitter = Duration::from_micros((unit(&mut self.random) * 300.0) as u64);
        let at = (self.now + self.links[link].latency + jitter).max(self.links[link].last[other]);
        self.links[link].last[other] = at;
        let to = self.links[link].ends[other];
        self.push(at, Event::Deliver { to, id: ids[other], message });
    }

    pub(super) fn run(&mut self, span: Duration) {
        let until = self.now + span;
        loop {
            let event = self.events.first_key_value().map(|(key, _)| key.0);
            let timer = self.deadlines.first().map(|(at, _)| *at);
            let next = event.into_iter().chain(timer).min();
            let Some(at) = next.filter(|at| *at <= until) else { break };
            self.now = self.now.max(at);
            if event == Some(at) {
                let (_, event) = self.events.pop_first().unwrap();
                match event {
                    Event::Deliver { to, id, message } => {
                        if !self.nodes[to].links.contains_key(&id) {
                            continue;
                        }
                        if let Err(cause) = self.nodes[to].router.handle(self.now, id, &message) {
                            self.nodes[to].drops.push(cause);
                        }
                        self.settle(to);
                    }
                    Event::Verified { at, started, verified } => {
                        if self.nodes[at].alive && self.nodes[at].started == started {
                            self.nodes[at].router.verified(self.now, verified);
                            self.settle(at);
                        }
                    }
                    Event::Down { at, id } => {
                        if self.nodes[at].alive && self.nodes[at].links.remove(&id).is_some() {
                            self.nodes[at].router.neighbour_down(self.now, id);
                            self.settle(at);
                        }
                    }
                }
            } else {
                let (_, node) = self.deadlines.pop_first().unwrap();
                self.nodes[node].deadline = None;
                self.nodes[node].router.handle_timeout(self.now);
                self.settle(node);
            }
        }
        self.now = until;
    }

    pub(super) fn bytes(&self) -> u64 {
        self.nodes.iter().map(|node| node.sent).sum()
    }

    /// Refusals anywhere.
    pub(super) fn drops(&self) -> usize {
        self.nodes.iter().map(|node| node.drops.len()).sum()
    }
}
