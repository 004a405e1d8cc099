//! Whole messages in sequence, as one frame carried them.
//!
//! They are stored in the encoding of the frame until they are taken, because many messages are small: a message of one
//! byte then costs the five bytes that arrived, and no entry of its own.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use crate::types::{Attributes, Timestamp};
use crate::wire::message::{Reader, are_durable};

/// The length up to which the last message of a run is copied, since sharing the buffer would cost more memory.
const SHORT: usize = 32;

/// A complete message.
#[derive(Debug)]
pub(super) struct CompleteMessage {
    pub seq: u64,
    pub sent_at: Timestamp,
    pub attributes: Attributes,
    pub body: Bytes,
}

impl CompleteMessage {
    /// The memory of the message, in bytes. The name of its service is counted for each message, since the others that
    /// share it may be taken before.
    pub(super) fn held(&self) -> usize {
        let name = self.attributes.service.as_str().len();
        size_of::<Self>().saturating_add(name).saturating_add(self.body.len())
    }
}

/// At least one whole message, in sequence. All have the same attributes.
#[derive(Debug)]
pub(super) struct MessageRun {
    sent_at: Timestamp,
    count: u16,
    /// The length of the attributes as they arrived.
    attributes_len: u8,
    /// The attributes, decoded when the first message is taken and shared by all. Until then they are encoded at the
    /// beginning of `entries`, so that a run that waits has the size of the bytes that brought it.
    attributes: Option<Box<Attributes>>,
    /// The encoded messages that are left: for each its delay after `sent_at`, its length and its body.
    entries: Bytes,
}

/// The runs that follow one another from the next message on.
#[derive(Debug, Default)]
pub(super) struct HeadRuns {
    pub runs: VecDeque<MessageRun>,
    /// The messages in them.
    pub messages: u64,
}

impl MessageRun {
    /// The `count` messages in `entries`, copied, since a slice would keep the receive buffer of a whole train
    /// allocated.
    pub(super) fn new(sent_at: Timestamp, count: u16, attributes: &[u8], entries: &[u8]) -> Self {
        let attributes_len = u8::try_from(attributes.len()).unwrap_or_default();
        MessageRun {
            sent_at,
            count,
            attributes_len,
            attributes: None,
            entries: [attributes, entries].concat().into(),
        }
    }

    /// The number of messages left.
    pub(super) fn count(&self) -> u64 {
        u64::from(self.count)
    }

    /// The memory that the attributes took when they arrived.
    pub(super) fn attributes_cost(&self) -> usize {
        usize::from(self.attributes_len)
    }

    /// The length of the next message.
    pub(super) fn next_bytes(&self) -> usize {
        // The attributes stand before the messages only until the first message is taken.
        let encoded = if self.attributes.is_some() { 0 } else { self.attributes_cost() };
        let entries = self.entries.get(encoded..).unwrap_or_default();
        Reader::new(entries).entry().map_or(0, |(_, body)| body.len())
    }

    /// Whether its messages are stored ones.
    pub(super) fn is_durable(&self) -> bool {
        match &self.attributes {
            Some(attributes) => attributes.durable,
            None => self.attributes_len > 0 && are_durable(&self.entries),
        }
    }

    /// Removes the next message, whose sequence is `seq`.
    pub(super) fn pop(&mut self, seq: u64) -> Option<CompleteMessage> {
        let attributes = self.attributes()?;
        let (later, body) = Reader::new(&self.entries).entry().ok()?;
        let sent_at = Timestamp(self.sent_at.0.saturating_add(u64::from(later)));
        self.count = self.count.saturating_sub(1);
        if self.count == 0 {
            if body.len() <= SHORT {
                let body = Bytes::copy_from_slice(self.entries.get(body)?);
                return Some(CompleteMessage { seq, sent_at, attributes, body });
            }
            // The last message owns the buffer, which is not shared then unless it was before.
            let mut last = std::mem::take(&mut self.entries);
            last.truncate(body.end);
            last.advance(body.start);
            return Some(CompleteMessage { seq, sent_at, attributes, body: last });
        }
        let end = body.end;
        let message = CompleteMessage { seq, sent_at, attributes, body: self.entries.slice(body) };
        self.entries.advance(end);
        Some(message)
    }

    /// The attributes of all messages.
    fn attributes(&mut self) -> Option<Attributes> {
        if self.attributes_len == 0 {
            return Some(Attributes::default());
        }
        if self.attributes.is_none() {
            let attributes = Reader::new(&self.entries).attributes().ok()?;
            self.entries = self.entries.split_off(self.attributes_cost().min(self.entries.len()));
            self.attributes = Some(Box::new(attributes));
        }
        self.attributes.as_deref().cloned()
    }
}
