//! The queue of a conversation that has a journal.
//!
//! A message is given its sequence before it is stored, and stays in the queue until it is on the disk, so that later
//! ones keep their order. When the queue is full, messages wait on the disk alone, and are loaded in their order when
//! there is room. The sequences of a node that was started again have gaps where messages were held in memory alone.
//!
//! No sequence leaves, not even as a floor or as a skip, before the journal would begin with a later one after a restart.
//! Otherwise the sequence would be used twice, and the recipient would take the second message for a repetition.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use super::stored::{Backlog, LoadRequest, MOST_AHEAD, RESERVE_AHEAD, StoredMessage};
use super::{QueuedMessage, SendQueue, Storage, message_id};
use crate::message::event::ConversationEvent;
use crate::time::Time;
use crate::types::{Attributes, MessageId, Timestamp, Waiting};

/// The longest gap for which entries are made, each of which the recipient has to skip. A longer one is passed with the
/// floor, once all before it is settled.
const MAX_GAP: u64 = 64;
/// The bytes of bodies that are loaded at once.
const LOAD: u64 = 1 << 20;

impl SendQueue {
    /// Goes on where a journal ended: all below `floor` is settled, and those from `next` on were never used.
    pub(crate) fn restore(&mut self, incarnation: u64, floor: u64, next: u64) {
        (self.incarnation, self.base, self.next) = (incarnation, floor, floor);
        let end = next.max(floor);
        let backlog = Backlog { end, restored: Some(next), safe: next, ..Backlog::default() };
        self.backlog = Some(Box::new(backlog));
    }

    /// Takes the first sequence that the journal had not used when it was read.
    pub(crate) fn take_restored(&mut self) -> Option<u64> {
        self.backlog.as_mut()?.restored.take()
    }

    /// Takes another incarnation. The messages that wait keep their sequences.
    pub(crate) fn renew(&mut self, incarnation: u64) {
        self.former = Some(std::mem::replace(&mut self.incarnation, incarnation));
        self.take_restored();
        self.restart();
    }

    /// The first sequence that no message has.
    pub(super) fn end(&self) -> u64 {
        self.backlog.as_ref().map_or_else(|| self.loaded_end(), |backlog| backlog.end)
    }

    /// Whether messages wait on the disk alone, or sequences were used before the start of this node.
    pub(crate) fn has_backlog(&self) -> bool {
        self.end() > self.loaded_end()
    }

    pub(super) fn is_in_backlog(&self, seq: u64) -> bool {
        seq >= self.loaded_end() && seq < self.end()
    }

    /// Whether this sequence may be sent, or passed by the floor.
    pub(super) fn may_leave(&self, seq: u64, storage: Storage) -> bool {
        let is_safe = self.backlog.as_ref().is_none_or(|backlog| seq < backlog.safe);
        is_safe && storage != Storage::Storing
    }

    pub(super) fn note_appended(&mut self, seq: u64, storage: Storage) {
        let Some(backlog) = &mut self.backlog else { return };
        backlog.end = backlog.end.max(seq.saturating_add(1));
        if storage == Storage::Memory {
            backlog.unprotected = backlog.end;
        }
    }

    /// Gives a message a sequence, under which it is to be stored. It is kept here too while there is room.
    pub(crate) fn begin_storing(
        &mut self,
        now: Time,
        sent_at: Timestamp,
        ttl: Duration,
        attributes: Attributes,
        body: &Bytes,
    ) -> u64 {
        if self.has_room(body.len()) {
            return self.append(now, (sent_at, ttl), (attributes, body.clone()), Storage::Storing);
        }
        let seq = self.end();
        if let Some(backlog) = &mut self.backlog {
            backlog.end = seq.saturating_add(1);
            backlog.storing.insert(seq);
        }
        seq
    }

    /// The message with this sequence is on the disk.
    pub(crate) fn on_stored(&mut self, seq: u64) {
        let Some(backlog) = &mut self.backlog else { return };
        backlog.safe = backlog.safe.max(seq.saturating_add(1));
        backlog.storing.remove(&seq);
        let mut is_over = seq < self.base;
        if let Some(message) = self.message_mut(seq) {
            is_over = message.withdrawn;
            message.storage = Storage::Disk;
        }
        // It has expired, or was cancelled, while it was being stored.
        if is_over {
            self.settle(seq..seq.saturating_add(1));
        }
        self.advance_floor();
    }

    /// The message with this sequence was not stored. Its sequence is used up nevertheless, because later messages have
    /// theirs already.
    pub(crate) fn on_refused(&mut self, seq: u64) {
        let Some(backlog) = &mut self.backlog else { return };
        backlog.unprotected = backlog.unprotected.max(seq.saturating_add(1));
        backlog.storing.remove(&seq);
        if let Some(message) = self.message_mut(seq) {
            message.storage = Storage::Memory;
        }
        let index = seq.checked_sub(self.base).and_then(|index| usize::try_from(index).ok());
        index.into_iter().for_each(|index| _ = self.withdraw(index));
        self.advance_floor();
    }

    /// The sequence that a restarted node has to begin with, if that is not certain yet.
    pub(crate) fn reserve_need(&self) -> Option<u64> {
        let backlog = self.backlog.as_ref()?;
        let is_near = backlog.unprotected > 0
            && backlog.unprotected.saturating_add(backlog.reserved / 2) > backlog.safe;
        let ahead = backlog.reserved.saturating_mul(2).clamp(RESERVE_AHEAD, MOST_AHEAD);
        is_near.then(|| backlog.end.saturating_add(ahead))
    }

    /// The sequence that a restarted node begins with at least.
    pub(crate) fn reserved(&self) -> u64 {
        self.backlog.as_ref().map_or(0, |backlog| backlog.safe)
    }

