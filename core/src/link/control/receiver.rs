//! The receiving half of the control channel.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::{MAX_BODY, MAX_MESSAGE, WINDOW};
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::link::Acknowledged;

/// How long an acknowledgement waits for something that it can ride on.
pub(in crate::link) const ACK_DELAY: Duration = Duration::from_millis(5);
/// The most that waits to be fetched, in bytes; beyond it segments are passed over, and come again.
pub(in crate::link) const MAX_STREAM: usize = 256 << 10;

/// The stream makes no sense: a message of no length, or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::link) struct Violation;

/// See the [module's page](self).
#[derive(Debug, Default)]
pub(in crate::link) struct ControlReceiver {
    /// The number of the next segment of the stream.
    next: u32,
    /// What came too early: the segments from `next` on.
    early: VecDeque<Option<Bytes>>,
    stream: BytesMut,
    /// Segments that came in order since the last acknowledgement.
    unacknowledged: u32,
    /// When an acknowledgement is due.
    due: Option<Time>,
    /// Whether messages stay where they are.
    held: bool,
}

impl ControlReceiver {
    /// As if that many segments had come before.
    #[cfg(test)]
    pub(super) fn start_at(&mut self, next: u32) {
        self.next = next;
    }

    /// A segment has come.
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
            // It came before: the acknowledgement must have been lost.
            self.due = Some(now);
            return Err(DropCause::Duplicate);
        }
        if self.stream.len() >= MAX_STREAM {
            return Err(DropCause::InboxFull);
        }
        while self.early.len() <= offset {
            self.early.push_back(None);
        }
        let Some(place) = self.early.get_mut(offset) else { return Err(DropCause::MalformedPacket) };
        if place.is_some() {
            self.due = Some(now);
            return Err(DropCause::Duplicate);
        }
        *place = Some(Bytes::copy_from_slice(body));
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

    /// Whether messages stay where they are for now: when there are [`MAX_STREAM`] bytes the sender has to repeat the rest.
    pub(in crate::link) fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// The next message, if all of it has come.
    pub(in crate::link) fn message(&mut self) -> Result<Option<Bytes>, Violation> {
        let Some(length) = self.stream.first_chunk().map(|length| usize::from(u16::from_le_bytes(*length)))
        else {
            return Ok(None);
        };
        if length == 0 || length > MAX_MESSAGE {
            return Err(Violation);
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

    /// What was said by [`ControlReceiver::acknowledged`] is on its way.
    pub(in crate::link) fn acknowledgement_sent(&mut self) {
        self.due = None;
        self.unacknowledged = 0;
    }

    /// What to tell the other side.
    pub(in crate::link) fn acknowledged(&self) -> Acknowledged {
        let early = self.early.iter().skip(1).take(WINDOW).enumerate();
        let sack = early.filter(|(_, body)| body.is_some()).fold(0, |sack, (bit, _)| sack | (1u64 << bit));
        Acknowledged { ack: self.next, sack }
    }

    /// When an acknowledgement is due.
    pub(in crate::link) fn due(&self) -> Option<Time> {
        self.due
    }
}
