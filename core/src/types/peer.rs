//! Neighbours, and the endpoints that are dialled to reach them.

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::wire::codec::{Decode, Encode};
use rouse_proto::types::PeerState;
use rouse_proto::types::Timestamp;

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
