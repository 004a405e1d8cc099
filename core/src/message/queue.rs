//! The messages to be sent: a queue by sequence, from the floor up.
//!
//! A message stays until the recipient says that it has taken it. One that expired or was cancelled leaves an
//! empty place; if the recipient may know of it, it is told to skip it, as reliably as it is told a message.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::packet_builder::{PacketBuilder, Written};
use super::recovery::{Piece, after};
use super::{ConversationEvent, INITIAL_CREDIT, INITIAL_MESSAGES, WINDOW};
use crate::time::Time;
use crate::types::{MessageId, Timestamp, Waiting};

#[derive(Debug)]
struct QueuedMessage {
    body: Bytes,
    sent_at: Timestamp,
    accepted: Time,
    expires: Time,
    /// How many of its bytes have left at least once.
    sent: u32,
    withdrawn: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct SendQueue {
    incarnation: u64,
    messages: VecDeque<QueuedMessage>,
    /// The sequence of the first slot: the floor.
    base: u64,
    /// The first sequence that has not wholly left.
    next: u64,
    /// What must leave again.
    retransmit: VecDeque<Piece>,
    pending: Waiting,
    /// The sum of `Slot::sent`.
    sent: u64,
    credit_bytes: u64,
    credit_messages: u64,
    /// No message expires before.
    next_expiry: Time,
    was_full: bool,
    max_messages: u64,
    max_bytes: u64,
}

impl SendQueue {
    pub fn new(incarnation: u64, max_messages: usize, max_bytes: usize) -> Self {
        SendQueue {
            incarnation,
            messages: VecDeque::new(),
            base: 0,
            next: 0,
            retransmit: VecDeque::new(),
            pending: Waiting::default(),
            sent: 0,
            credit_bytes: INITIAL_CREDIT,
            credit_messages: INITIAL_MESSAGES,
            next_expiry: Time::from_nanos(u64::MAX),
            was_full: false,
            max_messages: as_u64(max_messages).max(1),
            max_bytes: as_u64(max_bytes),
        }
    }

    pub fn floor(&self) -> u64 {
        self.base
    }

    pub fn waiting(&self) -> Waiting {
        self.pending
    }

    /// Whether nothing is there, not even a place to be skipped.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub fn push(
        &mut self,
        now: Time,
        sent_at: Timestamp,
        ttl: Duration,
        body: Bytes,
    ) -> Result<MessageId, Bytes> {
        let length = as_u64(body.len());
        // One message is always welcome, however long. Empty places count too, but much less.
        let full = self.pending.messages >= self.max_messages
            || (self.pending.messages > 0 && self.pending.bytes.saturating_add(length) > self.max_bytes)
            || as_u64(self.messages.len()) >= self.max_messages.saturating_mul(4);
        if full || body.len() > crate::types::MAX_MESSAGE {
            self.was_full |= full;
            return Err(body);
        }
        let seq = self.base.saturating_add(as_u64(self.messages.len()));
        let expires = after(now, ttl);
        self.next_expiry = self.next_expiry.min(expires);
        self.pending.messages = self.pending.messages.saturating_add(1);
        self.pending.bytes = self.pending.bytes.saturating_add(length);
        self.messages.push_back(QueuedMessage {
            body,
            sent_at,
            accepted: now,
            expires,
            sent: 0,
            withdrawn: false,
        });
        Ok(message_id(self.incarnation, seq))
    }

    /// Gives a message up; false when it is not here (any more).
    #[cfg(test)]
    pub fn cancel(&mut self, id: &MessageId, events: &mut VecDeque<ConversationEvent>) -> bool {
        let Some((incarnation, seq)) = split_id(id) else { return false };
        let Some(index) = seq.checked_sub(self.base).and_then(|index| usize::try_from(index).ok()) else {
            return false;
        };
        if incarnation != self.incarnation || !self.withdraw(index) {
            return false;
        }
        self.advance_floor();
        self.report_room(events);
        true
    }

    /// Whether a message is here, neither delivered nor given up.
    pub fn is_pending(&self, id: &MessageId) -> bool {
        split_id(id).is_some_and(|(incarnation, seq)| {
            incarnation == self.incarnation && self.message(seq).is_some_and(|message| !message.withdrawn)
        })
    }

    /// When a message may expire.
    pub fn next_expiry(&self) -> Option<Time> {
        (self.pending.messages > 0).then_some(self.next_expiry)
    }

