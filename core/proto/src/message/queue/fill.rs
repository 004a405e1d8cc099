//! Filling packets from the queue.

use super::{QueuedMessage, SendQueue, Storage};
use crate::message::packet_builder::{MessageContent, PacketBuilder, Written};
use crate::message::recovery::Piece;
use crate::types::Attributes;

impl QueuedMessage {
    /// The message as a packet carries it.
    fn content(&self, seq: u64) -> MessageContent<'_> {
        let stored = (self.storage != Storage::Memory).then_some(Attributes::STORED);
        let attributes = self.attributes.as_deref().or(stored);
        MessageContent { seq, sent_at: self.sent_at, attributes, body: &self.body }
    }
}

impl SendQueue {
    /// Fills a packet, with lost pieces first, since the recipient waits for them in order to deliver later messages.
    pub(in crate::message) fn fill(&mut self, builder: &mut PacketBuilder<'_>) {
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

    /// Writes a lost piece, and keeps the rest that does not fit. Returns false when the packet is full.
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
            } else if part.is_none() && builder.is_whole(&message.content(seq)) {
                builder.whole(&message.content(seq))
            } else {
                builder.part(&message.content(seq), from, to)
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

    /// Writes the next new message, or as much as fits and is `allowed`. Returns false when the packet is full.
    fn fill_new(&mut self, allowed: u32, builder: &mut PacketBuilder<'_>) -> bool {
        let seq = self.next;
        let Some(message) = self.message(seq) else { return false };
        let length = u32::try_from(message.body.len()).unwrap_or(u32::MAX);
        let from = message.sent;
        let put = if message.withdrawn {
            builder.skip(seq)
        } else if from == 0 && builder.is_whole(&message.content(seq)) {
            builder.whole(&message.content(seq))
        } else {
            let to = length.min(from.saturating_add(allowed));
            match builder.part(&message.content(seq), from, to) {
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

    /// The bytes of the next new message that the credit allows; `None` if there is none, or it must wait.
    pub(super) fn new_allowed(&self) -> Option<u32> {
        let message = self.message(self.next)?;
        if !self.may_leave(self.next, message.storage) {
            return None;
        }
        if self.next.saturating_sub(self.base) >= self.credit_messages {
            return None;
        }
        // The first message does not count towards the credit, since a long one could never be completed otherwise.
        let beyond =
            self.sent.saturating_sub(self.messages.front().map_or(0, |message| u64::from(message.sent)));
        let allowed = u32::try_from(self.credit_bytes.saturating_sub(beyond)).unwrap_or(u32::MAX);
        let left = message.body.len().saturating_sub(message.sent as usize);
        // A short message is sent whole or not at all, so that it does not cost the header of a part.
        let needed = left.min(usize::from(u16::MAX));
        (message.withdrawn || (allowed as usize) >= needed).then_some(allowed)
    }
}

fn messages(first: u64, end: u64) -> Piece {
    Piece::Messages { first, count: u16::try_from(end.saturating_sub(first)).unwrap_or(u16::MAX) }
}
