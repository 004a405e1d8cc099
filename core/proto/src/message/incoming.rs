//! The incoming messages that the application has not taken: a window of sequences from the first untaken one.
//!
//! A message leaves in two steps: it is handed to the application's mailbox, and the application takes it. Only then is
//! it settled, so that the sender still has a message that is lost with this node.
//!
//! Messages leave in order. The credit bounds the messages that wait here: `credit_bytes` beyond the next message, and
//! `credit_messages` in number. The next message may always arrive whole, since a long one never could otherwise.
//!
//! Memory and work are bounded by the bytes that arrive and not by the numbers in them: nothing is stored for a
//! sequence that has not arrived, runs of messages stay together as they arrived, withdrawn sequences are ranges, and
//! one packet may add no more than [`STRUCTURE_FACTOR`] times its length besides the bodies that it carries.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::ops::Range;

use super::message_run::{CompleteMessage, HeadRuns, MessageRun};
use super::reassembly::{FragmentRefusal, FragmentSpan, PART_COST, PIECE_COST, Reassembly};
use super::untaken::UntakenMessages;
use crate::stats::DropCause;
use crate::types::{MAX_MESSAGE, Timestamp};
use crate::wire::message::{ENTRY_HEADER, Reader, are_durable};

/// The memory of a run of messages besides their bytes.
const RUN_COST: usize = 136;
/// The memory of a range of withdrawn sequences.
const SKIPPED_COST: usize = 48;
/// The memory that a packet may cause, besides the bodies, as a multiple of its length.
pub(super) const STRUCTURE_FACTOR: usize = 6;

mod removal;
mod skip;

/// The contents of the window from one sequence on.
#[derive(Debug)]
enum IncomingSlot {
    Run(Box<MessageRun>),
    Partial(Box<Reassembly>),
}

/// The new messages of one frame, collected while the frame is read.
struct OpenRun {
    first: u64,
    count: u16,
    entries: Range<usize>,
}

/// The packet of the frame that is read, and the attributes that hold for its messages.
pub(super) struct FrameContext<'a> {
    pub packet: &'a [u8],
    /// The position of the encoded attributes in the packet; empty for the default ones. They are kept encoded, because
    /// a decoded service takes more memory than the bytes that named it.
    pub attributes: Range<usize>,
}

impl FrameContext<'_> {
    fn attributes(&self) -> &[u8] {
        self.packet.get(self.attributes.clone()).unwrap_or_default()
    }
}

/// The window of incoming messages. See the module for its bounds.
#[derive(Debug)]
pub(super) struct Incoming {
    /// The runs and partial messages by their first sequence: disjoint, none below `next`.
    slots: BTreeMap<u64, IncomingSlot>,
    /// The runs that follow one another from `next` on. They are kept outside of the table, since messages mostly arrive in
    /// order and then need no table.
    head: Option<Box<HeadRuns>>,
    /// Ranges of withdrawn sequences, first to end: disjoint, none below `next`. Messages in them that had arrived are
    /// dropped when `next` reaches them.
    skipped: BTreeMap<u64, u64>,
    /// All messages below this were handed to the application, or are settled.
    next: u64,
    /// The messages that were handed out, which keep their part of the credit until the application has taken them.
    untaken: UntakenMessages,
    /// The bytes of all bodies in `slots` and `head`.
    bytes: usize,
    /// The memory of `slots` and `head` besides those bytes.
    structure: usize,
    credit_bytes: u32,
    credit_messages: u16,
    /// The bytes for which the node has room at the moment, over all conversations.
    node_room: usize,
    /// The memory that the present packet may still cause besides bodies.
    structure_budget: usize,
    /// Messages and parts that had arrived before.
    pub duplicates: u64,
    /// Complete messages that their sender withdrew before they were taken.
    pub given_up: u64,
}

