//! What has arrived and was not yet taken: a window of sequences from the first that was not.
//!
//! A message leaves in two steps: it goes to the application's mailbox, and the application takes it. Only then it is settled.
//!
//! Messages leave in order. What may wait here is bounded by the credit given: `credit_bytes` beyond the message
//! that is next, `credit_messages` in number. The next message may always arrive whole, or a long one never could.
//!
//! Memory and work follow what arrives, not what it says: nothing is kept for a sequence that has not come, runs of
//! messages stay together as they came, sequences that were given up are ranges, and one packet may add no more than
//! [`STRUCTURE`] times its length besides the bodies that it brings.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::ops::Range;

use bytes::Bytes;

use super::message_run::{CompleteMessage, MessageRun};
use super::reassembly::{FragmentRefusal, FragmentSpan, PART_COST, PIECE_COST, Reassembly};
use super::untaken::UntakenMessages;
use crate::stats::DropCause;
use crate::types::{MAX_MESSAGE, Timestamp};
use crate::wire::message::{ENTRY_HEADER, Reader};

/// What a run of messages costs besides their bytes.
const RUN_COST: usize = 136;
/// What a range of sequences that were given up costs.
const SKIPPED_COST: usize = 48;
/// What a packet brings may cost so many times its length, besides the bodies.
pub(super) const STRUCTURE_FACTOR: usize = 6;

mod skip;

#[derive(Debug)]
enum IncomingSlot {
    MessageRun(Box<MessageRun>),
    Partial(Box<Reassembly>),
}

/// Messages of one frame that are new, while the frame is read.
struct OpenRun {
    first: u64,
    count: u16,
    entries: Range<usize>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Incoming {
    /// By their first sequence, apart from each other, none below `next`.
    slots: BTreeMap<u64, IncomingSlot>,
    /// The run that begins with `next`, once it has come in its turn or something of it was asked for.
    head: Option<Box<MessageRun>>,
    /// Ranges that their sender has given up, first to end: apart from each other, none below `next`. What lies in
    /// them and had come is dropped when its turn comes.
    skipped: BTreeMap<u64, u64>,
    /// All below have left to the application, or are settled.
    next: u64,
    untaken: UntakenMessages,
    bytes: usize,
    structure: usize,
    credit_bytes: u32,
    credit_messages: u16,
    /// Bytes that the node has room for at the moment, whoever they are from.
    node_room: usize,
    /// What the present packet may yet cost besides bodies.
    structure_budget: usize,
    /// What had arrived before.
    pub duplicates: u64,
    /// Complete messages that their sender gave up before they were taken.
    pub given_up: u64,
}

impl Incoming {
    pub fn new(credit_bytes: u32, credit_messages: u16) -> Self {
        Incoming {
            slots: BTreeMap::new(),
            head: None,
            skipped: BTreeMap::new(),
            next: 0,
            untaken: UntakenMessages::default(),
            bytes: 0,
            structure: 0,
            credit_bytes,
            credit_messages,
            node_room: usize::MAX,
            structure_budget: 0,
            duplicates: 0,
            given_up: 0,
        }
    }

    /// How many bytes may wait here, and how many messages.
    pub fn credit(&self) -> (u32, u16) {
        (self.credit_bytes, self.credit_messages)
    }

    /// All sequences below this are settled: taken by the application, or given up.
    pub fn taken(&self) -> u64 {
        self.untaken.first().unwrap_or(self.next)
    }

    /// The application has taken a message; how many bytes are settled by it.
    pub fn on_taken(&mut self, seq: u64) -> usize {
        self.untaken.on_taken(seq)
    }

    /// Messages that are with the application, which has not taken them.
    pub fn untaken(&self) -> usize {
        self.untaken.untaken()
    }

    /// From now on no more than this many new bytes are taken, whatever credit was given.
    pub fn set_room(&mut self, node_room: usize) {
        self.node_room = node_room;
    }

    /// A packet of this length is about to be taken apart.
    pub fn begin_packet(&mut self, length: usize) {
        self.structure_budget = length.saturating_mul(STRUCTURE_FACTOR);
    }

    /// Bytes of bodies that wait here.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of memory that what waits here takes.
    pub fn held(&self) -> usize {
        let skipped = self.skipped.len().saturating_mul(SKIPPED_COST);
        let besides = self.structure.saturating_add(skipped).saturating_add(self.untaken.held());
        self.bytes.saturating_add(besides)
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.head.is_none() && self.skipped.is_empty()
    }

    pub fn has_message(&self) -> bool {
        self.next_bytes().is_some()
    }

    /// The length of the next message, when it is whole.
    pub fn next_bytes(&self) -> Option<usize> {
        match (&self.head, self.slots.first_key_value()) {
            (Some(run), _) => Some(run.next_bytes()),
            (None, Some((first, IncomingSlot::MessageRun(run)))) if *first == self.next => {
                Some(run.next_bytes())
            }
            (None, Some((first, IncomingSlot::Partial(parts))))
                if *first == self.next && parts.is_complete() =>
            {
                Some(parts.bytes())
            }
            _ => None,
        }
    }

