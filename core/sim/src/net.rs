//! The network in virtual time: nodes, links, and the loop that handles one event after the other.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use super::config::{Config, Fidelity};
use super::flow::Flow;
use super::link_sim::{LinkSim, PeerSim};
use super::motion::Motion;
use super::queue::{Actor, Next, Queue, SimEvent};
use super::random::{between, seed_of, seeded, unit};
use super::reach::Reach;
use super::topology::Graph;
use super::violation::Violation;
use super::wire::Wire;
use rouse_proto::address::Address;
use rouse_proto::identity::Identity;
use rouse_proto::peering::NEIGHBOURS;
use rouse_proto::route::{
    AnnounceCache, NeighbourId, Router, RouterConfig, RouterOutput, VerifyJob, VerifyResults,
};
use rouse_proto::stats::DropCause;
use rouse_proto::time::Time;

/// The interval at which state is compared with its bounds. The number of destinations is compared after every event.
const AUDIT: Duration = Duration::from_secs(1);
/// The epoch of a node at its first start.
const FIRST_EPOCH: u32 = 1000;

pub(crate) struct SimNode {
    pub(crate) router: Router,
    pub(crate) alive: bool,
    /// The epoch that its state directory would hold.
    pub(crate) epoch: u32,
    pub(crate) conflicts: usize,
    /// Its links, up or not.
    pub(crate) wires: Vec<usize>,
    /// The neighbours that its router has.
    pub(super) sessions: Vec<NeighbourId>,
    /// Its peering, at [`Fidelity::Link`].
    pub(super) peer_sim: Option<Box<PeerSim>>,
    deadline: Option<Time>,
    /// The moment of its last start.
    started: Time,
    /// Bytes of control traffic sent: messages, or frames at [`Fidelity::Link`].
    pub(super) sent: u64,
    /// The number of changes of next hop, by destination.
    pub(super) switches: HashMap<usize, u32>,
}

/// One end of a link, as its node's router sees it: a neighbour.
pub(super) struct SimSession {
    pub(super) node: usize,
    pub(super) link: usize,
    pub(super) side: usize,
    /// Whether the node's router has the neighbour now.
    pub(super) held: bool,
    /// The link's state machine, at [`Fidelity::Link`].
    pub(super) link_sim: Option<Box<LinkSim>>,
}

pub(crate) struct Net {
    pub(crate) now: Time,
    pub(super) started: Time,
    pub(crate) nodes: Vec<SimNode>,
    pub(crate) addresses: Vec<Address>,
    pub(super) numbers: HashMap<Address, usize>,
    pub(crate) links: Vec<Wire>,
    /// All sessions of the run, by neighbour id.
    pub(super) sessions: Vec<SimSession>,
    pub(super) queue: Queue,
    pub(crate) reach: Reach,
    /// Links or nodes have changed, so that the connected pairs have to be counted again.
    pub(super) stale: bool,
    pub(super) random: ChaCha8Rng,
    pub(crate) config: Config,
    pub(super) router_config: RouterConfig,
    pub(super) flows: Vec<Flow>,
    pub(super) motion: Option<Motion>,
    pub(super) refused: (u64, Option<DropCause>),
    pub(super) violation: Option<Violation>,
    /// Whether a violation panics, for tests.
    pub(crate) panics: bool,
    pub(super) events: u64,
    /// Bytes of control frames, by kind.
    pub(super) kinds: BTreeMap<&'static str, u64>,
    /// Whether changes of next hops are counted.
    pub(super) counting: bool,
    /// Links that may have outputs to handle.
    pub(super) pending: Vec<NeighbourId>,
    changed: Vec<usize>,
    /// Batches that are being verified: the start of the node that verifies, since a restarted node has no use for the result,
    /// and the result.
    verified: BTreeMap<u64, (Time, VerifyResults)>,
    batches: u64,
}

/// The identity of the node with this number, in every simulation.
pub(crate) fn identity(number: usize) -> Identity {
    let mut seed = [0x5a; 32];
    seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
    Identity::from_seed(&seed)
}

