//! The received messages that wait in the journal of a node.

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::wire::codec::{Decode, Encode};
use rouse_proto::types::{MessageId, Service, Timestamp};

/// A received message in the journal that no application has acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct UnreadMessage {
    /// The id that its sender gave it.
    pub id: MessageId,
    /// Its sender.
    pub from: Address,
    /// Its recipient, an address of this node.
    pub to: Address,
    /// The service to which it is addressed.
    pub service: Service,
    /// The length of its body.
    pub bytes: u64,
    /// The moment at which it was sent, by the sender's clock.
    pub sent_at: Timestamp,
    /// The moment at which it arrived, by this node's clock.
    pub received_at: Timestamp,
    /// The attempts to deliver it to an application.
    pub deliveries: u8,
    /// Whether an application has it at the moment.
    pub is_leased: bool,
}
