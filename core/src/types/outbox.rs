//! The messages that wait in the journal of a node.

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::wire::codec::{Decode, Encode};
use rouse_proto::types::{MessageId, Service, Timestamp};

/// A message in the journal that is not delivered yet.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct WaitingMessage {
    /// Its id, as [`Node::send`](crate::Node::send) has returned it.
    pub id: MessageId,
    /// Its sender, an address of this node.
    pub from: Address,
    /// Its recipient.
    pub to: Address,
    /// The service of the recipient to which it is addressed, if it names one.
    pub service: Option<Service>,
    /// The length of its body.
    pub bytes: u64,
    /// The moment at which it was sent, by this node's clock.
    pub sent_at: Timestamp,
    /// The time that it may still wait, in milliseconds.
    pub expires_in_ms: u64,
}