impl Net {
    /// A network of nodes and links, all of which come up at the beginning.
    pub(crate) fn new(graph: &Graph, config: Config) -> Self {
        let start = Time::from_millis(1_000_000);
        let addresses: Vec<Address> = (0..graph.nodes).map(|node| identity(node).address()).collect();
        let router_config = RouterConfig {
            shared: config.verifying.is_zero().then(|| Arc::new(AnnounceCache::default())),
            destinations: config.destinations.min(RouterConfig::MAX_DESTINATIONS),
            ..RouterConfig::default()
        };
        let mut net = Net {
            now: start,
            started: start,
            nodes: Vec::with_capacity(graph.nodes),
            numbers: addresses.iter().enumerate().map(|(number, address)| (*address, number)).collect(),
            addresses,
            links: Vec::new(),
            sessions: Vec::new(),
            queue: Queue::default(),
            reach: Reach::new(graph.nodes),
            stale: true,
            random: seeded(config.seed),
            router_config,
            flows: Vec::new(),
            motion: None,
            refused: (0, None),
            violation: None,
            panics: false,
            events: 0,
            kinds: BTreeMap::new(),
            counting: false,
            pending: Vec::new(),
            changed: Vec::new(),
            verified: BTreeMap::new(),
            batches: 0,
            config,
        };
        net.reach.thorough = net.config.thorough;
        for number in 0..graph.nodes {
            let made = net.make(number, FIRST_EPOCH, Vec::new());
            net.nodes.push(made);
            net.reach.set_alive(number, true);
            net.settle(number);
        }
        for (a, b) in &graph.links {
            let (least, most) = net.config.latency;
            let latency = between(&mut net.random, least, most);
            net.add_link([*a, *b], latency);
        }
        for link in 0..net.links.len() {
            net.raise(link);
        }
        net.queue.push(start + AUDIT, SimEvent::Audit);
        net
    }

    fn make(&mut self, number: usize, epoch: u32, wires: Vec<usize>) -> SimNode {
        let seed = seed_of(&mut self.random);
        let mut router = Router::new(self.now, self.router_config.clone(), seed);
        router.add_origin(self.now, identity(number), epoch);
        let peer_sim = (self.config.fidelity == Fidelity::Link).then(|| {
            let seed = seed_of(&mut self.random);
            Box::new(PeerSim::new(&identity(number), NEIGHBOURS, seed))
        });
        SimNode {
            router,
            alive: true,
            epoch,
            conflicts: 0,
            wires,
            sessions: Vec::new(),
            peer_sim,
            deadline: None,
            started: self.now,
            sent: 0,
            switches: HashMap::new(),
        }
    }

    /// Stops a node at once, without a goodbye.
    pub(crate) fn kill(&mut self, node: usize) {
        if !self.nodes[node].alive {
            return;
        }
        self.nodes[node].alive = false;
        for link in self.nodes[node].wires.clone() {
            self.disconnect(link, node);
        }
        self.reach.set_alive(node, false);
        self.stale = true;
        let mut deadline = self.nodes[node].deadline.take();
        self.queue.set_deadline(Actor::Router(node), &mut deadline, None);
        self.cancel_deadlines(node);
    }

    /// Starts a node again with nothing but its identity and `epoch`. Those of its links that are not cut come up.
    pub(crate) fn start(&mut self, node: usize, epoch: u32) {
        if self.nodes[node].alive {
            self.kill(node);
        }
        let (wires, sent) = (std::mem::take(&mut self.nodes[node].wires), self.nodes[node].sent);
        self.nodes[node] = SimNode { sent, ..self.make(node, epoch, wires) };
        self.reach.set_alive(node, true);
        self.stale = true;
        self.settle(node);
        for link in self.nodes[node].wires.clone() {
            self.connect(link);
        }
    }

    /// Calls a router, and handles its outputs.
    pub(crate) fn with<T>(&mut self, node: usize, act: impl FnOnce(&mut Router, Time) -> T) -> T {
        let result = act(&mut self.nodes[node].router, self.now);
        self.settle(node);
        result
    }

    /// Passes a control message to a router, and counts a refusal.
    pub(super) fn receive_control(
        &mut self,
        node: usize,
        id: NeighbourId,
        message: &[u8],
    ) -> Result<(), DropCause> {
        let heard = self.with(node, |router, now| router.handle(now, id, message));
        if let Err(cause) = heard {
            self.refuse(cause, 1);
        }
        heard
    }

    fn refuse(&mut self, cause: DropCause, count: u64) {
        self.refused = (self.refused.0 + count, Some(cause));
    }

