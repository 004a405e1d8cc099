//! The queue of outgoing messages, by sequence from the floor up.
//!
//! A message stays until the recipient reports that it has taken it. One that expired or was cancelled is withdrawn: it
//! leaves an empty entry, because sequences have no gaps. If the recipient may have seen its sequence, the withdrawal
//! is sent as reliably as a message, since the recipient would otherwise wait for the message and deliver none after
//! it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::arithmetic::{after, as_u64};
use super::config::{INITIAL_CREDIT, INITIAL_MESSAGES, WINDOW};
use super::event::ConversationEvent;
use super::recovery::Piece;
use crate::time::Time;
use crate::types::{Attributes, MessageId, Timestamp, Waiting};

mod fill;

/// A message in the queue, or the empty entry of a withdrawn one.
#[derive(Debug)]
struct QueuedMessage {
    body: Bytes,
    /// `None` for the default ones, so that a message without a service costs one pointer.
    attributes: Option<Box<Attributes>>,
    sent_at: Timestamp,
    /// The time at which it was queued, from which the delay of its receipt is measured.
    accepted: Time,
    expires: Time,
    /// The bytes that were sent at least once.
    sent: u32,
    /// Whether its body was dropped, so that the recipient has to skip its sequence.
    withdrawn: bool,
}

/// The outgoing messages with their state of transmission, and the credit of the recipient.
#[derive(Debug)]
pub(super) struct SendQueue {
    incarnation: u64,
    messages: VecDeque<QueuedMessage>,
    /// The sequence of the first entry: the floor.
    base: u64,
    /// The first sequence that was not completely sent.
    next: u64,
    /// The lost pieces, which are sent before new messages.
    retransmit: VecDeque<Piece>,
    /// The messages that are not withdrawn, and their bytes.
    pending: Waiting,
    /// The sum of `QueuedMessage::sent`.
    sent: u64,
    /// The bytes that the recipient accepts beyond its next message, and the messages from the floor on.
    credit_bytes: u64,
    credit_messages: u64,
    /// A lower bound of the time at which a message expires, so that most timeouts need not visit the queue.
    next_expiry: Time,
    /// Whether a push was refused, so that the application is notified once there is room.
    was_full: bool,
    max_messages: u64,
    max_bytes: u64,
}

impl SendQueue {
    pub(super) fn new(incarnation: u64, max_messages: usize, max_bytes: usize) -> Self {
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

    pub(super) fn floor(&self) -> u64 {
        self.base
    }

    pub(super) fn waiting(&self) -> Waiting {
        self.pending
    }

    /// The time at which the oldest message that is not withdrawn was accepted.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.messages.iter().find(|message| !message.withdrawn).map(|message| message.sent_at)
    }

    /// The bytes that were not sent yet.
    pub(super) fn unsent(&self) -> u64 {
        self.pending.bytes.saturating_sub(self.sent)
    }

