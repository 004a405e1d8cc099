//! The state of a flow of packets.

use std::time::Duration;

use rouse_proto::time::Time;

/// The counts of one flow's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets sent.
    pub sent: u64,
    /// Packets that arrived; repeated arrivals count once.
    pub arrived: u64,
    /// Repeated arrivals.
    pub duplicates: u64,
    /// Packets dropped at a node without a route.
    pub unroutable: u64,
    /// The longest time between two successive arrivals.
    pub gap: Duration,
}

/// A flow of packets from one node to another.
pub(super) struct Flow {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) every: Duration,
    pub(super) length: usize,
    pub(super) until: Time,
    pub(super) seen: Vec<bool>,
    pub(super) last: Option<Time>,
    pub(super) traffic: Traffic,
}
