//! Services: names within an address, and the attributes by which a message is assigned to one, or to a request.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::message_id::MessageId;
use crate::wire::codec::{
    BorrowDecode, BorrowDecoder, Decode, DecodeError, Decoder, Encode, EncodeError, Encoder,
};

/// The name of a mailbox within an address, so that two programs that share an address do not take each other's messages.
/// At most 64 bytes; the default is the empty name. Clones share the text.
///
/// ```
/// use rouse_proto::types::Service;
///
/// assert_eq!(Service::new("chat").unwrap().as_str(), "chat");
/// assert!(Service::new(&"x".repeat(65)).is_none());
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service(Option<Arc<str>>);

impl Service {
    /// The longest name in bytes.
    pub const MAX: usize = 64;

    /// The service of this name; `None` when the name is longer than [`Service::MAX`].
    pub fn new(name: &str) -> Option<Self> {
        (name.len() <= Self::MAX).then(|| Service((!name.is_empty()).then(|| name.into())))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether this is the service of messages that name none.
    pub fn is_default(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name is longer than [`Service::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a service has at most {} bytes", Service::MAX)]
pub struct ServiceTooLong;

impl FromStr for Service {
    type Err = ServiceTooLong;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Service::new(name).ok_or(ServiceTooLong)
    }
}

impl Serialize for Service {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Service {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Encode for Service {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.as_str().encode(encoder)
    }
}

impl<C> Decode<C> for Service {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let name = String::decode(decoder)?;
        Service::new(&name).ok_or(DecodeError::Other("the name of a service is too long"))
    }
}

impl<'de, C> BorrowDecode<'de, C> for Service {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let name = <&'de str>::borrow_decode(decoder)?;
        Service::new(name).ok_or(DecodeError::Other("the name of a service is too long"))
    }
}

/// The purpose of a message.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MessageKind {
    /// A message that expects nothing.
    #[default]
    Plain,
    /// A request, whose sender waits for an answer.
    Request,
    /// The answer to a request. No mailbox gets it.
    Answer,
    /// An answer: the recipient of the request has no such service.
    Refused,
    /// An answer: the service could not serve the request. The body is a text with the cause.
    Failed,
}

/// The fields of a message beside its times and its body. Most messages have the default ones, which cost nothing on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Attributes {
    /// The mailbox of the recipient to which the message is addressed.
    pub service: Service,
    /// The message that it answers.
    pub in_reply_to: Option<MessageId>,
    /// Its purpose.
    pub kind: MessageKind,
    /// Whether its sender has stored it, so that a recipient with a journal stores it before its receipt.
    pub durable: bool,
}

impl Attributes {
    /// Those of a stored message without a service.
    pub(crate) const STORED: &'static Attributes =
        &Attributes { service: Service(None), in_reply_to: None, kind: MessageKind::Plain, durable: true };

    /// Whether all of them are the default ones.
    pub fn is_default(&self) -> bool {
        self.service.is_default()
            && self.in_reply_to.is_none()
            && self.kind == MessageKind::Plain
            && !self.durable
    }

    /// Whether they can be those of a message: an answer has to name its request, and neither an answer nor a request is
    /// stored.
    pub fn is_valid(&self) -> bool {
        let has_request = self.in_reply_to.is_some();
        match self.kind {
            MessageKind::Plain => true,
            MessageKind::Request => !self.durable,
            _ => has_request && !self.durable,
        }
    }
}
