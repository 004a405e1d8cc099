//! Whole messages in sequence, as one frame brought them.
//!
//! They stay in the form of the frame until they are taken: a message of one byte then costs the five that came, not a
//! slot of its own.

use bytes::Bytes;

use crate::types::Timestamp;
use crate::wire::message::Reader;

/// The last message of a run, when it is so short, is copied: to share the frame with none costs more.
const SHORT: usize = 32;

/// A message that is complete.
#[derive(Debug)]
pub(super) struct CompleteMessage {
    pub seq: u64,
    pub sent_at: Timestamp,
    pub body: Bytes,
}

/// At least one message, in sequence.
#[derive(Debug)]
pub(super) struct MessageRun {
    sent_at: Timestamp,
    count: u16,
    entries: Bytes,
}

impl MessageRun {
    /// The `count` messages in `entries`, copied: a slice would keep the buffer of a whole train of frames alive.
    pub fn new(sent_at: Timestamp, count: u16, entries: &[u8]) -> Self {
        MessageRun { sent_at, count, entries: Bytes::copy_from_slice(entries) }
    }

    /// How many messages are left.
    pub fn count(&self) -> u64 {
        u64::from(self.count)
    }

    /// The length of the next message.
    pub fn next_bytes(&self) -> usize {
        Reader::new(&self.entries).entry().map_or(0, |(_, body)| body.len())
    }

    /// Takes the next message.
    pub fn pop(&mut self) -> Option<(Timestamp, Bytes)> {
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
