//! A network of many nodes in one process under a virtual clock (feature `sim`).
//!
//! Each node is the very state machine that runs in the daemon: the router, and at [`Fidelity::Link`] the handshakes and links below
//! it. Only time, chance and the medium are made up: the clock jumps from one event to the next, and all chance comes from one
//! seed, so that a run can be had again, event for event. A thousand nodes that start, lose a link and find around it take
//! seconds.
//!
//! After every event the simulation looks whether packets could go round in a loop, who reaches whom, and whether
//! everybody's state is within its bounds. What must never happen ends the run as a [`Violation`].
//!
//! ```
//! use std::time::Duration;
//! use rouse_core::sim::{Config, Fault, Sim, Topology};
//!
//! # fn main() -> Result<(), rouse_core::sim::Violation> {
//! let mut mesh = Sim::new(&Topology::Ring(6), Config { seed: 7, ..Config::default() });
//! let start = mesh.until_reachable(Duration::from_secs(1))?;   // everybody reaches everybody
//!
//! assert_eq!(mesh.path(0, 1), Some(vec![0, 1]));
//! mesh.apply(Fault::Cut { link: 0 });                          // the one between 0 and 1
//! let detour = mesh.until_reachable(Duration::from_secs(1))?;
//! assert_eq!(mesh.path(0, 1), Some(vec![0, 5, 4, 3, 2, 1]));
//! println!("all reachable {start:?} after the start, and again {detour:?} after the cut");
//! # Ok(()) }
//! ```
//!
//! With real links packets can be sent, and lost:
//!
//! ```
//! use std::time::Duration;
//! use rouse_core::sim::{Config, Depth, Fault, Sim, Topology};
//!
//! # fn main() -> Result<(), rouse_core::sim::Violation> {
//! let mut mesh = Sim::new(&Topology::Ring(4), Config { depth: Depth::Link, ..Config::default() });
//! mesh.until_reachable(Duration::from_secs(1))?;
//! let flow = mesh.send((0, 1), Duration::from_millis(5), 200, Duration::from_secs(10));
//! mesh.run(Duration::from_secs(1))?;
//! mesh.apply(Fault::Silence { link: 0 });                      // nobody is told: timers have to find out
//! mesh.run(Duration::from_secs(10))?;
//! let traffic = mesh.traffic(flow);
//! assert!(traffic.arrived > 1900 && traffic.gap < Duration::from_millis(500));
//! # Ok(()) }
//! ```
//!
//! The program `mesh-sim` of this project runs many seeds of it, and holds the figures against the project's bars.

mod bounds;
mod channel;
mod frames;
mod link_sim;
mod mobility;
pub(crate) mod net;
mod queue;
pub(crate) mod random;
mod reach;
mod recovery;
#[cfg(test)]
mod tests;
pub(crate) mod topology;
mod traffic;
mod violation;

use std::time::Duration;

pub use topology::{Links, Topology};
pub use traffic::Traffic;
pub use violation::Violation;

use crate::address::Address;
use net::Net;

/// How much of a node is simulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fidelity {
    /// Routers over channels that lose nothing and keep the order; what a medium loses is late instead. A link that is cut is
    /// noticed by itself. Fast: for a thousand nodes and more.
    #[default]
    Route,
    /// Handshakes, sealed frames, signs of life, measured costs and a control channel that sends again, over a medium that
    /// loses frames. Failures are found out by timers, and packets can be sent.
    Link,
}

/// How a network is simulated.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// All chance comes from it.
    pub seed: u64,
    /// How much of a node is simulated.
    pub fidelity: Fidelity,
    /// The share of frames that every link loses each way, 0 to below 1.
    pub loss: f64,
    /// Bytes per second that every link takes each way; `None` for as many as come.
    pub rate: Option<u64>,
    /// The least and the most that a link delays. Each link's delay is drawn between them.
    pub latency: (Duration, Duration),
    /// Destinations that a node keeps at most, as in its configuration. At most 32 768.
    pub destinations: usize,
    /// How long a node takes at most to verify the signatures of a batch. Zero: no time, and what one node has verified
    /// all have.
    pub verifying: Duration,
    /// Search for loops through alternates too, whichever each node on the way uses. For small networks.
    pub thorough: bool,
}

