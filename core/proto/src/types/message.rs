//! Messages: their ids, times, bodies and receipts, and the reasons for which one is not delivered.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::message_id::MessageId;
use super::service::{MessageKind, Service};
use crate::address::Address;
use crate::wire::codec::{
    BorrowDecode, BorrowDecoder, Decode, DecodeError, Decoder, Encode, EncodeError, Encoder,
};

/// The longest message, in bytes: 16 MiB. An application sends anything longer in pieces.
pub const MAX_MESSAGE: usize = 16 << 20;

/// A moment of the wall clock, in milliseconds since 1970-01-01T00:00:00 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Now.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// The same moment as the standard library's type; `None` when that cannot represent it.
    pub fn to_system_time(self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_millis(self.0))
    }
}

/// RFC 3339, UTC, with milliseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A sender may claim any time. RFC 3339 ends with the year 9999, so later moments are shown as its last second.
        let last = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
        let time = self.to_system_time().map_or(last, |time| time.min(last));
        humantime::format_rfc3339_millis(time).fmt(f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let time = humantime::parse_rfc3339(&text).map_err(serde::de::Error::custom)?;
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// The protection that a message had on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Protection {
    /// It never left this node.
    Local,
    /// It was sealed from end to end: only the two ends could read it, and only the sender could have written it.
    #[serde(rename = "e2e")]
    EndToEnd,
}

/// A message that has arrived.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Message {
    /// The id that its sender gave it.
    pub id: MessageId,
    /// The sender.
    pub from: Address,
    /// The recipient: one of this node's addresses.
    pub to: Address,
    /// The moment at which it was sent, by the sender's clock.
    pub sent_at: Timestamp,
    /// The moment at which it was put into the inbox, by this node's clock.
    pub received_at: Timestamp,
    /// The protection that it had on its way.
    pub protection: Protection,
    /// The mailbox of the recipient to which it is addressed; empty when the sender named none.
    pub service: Service,
    /// The message that it answers.
    pub in_reply_to: Option<MessageId>,
    /// Its purpose.
    pub kind: MessageKind,
    /// The attempts to deliver it to an application, with this one. It is more than 1 only for a message that was stored and
    /// that an application has not dealt with.
    pub deliveries: u8,
    /// The bytes that the sender's application passed to `send`.
    pub body: Body,
}

/// The bytes of a message, reference-counted; derefs to a slice.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Body(pub Bytes);

impl std::ops::Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B", self.0.len())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Body(bytes)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Body(bytes.into())
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Body(text.into())
    }
}

impl From<&[u8]> for Body {
    fn from(bytes: &[u8]) -> Self {
        Body(Bytes::copy_from_slice(bytes))
    }
}

impl From<&str> for Body {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl<const N: usize> From<&[u8; N]> for Body {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

// A body is encoded as its length and its bytes. The derived code would copy byte by byte; this copies once in each direction.
impl Encode for Body {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.as_ref().encode(encoder)
    }
}

impl<C> Decode<C> for Body {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Vec::<u8>::decode(decoder).map(Body::from)
    }
}

impl<'de, C> BorrowDecode<'de, C> for Body {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        <&'de [u8]>::borrow_decode(decoder).map(Body::from)
    }
}

/// The messages that wait to be delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Waiting {
    /// Number of messages.
    pub messages: u64,
    /// Sum of their lengths, in bytes.
    pub bytes: u64,
}
