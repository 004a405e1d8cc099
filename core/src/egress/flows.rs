//! The packets of one class, in flows that take active: deficit round robin (Shreedhar and Varghese, 1995) over hashed
//! destinations, so that one busy destination does not keep another waiting on the same link.
//!
//! All packets lie in one vector, those of a flow as a list in it: a flow costs no memory of its own.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::codel::Codel;
use crate::time::Time;

/// Into so many flows the destinations are hashed.
pub(super) const FLOWS: usize = 64;
/// What a flow may send in its turn, in bytes: at least a packet of the usual length, so that each turn brings one.
const QUANTUM: i32 = 1514;
/// Places that are kept when the queue is empty.
const KEPT: usize = 64;

const NONE: u32 = u32::MAX;

struct PacketSlot {
    content: Bytes,
    /// When it was queued, if anybody wanted to know.
    since: Time,
    /// The next of the same flow, or of the free slots.
    next: u32,
}

#[derive(Clone)]
struct FlowQueue {
    first: u32,
    last: u32,
    bytes: usize,
    /// What it may still send in this turn.
    deficit: i32,
    codel: Codel,
}

impl FlowQueue {
    const EMPTY: FlowQueue = FlowQueue { first: NONE, last: NONE, bytes: 0, deficit: 0, codel: Codel::new() };
}

/// The packets of one class.
pub(super) struct FlowQueues {
    slots: Vec<PacketSlot>,
    free: u32,
    /// None before the first packet.
    flows: Vec<FlowQueue>,
    /// The flows that have packets, in the order of their active.
    active: VecDeque<u8>,
    count: usize,
}

impl FlowQueues {
    pub(super) const fn new() -> Self {
        FlowQueues { slots: Vec::new(), free: NONE, flows: Vec::new(), active: VecDeque::new(), count: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many packets there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Appends a packet to the flow of its `hash`.
    pub(super) fn push(&mut self, hash: u64, content: Bytes, since: Time) {
        if self.flows.is_empty() {
            self.flows.resize(FLOWS, FlowQueue::EMPTY);
        }
        let number = (hash % FLOWS as u64) as u8;
        let length = content.len();
        let place = PacketSlot { content, since, next: NONE };
        let at = match self.slots.get_mut(self.free as usize) {
            Some(free) => {
                let at = std::mem::replace(&mut self.free, free.next);
                *free = place;
                at
            }
            None => {
                self.slots.push(place);
                (self.slots.len() - 1) as u32
            }
        };
        let flow = &mut self.flows[usize::from(number)];
        match self.slots.get_mut(flow.last as usize) {
            Some(last) => last.next = at,
            None => {
                flow.first = at;
                flow.deficit = QUANTUM;
                self.active.push_back(number);
            }
        }
        flow.last = at;
        flow.bytes += length;
        self.count += 1;
    }

    /// The length of the packet whose turn it is; `None` when there is none.
    pub(super) fn next_len(&mut self) -> Option<usize> {
        loop {
            let number = *self.active.front()?;
            let flow = &mut self.flows[usize::from(number)];
            if flow.deficit > 0 {
                return Some(self.slots[flow.first as usize].content.len());
            }
            flow.deficit += QUANTUM;
            self.active.rotate_left(1);
        }
    }

    /// Drops the packets, among those whose turn it is, that have been waiting in a standing queue. Waiting counts from
    /// `backpressure_since` at the earliest. Calls `dropped` with the length of each.
    pub(super) fn drop_overdue(
        &mut self,
        now: Time,
        backpressure_since: Time,
        mut dropped: impl FnMut(usize),
    ) {
        while self.next_len().is_some() {
            let Some(&number) = self.active.front() else { return };
            let flow = &mut self.flows[usize::from(number)];
            let waited: Duration = now.since(self.slots[flow.first as usize].since.max(backpressure_since));
            if !flow.codel.should_drop(now, waited, flow.bytes) {
                return;
            }
            if let Some(content) = self.dequeue_from(number) {
                dropped(content.len());
            }
        }
    }

    /// Takes the packet whose turn it is.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        self.next_len()?;
        let number = *self.active.front()?;
        let content = self.dequeue_from(number)?;
        self.flows[usize::from(number)].deficit -= content.len() as i32;
        Some(content)
    }

    /// The longest flow: its number and its bytes.
    pub(super) fn longest_flow(&self) -> Option<(u8, usize)> {
        let flow = |number: u8| (number, self.flows[usize::from(number)].bytes);
        self.active.iter().map(|number| flow(*number)).max_by_key(|(_, bytes)| *bytes)
    }

    /// Takes the first packet of a flow, out of turn.
    pub(super) fn dequeue_from(&mut self, number: u8) -> Option<Bytes> {
        let flow = &mut self.flows[usize::from(number)];
        let at = flow.first;
        let place = self.slots.get_mut(at as usize)?;
        let content = std::mem::take(&mut place.content);
        flow.first = std::mem::replace(&mut place.next, self.free);
        self.free = at;
        flow.bytes -= content.len();
        self.count -= 1;
        if flow.first == NONE {
            flow.last = NONE;
            if self.active.front() == Some(&number) {
                self.active.pop_front();
            } else {
                self.active.retain(|known| *known != number);
            }
            if self.count == 0 {
                self.emptied();
            }
        }
        Some(content)
    }

    fn emptied(&mut self) {
        self.free = NONE;
        self.slots.clear();
        if self.slots.capacity() > KEPT {
            self.slots.shrink_to(KEPT);
        }
    }

    /// The memory that it has on the heap, in bytes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<PacketSlot>()
            + self.flows.capacity() * size_of::<FlowQueue>()
            + self.active.capacity()
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        *self = FlowQueues::new();
    }
}
