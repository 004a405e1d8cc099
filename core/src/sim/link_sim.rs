//! The state of a simulated link, at [`Fidelity::Link`](super::Fidelity::Link), and of the handshakes of a node.

use std::collections::VecDeque;

use crate::endpoint::Endpoint;
use crate::link::{Handshakes, Link, LinkConfig, Path, Sealer};
use crate::time::Time;
use rouse_proto::identity::Identity;

/// The longest frame, in bytes.
pub(super) const MTU: usize = 1200;

/// The handshakes of one node, and the deadline that the queue holds for them.
pub(super) struct HandshakeSim {
    pub(super) handshakes: Handshakes,
    pub(super) deadline: Option<Time>,
}

impl HandshakeSim {
    pub(super) fn new(identity: &Identity, seed: [u8; 32]) -> Self {
        HandshakeSim { handshakes: Handshakes::new(identity, LinkConfig::default(), seed), deadline: None }
    }
}

/// One end of a simulated link: the link's state machine and the session state that the node's tasks keep in a daemon.
pub(super) struct LinkSim {
    pub(super) link: Link,
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
