//! Nodes on one medium: how they discover, dial and keep each other.
//!
//! Each node has the peering of a daemon, and a link for each session; there are no routers. Its frames and beacons may be lost
//! and delayed one by one, so that they overtake each other. A node has an endpoint in each of a number of networks that share
//! the medium, as a host with IPv4 and IPv6, and may be given new ones.

mod config;
mod driver;
mod node;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;

pub use self::config::{LanConfig, LanCounts, LanTraffic};
use self::node::{LanEvent, LanFlow, LanNode};
use crate::random::{between, seeded};
use rouse_proto::time::Time;

/// A simulated medium with nodes on it.
pub struct Lan {
    now: Time,
    config: LanConfig,
    random: ChaCha8Rng,
    nodes: Vec<LanNode>,
    flows: Vec<LanFlow>,
    queue: BinaryHeap<Reverse<(Time, u64, LanEvent)>>,
    queued: u64,
    events: u64,
}

impl Lan {
    /// A medium without running nodes.
    pub fn new(config: LanConfig) -> Self {
        let mut random = seeded(config.seed);
        let nodes = (0..config.nodes).map(|number| LanNode::new(number, &config, &mut random)).collect();
        Lan {
            // So that the order of discovered nodes, which depends on the time, differs between the seeds.
            now: Time::from_millis(1_000_000 + config.seed * 1_000),
            random,
            nodes,
            flows: Vec::new(),
            queue: BinaryHeap::new(),
            queued: 0,
            events: 0,
            config,
        }
    }

    /// Starts nodes, each at a random moment within `span`.
    pub fn start_within(&mut self, nodes: impl IntoIterator<Item = usize>, span: Duration) {
        for node in nodes {
            let at = self.now + between(&mut self.random, Duration::ZERO, span);
            self.push(at, LanEvent::Start { node });
        }
    }

    /// Stops a node at once; it sends nothing before.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].stop();
    }

    /// Stops a node, if it runs, and starts it again with its identity only.
    pub fn restart(&mut self, node: usize) {
        self.kill(node);
        self.start(node);
    }

    /// Gives a node new endpoints. Frames to the earlier ones are lost.
    pub fn renumber(&mut self, node: usize) {
        self.nodes[node].renumber();
        if self.nodes[node].is_alive() {
            self.begin_beacons(node);
        }
    }

    /// Configures a node to dial another.
    pub fn configure(&mut self, node: usize, peer: usize) {
        let now = self.now;
        self.nodes[node].configure(now, peer);
        self.serve(node);
    }

    /// Sends a packet from one node to another every `every` for `span`, whenever they have a link. Returns the number of the
    /// flow.
    pub fn send(&mut self, ends: (usize, usize), every: Duration, span: Duration) -> usize {
        let flow = self.flows.len();
        self.flows.push(LanFlow::new(ends, every, self.now + span));
        self.push(self.now, LanEvent::Packet { flow });
        flow
    }

    /// The counts of a flow's packets.
    pub fn traffic(&self, flow: usize) -> LanTraffic {
        self.flows.get(flow).map_or_else(LanTraffic::default, |flow| flow.traffic)
    }

    /// The counts of a node.
    pub fn counts(&self, node: usize) -> LanCounts {
        self.nodes.get(node).map_or_else(LanCounts::default, |node| node.counts)
    }

    /// The number of links of a node that are in use.
    pub fn links_of(&self, node: usize) -> usize {
        self.nodes.get(node).map_or(0, |node| node.links.values().filter(|link| link.is_in_use()).count())
    }

    /// Whether both nodes use the same session with each other.
    pub fn are_linked(&self, a: usize, b: usize) -> bool {
        let link = |from: usize, to: usize| {
            self.nodes.get(from)?.links.values().find(|link| link.peer == to && link.is_in_use())
        };
        let (Some(here), Some(there)) = (link(a, b), link(b, a)) else { return false };
        here.sim.peer_index == Some(there.sim.local_index)
            && there.sim.peer_index == Some(here.sim.local_index)
    }

    /// Time since the origin of the clock.
    pub fn now(&self) -> Duration {
        self.now.since(Time::ZERO)
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Runs for `span` of virtual time.
    pub fn run(&mut self, span: Duration) {
        let until = self.now + span;
        while self.step(until) {}
        self.now = until;
    }

    /// Runs until a condition holds. Returns the time until then, or `None` when that takes longer than `most`.
    pub fn until(&mut self, most: Duration, mut holds: impl FnMut(&Lan) -> bool) -> Option<Duration> {
        let (begun, until) = (self.now, self.now + most);
        while !holds(self) {
            if !self.step(until) {
                return None;
            }
        }
        Some(self.now.since(begun))
    }
}
