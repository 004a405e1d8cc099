//! The queue of outgoing messages, by sequence from the floor up.
//!
//! A message stays until the recipient reports that it has taken it. One that expired or was cancelled is withdrawn: it
//! leaves an empty entry, because sequences have no gaps. If the recipient may have seen its sequence, the withdrawal
//! is sent as reliably as a message, since the recipient would otherwise wait for the message and deliver none after
//! it.
//!
//! Beside a journal ([`backlog`]) a message may also wait on the disk alone. It is loaded when there is room.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::arithmetic::{after, as_u64};
use super::config::{INITIAL_CREDIT, INITIAL_MESSAGES};
use super::recovery::Piece;
use crate::time::Time;
use crate::types::{Attributes, MessageId, Timestamp, Waiting};
use stored::Backlog;

mod backlog;
mod fill;
mod removal;
mod stored;

#[cfg(test)]
pub(super) use stored::RESERVE_AHEAD;
pub use stored::{LoadRequest, StoredMessage};

/// The places where a message is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Storage {
    /// In this queue alone.
    Memory,
    /// On its way to the disk. It must not leave before it is there.
    Storing,
    /// On the disk too, from which it has to be removed once it is settled, since it would be sent again otherwise.
    Disk,
}

/// A message in the queue, or the empty entry of a withdrawn one.
#[derive(Debug)]
struct QueuedMessage {
    body: Bytes,
    /// `None` for those without a service, so that such a message costs one pointer.
    attributes: Option<Box<Attributes>>,
    sent_at: Timestamp,
    /// The time at which it was queued, from which the delay of its receipt is measured.
    accepted: Time,
    expires: Time,
    /// The bytes that were sent at least once.
    sent: u32,
    /// Whether its body was dropped, so that the recipient has to skip its sequence.
    withdrawn: bool,
    storage: Storage,
}

/// The outgoing messages with their state of transmission, and the credit of the recipient.
#[derive(Debug)]
pub(super) struct SendQueue {
    incarnation: u64,
    /// The incarnation before this one, whose messages have kept their sequences.
    former: Option<u64>,
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
    /// The state of the journal; `None` without one.
    backlog: Option<Box<Backlog>>,
}

impl SendQueue {
    pub(super) fn new(incarnation: u64, (max_messages, max_bytes): (u16, u32), has_journal: bool) -> Self {
        SendQueue {
            incarnation,
            former: None,
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
            max_messages: u64::from(max_messages).max(1),
            max_bytes: u64::from(max_bytes),
            backlog: has_journal.then(Box::default),
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

    /// Whether there is no entry, not even a withdrawn one, and no message on the disk alone.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty() && !self.has_backlog()
    }

    /// The sequence after the last entry.
    fn loaded_end(&self) -> u64 {
        self.base.saturating_add(as_u64(self.messages.len()))
    }

    pub(super) fn push(
        &mut self,
        now: Time,
        sent_at: Timestamp,
        ttl: Duration,
        attributes: Attributes,
        body: Bytes,
    ) -> Result<MessageId, Bytes> {
        if !self.has_room(body.len()) || body.len() > crate::types::MAX_MESSAGE {
            self.was_full |= body.len() <= crate::types::MAX_MESSAGE;
            return Err(body);
        }
        let seq = self.append(now, (sent_at, ttl), (attributes, body), Storage::Memory);
        Ok(message_id(self.incarnation, seq))
    }

    /// Whether a message of this length has room. One message is always accepted, however long, since it could never be
    /// sent otherwise. Withdrawn entries count too, at a quarter. While messages wait on the disk alone, those after them
    /// must wait as well.
    fn has_room(&self, length: usize) -> bool {
        let full = self.pending.messages >= self.max_messages
            || (self.pending.messages > 0
                && self.pending.bytes.saturating_add(as_u64(length)) > self.max_bytes)
            || as_u64(self.messages.len()) >= self.max_messages.saturating_mul(4);
        !full && !self.has_backlog()
    }

    /// Appends a message, and returns its sequence.
    fn append(
        &mut self,
        now: Time,
        (sent_at, ttl): (Timestamp, Duration),
        (attributes, body): (Attributes, Bytes),
        storage: Storage,
    ) -> u64 {
        let seq = self.loaded_end();
        let expires = after(now, ttl);
        self.next_expiry = self.next_expiry.min(expires);
        self.pending.messages = self.pending.messages.saturating_add(1);
        self.pending.bytes = self.pending.bytes.saturating_add(as_u64(body.len()));
        self.messages.push_back(QueuedMessage {
            body,
            attributes: Self::boxed(attributes, storage),
            sent_at,
            accepted: now,
            expires,
            sent: 0,
            withdrawn: false,
            storage,
        });
        self.note_appended(seq, storage);
        seq
    }

    /// The attributes as an entry keeps them. Those that follow from its storage alone are not kept.
    fn boxed(mut attributes: Attributes, storage: Storage) -> Option<Box<Attributes>> {
        attributes.durable = false;
        if attributes.is_default() {
            return None;
        }
        attributes.durable = storage != Storage::Memory;
        Some(Box::new(attributes))
    }

    /// Whether a message waits here or on the disk and is not withdrawn.
    pub(super) fn is_pending(&self, id: &MessageId) -> bool {
        self.seq_of(id).is_some_and(|seq| {
            self.message(seq).map_or_else(|| self.is_in_backlog(seq), |message| !message.withdrawn)
        })
    }

    /// The sequence of a message of this incarnation, or of the one before.
    fn seq_of(&self, id: &MessageId) -> Option<u64> {
        let (incarnation, seq) = split_id(id)?;
        (incarnation == self.incarnation || Some(incarnation) == self.former).then_some(seq)
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