/// Links of 1.5 to 5 ms that lose nothing; routers with the limits of a daemon.
impl Default for Config {
    fn default() -> Self {
        Config {
            seed: 0,
            fidelity: Fidelity::Route,
            loss: 0.0,
            rate: None,
            latency: (Duration::from_micros(1_500), Duration::from_millis(5)),
            destinations: 32_768,
            verifying: Duration::ZERO,
            thorough: false,
        }
    }
}

/// Something that happens to the network. Links and nodes are named by their numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// A link is cut, and its ends notice within 5 ms, as when a cable is pulled.
    Cut {
        /// Which.
        link: usize,
    },
    /// A link is cut, and only one end notices, as when an interface is set down there.
    Unplug {
        /// Which.
        link: usize,
        /// The end that notices: 0 or 1 of [`Sim::ends`].
        end: usize,
    },
    /// A link carries nothing any more, and nobody is told, as when a switch on the way dies.
    Silence {
        /// Which.
        link: usize,
    },
    /// A link that was cut or silenced carries again.
    Heal {
        /// Which.
        link: usize,
    },
    /// From now on a link loses these shares of frames.
    Loss {
        /// Which.
        link: usize,
        /// From its first end to its second.
        there: f64,
        /// And back.
        back: f64,
    },
    /// A node is gone at once and without a word.
    Kill {
        /// Which.
        node: usize,
    },
    /// A node starts again with what it keeps on disk; if it lives it is killed first.
    Restart {
        /// Which.
        node: usize,
    },
    /// The same, its disk wiped and its clock set back: it knows nothing but its identity.
    RestartWiped {
        /// Which.
        node: usize,
    },
}

/// A simulated network. See the [module's page](self).
pub struct Sim {
    net: Net,
    graph: topology::Graph,
}

impl Sim {
    /// A network whose nodes and links all come up at the beginning.
    pub fn new(topology: &Topology, config: Config) -> Self {
        // Other draws than those of the run, so that the same seed draws the same network whatever happens in it.
        let graph = topology.draw(&mut random::seeded(!config.seed));
        Sim { net: Net::new(&graph, config), graph }
    }

    /// Lets so much time pass.
    ///
    /// # Errors
    /// What was violated. Nothing happens any more after that.
    pub fn run(&mut self, span: Duration) -> Result<(), Violation> {
        self.net.run(span);
        self.verdict()
    }

    /// Runs until every connected pair is reachable and stays so for 50 ms. Returns how long the first took.
    ///
    /// # Errors
    /// [`Violation::Unreached`] when that is not so within `most`, or what else was violated.
    pub fn until_reachable(&mut self, most: Duration) -> Result<Duration, Violation> {
        let took = self.net.time_to_reach_all(most);
        self.verdict()?;
        took.ok_or_else(|| Violation::Unreached {
            pairs: self.net.unreached_pairs(),
            example: self.net.unreached_pair().unwrap_or_default(),
            after: most,
        })
    }

    fn verdict(&self) -> Result<(), Violation> {
        self.net.violation.clone().map_or(Ok(()), Err)
    }

    /// Lets something happen now.
    ///
    /// # Panics
    /// When there is no such link or node.
    pub fn apply(&mut self, fault: Fault) {
        match fault {
            Fault::Cut { link } => self.net.cut(link),
            Fault::Unplug { link, end } => self.net.unplug(link, end),
            Fault::Silence { link } => self.net.silence(link),
            Fault::Heal { link } => self.net.raise(link),
            Fault::Loss { link, there, back } => self.net.set_loss(link, there, back),
            Fault::Kill { node } => self.net.kill(node),
            Fault::Restart { node } => {
                let epoch = self.net.nodes[node].epoch.saturating_add(1);
                self.net.start(node, epoch);
            }
            Fault::RestartWiped { node } => self.net.start(node, 1),
        }
    }

    /// Everybody begins to move about in the unit square, for so long, this fast in sides of the square per second. Links come
    /// where two come near, as near as gives everybody about `degree` of them, and go where they part.
    pub fn roam(&mut self, degree: f64, speed: f64, span: Duration) {
        let places = self.net.places().unwrap_or(&self.graph.points).to_vec();
        self.net.roam(places, degree, speed, span);
    }

