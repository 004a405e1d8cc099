//! Routes, and the results of pings and traces along them.

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::wire::codec::{Decode, Encode};

/// What a route is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteState {
    /// In use.
    Active,
    /// Feasible, and used when the active one fails.
    Standby,
    /// Might loop: not used.
    Infeasible,
    /// Withdrawn by the neighbour.
    Retracted,
    /// Most of what went this way did not arrive: used again after a while, or when there is nothing better.
    Avoided,
}

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

/// A ping that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Pong {
    /// The round trip, in microseconds.
    pub rtt_us: u64,
    /// The links crossed on the way there.
    pub hops: u8,
}

/// Why a ping or a trace brought nothing.
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

/// One hop of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hop {
    /// How many links away.
    pub hop: u8,
    /// The node there.
    pub address: Address,
    /// The round trip to it, in microseconds.
    pub rtt_us: u64,
}
