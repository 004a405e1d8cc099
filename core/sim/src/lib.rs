//! A network of many nodes in one process under a virtual clock.
//!
//! Each node is the state machine that also runs in the daemon: the router, and at [`Fidelity::Link`] the handshakes and links
//! below it. Only time, randomness and the medium are simulated: the clock jumps from one event to the next, and all random
//! numbers come from one seed, so that a run can be repeated event for event. A thousand nodes that start, lose a link and route
//! around it take seconds.
//!
//! After every event the simulation checks that packets cannot loop, updates which nodes reach each other, and checks that the
//! state of each node is within its bounds. A broken invariant ends the run with a [`Violation`].
//!
//! ```
//! use std::time::Duration;
//! use rouse_sim::{Config, Fault, Sim, Topology};
//!
//! # fn main() -> Result<(), rouse_sim::Violation> {
//! let mut mesh = Sim::new(&Topology::Ring(6), Config { seed: 7, ..Config::default() });
//! let start = mesh.until_reachable(Duration::from_secs(1))?;   // every node reaches every other
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
//! use rouse_sim::{Config, Fault, Fidelity, Sim, Topology};
//!
//! # fn main() -> Result<(), rouse_sim::Violation> {
//! let mut mesh = Sim::new(&Topology::Ring(4), Config { fidelity: Fidelity::Link, ..Config::default() });
//! mesh.until_reachable(Duration::from_secs(1))?;
//! let flow = mesh.send((0, 1), Duration::from_millis(5), 200, Duration::from_secs(10));
//! mesh.run(Duration::from_secs(1))?;
//! mesh.apply(Fault::Silence { link: 0 });                      // no end is notified: timers detect it
//! mesh.run(Duration::from_secs(10))?;
//! let traffic = mesh.traffic(flow);
//! assert!(traffic.arrived > 1900 && traffic.gap < Duration::from_millis(500));
//! # Ok(()) }
//! ```
//!
//! The program `mesh-sim` of this project runs it with many seeds and compares the figures with the project's bars.

#![forbid(unsafe_code)]

mod bounds;
mod channel;
mod config;
mod disk;
mod flow;
mod frames;
mod lan;
mod link_driver;
mod link_sim;
mod mobility;
mod motion;
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
mod wire;

use std::time::Duration;

pub use config::{Config, Fidelity};
pub use disk::{DiskFault, SimDisk};
pub use flow::Traffic;
pub use lan::{Lan, LanConfig, LanCounts, LanTraffic};
pub use topology::{Links, Topology};
pub use violation::Violation;

use net::Net;
use rouse_proto::address::Address;

/// A fault of the network, or its repair. Links and nodes are identified by their numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// A link is cut, and its ends notice within 5 ms, as when a cable is pulled.
    Cut {
        /// The number of the link.
        link: usize,
    },
    /// A link is cut, and only one end is notified, as when an interface is set down there.
    Unplug {
        /// The number of the link.
        link: usize,
        /// The end that is notified: 0 or 1 of [`Sim::ends`].
        end: usize,
    },
    /// A link carries nothing any more, and no end is notified, as when a switch between them fails.
    Silence {
        /// The number of the link.
        link: usize,
    },
    /// A link that was cut or silenced carries again.
    Heal {
        /// The number of the link.
        link: usize,
    },
    /// From now on a link loses these shares of frames.
    Loss {
        /// The number of the link.
        link: usize,
        /// From its first end to its second.
        there: f64,
        /// From its second end to its first.
        back: f64,
    },
    /// A node stops at once and sends nothing before.
    Kill {
        /// The number of the node.
        node: usize,
    },
    /// A node starts again with the state that it keeps on disk; a running one is killed first.
    Restart {
        /// The number of the node.
        node: usize,
    },
    /// A node starts again with its disk wiped and its clock set back: it has only its identity.
    RestartWiped {
        /// The number of the node.
        node: usize,
    },
}

/// A simulated network. See the [module's page](self).
pub struct Sim {
    net: Net,
    graph: topology::Graph,
}