    /// Packets of `length` bytes go from one node to another, one every `every`, for `span`: at [`Fidelity::Link`]; no packets
    /// go without links. Returns the number of the flow.
    pub fn send(&mut self, ends: (usize, usize), every: Duration, length: usize, span: Duration) -> usize {
        self.net.add_flow(ends, every, length, span)
    }

    /// What has become of a flow's packets.
    pub fn traffic(&self, flow: usize) -> Traffic {
        self.net.traffic(flow).unwrap_or_default()
    }

    /// How many nodes there are, alive or not.
    pub fn nodes(&self) -> usize {
        self.net.nodes.len()
    }

    /// How many links there are, up or not.
    pub fn links(&self) -> usize {
        self.net.links.len()
    }

    /// The two nodes that a link joins.
    pub fn ends(&self, link: usize) -> Option<[usize; 2]> {
        self.net.links.get(link).map(|link| link.ends)
    }

    /// The links of a node, up or not.
    pub fn links_of(&self, node: usize) -> &[usize] {
        self.net.nodes.get(node).map_or(&[], |node| &node.wires)
    }

    /// Whether a node lives.
    pub fn is_alive(&self, node: usize) -> bool {
        self.net.nodes.get(node).is_some_and(|node| node.alive)
    }

    /// A node's address: the same in every simulation.
    pub fn address(&self, node: usize) -> Option<Address> {
        self.net.addresses.get(node).copied()
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.net.now.since(self.net.started)
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.net.events
    }

    /// Pairs that links join, and of which the first does not reach the second.
    pub fn unreached_pairs(&mut self) -> u64 {
        self.net.unreached_pairs()
    }

    /// The nodes that a packet would go through now, both ends among them; `None` when it would not arrive.
    pub fn path(&self, from: usize, to: usize) -> Option<Vec<usize>> {
        let both = from.max(to) < self.nodes();
        (both && self.net.reach.reaches(from, to)).then(|| self.net.reach.path(from, to))
    }

    /// How many others a node has routes to.
    pub fn routes_of(&self, node: usize) -> usize {
        if node < self.nodes() { self.net.reach.known(node) } else { 0 }
    }

    /// Bytes of control that all nodes have sent: of routing messages, or at [`Fidelity::Link`] of all frames but packets.
    pub fn control_bytes(&self) -> u64 {
        self.net.bytes()
    }

    /// The same at [`Fidelity::Link`], by what the frames are about: `handshake`, `hello`, `probe`, `answer`, `segment` and `ack` (of
    /// the control channel), `goodbye`, `other`.
    pub fn control_kinds(&self) -> Vec<(&'static str, u64)> {
        self.net.kinds.iter().map(|(kind, bytes)| (*kind, *bytes)).collect()
    }

    /// The memory of a node's routes in bytes, estimated. What several nodes share counts for each.
    pub fn memory(&self, node: usize) -> usize {
        if node < self.nodes() { self.net.memory(node) } else { 0 }
    }

    /// What the ends of a link measure, at [`Fidelity::Link`] while it is up: the cost, and the share of frames lost there and back.
    pub fn measured(&self, link: usize) -> Option<[(u16, f64); 2]> {
        let ids = self.net.links.get(link)?.sessions;
        let at = |side: usize| Some(self.net.sessions[ids[side]? as usize].link_sim.as_ref()?.measured());
        Some([at(0)?, at(1)?])
    }

    /// Changes of next hops are counted from now on, those before forgotten.
    pub fn count_switches(&mut self) {
        self.net.count_switches();
    }

    /// The most changes of next hop that any node has counted towards any one destination.
    pub fn most_switches(&self) -> u32 {
        self.net.most_switches()
    }

    /// Whether nobody was refused anything so far. In a network of honest nodes nobody is, unless tables are too small for it.
    ///
    /// # Errors
    /// [`Violation::Refused`].
    pub fn nothing_refused(&self) -> Result<(), Violation> {
        match self.net.refused {
            (0, _) | (_, None) => Ok(()),
            (drops, Some(cause)) => Err(Violation::Refused { drops, cause: format!("{cause:?}") }),
        }
    }
}
