//! What has arrived and was not yet taken: a window of sequences from the first that was not.
//!
//! Messages leave in order. What may wait here is bounded by the credit given: `credit_bytes` beyond the message
//! that is next, `credit_messages` in number. The next message may always arrive whole, or a long one never could.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::reassembly::{Reassembly, Refused};
use crate::stats::DropCause;
use crate::types::{MAX_MESSAGE, Timestamp};

#[derive(Debug)]
enum Slot {
    Empty,
    Part(Box<Reassembly>),
    Whole { sent_at: Timestamp, body: Bytes },
    Skipped,
}

impl Slot {
    fn bytes(&self) -> usize {
        match self {
            Slot::Empty | Slot::Skipped => 0,
            Slot::Part(parts) => parts.bytes(),
            Slot::Whole { body, .. } => body.len(),
        }
    }
}

/// A message that is complete.
#[derive(Debug)]
pub(super) struct Complete {
    pub seq: u64,
    pub sent_at: Timestamp,
    pub body: Bytes,
}

/// Where a part lies in its message.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub total: u32,
    pub offset: u32,
    pub bytes: Range<usize>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Incoming {
    slots: VecDeque<Slot>,
    /// The sequence of the first slot: all below are settled.
    taken: u64,
    bytes: usize,
    credit_bytes: usize,
    credit_messages: usize,
    /// Bytes that the node has room for at the moment, whoever they are from.
    room: usize,
    /// What had arrived before.
    pub duplicates: u64,
    /// Complete messages that their sender gave up before they were taken.
    pub given_up: u64,
}

impl Incoming {
    pub fn new(credit_bytes: usize, credit_messages: usize) -> Self {
        Incoming {
            slots: VecDeque::new(),
            taken: 0,
            bytes: 0,
            credit_bytes,
            credit_messages,
            room: usize::MAX,
            duplicates: 0,
            given_up: 0,
        }
    }

    /// All sequences below this are settled.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// From now on no more than this many new bytes are taken, whatever credit was given.
    pub fn set_room(&mut self, room: usize) {
        self.room = room;
    }