impl Sim {
    /// A network in which all nodes and links come up at the beginning.
    pub fn new(topology: &Topology, config: Config) -> Self {
        // The topology has a random generator of its own, so that a seed draws the same network whatever the run does.
        let graph = topology.draw(&mut random::seeded(!config.seed));
        Sim { net: Net::new(&graph, config), graph }
    }

    /// Runs the network for `span` of virtual time.
    ///
    /// # Errors
    /// The invariant that was violated. The simulation stands still from then on.
    pub fn run(&mut self, span: Duration) -> Result<(), Violation> {
        self.net.run(span);
        self.verdict()
    }

    /// Runs until every connected pair is reachable and stays so for 50 ms. Returns the time until they were reachable.
    ///
    /// # Errors
    /// [`Violation::Unreached`] when that takes longer than `most`, or another violated invariant.
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

    /// Applies a fault now.
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

    /// Lets all nodes move about in the unit square for `span`, at `speed` in sides of the square per second. A link comes up
    /// between two nodes that are near each other and goes down when they part; the distance is chosen so that a node has about
    /// `degree` links.
    pub fn roam(&mut self, degree: f64, speed: f64, span: Duration) {
        let places = self.net.places().unwrap_or(&self.graph.points).to_vec();
        self.net.roam(places, degree, speed, span);
    }

    /// Sends packets of `length` bytes from one node to another, one every `every`, for `span`. It needs [`Fidelity::Link`],
    /// because only links carry packets. Returns the number of the flow.
    pub fn send(&mut self, ends: (usize, usize), every: Duration, length: usize, span: Duration) -> usize {
        self.net.add_flow(ends, every, length, span)
    }

    /// The counts of a flow's packets.
    pub fn traffic(&self, flow: usize) -> Traffic {
        self.net.traffic(flow).unwrap_or_default()
    }

    /// The number of nodes, running or not.
    pub fn nodes(&self) -> usize {
        self.net.nodes.len()
    }

    /// The number of links, up or not.
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

    /// Whether a node is running.
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

    /// The number of ordered pairs that a path of links joins, but of which the first does not reach the second.
    pub fn unreached_pairs(&mut self) -> u64 {
        self.net.unreached_pairs()
    }

    /// The nodes that a packet would cross now, both ends included; `None` when it would not arrive.
    pub fn path(&self, from: usize, to: usize) -> Option<Vec<usize>> {
        let both = from.max(to) < self.nodes();
        (both && self.net.reach.reaches(from, to)).then(|| self.net.reach.path(from, to))
    }

    /// The number of other nodes to which a node has a route.
    pub fn routes_of(&self, node: usize) -> usize {
        if node < self.nodes() { self.net.reach.known(node) } else { 0 }
    }

    /// Bytes of control traffic that all nodes have sent: routing messages, or at [`Fidelity::Link`] all frames except packets.
    pub fn control_bytes(&self) -> u64 {
        self.net.bytes()
    }

    /// The same at [`Fidelity::Link`], by the kind of frame: `handshake`, `hello`, `probe`, `answer`, `segment` and `ack` (of
    /// the control channel), `goodbye`, `other`.
    pub fn control_kinds(&self) -> Vec<(&'static str, u64)> {
        self.net.kinds.iter().map(|(kind, bytes)| (*kind, *bytes)).collect()
    }

    /// The estimated memory of a node's routes, in bytes. Announces that several nodes share count for each.
    pub fn memory(&self, node: usize) -> usize {
        if node < self.nodes() { self.net.memory(node) } else { 0 }
    }

    /// The measurements of a link's two ends, at [`Fidelity::Link`] while it is up: the cost, and the share of frames lost on the
    /// round trip.
    pub fn measured(&self, link: usize) -> Option<[(u16, f64); 2]> {
        let ids = self.net.links.get(link)?.sessions;
        let at = |side: usize| Some(self.net.sessions[ids[side]? as usize].link_sim.as_ref()?.measured());
        Some([at(0)?, at(1)?])
    }

    /// Starts to count changes of next hops from zero.
    pub fn count_switches(&mut self) {
        self.net.count_switches();
    }

    /// The most changes of next hop of any node towards any one destination.
    pub fn most_switches(&self) -> u32 {
        self.net.most_switches()
    }

    /// Checks that no control message was refused so far. Honest nodes have none refused, unless tables are too small.
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