    /// Takes the next message.
    pub fn take(&mut self) -> Option<CompleteMessage> {
        let seq = self.next;
        let (sent_at, body) = self.pop()?;
        self.untaken.push(seq, body.len());
        self.pass_skipped();
        Some(CompleteMessage { seq, sent_at, body })
    }

    /// All below `floor` is settled at the sender.
    pub fn advance(&mut self, floor: u64) {
        self.untaken.settle(floor);
        if floor > self.next {
            self.settle(floor);
            self.pass_skipped();
        }
    }

    /// Whole messages have arrived: `count` entries from sequence `first` on, which `reader` reads from `packet`.
    pub fn messages(
        &mut self,
        (first, count): (u64, u16),
        sent_at: Timestamp,
        packet: &[u8],
        reader: &mut Reader<'_>,
    ) -> Result<(), DropCause> {
        let mut open: Option<OpenRun> = None;
        let mut front = self.front_bytes();
        let (mut known, mut until) = (false, 0);
        let mut result = Ok(());
        for nth in 0..u64::from(count) {
            let start = reader.position();
            let Ok((_, body)) = reader.entry() else {
                result = Err(DropCause::MalformedMessage);
                break;
            };
            let seq = first.saturating_add(nth);
            if nth == 0 || seq >= until {
                (known, until) = self.covered_until(seq);
                front = if self.drop_part(seq) { self.front_bytes() } else { front };
            }
            if known {
                self.duplicates = self.duplicates.saturating_add(1);
                self.close(open.take(), sent_at, packet);
                continue;
            }
            let structure = if open.is_none() { RUN_COST + ENTRY_HEADER } else { ENTRY_HEADER };
            let admitted =
                self.admit(seq, front, body.len()).and_then(|()| self.spend(structure, body.len()));
            if let Err(cause) = admitted {
                result = result.and(Err(cause));
                self.close(open.take(), sent_at, packet);
                continue;
            }
            self.bytes = self.bytes.saturating_add(body.len());
            self.structure = self.structure.saturating_add(structure);
            front = if seq == self.taken() { body.len() } else { front };
            let run = open.get_or_insert(OpenRun { first: seq, count: 0, entries: start..start });
            run.count = run.count.saturating_add(1);
            run.entries.end = body.end;
        }
        self.close(open, sent_at, packet);
        result
    }

    fn close(&mut self, open: Option<OpenRun>, sent_at: Timestamp, packet: &[u8]) {
        if let Some(OpenRun { first, count, entries }) = open {
            let run = MessageRun::new(sent_at, count, packet.get(entries).unwrap_or_default());
            match self.head {
                // In order, as nearly all is: there is no need of a table.
                None if first == self.next => self.head = Some(Box::new(run)),
                _ => _ = self.slots.insert(first, IncomingSlot::MessageRun(Box::new(run))),
            }
        }
    }

    /// A part of a message has arrived.
    pub fn part(
        &mut self,
        seq: u64,
        sent_at: Timestamp,
        packet: &[u8],
        part: FragmentSpan,
    ) -> Result<(), DropCause> {
        let (total, offset) = (part.total as usize, part.offset as usize);
        let end = offset.saturating_add(part.bytes.len());
        if total > MAX_MESSAGE || end > total || part.bytes.is_empty() {
            return Err(DropCause::MalformedMessage);
        }
        let (missing, structure) = match self.slots.get(&seq) {
            _ if self.covered_until(seq).0 => (0, 0),
            Some(IncomingSlot::Partial(parts)) => (parts.missing(offset, end), PIECE_COST),
            _ => (part.bytes.len(), PART_COST.saturating_add(PIECE_COST)),
        };
        if missing == 0 {
            self.duplicates = self.duplicates.saturating_add(1);
            return Ok(());
        }
        self.admit(seq, self.front_bytes(), missing)?;
        self.spend(structure, missing)?;
        let slot = self.slots.entry(seq).or_insert_with(|| {
            self.structure = self.structure.saturating_add(PART_COST);
            IncomingSlot::Partial(Box::new(Reassembly::new(sent_at, total)))
        });
        let IncomingSlot::Partial(parts) = slot else { return Ok(()) };
        let (bytes, structure) = (parts.bytes(), parts.structure());
        parts.insert(total, offset, packet.get(part.bytes).unwrap_or_default()).map_err(|refused| {
            match refused {
                FragmentRefusal::Contradiction => DropCause::MalformedMessage,
                FragmentRefusal::TooManyPieces => DropCause::OverCredit,
            }
        })?;
        self.bytes = self.bytes.saturating_sub(bytes).saturating_add(parts.bytes());
        self.structure = self.structure.saturating_sub(structure).saturating_add(parts.structure());
        Ok(())
    }