    /// Bytes that wait here.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub fn has_message(&self) -> bool {
        matches!(self.slots.front(), Some(Slot::Whole { .. }))
    }

    /// Takes the next message.
    pub fn take(&mut self) -> Option<Complete> {
        if !self.has_message() {
            return None;
        }
        let seq = self.taken;
        match self.pop() {
            Some(Slot::Whole { sent_at, body }) => {
                self.pass_skipped();
                Some(Complete { seq, sent_at, body })
            }
            _ => None,
        }
    }

    /// All below `floor` is settled at the sender.
    pub fn advance(&mut self, floor: u64) {
        if floor <= self.taken {
            return;
        }
        while self.taken < floor {
            match self.pop() {
                Some(Slot::Whole { .. }) => self.given_up = self.given_up.saturating_add(1),
                Some(_) => {}
                None => self.taken = floor,
            }
        }
        self.pass_skipped();
    }

    /// `count` sequences from `first` are given up by the sender.
    pub fn skip(&mut self, first: u64, count: u16) -> Result<(), DropCause> {
        for seq in first..first.saturating_add(u64::from(count)) {
            let Some(index) = self.index(seq)? else { continue };
            if matches!(self.slots.get(index), Some(Slot::Whole { .. })) {
                self.given_up = self.given_up.saturating_add(1);
            }
            self.put(index, Slot::Skipped);
        }
        self.pass_skipped();
        Ok(())
    }

    /// A whole message has arrived, `body` in `packet`. A body that is a small part of its packet is copied out:
    /// `share` is how much of the packet is bodies.
    pub fn whole(
        &mut self,
        seq: u64,
        sent_at: Timestamp,
        packet: &Bytes,
        body: Range<usize>,
        copy: bool,
    ) -> Result<(), DropCause> {
        let Some(index) = self.index(seq)? else { return Ok(()) };
        if let Some(Slot::Whole { .. } | Slot::Skipped) = self.slots.get(index) {
            self.duplicates = self.duplicates.saturating_add(1);
            return Ok(());
        }
        let had = self.slots.get(index).map_or(0, Slot::bytes);
        self.check_credit(index, body.len().saturating_sub(had))?;
        let body = packet.slice(body);
        let body = if copy { Bytes::copy_from_slice(&body) } else { body };
        self.put(index, Slot::Whole { sent_at, body });
        Ok(())
    }

    /// A part of a message has arrived.
    pub fn part(
        &mut self,
        seq: u64,
        sent_at: Timestamp,
        packet: &Bytes,
        part: Part,
    ) -> Result<(), DropCause> {
        let (total, offset) = (part.total as usize, part.offset as usize);
        let end = offset.saturating_add(part.bytes.len());
        if total > MAX_MESSAGE || end > total || part.bytes.is_empty() {
            return Err(DropCause::MalformedMessage);
        }
        let Some(index) = self.index(seq)? else { return Ok(()) };
        let missing = match self.slots.get(index) {
            Some(Slot::Whole { .. } | Slot::Skipped) => 0,
            Some(Slot::Part(parts)) => parts.missing(offset, end),
            Some(Slot::Empty) | None => part.bytes.len(),
        };
        if missing == 0 {
            self.duplicates = self.duplicates.saturating_add(1);
            return Ok(());
        }
        self.check_credit(index, missing)?;
        self.grow(index);
        let Some(slot) = self.slots.get_mut(index) else { return Err(DropCause::OverCredit) };
        if !matches!(slot, Slot::Part(_)) {
            *slot = Slot::Part(Box::new(Reassembly::new(sent_at, total)));
        }
        let Slot::Part(parts) = slot else { return Err(DropCause::MalformedMessage) };
        parts.insert(total, offset, packet.slice(part.bytes), packet.len()).map_err(
            |refused| match refused {
                Refused::Contradiction => DropCause::MalformedMessage,
                Refused::TooManyParts => DropCause::OverCredit,
            },
        )?;
        self.bytes = self.bytes.saturating_add(missing);
        if parts.is_complete()
            && let Slot::Part(parts) = std::mem::replace(slot, Slot::Empty)
        {
            *slot = Slot::Whole { sent_at: parts.sent_at, body: parts.into_body() };
        }
        Ok(())
    }

    /// The place of a sequence; `None` when it is settled. The error is one beyond the window.
    fn index(&mut self, seq: u64) -> Result<Option<usize>, DropCause> {
        let Some(above) = seq.checked_sub(self.taken) else {
            self.duplicates = self.duplicates.saturating_add(1);
            return Ok(None);
        };
        match usize::try_from(above) {
            Ok(index) if index < self.credit_messages => Ok(Some(index)),
            _ => Err(DropCause::OverCredit),
        }
    }

    fn check_credit(&mut self, index: usize, new: usize) -> Result<(), DropCause> {
        let beyond_next = self.bytes.saturating_sub(self.slots.front().map_or(0, Slot::bytes));
        match index > 0 && beyond_next.saturating_add(new) > self.credit_bytes {
            true => Err(DropCause::OverCredit),
            false => match self.room.checked_sub(new) {
                None => Err(DropCause::ReassemblyLimit),
                Some(left) => {
                    self.room = left;
                    Ok(())
                }
            },
        }
    }

    /// The length of the next message, when it is whole.
    pub fn next_bytes(&self) -> Option<usize> {
        self.slots.front().filter(|slot| matches!(slot, Slot::Whole { .. })).map(Slot::bytes)
    }

    fn grow(&mut self, index: usize) {
        while self.slots.len() <= index {
            self.slots.push_back(Slot::Empty);
        }
    }

    fn put(&mut self, index: usize, slot: Slot) {
        self.grow(index);
        if let Some(place) = self.slots.get_mut(index) {
            self.bytes = self.bytes.saturating_sub(place.bytes()).saturating_add(slot.bytes());
            *place = slot;
        }
    }

    fn pop(&mut self) -> Option<Slot> {
        let slot = self.slots.pop_front()?;
        self.taken = self.taken.saturating_add(1);
        self.bytes = self.bytes.saturating_sub(slot.bytes());
        Some(slot)
    }

    fn pass_skipped(&mut self) {
        while matches!(self.slots.front(), Some(Slot::Skipped)) {
            self.pop();
        }
    }
}

/// Whether bodies of `length` bytes in all are too small a share of their packet to keep it alive.
pub(super) fn is_small_share(length: usize, packet: usize) -> bool {
    length.saturating_mul(2) < packet
}