    /// Whether there is no entry, not even a withdrawn one.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn push(
        &mut self,
        now: Time,
        sent_at: Timestamp,
        ttl: Duration,
        attributes: Attributes,
        body: Bytes,
    ) -> Result<MessageId, Bytes> {
        let length = as_u64(body.len());
        // One message is always accepted, however long, since it could never be sent otherwise. Withdrawn entries count
        // too, at a quarter.
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
            attributes: (!attributes.is_default()).then(|| Box::new(attributes)),
            sent_at,
            accepted: now,
            expires,
            sent: 0,
            withdrawn: false,
        });
        Ok(message_id(self.incarnation, seq))
    }

    /// Withdraws a message; returns false if it is not queued any more.
    pub(super) fn cancel(&mut self, id: &MessageId, events: &mut VecDeque<ConversationEvent>) -> bool {
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

    /// Whether a message is queued and not withdrawn.
    pub(super) fn is_pending(&self, id: &MessageId) -> bool {
        split_id(id).is_some_and(|(incarnation, seq)| {
            incarnation == self.incarnation && self.message(seq).is_some_and(|message| !message.withdrawn)
        })
    }

    /// The earliest time at which a message may expire.
    pub(super) fn next_expiry(&self) -> Option<Time> {
        (self.pending.messages > 0).then_some(self.next_expiry)
    }

    /// Withdraws the messages that have reached the end of their time to live.
    pub(super) fn expire(&mut self, now: Time, events: &mut VecDeque<ConversationEvent>) {
        if self.next_expiry().is_none_or(|at| at > now) {
            return;
        }
        self.next_expiry = Time::from_nanos(u64::MAX);
        for index in 0..self.messages.len() {
            let live = self.messages.get(index).filter(|message| !message.withdrawn);
            let Some(message) = live else { continue };
            let had_left = message.sent > 0;
            if message.expires > now {
                self.next_expiry = self.next_expiry.min(message.expires);
            } else if self.withdraw(index) {
                let id = message_id(self.incarnation, self.base.saturating_add(as_u64(index)));
                events.push_back(ConversationEvent::Expired { id, had_left });
            }
        }
        self.advance_floor();
        self.report_room(events);
    }

    /// The recipient has taken all messages below `taken`, and grants this credit. The error is a report that it has
    /// taken a message that was never sent.
    pub(super) fn on_credit(
        &mut self,
        now: Time,
        (taken, bytes, messages): (u64, u32, u16),
        events: &mut VecDeque<ConversationEvent>,
    ) -> Result<bool, ()> {
        if taken > self.base.saturating_add(as_u64(self.messages.len())) {
            return Err(());
        }
        // Credit never shrinks within an incarnation, so the larger value is the later one even if packets were
        // reordered.
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

    /// Queues a lost piece for retransmission.
    pub(super) fn on_lost(&mut self, piece: Piece) {
        self.retransmit.push_back(piece);
    }

    /// The recipient is a new incarnation without state, so all messages that it has not taken are sent again.
    pub(super) fn restart(&mut self) {
        self.retransmit.clear();
        self.messages.iter_mut().for_each(|message| message.sent = 0);
        (self.next, self.sent) = (self.base, 0);
        (self.credit_bytes, self.credit_messages) = (INITIAL_CREDIT, INITIAL_MESSAGES);
        self.advance_floor();
    }

    /// Whether something may be sent: a lost piece, or a new message within the credit.
    pub(super) fn has_work(&self) -> bool {
        !self.retransmit.is_empty() || self.new_allowed().is_some()
    }

    /// Withdraws a message; returns false if it is withdrawn already.
    fn withdraw(&mut self, index: usize) -> bool {
        let seq = self.base.saturating_add(as_u64(index));
        let Some(message) = self.messages.get_mut(index).filter(|message| !message.withdrawn) else {
            return false;
        };
        (message.withdrawn, message.attributes) = (true, None);
        let body = std::mem::take(&mut message.body);
        self.pending.messages = self.pending.messages.saturating_sub(1);
        self.pending.bytes = self.pending.bytes.saturating_sub(as_u64(body.len()));
        if seq < self.next {
            self.retransmit.push_back(Piece::Messages { first: seq, count: 1 });
        }
        true
    }

    /// Removes withdrawn entries at the front of which the recipient has seen nothing: the floor alone skips them.
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

/// The identifier of a message: the sender's incarnation and the sequence in it.
pub(super) fn message_id(incarnation: u64, seq: u64) -> MessageId {
    MessageId(((u128::from(incarnation) << 64) | u128::from(seq)).to_be_bytes())
}

pub(super) fn split_id(id: &MessageId) -> Option<(u64, u64)> {
    let (incarnation, seq) = (id.0.first_chunk::<8>()?, id.0.last_chunk::<8>()?);
    Some((u64::from_be_bytes(*incarnation), u64::from_be_bytes(*seq)))
}