    /// A restarted node will begin with `next` or a later sequence.
    pub(crate) fn on_reserved(&mut self, next: u64) {
        if let Some(backlog) = &mut self.backlog {
            backlog.safe = backlog.safe.max(next);
            backlog.reserved = next.saturating_sub(backlog.end);
        }
        self.advance_floor();
    }

    /// Whether a sender waits for room. Then messages are loaded even without a session, because the disk may have none any
    /// more.
    pub(crate) fn is_awaited(&self) -> bool {
        self.was_full
    }

    /// The messages to be loaded now, if there are any. The caller answers with [`Self::on_loaded`].
    pub(crate) fn begin_load(&mut self) -> Option<LoadRequest> {
        let from = self.loaded_end();
        let has_room =
            self.pending.messages <= self.max_messages / 2 && self.pending.bytes <= self.max_bytes / 2;
        let is_empty = self.messages.is_empty();
        let backlog = self.backlog.as_mut()?;
        let until = backlog.storing.first().copied().unwrap_or(backlog.end);
        if backlog.is_loading || until <= from || !has_room || (backlog.is_gap_ahead && !is_empty) {
            return None;
        }
        (backlog.is_loading, backlog.is_gap_ahead) = (true, false);
        let bytes = usize::try_from(self.max_bytes.min(LOAD)).unwrap_or(usize::MAX);
        Some(LoadRequest { from, until, bytes })
    }

    /// Takes messages from the disk, in order of their sequences: the first ones from [`LoadRequest::from`] on.
    pub(crate) fn on_loaded(
        &mut self,
        now: Time,
        request: LoadRequest,
        messages: Vec<StoredMessage>,
        events: &mut VecDeque<ConversationEvent>,
    ) {
        self.backlog.iter_mut().for_each(|backlog| backlog.is_loading = false);
        let mut is_last = messages.is_empty();
        for StoredMessage { seq, sent_at, life, attributes, body } in messages {
            let is_full = self.pending.messages >= self.max_messages;
            is_last = seq >= request.until;
            if is_last || is_full || !self.pass_gap(now, seq) {
                break;
            }
            // One that was passed meanwhile is settled already.
            if seq == self.loaded_end() {
                self.append(now, (sent_at, life), (attributes, body), Storage::Disk);
            }
        }
        if is_last {
            self.pass_gap(now, request.until);
        }
        if !self.has_backlog() {
            self.report_room(events);
        }
    }

    /// Advances to `seq` over sequences that no message has. Returns false when it has to wait for that.
    fn pass_gap(&mut self, now: Time, seq: u64) -> bool {
        let gap = seq.saturating_sub(self.loaded_end());
        if gap > 0 && self.messages.is_empty() && self.may_leave(seq.saturating_sub(1), Storage::Disk) {
            (self.base, self.next) = (seq, seq);
        } else if gap > MAX_GAP || (gap > 0 && self.messages.is_empty()) {
            if let Some(backlog) = &mut self.backlog {
                backlog.is_gap_ahead = true;
            }
            return false;
        }
        while self.loaded_end() < seq {
            self.messages.push_back(QueuedMessage {
                body: Bytes::new(),
                attributes: None,
                sent_at: Timestamp(0),
                accepted: now,
                expires: now,
                sent: 0,
                withdrawn: true,
                storage: Storage::Memory,
            });
        }
        true
    }

    /// The recipient has taken all below `taken`, of which a part was never loaded, since it was sent before this node was
    /// started.
    pub(super) fn skip_backlog(&mut self, taken: u64) {
        self.settle(self.base..taken);
        (self.base, self.next) = (taken, taken);
    }

    /// Records sequences that may be removed from the disk.
    pub(super) fn settle(&mut self, range: Range<u64>) {
        let Some(backlog) = &mut self.backlog else { return };
        match backlog.settled.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => backlog.settled.push(range),
        }
    }

    /// Takes the sequences that may be removed from the disk.
    pub(crate) fn take_settled(&mut self) -> Vec<Range<u64>> {
        self.backlog.as_mut().map(|backlog| std::mem::take(&mut backlog.settled)).unwrap_or_default()
    }

    /// The journal has removed a message because its time to live has run out.
    pub(crate) fn on_stored_expired(&mut self, seq: u64, events: &mut VecDeque<ConversationEvent>) {
        let had_left = self.message(seq).is_some_and(|message| message.sent > 0);
        let index = seq.checked_sub(self.base).and_then(|index| usize::try_from(index).ok());
        if index.is_some_and(|index| self.withdraw(index)) || self.is_in_backlog(seq) {
            events.push_back(ConversationEvent::Expired { id: message_id(self.incarnation, seq), had_left });
            self.advance_floor();
            self.report_room(events);
        }
    }

    /// Removes a message that waits on the disk alone. Returns false if there is none.
    pub(crate) fn cancel_in_backlog(&mut self, id: &MessageId) -> bool {
        match self.seq_of(id) {
            Some(seq) if self.is_in_backlog(seq) => {
                self.settle(seq..seq.saturating_add(1));
                true
            }
            _ => false,
        }
    }

    /// The messages that are in memory alone.
    pub(crate) fn volatile(&self) -> Waiting {
        if self.backlog.is_none() {
            return self.pending;
        }
        let mut volatile = Waiting::default();
        let live = self.messages.iter().filter(|message| !message.withdrawn);
        for message in live.filter(|message| message.storage == Storage::Memory) {
            volatile.messages = volatile.messages.saturating_add(1);
            volatile.bytes = volatile.bytes.saturating_add(message.body.len() as u64);
        }
        volatile
    }
}
