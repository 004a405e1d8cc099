//! Whole messages in sequence, as one frame carried them.
//!
//! They are stored in the encoding of the frame until they are taken, because many messages are small: a message of one
//! byte then costs the five bytes that arrived, and no entry of its own.

use bytes::Bytes;

use crate::types::Timestamp;
use crate::wire::message::Reader;

/// The length up to which the last message of a run is copied, since sharing the buffer would cost more memory.
const SHORT: usize = 32;

/// A complete message.
#[derive(Debug)]
pub(super) struct CompleteMessage {
    pub seq: u64,
    pub sent_at: Timestamp,
    pub body: Bytes,
}

/// At least one whole message, in sequence.
#[derive(Debug)]
pub(super) struct MessageRun {
    sent_at: Timestamp,
    count: u16,
    /// The encoded messages that are left: for each its delay after `sent_at`, its length and its body.
    entries: Bytes,
}

impl MessageRun {
    /// The `count` messages in `entries`, copied, since a slice would keep the receive buffer of a whole train
    /// allocated.
    pub(super) fn new(sent_at: Timestamp, count: u16, entries: &[u8]) -> Self {
        MessageRun { sent_at, count, entries: Bytes::copy_from_slice(entries) }
    }

    /// The number of messages left.
    pub(super) fn count(&self) -> u64 {
        u64::from(self.count)
    }

    /// The length of the next message.
    pub(super) fn next_bytes(&self) -> usize {
        Reader::new(&self.entries).entry().map_or(0, |(_, body)| body.len())
    }

    /// Removes the next message.
    pub(super) fn pop(&mut self) -> Option<(Timestamp, Bytes)> {
        let (later, body) = Reader::new(&self.entries).entry().ok()?;
        let sent_at = Timestamp(self.sent_at.0.saturating_add(u64::from(later)));
        self.count = self.count.saturating_sub(1);
        if self.count == 0 && body.len() <= SHORT {
            return Some((sent_at, Bytes::copy_from_slice(self.entries.get(body)?)));
        }
        let entry = self.entries.split_to(body.end.min(self.entries.len()));
        Some((sent_at, entry.slice(body)))
    }
}
