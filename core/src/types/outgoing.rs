//! Messages to be sent, their receipts, and the reasons for which one is not delivered.

use std::time::Duration;

use crate::address::Address;
use crate::wire::codec::{Decode, Encode};
use rouse_proto::types::{Attributes, Body, MAX_MESSAGE, Message, MessageId, MessageKind, Service};

/// A message to be sent, with its sender, its time to live, and the service to which it is addressed.
///
/// ```
/// # use std::time::Duration;
/// # use rouse_core::{Identity, Outgoing};
/// # let peer = Identity::generate().address();
/// let message = Outgoing::new(peer, "hello").service("chat").ttl(Duration::from_secs(60));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Outgoing {
    pub(crate) to: Address,
    pub(crate) from: Option<Address>,
    pub(crate) ttl_ms: u64,
    /// `None` for a name that is too long.
    pub(crate) service: Option<Service>,
    pub(crate) in_reply_to: Option<MessageId>,
    pub(crate) kind: MessageKind,
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
            service: Some(Service::default()),
            in_reply_to: None,
            kind: MessageKind::Plain,
            body: body.into(),
        }
    }

    /// The reply to a message, from the address that it was sent to: the answer if it is a request.
    pub fn reply(message: &Message, body: impl Into<Body>) -> Self {
        let kind =
            if message.kind == MessageKind::Request { MessageKind::Answer } else { MessageKind::Plain };
        let reply = Outgoing::new(message.from, body).from(message.to).in_reply_to(message.id);
        Outgoing { service: Some(message.service.clone()), kind, ..reply }
    }

    /// Sends it as this address of the node, instead of as its first.
    pub fn from(mut self, address: Address) -> Self {
        self.from = Some(address);
        self
    }

    /// Addresses it to the service of this name, of at most [`Service::MAX`] bytes.
    pub fn service(mut self, name: impl AsRef<str>) -> Self {
        self.service = Service::new(name.as_ref());
        self
    }

    /// Marks it as a reply to this message.
    pub fn in_reply_to(mut self, id: MessageId) -> Self {
        self.in_reply_to = Some(id);
        self
    }

    /// The attributes of the message.
    pub(crate) fn attributes(&self) -> Result<Attributes, SendError> {
        let service = self.service.clone().ok_or(SendError::ServiceTooLong)?;
        Ok(Attributes { service, in_reply_to: self.in_reply_to, kind: self.kind })
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
    /// The name of the service is longer than [`Service::MAX`].
    #[error("the name of a service has at most {} bytes", Service::MAX)]
    ServiceTooLong,
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
