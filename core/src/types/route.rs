//! Routes, and the results of pings and traces along them.

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::wire::codec::{Decode, Encode};
use rouse_proto::types::RouteState;

/// A route: a destination, and the neighbour that leads there.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Route {
    pub destination: Address,
    pub name: Option<String>,
    pub next_hop: Address,
    pub metric: u16,
    pub hops: u8,
    pub seq: u64,
    pub age_s: u64,
    pub state: RouteState,
}

/// The reply to a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Pong {
    /// The round trip, in microseconds.
    pub rtt_us: u64,
    /// The links crossed on the way there.
    pub hops: u8,
}

/// The reason for which a ping or a trace has no result.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[non_exhaustive]
pub enum PingError {
    /// There is no route to the peer.
    #[error("no route to {0}")]
    NoRoute(Address),
    /// No reply came in time.
    #[error("no reply in time")]
    TimedOut,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopped,
}

/// One hop of a trace: a node on the path to the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hop {
    /// Its distance, in links.
    pub hop: u8,
    /// The node there.
    pub address: Address,
    /// The round trip to it, in microseconds.
    pub rtt_us: u64,
}