    /// Whether a sequence needs to come no more, and up to which (without it) the same holds.
    fn covered_until(&self, seq: u64) -> (bool, u64) {
        let settled = self.next.saturating_add(self.head.as_ref().map_or(0, |run| run.count()));
        if seq < settled {
            return (true, settled);
        }
        if let Some((_, end)) = self.skipped.range(..=seq).next_back()
            && seq < *end
        {
            return (true, *end);
        }
        if let Some((first, slot)) = self.slots.range(..=seq).next_back() {
            let end = match slot {
                IncomingSlot::MessageRun(run) => first.saturating_add(run.count()),
                IncomingSlot::Partial(parts) => first.saturating_add(u64::from(parts.is_complete())),
            };
            if seq < end {
                return (true, end);
            }
        }
        let behind = (Excluded(seq), Unbounded);
        let slot = self.slots.range(behind).next().map(|(first, _)| *first);
        let skipped = self.skipped.range(behind).next().map(|(first, _)| *first);
        (false, slot.into_iter().chain(skipped).min().unwrap_or(u64::MAX))
    }

    /// Drops what came of a message in parts: it has come whole. Whether there was something.
    fn drop_part(&mut self, seq: u64) -> bool {
        if !matches!(self.slots.get(&seq), Some(IncomingSlot::Partial(_))) {
            return false;
        }
        if let Some(IncomingSlot::Partial(parts)) = self.slots.remove(&seq) {
            self.subtract(&parts);
        }
        true
    }

    /// Whether the credit given covers `new` bytes of a message, where `front` bytes of the next one are here.
    fn admit(&self, seq: u64, front: usize, new: usize) -> Result<(), DropCause> {
        let above = usize::try_from(seq.saturating_sub(self.taken())).unwrap_or(usize::MAX);
        let here = self.bytes.saturating_add(self.untaken.bytes());
        let beyond_next = here.saturating_sub(front).saturating_add(new);
        let (most_bytes, most_messages) = (self.credit_bytes as usize, usize::from(self.credit_messages));
        match above < most_messages && (above == 0 || beyond_next <= most_bytes) {
            true => Ok(()),
            false => Err(DropCause::OverCredit),
        }
    }

    /// Takes from what the packet may cost, and from the room that the node has.
    fn spend(&mut self, structure: usize, bytes: usize) -> Result<(), DropCause> {
        let structure_budget = self.structure_budget.checked_sub(structure).ok_or(DropCause::OverCredit)?;
        let node_room =
            self.node_room.checked_sub(structure.saturating_add(bytes)).ok_or(DropCause::ReassemblyLimit)?;
        (self.structure_budget, self.node_room) = (structure_budget, node_room);
        Ok(())
    }

    /// Bytes that are here of the first message that is not settled.
    fn front_bytes(&self) -> usize {
        if let Some(length) = self.untaken.first_bytes() {
            return length;
        }
        match (&self.head, self.slots.get(&self.next)) {
            (Some(run), _) => run.next_bytes(),
            (None, Some(IncomingSlot::MessageRun(run))) => run.next_bytes(),
            (None, Some(IncomingSlot::Partial(parts))) => parts.bytes(),
            (None, None) => 0,
        }
    }

    /// Takes the message that is next out, and goes on by one.
    fn pop(&mut self) -> Option<(Timestamp, Bytes)> {
        if self.head.is_none() {
            let first = self.slots.first_entry().filter(|first| *first.key() == self.next)?;
            match first.get() {
                IncomingSlot::Partial(parts) if !parts.is_complete() => return None,
                _ => {}
            }
            let slot = first.remove();
            release(&mut self.slots);
            match slot {
                IncomingSlot::MessageRun(run) => self.head = Some(run),
                IncomingSlot::Partial(parts) => {
                    self.next = self.next.saturating_add(1);
                    self.subtract(&parts);
                    return Some((parts.sent_at, parts.into_body()));
                }
            }
        }
        let run = self.head.as_mut()?;
        let (sent_at, body) = run.pop()?;
        let is_last = run.count() == 0;
        self.structure = self.structure.saturating_sub(ENTRY_HEADER);
        self.bytes = self.bytes.saturating_sub(body.len());
        self.next = self.next.saturating_add(1);
        if is_last {
            self.head = None;
            self.structure = self.structure.saturating_sub(RUN_COST);
        }
        Some((sent_at, body))
    }

    fn subtract(&mut self, parts: &Reassembly) {
        self.bytes = self.bytes.saturating_sub(parts.bytes());
        self.structure = self.structure.saturating_sub(parts.structure());
    }

    /// Drops all below `target`.
    fn settle(&mut self, target: u64) {
        loop {
            while self.next < target && self.pop().is_some() {
                self.given_up = self.given_up.saturating_add(1);
            }
            let first = self.slots.first_entry().filter(|_| self.next < target);
            let Some(first) = first.filter(|first| *first.key() < target) else { break };
            if *first.key() > self.next {
                self.next = *first.key();
            } else if let IncomingSlot::Partial(parts) = first.remove() {
                self.subtract(&parts);
            }
        }
        release(&mut self.slots);
        self.next = self.next.max(target);
    }
}

/// Gives the memory of a table back that is empty.
fn release<T>(table: &mut BTreeMap<u64, T>) {
    if table.is_empty() {
        *table = BTreeMap::new();
    }
}
