//! The states of routes and links, and the ends of links.

use serde::{Deserialize, Serialize};

use crate::wire::codec::{Decode, Encode};

/// The use that the router makes of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteState {
    /// In use.
    Active,
    /// Feasible, and used when the active one fails.
    Standby,
    /// It might be part of a loop (the feasibility condition of RFC 8966 does not hold), so it is not used.
    Infeasible,
    /// Withdrawn by the neighbour.
    Retracted,
    /// Most messages sent along it did not arrive. It is used again after a while, or when there is no better route.
    Avoided,
}

/// The state of the link to a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    /// Dialled, no answer yet.
    Connecting,
    /// Alive.
    Up,
    /// It has been silent for longer than it should be, so routes avoid it.
    Suspect,
    /// Gone, or not reached; dialled again if it was configured.
    Down,
}

/// The result of removing a peer for the link to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RemovedPeer {
    /// There was no link.
    NoLink,
    /// The link was ended with a goodbye.
    Ended,
    /// The link stays, because the neighbour was also discovered on the network.
    Found,
    /// The link stays, because the neighbour dialled this node.
    DialledHere,
    /// The link stays, because another dialled peer is the same node.
    DialledOtherwise,
}

impl std::fmt::Display for RemovedPeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            RemovedPeer::NoLink => "it had no link",
            RemovedPeer::Ended => "its link was ended",
            RemovedPeer::Found => "its link stays: the peer was also found on this network",
            RemovedPeer::DialledHere => "its link stays: the peer dialled this node",
            RemovedPeer::DialledOtherwise => "its link stays: another peer that is dialled is the same node",
        })
    }
}
