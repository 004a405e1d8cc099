//! The parameters of a simulated medium, and its counts.

use std::time::Duration;

/// The parameters of a medium with nodes on it.
#[derive(Clone, Debug, PartialEq)]
pub struct LanConfig {
    /// The seed of all random numbers of the run.
    pub seed: u64,
    /// The number of nodes. None runs at the beginning.
    pub nodes: usize,
    /// The number of networks, in each of which every node has an endpoint.
    pub networks: u8,
    /// The share of frames and beacons that are lost, from 0 to below 1.
    pub loss: f64,
    /// The bounds of the delay, which is drawn for each frame.
    pub delay: (Duration, Duration),
    /// The greatest number of neighbours of each node.
    pub neighbours: usize,
}

/// Ten nodes with the limits of a daemon, over a medium that loses nothing.
impl Default for LanConfig {
    fn default() -> Self {
        LanConfig {
            seed: 0,
            nodes: 10,
            networks: 1,
            loss: 0.0,
            delay: (Duration::from_micros(200), Duration::from_millis(2)),
            neighbours: 256,
        }
    }
}

/// The counts of one node since the beginning of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LanCounts {
    /// Links that have begun.
    pub links: u64,
    /// Links that were in use when this node replaced them by a session that it had begun itself, although the neighbour had not
    /// restarted. A session that the neighbour has begun does not count, since its end of the link may be suspect.
    pub replaced_in_use: u64,
    /// Sessions that were declined because no place was free.
    pub declined: u64,
    /// Refusals of other nodes that were received.
    pub refused: u64,
    /// Handshake frames sent.
    pub handshake_frames: u64,
}

/// The packets of one flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LanTraffic {
    /// Packets sent. Without a link none is sent.
    pub sent: u64,
    /// Packets that arrived.
    pub arrived: u64,
    /// The longest time between two successive arrivals.
    pub gap: Duration,
}