    /// Gives up the messages whose time is over.
    pub fn expire(&mut self, now: Time, events: &mut VecDeque<ConversationEvent>) {
        if self.next_expiry().is_none_or(|at| at > now) {
            return;
        }
        self.next_expiry = Time::from_nanos(u64::MAX);
        for index in 0..self.messages.len() {
            let Some(message) = self.messages.get(index).filter(|message| !message.withdrawn) else {
                continue;
            };
            if message.expires > now {
                self.next_expiry = self.next_expiry.min(message.expires);
            } else if self.withdraw(index) {
                let seq = self.base.saturating_add(as_u64(index));
                events.push_back(ConversationEvent::Expired { id: message_id(self.incarnation, seq) });
            }
        }
        self.advance_floor();
        self.report_room(events);
    }

    /// The recipient has taken all below `taken`, and gives so much credit. The error is a claim to have taken
    /// what was never sent.
    pub fn on_credit(
        &mut self,
        now: Time,
        (taken, bytes, messages): (u64, u32, u16),
        events: &mut VecDeque<ConversationEvent>,
    ) -> Result<bool, ()> {
        if taken > self.base.saturating_add(as_u64(self.messages.len())) {
            return Err(());
        }
        // Credit never shrinks within an incarnation, so the larger word is the later one.
        self.credit_bytes = self.credit_bytes.max(u64::from(bytes));
        self.credit_messages = self.credit_messages.max(u64::from(messages).min(WINDOW));
        let progress = taken > self.base;
        while self.base < taken {
            let seq = self.base;
            if let Some(message) = self.pop()
                && !message.withdrawn
            {
                let elapsed = now.since(message.accepted);
                events.push_back(ConversationEvent::Delivered {
                    id: message_id(self.incarnation, seq),
                    elapsed,
                });
            }
        }
        if progress {
            self.advance_floor();
            self.report_room(events);
        }
        Ok(progress)
    }

    /// A piece was lost.
    pub fn on_lost(&mut self, piece: Piece) {
        self.retransmit.push_back(piece);
    }

    /// The recipient is a new one and has nothing: all that it has not taken leaves once more.
    pub fn restart(&mut self) {
        self.retransmit.clear();
        self.messages.iter_mut().for_each(|message| message.sent = 0);
        (self.next, self.sent) = (self.base, 0);
        (self.credit_bytes, self.credit_messages) = (INITIAL_CREDIT, INITIAL_MESSAGES);
        self.advance_floor();
    }

    /// Whether something may leave: something lost, or something new that credit allows.
    pub fn has_work(&self) -> bool {
        !self.retransmit.is_empty() || self.new_allowed().is_some()
    }

    /// Puts as much as fits into a packet.
    pub fn fill(&mut self, builder: &mut PacketBuilder<'_>) {
        while let Some(piece) = self.retransmit.pop_front() {
            if !self.fill_lost(piece, builder) {
                return;
            }
        }
        while let Some(allowed) = self.new_allowed() {
            if !self.fill_new(allowed, builder) {
                return;
            }
        }
    }

    /// Puts what was lost, and keeps what does not fit; false when the packet is full.
    fn fill_lost(&mut self, piece: Piece, builder: &mut PacketBuilder<'_>) -> bool {
        let (first, count, part) = match piece {
            Piece::Messages { first, count } => (first, count, None),
            Piece::Part { seq, from, to } => (seq, 1, Some((from, to))),
            Piece::Receipt(_) | Piece::Ping => return true,
        };
        let end = first.saturating_add(u64::from(count));
        for seq in first.max(self.base)..end {
            let Some(message) = self.message(seq) else { break };
            let length = u32::try_from(message.body.len()).unwrap_or(u32::MAX);
            let (from, to) = part.unwrap_or((0, length));
            let put = if message.withdrawn {
                builder.skip(seq)
            } else if part.is_none() && builder.is_whole(message.body.len()) {
                builder.whole(seq, message.sent_at, &message.body)
            } else {
                builder.part(seq, message.sent_at, &message.body, from, to)
            };
            let rest = match put {
                Written::All => {
                    builder.has_retransmission = true;
                    continue;
                }
                Written::Nothing => part.map(|_| piece).unwrap_or(messages(seq, end)),
                Written::UpTo(cut) => {
                    builder.has_retransmission = true;
                    let after = seq.saturating_add(1);
                    if after < end {
                        self.retransmit.push_front(messages(after, end));
                    }
                    Piece::Part { seq, from: cut, to }
                }
            };
            self.retransmit.push_front(rest);
            return false;
        }
        true
    }

