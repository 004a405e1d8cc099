//! Removing messages from the window, in order or because their sender has settled them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::{Incoming, IncomingSlot, RUN_COST};
use crate::message::message_run::{CompleteMessage, MessageRun};
use crate::message::reassembly::Reassembly;
use crate::stats::DropCause;
use crate::wire::message::ENTRY_HEADER;

impl Incoming {
    /// Removes the next message and advances by one.
    pub(super) fn pop(&mut self) -> Option<CompleteMessage> {
        let seq = self.next;
        if self.head.is_none() {
            let first = self.slots.first_entry().filter(|first| *first.key() == seq)?;
            match first.get() {
                IncomingSlot::Partial(parts) if !parts.is_complete() => return None,
                _ => {}
            }
            let slot = first.remove();
            release(&mut self.slots);
            match slot {
                IncomingSlot::Run(run) => self.append_to_head(*run),
                IncomingSlot::Partial(parts) => {
                    self.next = self.next.saturating_add(1);
                    self.subtract(&parts);
                    return Some(parts.into_message(seq));
                }
            }
        }
        let head = self.head.as_mut()?;
        let run = head.runs.front_mut()?;
        let message = run.pop(seq)?;
        let (is_last, attributes) = (run.count() == 0, run.attributes_cost());
        head.messages = head.messages.saturating_sub(1);
        if is_last {
            head.runs.pop_front();
            self.structure = self.structure.saturating_sub(RUN_COST.saturating_add(attributes));
        }
        if head.messages == 0 {
            self.head = None;
        }
        self.structure = self.structure.saturating_sub(ENTRY_HEADER);
        self.bytes = self.bytes.saturating_sub(message.body.len());
        self.next = self.next.saturating_add(1);
        Some(message)
    }

    /// The run that begins with the next message.
    pub(super) fn first_run(&self) -> Option<&MessageRun> {
        self.head.as_ref()?.runs.front()
    }

    /// The messages that follow one another from the next one on.
    pub(super) fn head_messages(&self) -> u64 {
        self.head.as_ref().map_or(0, |head| head.messages)
    }

    /// Appends the run that follows on those in the head.
    pub(super) fn append_to_head(&mut self, run: MessageRun) {
        let head = self.head.get_or_insert_default();
        if head.runs.capacity() == 0 {
            // A forged source address sends one message, for which room for four runs would be wasted.
            head.runs.reserve_exact(1);
        }
        head.messages = head.messages.saturating_add(run.count());
        head.runs.push_back(run);
    }

    /// Charges a whole message of `length` bytes, which takes the place of its parts if it is admitted. Refused, it leaves
    /// them as they are: they have been acknowledged, so that their sender will not repeat them.
    pub(super) fn admit_whole(
        &mut self,
        seq: u64,
        front: usize,
        structure: usize,
        length: usize,
    ) -> Result<(), DropCause> {
        let Some(parts) = self.remove_parts(seq) else {
            return self.admit(seq, front, length).and_then(|()| self.spend(structure, length));
        };
        let front = if seq == self.taken() { 0 } else { front };
        let admitted = self.admit(seq, front, length).and_then(|()| self.spend(structure, length));
        if admitted.is_err() {
            self.bytes = self.bytes.saturating_add(parts.bytes());
            self.structure = self.structure.saturating_add(parts.structure());
            self.slots.insert(seq, IncomingSlot::Partial(parts));
        }
        admitted
    }

    fn remove_parts(&mut self, seq: u64) -> Option<Box<Reassembly>> {
        let Entry::Occupied(slot) = self.slots.entry(seq) else { return None };
        if !matches!(slot.get(), IncomingSlot::Partial(_)) {
            return None;
        }
        let IncomingSlot::Partial(parts) = slot.remove() else { return None };
        self.subtract(&parts);
        Some(parts)
    }

    pub(super) fn subtract(&mut self, parts: &Reassembly) {
        self.bytes = self.bytes.saturating_sub(parts.bytes());
        self.structure = self.structure.saturating_sub(parts.structure());
    }

    /// Drops all sequences below `target`.
    pub(super) fn settle(&mut self, target: u64) {
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

/// Frees the memory of an empty table, since a `BTreeMap` keeps its root node.
pub(super) fn release<T>(table: &mut BTreeMap<u64, T>) {
    if table.is_empty() {
        *table = BTreeMap::new();
    }
}
