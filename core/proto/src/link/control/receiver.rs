//! The receiving half of the control channel: reordering of segments, acknowledgements, and reassembly of messages.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::{MAX_BODY, MAX_MESSAGE, WINDOW};
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::link::Acknowledged;

/// The maximum delay of an acknowledgement. It waits for a segment that can carry it, since a frame of its own costs
/// more than its content. The sender adds this delay to its time-out.
pub(in crate::link) const ACK_DELAY: Duration = Duration::from_millis(5);
/// The maximum of reassembled bytes that wait to be fetched. Beyond it segments are dropped, so that the sender repeats
/// them later and slows down.
pub(in crate::link) const MAX_STREAM: usize = 256 << 10;

/// The stream contains a message of length zero, or one that is too long. The border of the next message is unknown
/// then, so that the link must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::link) struct InvalidStream;

/// The receiver of the control stream of one link.
#[derive(Debug, Default)]
pub(in crate::link) struct ControlReceiver {
    /// The number of the next segment in order.
    next: u32,
    /// The segments from `next` on that arrived ahead of order; `None` for a gap. It has at most [`WINDOW`] entries.
    early: VecDeque<Option<Bytes>>,
    /// The bytes in order that do not yet form a message, or were not yet fetched.
    stream: BytesMut,
    /// The number of segments since the last acknowledgement.
    unacknowledged: u32,
    /// The time at which an acknowledgement is due.
    due: Option<Time>,
    /// Whether the delivery of messages is stopped.
    held: bool,
}

impl ControlReceiver {
    /// Sets the number of the next segment, as if the ones before had been received.
    #[cfg(test)]
    pub(super) fn start_at(&mut self, next: u32) {
        self.next = next;
    }

    /// Takes a segment.
    ///
    /// Every second segment, one that leaves a gap and one that fills it are acknowledged at once, so that the sender
    /// detects loss without a time-out (RFC 9000, section 13.2.1); others after [`ACK_DELAY`].
    ///
    /// # Errors
    /// The cause of the drop: [`DropCause::Duplicate`], [`DropCause::InboxFull`] or [`DropCause::MalformedPacket`].
    pub(in crate::link) fn segment(
        &mut self,
        now: Time,
        sequence: u32,
        body: &[u8],
    ) -> Result<(), DropCause> {
        if body.is_empty() || body.len() > MAX_BODY {
            return Err(DropCause::MalformedPacket);
        }
        let offset = sequence.wrapping_sub(self.next) as usize;
        if offset >= WINDOW {
            let behind = self.next.wrapping_sub(sequence) as usize;
            if behind > u16::MAX.into() {
                return Err(DropCause::MalformedPacket);
            }
            // It was received before, so the acknowledgement must have been lost. It is repeated at once.
            self.due = Some(now);
            return Err(DropCause::Duplicate);
        }
        if self.stream.len() >= MAX_STREAM {
            return Err(DropCause::InboxFull);
        }
        while self.early.len() <= offset {
            self.early.push_back(None);
        }
        let Some(entry) = self.early.get_mut(offset) else { return Err(DropCause::MalformedPacket) };
        if entry.is_some() {
            self.due = Some(now);
            return Err(DropCause::Duplicate);
        }
        *entry = Some(Bytes::copy_from_slice(body));
        while let Some(Some(body)) = self.early.front() {
            self.stream.extend_from_slice(body);
            self.early.pop_front();
            self.next = self.next.wrapping_add(1);
        }
        self.unacknowledged = self.unacknowledged.saturating_add(1);
        let wait = offset == 0 && self.early.is_empty() && self.unacknowledged < 2;
        let due = if wait { now + ACK_DELAY } else { now };
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
        Ok(())
    }

    /// Stops or resumes the delivery of messages. While it is stopped, segments are accepted up to [`MAX_STREAM`]
    /// bytes, and the sender has to repeat the rest.
    pub(in crate::link) fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// The next message, if it is complete.
    pub(in crate::link) fn message(&mut self) -> Result<Option<Bytes>, InvalidStream> {
        let Some(length) = self.stream.first_chunk().map(|length| usize::from(u16::from_le_bytes(*length)))
        else {
            return Ok(None);
        };
        if length == 0 || length > MAX_MESSAGE {
            return Err(InvalidStream);
        }
        if self.held || self.stream.len() < length.saturating_add(2) {
            return Ok(None);
        }
        self.stream.advance(2);
        let message = self.stream.split_to(length).freeze();
        if self.stream.is_empty() {
            self.stream = BytesMut::new();
        }
        Ok(Some(message))
    }

    /// Records that the content of [`ControlReceiver::acknowledged`] was sent.
    pub(in crate::link) fn acknowledgement_sent(&mut self) {
        self.due = None;
        self.unacknowledged = 0;
    }

    /// The acknowledgement of everything that was received: the next number, and a bitmap of the segments after it.
    pub(in crate::link) fn acknowledged(&self) -> Acknowledged {
        let early = self.early.iter().skip(1).take(WINDOW).enumerate();
        let sack = early.filter(|(_, body)| body.is_some()).fold(0, |sack, (bit, _)| sack | (1u64 << bit));
        Acknowledged { ack: self.next, sack }
    }

    /// The time at which an acknowledgement is due.
    pub(in crate::link) fn due(&self) -> Option<Time> {
        self.due
    }
}
