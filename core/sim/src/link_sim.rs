//! The state of a simulated link, at [`Fidelity::Link`](super::Fidelity::Link), and of the peering of a node.

use std::collections::{BTreeMap, VecDeque};

use rouse_proto::endpoint::Endpoint;
use rouse_proto::identity::Identity;
use rouse_proto::link::{Link, Path, Sealer, Source};
use rouse_proto::peering::{Media, NeighbourFilter, NewLink, Peering, PeeringConfig};
use rouse_proto::route::NeighbourId;
use rouse_proto::time::Time;

/// The longest frame, in bytes.
pub(super) const MTU: usize = 1200;

/// The peering of one node, and the deadline that the queue holds for it.
pub(super) struct PeerSim {
    pub(super) peering: Peering,
    /// The random number of this run of the node, as its beacons carry it.
    pub(super) instance: u64,
    /// The neighbour ids of its links, by the number that the peering gave to each.
    pub(super) ids: BTreeMap<u32, NeighbourId>,
    pub(super) deadline: Option<Time>,
}

impl PeerSim {
    pub(super) fn new(identity: &Identity, neighbours: usize, seed: [u8; 32]) -> Self {
        let instance = seed.first_chunk().copied().map_or(0, u64::from_le_bytes);
        let config =
            PeeringConfig { mesh_key: None, neighbours, neighbour_filter: NeighbourFilter::default() };
        let peering = Peering::new(identity, config, seed.into());
        PeerSim { peering, instance, ids: BTreeMap::new(), deadline: None }
    }
}

/// The media of a node that has a medium of its own for each link.
pub(super) struct Wires;

impl Media for Wires {
    fn max_mtu(&self, _netmod: u32) -> Option<usize> {
        Some(MTU)
    }

    fn source(&self, path: &Path) -> Source {
        Source::isolated(path.netmod.into())
    }

    fn is_cut(&self, _path: &Path) -> bool {
        false
    }
}

/// One end of a simulated link: the link's state machine and the session state that the node's tasks keep in a daemon.
pub(super) struct LinkSim {
    /// The number that the peering gave to the link.
    pub(super) number: u32,
    pub(super) link: Link,
    /// The longest packet that it carries, in bytes.
    pub(super) mtu: u16,
    pub(super) sealer: Sealer,
    pub(super) local_index: u32,
    /// The other end's index, taken from the first frame that is sent to it.
    pub(super) peer_index: Option<u32>,
    pub(super) confirmed: bool,
    /// The number of times that its keys were renewed.
    #[cfg(test)]
    pub(super) rekeyed: u32,
    /// Control messages for which the link has no room yet.
    pub(super) waiting: VecDeque<Vec<u8>>,
    pub(super) deadline: Option<Time>,
}

impl LinkSim {
    pub(super) fn new(now: Time, new: NewLink) -> Self {
        let NewLink { id, session, seed, .. } = new;
        let link = Link::new(now, session.peer, session.opener, session.mtu, *seed)
            .with_renewal(now, session.renewal)
            .with_handshake_rtt(session.rtt)
            .with_capabilities(session.peer_capabilities);
        LinkSim {
            number: id,
            link,
            mtu: u16::try_from(session.mtu.saturating_sub(Sealer::OVERHEAD)).unwrap_or(u16::MAX),
            sealer: session.sealer,
            local_index: session.local_index,
            peer_index: None,
            confirmed: false,
            #[cfg(test)]
            rekeyed: 0,
            waiting: VecDeque::new(),
            deadline: None,
        }
    }

    /// The measured cost, and the share of frames lost on the round trip.
    pub(super) fn measured(&self) -> (u16, f64) {
        let metrics = self.link.metrics();
        (metrics.cost, metrics.loss)
    }

    pub(super) fn queued(&self) -> usize {
        self.link.metrics().control_queued
    }
}

pub(super) fn path(link: usize) -> Path {
    // Each link is a medium of its own with one other node on it, so that the endpoint needs no bytes.
    Path { netmod: link as u32, endpoint: Endpoint::new(&[]).unwrap_or_else(|| unreachable!("it is short")) }
}
