//! Messages to be sent, their receipts, and the reasons for which one is not delivered.

use std::time::Duration;

use crate::address::Address;
use crate::wire::codec::{Decode, Encode};
use rouse_proto::types::{Body, MAX_MESSAGE, MessageId};

/// A message to be sent, with its sender and its time to live.
///
/// ```
/// # use std::time::Duration;
/// # use rouse_core::{Identity, Outgoing};
/// # let peer = Identity::generate().address();
/// let message = Outgoing::new(peer, "hello").ttl(Duration::from_secs(60));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Outgoing {
    pub(crate) to: Address,
    pub(crate) from: Option<Address>,
    pub(crate) ttl_ms: u64,
    pub(crate) body: Body,
}

impl Outgoing {
    /// The time that a message waits for its recipient unless [`Outgoing::ttl`] sets another: 7 days.
    pub const DEFAULT_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

    /// A message for `to`.
    pub fn new(to: Address, body: impl Into<Body>) -> Self {
        Outgoing {
            to,
            from: None,
            ttl_ms: u64::try_from(Self::DEFAULT_TTL.as_millis()).unwrap_or(u64::MAX),
            body: body.into(),
        }
    }

    /// Sends it as this address of the node, instead of as its first.
    pub fn from(mut self, address: Address) -> Self {
        self.from = Some(address);
        self
    }

    /// Sets the time that it may wait for the recipient, in whole milliseconds.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        self
    }
}

/// The recipient's confirmation that an application there has received a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Receipt {
    /// The id of the message.
    pub id: MessageId,
    /// From the moment it was accepted for sending to the arrival of the receipt, in microseconds.
    pub elapsed_us: u64,
}

/// The reason for which a message was not sent or not delivered.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// It is longer than [`MAX_MESSAGE`].
    #[error("the message has {length} bytes, the limit is {MAX_MESSAGE}: send it in pieces")]
    TooLong {
        /// Its length in bytes.
        length: u64,
    },
    /// The sender is not an address of this node.
    #[error("{0} is not an address of this node")]
    NotOurs(Address),
    /// The queue to this recipient is full (`try_send` only; `send` waits).
    #[error("the queue to {0} is full: it does not read, or is away; wait or try later")]
    Full(Address),
    /// Too many conversations at once.
    #[error("too many conversations at once, the limit is {0}: raise limits.senders")]
    TooManyPeers(u64),
    /// The time to live ran out before any of it was sent.
    #[error("the message expired before {0} was reached")]
    Expired(Address),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopped,
    /// The time to live ran out after a part of the message had been sent, and before the recipient confirmed it.
    #[error("the message expired on its way to {0}, which may have received it")]
    Unknown(Address),
}

impl SendError {
    /// The error that the time to live of a message to `to` ran out.
    pub(crate) fn expired(to: Address, had_left: bool) -> Self {
        if had_left { SendError::Unknown(to) } else { SendError::Expired(to) }
    }
}
