//! The state of a node on a simulated medium.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::RngCore;

use super::config::{LanConfig, LanCounts, LanTraffic};
use crate::link_sim::{LinkSim, MTU};
use crate::net::identity;
use crate::random::{seed_of, seeded};
use rouse_proto::address::Address;
use rouse_proto::endpoint::Endpoint;
use rouse_proto::identity::Identity;
use rouse_proto::link::{LinkState, Path, Source};
use rouse_proto::peering::{Media, NeighbourFilter, NewLink, Peering, PeeringConfig};
use rouse_proto::time::Time;

/// The first and the longest interval between two beacons; it doubles.
pub(super) const BEACONS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(32));
/// The longest time until a node answers the beacon of a node that is new to it with one of its own.
pub(super) const ANSWER: Duration = Duration::from_millis(250);

/// An event at a fixed moment. `run` is the start of a node that it belongs to.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LanEvent {
    Start {
        node: usize,
    },
    /// A frame arrives at an endpoint.
    Frame {
        from: Endpoint,
        to: Endpoint,
        bytes: Vec<u8>,
    },
    Heard {
        from: Endpoint,
        to: Endpoint,
        instance: u64,
    },
    /// A beacon is due; after it the next one after this interval, if there is one.
    Beacon {
        node: usize,
        run: u32,
        next: Option<Duration>,
    },
    /// The look-up of a configured peer is done.
    Resolved {
        node: usize,
        run: u32,
        uri: String,
    },
    /// The next packet of a flow is due.
    Packet {
        flow: usize,
    },
}

/// One end of a link.
pub(super) struct LanLink {
    pub(super) sim: LinkSim,
    pub(super) path: Path,
    /// The number of the neighbour, and the random number of its run.
    pub(super) peer: usize,
    pub(super) peer_instance: u64,
    pub(super) in_service: bool,
    pub(super) state: LinkState,
}

impl LanLink {
    pub(super) fn new(now: Time, peer: usize, new: NewLink) -> Self {
        let (path, peer_instance, in_service) =
            (new.session.path, new.session.peer_instance, !new.session.initiator);
        let sim = LinkSim::new(now, new);
        LanLink { sim, path, peer, peer_instance, in_service, state: LinkState::Up }
    }

    /// Whether it carries packets, and its neighbour answers.
    pub(super) fn is_in_use(&self) -> bool {
        self.in_service && self.state == LinkState::Up
    }
}

/// A flow of packets from one node to another.
pub(super) struct LanFlow {
    pub(super) ends: (usize, usize),
    pub(super) every: Duration,
    pub(super) until: Time,
    pub(super) last: Option<Time>,
    pub(super) traffic: LanTraffic,
}

impl LanFlow {
    pub(super) fn new(ends: (usize, usize), every: Duration, until: Time) -> Self {
        LanFlow { ends, every, until, last: None, traffic: LanTraffic::default() }
    }

    pub(super) fn arrived(&mut self, now: Time) {
        self.traffic.arrived += 1;
        if let Some(last) = self.last.replace(now) {
            self.traffic.gap = self.traffic.gap.max(now.since(last));
        }
    }
}

/// The only medium: its endpoints belong to hosts of one network.
pub(super) struct Segment;

impl Media for Segment {
    fn max_mtu(&self, _netmod: u32) -> Option<usize> {
        Some(MTU)
    }

    fn source(&self, path: &Path) -> Source {
        Source { host: number_of(&path.endpoint) as u64, group: 0 }
    }

    fn is_cut(&self, _path: &Path) -> bool {
        false
    }
}