    /// Handles all outputs of a router.
    pub(super) fn settle(&mut self, node: usize) {
        let mut changed = std::mem::take(&mut self.changed);
        while let Some(output) = self.nodes[node].router.poll_output(self.now) {
            match output {
                RouterOutput::Send { neighbour, message } => self.send(node, neighbour, message),
                RouterOutput::Fib(address, entry) => {
                    let to = self.numbers[&address];
                    let next = entry.map(|entry| entry.next);
                    self.reach.set_next(to, node, next, entry.and_then(|entry| entry.alternate));
                    changed.push(to);
                }
                RouterOutput::Changed { destination, .. } => {
                    let to = self.numbers[&destination];
                    if self.counting {
                        *self.nodes[node].switches.entry(to).or_default() += 1;
                    }
                }
                RouterOutput::Verify(job) => self.verify(node, job),
                RouterOutput::EpochUsed { epoch, .. } => self.nodes[node].epoch = epoch,
                RouterOutput::IdentityConflict(_) => self.nodes[node].conflicts += 1,
                RouterOutput::Dropped(cause, count) => self.refuse(cause, count),
            }
        }
        changed.dedup();
        for to in changed.drain(..) {
            if let Err(violation) = self.reach.check(to, node) {
                self.violated(violation);
            }
        }
        self.changed = changed;
        let (len, bound) = (self.nodes[node].router.destinations(), self.router_config.destinations + 1);
        if len > bound {
            self.violated(Violation::Bound { node, quantity: "destinations", is: len, bound });
        }
        let next = self.nodes[node].router.next_deadline();
        self.queue.set_deadline(Actor::Router(node), &mut self.nodes[node].deadline, next);
    }

    /// Verifies the signatures of a batch. The result reaches the router after a random delay up to the configured one.
    fn verify(&mut self, node: usize, job: VerifyJob) {
        let verified = job.run();
        if self.config.verifying.is_zero() {
            return self.nodes[node].router.verified(self.now, verified);
        }
        let after = self.config.verifying.mul_f64(unit(&mut self.random));
        self.batches += 1;
        self.verified.insert(self.batches, (self.nodes[node].started, verified));
        self.queue.push(self.now + after, SimEvent::Verified { node, batch: self.batches });
    }

    fn deliver_verified(&mut self, node: usize, batch: u64) {
        let Some((started, verified)) = self.verified.remove(&batch) else { return };
        if self.nodes[node].alive && self.nodes[node].started == started {
            self.with(node, |router, now| router.verified(now, verified));
        }
    }

    pub(super) fn violated(&mut self, violation: Violation) {
        assert!(!self.panics, "seed {}: {violation}", self.config.seed);
        self.violation.get_or_insert(violation);
    }

    /// Handles the next event, if it is not later than `until` and no invariant was violated.
    pub(super) fn step(&mut self, until: Time) -> bool {
        self.pump();
        if self.violation.is_some() {
            return false;
        }
        let Some((at, next)) = self.queue.pop(until) else { return false };
        self.now = self.now.max(at);
        self.events += 1;
        match next {
            Next::Event(event) => self.handle_event(event),
            Next::Deadline(Actor::Router(node)) => {
                self.nodes[node].deadline = None;
                self.with(node, |router, now| router.handle_timeout(now));
            }
            Next::Deadline(actor) => self.link_timeout(actor),
        }
        true
    }

    fn handle_event(&mut self, event: SimEvent) {
        match event {
            SimEvent::Control { id, message } => self.control_arrives(id, &message),
            SimEvent::Frame { link, side, bytes } => self.frame_arrives(link, side, bytes),
            SimEvent::Suspect { id } => self.suspect_neighbour(id),
            SimEvent::Down { id } => self.notice_down(id),
            SimEvent::Verified { node, batch } => self.deliver_verified(node, batch),
            SimEvent::Packet { flow } => self.packet_leaves(flow),
            SimEvent::Move => self.move_on(),
            SimEvent::Audit => {
                let second = self.now.since(self.started).as_secs();
                self.audit(second as usize);
                self.queue.push(self.now + AUDIT, SimEvent::Audit);
            }
        }
    }

    /// Runs the network for `span`.
    pub(crate) fn run(&mut self, span: Duration) {
        let until = self.now + span;
        while self.step(until) {}
        self.now = until;
    }

    /// The ids of a node's neighbours.
    #[cfg(test)]
    pub(crate) fn neighbours_of(&self, node: usize) -> Vec<NeighbourId> {
        self.nodes[node].sessions.clone()
    }

    /// Bytes of control traffic sent by all nodes.
    pub(crate) fn bytes(&self) -> u64 {
        self.nodes.iter().map(|node| node.sent).sum()
    }

    /// The number of refused control messages.
    #[cfg(test)]
    pub(crate) fn drops(&self) -> u64 {
        self.refused.0
    }

    /// Starts to count changes of next hops from zero.
    pub(crate) fn count_switches(&mut self) {
        self.counting = true;
        self.nodes.iter_mut().for_each(|node| node.switches.clear());
    }

    /// The most changes of next hop of any node towards any one destination.
    pub(crate) fn most_switches(&self) -> u32 {
        self.nodes.iter().flat_map(|node| node.switches.values().copied()).max().unwrap_or(0)
    }
}
