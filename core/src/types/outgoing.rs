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
    /// `None` for the default ones. Boxed, because messages of applications wait by value in many futures.
    pub(crate) options: Option<Box<OutgoingOptions>>,
    pub(crate) body: Body,
    /// Whether it is held in memory alone.
    pub(crate) is_volatile: bool,
}

/// The time that an answer waits for its requester, which may be away for a moment or may have given up.
const ANSWER_TTL: Duration = Duration::from_secs(300);
/// The longest text of a failure, in bytes.
const MAX_CAUSE: usize = 1024;

/// The attributes of a message that is to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct OutgoingOptions {
    attributes: Attributes,
    /// Whether a service was named whose name is too long.
    is_too_long: bool,
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
            options: None,
            body: body.into(),
            is_volatile: false,
        }
    }

    /// The reply to a message, from the address that it was sent to: the answer if it is a request.
    pub fn reply(message: &Message, body: impl Into<Body>) -> Self {
        match message.kind {
            // An answer reaches its request, and no mailbox.
            MessageKind::Request => Outgoing::answer(message, body),
            _ => Outgoing::new(message.from, body)
                .from(message.to)
                .service(message.service.as_str())
                .in_reply_to(message.id),
        }
    }

    /// The answer that a request failed, with the cause as a text for people. Of a long text the beginning is sent.
    pub fn failure(request: &Message, cause: &str) -> Self {
        let end = (0..=MAX_CAUSE.min(cause.len())).rev().find(|end| cause.is_char_boundary(*end));
        let text = cause.get(..end.unwrap_or_default()).unwrap_or_default();
        Outgoing::answer(request, text).kind(MessageKind::Failed)
    }

    /// The answer that there is no such service.
    pub(crate) fn refusal(request: &Message) -> Self {
        Outgoing::answer(request, "").kind(MessageKind::Refused)
    }

    fn answer(request: &Message, body: impl Into<Body>) -> Self {
        let answer = Outgoing::new(request.from, body).from(request.to).in_reply_to(request.id);
        answer.kind(MessageKind::Answer).ttl(ANSWER_TTL)
    }

    /// Makes it a request, which waits for its recipient no longer than for its answer.
    pub(crate) fn request(self, timeout: Duration) -> Self {
        self.kind(MessageKind::Request).ttl(timeout)
    }

    fn kind(mut self, kind: MessageKind) -> Self {
        self.options.get_or_insert_default().attributes.kind = kind;
        self
    }

    /// Sends it as this address of the node, instead of as its first.
    pub fn from(mut self, address: Address) -> Self {
        self.from = Some(address);
        self
    }

    /// Addresses it to the service of this name, of at most [`Service::MAX`] bytes.
    pub fn service(mut self, name: impl AsRef<str>) -> Self {
        let service = Service::new(name.as_ref());
        let options = self.options.get_or_insert_default();
        options.is_too_long = service.is_none();
        options.attributes.service = service.unwrap_or_default();
        self
    }

    /// Marks it as a reply to this message.
    pub fn in_reply_to(mut self, id: MessageId) -> Self {
        self.options.get_or_insert_default().attributes.in_reply_to = Some(id);
        self
    }

    /// Sets the time that it may wait for the recipient, in whole milliseconds.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Holds it in memory alone, although the node has a journal: it is accepted sooner, and is lost when the node ends.
    pub fn volatile(mut self) -> Self {
        self.is_volatile = true;
        self
    }

    /// The message to which it replies.
    pub(crate) fn replies_to(&self) -> Option<MessageId> {
        self.options.as_ref()?.attributes.in_reply_to
    }

    /// The attributes of the message.
    pub(crate) fn attributes(&self) -> Result<Attributes, SendError> {
        match self.options.as_deref() {
            None => Ok(Attributes::default()),
            Some(options) if options.is_too_long => Err(SendError::ServiceTooLong),
            Some(options) => Ok(options.attributes.clone()),
        }
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
    /// The journal has no room for it.
    #[error(
        "the journal is full: messages to {holder} hold {held} of {limit} bytes; wait until they are delivered, cancel some (`rouse outbox`), or raise limits.journal"
    )]
    JournalFull {
        /// The peer whose messages hold most of the room, or the recipient when its own share is used up.
        holder: Address,
        /// The bytes that they hold.
        held: u64,
        /// The bytes that all outgoing messages may hold.
        limit: u64,
    },
    /// It could not be stored.
    #[error("the message was not stored: {0}; a volatile message needs no journal")]
    NotStored(String),
    /// It was cancelled while it waited.
    #[error("the message to {0} was cancelled")]
    Cancelled(Address),
}

impl SendError {
    /// The error that the time to live of a message to `to` ran out.
    pub(crate) fn expired(to: Address, had_left: bool) -> Self {
        if had_left { SendError::Unknown(to) } else { SendError::Expired(to) }
    }
}
