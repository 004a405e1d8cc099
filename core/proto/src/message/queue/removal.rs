//! The removal of messages from the queue: they are delivered, expire, or are cancelled.

use std::collections::VecDeque;

use super::{QueuedMessage, SendQueue, Storage, message_id};
use crate::message::arithmetic::as_u64;
use crate::message::config::WINDOW;
use crate::message::event::ConversationEvent;
use crate::message::recovery::Piece;
use crate::time::Time;
use crate::types::{MessageId, MessageKind};

impl SendQueue {
    /// Withdraws a message; returns false if it is not queued any more.
    pub(crate) fn cancel(&mut self, id: &MessageId, events: &mut VecDeque<ConversationEvent>) -> bool {
        let Some(seq) = self.seq_of(id) else { return false };
        let index = seq.checked_sub(self.base).and_then(|index| usize::try_from(index).ok());
        if !index.is_some_and(|index| self.withdraw(index)) {
            return false;
        }
        self.advance_floor();
        self.report_room(events);
        true
    }

    /// The earliest time at which a message may expire.
    pub(crate) fn next_expiry(&self) -> Option<Time> {
        (self.pending.messages > 0).then_some(self.next_expiry)
    }

    /// Withdraws the messages that have reached the end of their time to live.
    pub(crate) fn expire(&mut self, now: Time, events: &mut VecDeque<ConversationEvent>) {
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
    pub(crate) fn on_credit(
        &mut self,
        now: Time,
        (taken, bytes, messages): (u64, u32, u16),
        events: &mut VecDeque<ConversationEvent>,
    ) -> Result<bool, ()> {
        if taken > self.end() {
            return Err(());
        }
        // Credit never shrinks within an incarnation, so the larger value is the later one even if packets were
        // reordered.
        self.credit_bytes = self.credit_bytes.max(u64::from(bytes));
        self.credit_messages = self.credit_messages.max(u64::from(messages).min(WINDOW));
        let progress = taken > self.base;
        while self.base < taken {
            let seq = self.base;
            let Some(message) = self.pop() else {
                // The rest waits on the disk: it was sent before this node was started.
                self.skip_backlog(taken);
                events.push_back(ConversationEvent::Passed { below: message_id(self.incarnation, taken) });
                break;
            };
            if !message.withdrawn {
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

    /// Withdraws the messages beside a journal that are in memory alone and of which a part was sent. Requests and their
    /// answers stay, since the end that waits for one recognizes a second.
    pub(crate) fn withdraw_volatile(&mut self, events: &mut VecDeque<ConversationEvent>) {
        if self.backlog.is_none() {
            return;
        }
        let end =
            usize::try_from(self.next.saturating_sub(self.base)).unwrap_or(usize::MAX).saturating_add(1);
        for index in 0..self.messages.len().min(end) {
            let Some(message) = self.messages.get(index) else { break };
            let kind = message.attributes.as_ref().map_or(MessageKind::Plain, |attributes| attributes.kind);
            let seq = self.base.saturating_add(as_u64(index));
            let has_left = message.sent > 0 || seq < self.next;
            if message.storage == Storage::Memory
                && kind == MessageKind::Plain
                && has_left
                && self.withdraw(index)
            {
                events.push_back(ConversationEvent::Expired {
                    id: message_id(self.incarnation, seq),
                    had_left: true,
                });
            }
        }
        self.report_room(events);
    }

    /// Withdraws a message; returns false if it is withdrawn already.
    pub(super) fn withdraw(&mut self, index: usize) -> bool {
        let seq = self.base.saturating_add(as_u64(index));
        let Some(message) = self.messages.get_mut(index).filter(|message| !message.withdrawn) else {
            return false;
        };
        (message.withdrawn, message.attributes) = (true, None);
        let is_stored = message.storage == Storage::Disk;
        let body = std::mem::take(&mut message.body);
        self.pending.messages = self.pending.messages.saturating_sub(1);
        self.pending.bytes = self.pending.bytes.saturating_sub(as_u64(body.len()));
        if is_stored {
            self.settle(seq..seq.saturating_add(1));
        }
        if seq < self.next {
            self.retransmit.push_back(Piece::Messages { first: seq, count: 1 });
        }
        true
    }

    /// Removes withdrawn entries at the front of which the recipient has seen nothing: the floor alone skips them.
    pub(super) fn advance_floor(&mut self) {
        while self.base == self.next
            && self.messages.front().is_some_and(|message| {
                message.withdrawn && message.sent == 0 && self.may_leave(self.base, message.storage)
            })
        {
            self.pop();
        }
    }

    fn pop(&mut self) -> Option<QueuedMessage> {
        let message = self.messages.pop_front()?;
        if message.storage == Storage::Disk && !message.withdrawn {
            self.settle(self.base..self.base.saturating_add(1));
        }
        self.base = self.base.saturating_add(1);
        self.next = self.next.max(self.base);
        self.sent = self.sent.saturating_sub(u64::from(message.sent));
        if !message.withdrawn {
            self.pending.messages = self.pending.messages.saturating_sub(1);
            self.pending.bytes = self.pending.bytes.saturating_sub(as_u64(message.body.len()));
        }
        Some(message)
    }

    pub(super) fn report_room(&mut self, events: &mut VecDeque<ConversationEvent>) {
        if std::mem::take(&mut self.was_full) {
            events.push_back(ConversationEvent::Room);
        }
    }
}
