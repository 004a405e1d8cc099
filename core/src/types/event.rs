//! Events: the changes that a node reports to its subscribers.

use serde::{Deserialize, Serialize};

use super::status::NetmodState;
use crate::address::Address;
use crate::wire::codec::{Decode, Encode};
use rouse_proto::types::MessageId;

/// A change that the node reports.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum Event {
    NeighbourUp {
        address: Address,
        endpoint: String,
    },
    NeighbourDown {
        address: Address,
        endpoint: String,
        reason: String,
    },
    /// The neighbour has another endpoint now, and the link continues there.
    NeighbourMoved {
        address: Address,
        endpoint: String,
    },
    /// `next_hop` is `None` when the destination is no longer reachable.
    RouteChanged {
        destination: Address,
        next_hop: Option<Address>,
        metric: Option<u16>,
        hops: Option<u8>,
    },
    MessageReceived {
        id: MessageId,
        from: Address,
        to: Address,
        bytes: u64,
    },
    MessageDelivered {
        id: MessageId,
        to: Address,
        elapsed_us: u64,
    },
    MessageExpired {
        id: MessageId,
        to: Address,
    },
    NetmodState {
        uri: String,
        state: NetmodState,
        error: Option<String>,
    },
    /// Drops of one cause since the last such event, at most one event a second for each cause.
    Drop {
        cause: String,
        count: u64,
    },
}
