//! The packets of one class in flows: deficit round robin (Shreedhar and Varghese, 1995; RFC 8290, section 4) over
//! hashed destinations, so that one busy destination does not delay another on the same link.
//!
//! All packets of a class are in one vector, in which each flow is a linked list, so that a flow needs no memory of its
//! own.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::codel::Codel;
use crate::time::Time;

/// The number of flows to which destinations are hashed.
pub(super) const FLOWS: usize = 64;
/// The bytes that a flow may send per round (RFC 8290, section 4.1): one packet of the usual length, so that each round
/// sends at least one.
const QUANTUM: i32 = 1514;
/// The slots for which memory is kept when the queue is empty.
const KEPT: usize = 64;

const NONE: u32 = u32::MAX;

/// A queued packet, or a free slot.
struct PacketSlot {
    content: Bytes,
    /// The time of queueing, or zero when no sojourn was measured.
    since: Time,
    /// The next slot of the same flow, or of the free list.
    next: u32,
}

/// One flow: its list of packets, its deficit and its CoDel state.
#[derive(Clone)]
struct FlowQueue {
    first: u32,
    last: u32,
    bytes: usize,
    /// The bytes that the flow may still send in this round.
    deficit: i32,
    codel: Codel,
}

impl FlowQueue {
    const EMPTY: FlowQueue = FlowQueue { first: NONE, last: NONE, bytes: 0, deficit: 0, codel: Codel::new() };
}

/// The packets of one class, by flow.
pub(super) struct FlowQueues {
    slots: Vec<PacketSlot>,
    free: u32,
    /// Empty before the first packet, so that an idle link does not own the table.
    flows: Vec<FlowQueue>,
    /// The flows that have packets, in round-robin order.
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

    /// The number of packets in all flows.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Appends a packet to the flow selected by `hash`.
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

    /// The length of the next packet to send; `None` when there is none.
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

    /// Drops the next packets to send as long as they have waited in a standing queue. The sojourn is counted from
    /// `backpressure_since` at the earliest, because before that the medium took every packet at once. `dropped` is
    /// called with the length of each packet.
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

    /// Removes the next packet to send.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        self.next_len()?;
        let number = *self.active.front()?;
        let content = self.dequeue_from(number)?;
        self.flows[usize::from(number)].deficit -= content.len() as i32;
        Some(content)
    }

    /// The flow with the most bytes, and those bytes.
    pub(super) fn longest_flow(&self) -> Option<(u8, usize)> {
        let flow = |number: u8| (number, self.flows[usize::from(number)].bytes);
        self.active.iter().map(|number| flow(*number)).max_by_key(|(_, bytes)| *bytes)
    }

    /// Removes the first packet of a flow, out of the round-robin order.
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

    /// The heap memory of the queues, in bytes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<PacketSlot>()
            + self.flows.capacity() * size_of::<FlowQueue>()
            + self.active.capacity()
    }

    /// Drops all packets.
    pub(super) fn clear(&mut self) {
        *self = FlowQueues::new();
    }
}