impl Incoming {
    pub(super) fn new(credit_bytes: u32, credit_messages: u16) -> Self {
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

    /// The bytes and the messages that may wait here.
    pub(super) fn credit(&self) -> (u32, u16) {
        (self.credit_bytes, self.credit_messages)
    }

    /// The sequence below which all are settled: taken by the application, or withdrawn.
    pub(super) fn taken(&self) -> u64 {
        self.untaken.first().unwrap_or(self.next)
    }

    /// Records that the application has taken a message. Returns the bytes settled by it.
    pub(super) fn on_taken(&mut self, seq: u64) -> usize {
        self.untaken.on_taken(seq)
    }

    /// The number of messages that are with the application and not yet taken.
    pub(super) fn untaken(&self) -> usize {
        self.untaken.untaken()
    }

    /// Limits the new bytes that are accepted from now on, regardless of the credit, so that all conversations together
    /// stay within the memory of the node.
    pub(super) fn set_room(&mut self, node_room: usize) {
        self.node_room = node_room;
    }

    /// Starts the accounting of a packet of this length.
    pub(super) fn begin_packet(&mut self, length: usize) {
        self.structure_budget = length.saturating_mul(STRUCTURE_FACTOR);
    }

    /// The bytes of the bodies that wait here.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The memory in bytes of all contents.
    pub(super) fn held(&self) -> usize {
        let skipped = self.skipped.len().saturating_mul(SKIPPED_COST);
        let besides = self.structure.saturating_add(skipped).saturating_add(self.untaken.held());
        self.bytes.saturating_add(besides)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.head.is_none() && self.skipped.is_empty()
    }

    pub(super) fn has_message(&self) -> bool {
        self.next_bytes().is_some()
    }

    /// The length of the next message, if it is complete.
    pub(super) fn next_bytes(&self) -> Option<usize> {
        match (self.first_run(), self.slots.first_key_value()) {
            (Some(run), _) => Some(run.next_bytes()),
            (None, Some((first, IncomingSlot::Run(run)))) if *first == self.next => Some(run.next_bytes()),
            (None, Some((first, IncomingSlot::Partial(parts))))
                if *first == self.next && parts.is_complete() =>
            {
                Some(parts.bytes())
            }
            _ => None,
        }
    }

    /// Whether the next message is complete, and one that its sender has stored.
    pub(super) fn is_next_durable(&self) -> bool {
        match (self.first_run(), self.slots.first_key_value()) {
            (Some(run), _) => run.is_durable(),
            (None, Some((first, IncomingSlot::Run(run)))) => *first == self.next && run.is_durable(),
            (None, Some((first, IncomingSlot::Partial(parts)))) => {
                *first == self.next && parts.is_complete() && are_durable(&parts.attributes)
            }
            (None, None) => false,
        }
    }

    /// Removes the next message, which is handed to the application.
    pub(super) fn take(&mut self) -> Option<CompleteMessage> {
        let message = self.pop()?;
        self.untaken.push(message.seq, message.body.len());
        self.pass_skipped();
        Some(message)
    }

    /// All sequences below `floor` are settled at the sender, so they are dropped here.
    pub(super) fn advance(&mut self, floor: u64) {
        self.untaken.settle(floor);
        if floor > self.next {
            self.settle(floor);
            self.pass_skipped();
        }
    }

    /// Accepts whole messages: `count` entries from sequence `first` on, which `reader` reads from `packet`.
    pub(super) fn messages(
        &mut self,
        (first, count): (u64, u16),
        sent_at: Timestamp,
        context: &FrameContext<'_>,
        reader: &mut Reader<'_>,
    ) -> Result<(), DropCause> {
        let mut open: Option<OpenRun> = None;
        // The next message to settle does not count towards the credit, so its bytes are tracked while the frame is
        // read.
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
                // One lookup answers for all sequences up to `until`, so that a frame of many messages costs few of
                // them.
                (known, until) = self.covered_until(seq);
            }
            if known {
                self.duplicates = self.duplicates.saturating_add(1);
                self.close(open.take(), sent_at, context);
                continue;
            }
            // Messages of one run share its memory, so only the first one is charged for it.
            let run_cost = if open.is_none() { RUN_COST.saturating_add(context.attributes.len()) } else { 0 };
            let structure = run_cost.saturating_add(ENTRY_HEADER);
            let admitted = self.admit_whole(seq, front, structure, body.len());
            if let Err(cause) = admitted {
                // The rest of the frame is still read, so that messages within the credit are not lost with those
                // beyond it.
                result = result.and(Err(cause));
                self.close(open.take(), sent_at, context);
                continue;
            }
            self.bytes = self.bytes.saturating_add(body.len());
            self.structure = self.structure.saturating_add(structure);
            front = if seq == self.taken() { body.len() } else { front };
            let run = open.get_or_insert(OpenRun { first: seq, count: 0, entries: start..start });
            run.count = run.count.saturating_add(1);
            run.entries.end = body.end;
        }
        self.close(open, sent_at, context);
        result
    }

    /// Stores the collected run, which is copied out of the packet once and not per message, so that a message in it
    /// needs no allocation.
    fn close(&mut self, open: Option<OpenRun>, sent_at: Timestamp, context: &FrameContext<'_>) {
        if let Some(OpenRun { first, count, entries }) = open {
            let entries = context.packet.get(entries).unwrap_or_default();
            let run = MessageRun::new(sent_at, count, context.attributes(), entries);
            // Nearly all messages arrive in order, so that the table is not needed.
            if first == self.next.saturating_add(self.head_messages()) {
                self.append_to_head(run);
            } else {
                self.slots.insert(first, IncomingSlot::Run(Box::new(run)));
            }
        }
    }

    /// Accepts a part of a message.
    pub(super) fn part(
        &mut self,
        seq: u64,
        sent_at: Timestamp,
        context: &FrameContext<'_>,
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
            _ => {
                let structure = PART_COST.saturating_add(PIECE_COST).saturating_add(context.attributes.len());
                (part.bytes.len(), structure)
            }
        };
        // Only missing bytes are charged below, so that a repeated part cannot exhaust the credit.
        if missing == 0 {
            self.duplicates = self.duplicates.saturating_add(1);
            return Ok(());
        }
        self.admit(seq, self.front_bytes(), missing)?;
        self.spend(structure, missing)?;
        let slot = self.slots.entry(seq).or_insert_with(|| {
            self.structure =
                self.structure.saturating_add(PART_COST).saturating_add(context.attributes.len());
            IncomingSlot::Partial(Box::new(Reassembly::new(sent_at, context.attributes(), total)))
        });
        let IncomingSlot::Partial(parts) = slot else { return Ok(()) };
        // Otherwise the first part to arrive would decide which mailbox gets the message.
        if parts.attributes.as_ref() != context.attributes() {
            return Err(DropCause::MalformedMessage);
        }
        let (bytes, structure) = (parts.bytes(), parts.structure());
        parts.insert(total, offset, context.packet.get(part.bytes).unwrap_or_default()).map_err(
            |refused| {
                match refused {
                    FragmentRefusal::Contradiction => DropCause::MalformedMessage,
                    // The packet stays without an ack, so the sender repeats the part, by when the gap may be filled.
                    FragmentRefusal::TooManyPieces => DropCause::OverCredit,
                }
            },
        )?;
        self.bytes = self.bytes.saturating_sub(bytes).saturating_add(parts.bytes());
        self.structure = self.structure.saturating_sub(structure).saturating_add(parts.structure());
        Ok(())
    }

    /// Whether a sequence is not needed any more, and the end (exclusive) of the range for which that answer holds, so
    /// that a run of sequences needs one lookup.
    fn covered_until(&self, seq: u64) -> (bool, u64) {
        let settled = self.next.saturating_add(self.head_messages());
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
                IncomingSlot::Run(run) => first.saturating_add(run.count()),
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

    /// Whether the credit covers `new` bytes of a message, given that `front` bytes of the next message are here.
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

    /// Deducts from the memory that the packet may cause, and from the room of the node.
    fn spend(&mut self, structure: usize, bytes: usize) -> Result<(), DropCause> {
        let structure_budget = self.structure_budget.checked_sub(structure).ok_or(DropCause::OverCredit)?;
        let node_room =
            self.node_room.checked_sub(structure.saturating_add(bytes)).ok_or(DropCause::ReassemblyLimit)?;
        (self.structure_budget, self.node_room) = (structure_budget, node_room);
        Ok(())
    }

    /// The bytes present of the first message that is not settled.
    fn front_bytes(&self) -> usize {
        if let Some(length) = self.untaken.first_bytes() {
            return length;
        }
        match (self.first_run(), self.slots.get(&self.next)) {
            (Some(run), _) => run.next_bytes(),
            (None, Some(IncomingSlot::Run(run))) => run.next_bytes(),
            (None, Some(IncomingSlot::Partial(parts))) => parts.bytes(),
            (None, None) => 0,
        }
    }
}
