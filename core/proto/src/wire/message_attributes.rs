//! The attributes frame: the service of the messages after it, and the request that they answer.
//!
//! Its fields are kept as they arrived until a message is taken, because the memory of a message then follows the bytes
//! that brought it. Each value has one encoding, so that two encodings are equal when the values are.

use crate::types::{Attributes, MessageId, MessageKind, Service};
use crate::wire::codec::Malformed;

/// The kind of an attributes frame.
pub(super) const ATTRIBUTES: u8 = 8;

/// A service follows.
const SERVICE: u8 = 1;
/// The id of the message that is answered follows.
const REPLY: u8 = 2;
/// An answer is wanted.
const REQUEST: u8 = 4;
/// The answer to a request.
const ANSWER: u8 = 8;
/// The answer: the recipient of the request has no such service.
const REFUSED: u8 = 16;
/// The answer: the service could not serve the request.
const FAILED: u8 = 32;
/// The sender has stored the message.
const DURABLE: u8 = 64;

/// The most bytes of an attributes frame.
pub const MAX_ATTRIBUTES: usize = 1 + 1 + 1 + Service::MAX + 16;

/// The bytes of an attributes frame with these values.
pub fn attributes_len(attributes: &Attributes) -> usize {
    let name = attributes.service.as_str().len();
    let service = if name == 0 { 0 } else { name.saturating_add(1) };
    let reply: usize = if attributes.in_reply_to.is_some() { 16 } else { 0 };
    reply.saturating_add(service).saturating_add(2)
}

/// Appends an attributes frame.
pub fn write_attributes(attributes: &Attributes, out: &mut Vec<u8>) {
    let name = attributes.service.as_str().as_bytes();
    let kind = match attributes.kind {
        MessageKind::Plain => 0,
        MessageKind::Request => REQUEST,
        MessageKind::Answer => ANSWER,
        MessageKind::Refused => REFUSED,
        MessageKind::Failed => FAILED,
    };
    let service = if name.is_empty() { 0 } else { SERVICE };
    let reply = attributes.in_reply_to.map_or(0, |_| REPLY);
    let durable = if attributes.durable { DURABLE } else { 0 };
    out.extend_from_slice(&[ATTRIBUTES, kind | service | reply | durable]);
    if !name.is_empty() {
        out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(name);
    }
    if let Some(id) = attributes.in_reply_to {
        out.extend_from_slice(&id.0);
    }
}

/// Whether encoded fields of an attributes frame are those of stored messages.
pub fn are_durable(fields: &[u8]) -> bool {
    fields.first().is_some_and(|flags| flags & DURABLE != 0)
}

/// Reads the fields of an attributes frame, after its kind. Returns them and the rest of the bytes.
///
/// # Errors
/// When they are not those of a message, or when a value has a shorter encoding.
pub(super) fn read_attributes(bytes: &[u8]) -> Result<(Attributes, &[u8]), Malformed> {
    let (&flags, mut rest) = bytes.split_first().ok_or(Malformed)?;
    let kind = match flags & !(SERVICE | REPLY | DURABLE) {
        0 => MessageKind::Plain,
        REQUEST => MessageKind::Request,
        ANSWER => MessageKind::Answer,
        REFUSED => MessageKind::Refused,
        FAILED => MessageKind::Failed,
        _ => return Err(Malformed),
    };
    let mut attributes = Attributes { kind, durable: flags & DURABLE != 0, ..Attributes::default() };
    if flags & SERVICE != 0 {
        let (&length, after) = rest.split_first().ok_or(Malformed)?;
        let (name, after) = after.split_at_checked(usize::from(length)).ok_or(Malformed)?;
        let name = std::str::from_utf8(name).map_err(|_| Malformed)?;
        attributes.service = Service::new(name).filter(|service| !service.is_default()).ok_or(Malformed)?;
        rest = after;
    }
    if flags & REPLY != 0 {
        let (id, after) = rest.split_first_chunk().ok_or(Malformed)?;
        attributes.in_reply_to = Some(MessageId(*id));
        rest = after;
    }
    if attributes.is_valid() { Ok((attributes, rest)) } else { Err(Malformed) }
}