/// A node, running or not.
pub(super) struct LanNode {
    number: usize,
    identity: Identity,
    neighbours: usize,
    networks: u8,
    /// The seed from which that of each run is drawn.
    seed: u64,
    /// The number of its starts.
    pub(super) run: u32,
    /// The number of times that it was given new endpoints.
    numbering: u8,
    /// Its peering, while it runs, and the random number of the run that its beacons carry.
    pub(super) peering: Option<Box<Peering>>,
    pub(super) instance: u64,
    /// The nodes that it has heard in this run.
    pub(super) heard: BTreeSet<u64>,
    configured: Vec<usize>,
    pub(super) links: BTreeMap<u32, LanLink>,
    /// Links that may have outputs.
    pub(super) pending: Vec<u32>,
    pub(super) deadline: Option<Time>,
    /// The neighbour, and its run, of a link in use that a new session has replaced.
    pub(super) replaced: Option<(usize, u64)>,
    pub(super) counts: LanCounts,
}

impl LanNode {
    pub(super) fn new(number: usize, config: &LanConfig, random: &mut ChaCha8Rng) -> Self {
        LanNode {
            number,
            identity: identity(number),
            neighbours: config.neighbours,
            networks: config.networks,
            seed: random.next_u64(),
            run: 0,
            numbering: 0,
            peering: None,
            instance: 0,
            heard: BTreeSet::new(),
            configured: Vec::new(),
            links: BTreeMap::new(),
            pending: Vec::new(),
            deadline: None,
            replaced: None,
            counts: LanCounts::default(),
        }
    }

    pub(super) fn address(&self) -> Address {
        self.identity.address()
    }

    pub(super) fn is_alive(&self) -> bool {
        self.peering.is_some()
    }

    pub(super) fn start(&mut self, now: Time) {
        self.run += 1;
        let seed = seed_of(&mut seeded(self.seed ^ u64::from(self.run)));
        let config = PeeringConfig {
            mesh_key: None,
            neighbours: self.neighbours,
            neighbour_filter: NeighbourFilter::default(),
        };
        self.instance = seed.first_chunk().copied().map_or(0, u64::from_le_bytes);
        let mut peering = Peering::new(&self.identity, config, seed.into());
        for peer in &self.configured {
            peering.add_peer(now, &uri_of(*peer));
        }
        self.peering = Some(Box::new(peering));
    }

    pub(super) fn stop(&mut self) {
        self.peering = None;
        self.heard.clear();
        self.links.clear();
        self.pending.clear();
        self.deadline = None;
        self.replaced = None;
    }

    pub(super) fn configure(&mut self, now: Time, peer: usize) {
        self.configured.push(peer);
        if let Some(peering) = &mut self.peering {
            peering.add_peer(now, &uri_of(peer));
        }
    }

    pub(super) fn renumber(&mut self) {
        self.numbering += 1;
    }

    /// Its endpoint in a network.
    pub(super) fn endpoint(&self, network: u8) -> Endpoint {
        let [low, high] = (self.number as u16).to_le_bytes();
        Endpoint::new(&[low, high, network, self.numbering]).unwrap_or_else(|| unreachable!("four bytes"))
    }

    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        (0..self.networks).map(|network| self.endpoint(network)).collect()
    }

    /// Whether frames to the endpoint arrive here.
    pub(super) fn is_at(&self, endpoint: &Endpoint) -> bool {
        self.is_alive() && self.endpoint(network_of(endpoint)) == *endpoint
    }

    /// The number of its link with this receiver index.
    pub(super) fn link_of_index(&self, index: u32) -> Option<u32> {
        self.links.iter().find(|(_, link)| link.sim.local_index == index).map(|(id, _)| *id)
    }
}

/// The node that an endpoint belongs to.
pub(super) fn number_of(endpoint: &Endpoint) -> usize {
    match endpoint.as_bytes() {
        [low, high, ..] => usize::from(u16::from_le_bytes([*low, *high])),
        _ => usize::MAX,
    }
}

/// The network of an endpoint.
pub(super) fn network_of(endpoint: &Endpoint) -> u8 {
    endpoint.as_bytes().get(2).copied().unwrap_or(0)
}

/// The URI of a node, which is resolved by [`node_of`].
fn uri_of(number: usize) -> String {
    format!("lan:{number}")
}

/// The node with this URI.
pub(super) fn node_of(uri: &str) -> Option<usize> {
    uri.strip_prefix("lan:")?.parse().ok()
}
