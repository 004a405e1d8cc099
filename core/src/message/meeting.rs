//! Who is there: incarnations, and what happens when one side has lost its memory.
//!
//! Each side of a conversation has an incarnation, and packets name both. A packet for a former incarnation of
//! ours is not looked at: its sender is told of the present one by an empty packet. A packet from an incarnation
//! other than the one we know may come from the peer, which has restarted, or may be a late one from before: a
//! ping addressed to it decides. Only who acknowledges a packet that was sent after its first word is there *now*.
//! Then all that it has not taken is sent to it from the beginning; it never had any of it, so nothing is
//! delivered twice. A first contact is believed at once: there is nothing that could be mixed up.

use bytes::Bytes;

use super::Conversation;
use super::incoming::Incoming;
use super::outcome::Outcome;
use super::ranges::Received;
use super::recovery::{Piece, after};
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::message::{Frame, Header, Reader};

/// Strangers and the forgetful are greeted no more often than this.
pub(super) const GREETING_INTERVAL: std::time::Duration = std::time::Duration::from_millis(10);

/// A short packet outside of the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    /// The incarnation it is for.
    pub to: u64,
    /// Whether it asks for an answer.
    pub asks: bool,
}

/// What is known of the peer's incarnation.
#[derive(Debug, Default)]
pub(super) struct Meeting {
    known: Option<u64>,
    /// An incarnation that claims to be the present one, and the number of the first packet that asked it.
    claimant: Option<(u64, Option<u64>)>,
    due: Option<Greeting>,
    not_before: Time,
}

impl Meeting {
    /// The peer's present incarnation.
    pub fn known(&self) -> Option<u64> {
        self.known
    }

    /// The greeting that should leave, if any. It does in the packet with this number.
    pub fn take_due(&mut self, number: u64) -> Option<Greeting> {
        let greeting = self.due.take()?;
        if let Some((claimant, asked)) = &mut self.claimant
            && greeting.asks
            && *claimant == greeting.to
        {
            asked.get_or_insert(number);
        }
        Some(greeting)
    }

    fn greet(&mut self, now: Time, to: u64, asks: bool) {
        if now >= self.not_before {
            self.not_before = after(now, GREETING_INTERVAL);
            self.due = Some(Greeting { to, asks });
        }
    }
}

impl Conversation {
    /// Decides whether a packet belongs to this conversation.
    pub(super) fn meet(&mut self, now: Time, header: &Header, packet: &Bytes) -> Result<(), DropCause> {
        if header.to != 0 && header.to != self.incarnation {
            self.meeting.greet(now, header.from, false);
            return Err(DropCause::Duplicate);
        }
        match self.meeting.known {
            Some(known) if known == header.from => Ok(()),
            None => {
                self.meeting.known = Some(header.from);
                Ok(())
            }
            Some(_) if self.is_answer(header, packet) => {
                self.begin_anew(header.from);
                Ok(())
            }
            Some(_) => {
                if self.meeting.claimant.is_none_or(|(claimant, _)| claimant != header.from) {
                    self.meeting.claimant = Some((header.from, None));
                }
                self.meeting.greet(now, header.from, true);
                Err(DropCause::Duplicate)
            }
        }
    }

    /// Whether the claimant acknowledges what was sent to it after its claim. An ack is always the first frame.
    fn is_answer(&self, header: &Header, packet: &Bytes) -> bool {
        let Some((claimant, Some(asked))) = self.meeting.claimant else { return false };
        let mut reader = Reader::new(packet);
        let Ok((_, Frame::Ack)) = reader.header().and_then(|header| Ok((header, reader.frame()?))) else {
            return false;
        };
        let sent_since = asked..self.recovery.next_number();
        claimant == header.from
            && header.to == self.incarnation
            && reader.ack().is_ok_and(|ack| sent_since.contains(&ack.largest()))
    }

    /// The peer is another one now, which knows nothing.
    fn begin_anew(&mut self, incarnation: u64) {
        self.keep_complete();
        self.meeting.known = Some(incarnation);
        self.meeting.claimant = None;
        self.received = Received::default();
        self.recovery.give_up(|_| {});
        self.queue.start_over();
        (self.unacked, self.ack_at) = (0, None);
        (self.told, self.told_bytes, self.confirmed, self.confirming) = (0, 0, 0, 0);
        (self.receipt_at, self.stall_at, self.stalls) = (None, None, 0);
        self.outcome = Outcome::default();
    }

    /// Complete messages of the incarnation that is gone are in no other memory than this: they stay, within the
    /// bound of one credit.
    fn keep_complete(&mut self) {
        let known = self.meeting.known.unwrap_or_default();
        let empty = Incoming::new(self.credit_bytes, self.credit_messages);
        let mut old = std::mem::replace(&mut self.incoming, empty);
        self.counters.duplicates = self.counters.duplicates.saturating_add(old.duplicates);
        self.counters.expired = self.counters.expired.saturating_add(old.given_up);
        let mut bytes: usize = self.left_over.iter().map(|(_, complete)| complete.body.len()).sum();
        while let Some(complete) = old.take() {
            let has_room = self.left_over.is_empty()
                || (self.left_over.len() < self.credit_messages && bytes < self.credit_bytes);
            if !has_room {
                self.counters.expired = self.counters.expired.saturating_add(1);
                continue;
            }
            bytes = bytes.saturating_add(complete.body.len());
            self.left_over.push_back((known, complete));
        }
    }

    /// What is on its way will not be waited for: it is sent again.
    pub(super) fn give_up_flight(&mut self) {
        let Self { recovery, queue, confirming, .. } = self;
        recovery.give_up(|piece| match piece {
            Piece::Taken(_) => *confirming = 0,
            piece => queue.on_lost(piece),
        });
    }
}