    /// Puts the next new message, or what fits and is `allowed` of it; false when the packet is full.
    fn fill_new(&mut self, allowed: u32, builder: &mut PacketBuilder<'_>) -> bool {
        let seq = self.next;
        let Some(message) = self.message(seq) else { return false };
        let length = u32::try_from(message.body.len()).unwrap_or(u32::MAX);
        let from = message.sent;
        let put = if message.withdrawn {
            builder.skip(seq)
        } else if from == 0 && builder.is_whole(message.body.len()) {
            builder.whole(seq, message.sent_at, &message.body)
        } else {
            let to = length.min(from.saturating_add(allowed));
            match builder.part(seq, message.sent_at, &message.body, from, to) {
                Written::All if to < length => Written::UpTo(to),
                put => put,
            }
        };
        let (sent, done) = match put {
            Written::All if message.withdrawn => (from, true),
            Written::All => (length, true),
            Written::UpTo(end) => (end, false),
            Written::Nothing => return false,
        };
        self.sent = self.sent.saturating_add(u64::from(sent.saturating_sub(from)));
        if let Some(message) = self.message_mut(seq) {
            message.sent = sent;
        }
        if done {
            self.next = seq.saturating_add(1);
        }
        true
    }

    /// How many bytes of the next new message the recipient allows; `None` when there is none, or it must wait.
    fn new_allowed(&self) -> Option<u32> {
        let message = self.message(self.next)?;
        if self.next.saturating_sub(self.base) >= self.credit_messages {
            return None;
        }
        // What the recipient wants next does not count, or a long message could never end.
        let beyond =
            self.sent.saturating_sub(self.messages.front().map_or(0, |message| u64::from(message.sent)));
        let allowed = u32::try_from(self.credit_bytes.saturating_sub(beyond)).unwrap_or(u32::MAX);
        let left = message.body.len().saturating_sub(message.sent as usize);
        // What is short goes whole or not at all.
        let needed = left.min(usize::from(u16::MAX));
        (message.withdrawn || (allowed as usize) >= needed).then_some(allowed)
    }

    /// Makes an empty place of a message; false when it is one already.
    fn withdraw(&mut self, index: usize) -> bool {
        let seq = self.base.saturating_add(as_u64(index));
        let Some(message) = self.messages.get_mut(index).filter(|message| !message.withdrawn) else {
            return false;
        };
        message.withdrawn = true;
        let body = std::mem::take(&mut message.body);
        self.pending.messages = self.pending.messages.saturating_sub(1);
        self.pending.bytes = self.pending.bytes.saturating_sub(as_u64(body.len()));
        if seq < self.next {
            self.retransmit.push_back(Piece::Messages { first: seq, count: 1 });
        }
        true
    }

    /// Drops empty places at the front of which the recipient knows nothing: the floor tells it.
    fn advance_floor(&mut self) {
        while self.base == self.next
            && self.messages.front().is_some_and(|message| message.withdrawn && message.sent == 0)
        {
            self.pop();
        }
    }

    fn pop(&mut self) -> Option<QueuedMessage> {
        let message = self.messages.pop_front()?;
        self.base = self.base.saturating_add(1);
        self.next = self.next.max(self.base);
        self.sent = self.sent.saturating_sub(u64::from(message.sent));
        if !message.withdrawn {
            self.pending.messages = self.pending.messages.saturating_sub(1);
            self.pending.bytes = self.pending.bytes.saturating_sub(as_u64(message.body.len()));
        }
        Some(message)
    }

    fn report_room(&mut self, events: &mut VecDeque<ConversationEvent>) {
        if std::mem::take(&mut self.was_full) {
            events.push_back(ConversationEvent::Room);
        }
    }

    fn message(&self, seq: u64) -> Option<&QueuedMessage> {
        self.messages.get(usize::try_from(seq.checked_sub(self.base)?).ok()?)
    }

    fn message_mut(&mut self, seq: u64) -> Option<&mut QueuedMessage> {
        self.messages.get_mut(usize::try_from(seq.checked_sub(self.base)?).ok()?)
    }
}

/// The name of a message: the sender's incarnation and the sequence in it.
pub(super) fn message_id(incarnation: u64, seq: u64) -> MessageId {
    MessageId(((u128::from(incarnation) << 64) | u128::from(seq)).to_be_bytes())
}

pub(super) fn split_id(id: &MessageId) -> Option<(u64, u64)> {
    let (incarnation, seq) = (id.0.first_chunk::<8>()?, id.0.last_chunk::<8>()?);
    Some((u64::from_be_bytes(*incarnation), u64::from_be_bytes(*seq)))
}

fn messages(first: u64, end: u64) -> Piece {
    Piece::Messages { first, count: u16::try_from(end.saturating_sub(first)).unwrap_or(u16::MAX) }
}

fn as_u64(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
