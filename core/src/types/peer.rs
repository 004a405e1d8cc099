//! Neighbours, and the endpoints that are dialled to reach them.

use serde::{Deserialize, Serialize};

use super::message::Timestamp;
use crate::address::Address;
use crate::wire::codec::{Decode, Encode};

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

/// A neighbour, or an endpoint that is dialled and has not answered yet.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Peer {
    /// Unknown until the first handshake with it.
    pub address: Option<Address>,
    pub name: Option<String>,
    /// Its endpoint, as a URI.
    pub endpoint: String,
    /// The netmod's URI.
    pub netmod: String,
    pub state: PeerState,
    pub rtt_ms: Option<f64>,
    /// Share of frames lost on the way to us and back, 0 to 1.
    pub loss: Option<f64>,
    pub metric: Option<u16>,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    /// The moment at which the state last changed.
    pub since: Timestamp,
    pub last_error: Option<String>,
}

/// An endpoint that the node dials.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Dialled {
    /// The endpoint, as a URI.
    pub uri: String,
    /// The state of the link to it.
    pub state: PeerState,
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
