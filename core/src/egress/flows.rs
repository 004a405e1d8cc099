//! The packets of one class, in flows that take turns: deficit round robin (Shreedhar and Varghese, 1995) over hashed
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

struct Place {
    content: Bytes,
    /// When it was queued, if anybody wanted to know.
    since: Time,
    /// The next of the same flow, or of the free places.
    next: u32,
}

#[derive(Clone)]
struct Flow {
    first: u32,
    last: u32,
    bytes: usize,
    /// What it may still send in this turn.
    credit: i32,
    codel: Codel,
}

impl Flow {
    const EMPTY: Flow = Flow { first: NONE, last: NONE, bytes: 0, credit: 0, codel: Codel::new() };
}

/// The packets of one class.
pub(super) struct Flows {
    places: Vec<Place>,
    free: u32,
    /// None before the first packet.
    flows: Vec<Flow>,
    /// The flows that have packets, in the order of their turns.
    turns: VecDeque<u8>,
    count: usize,
}

impl Flows {
    pub(super) const fn new() -> Self {
        Flows { places: Vec::new(), free: NONE, flows: Vec::new(), turns: VecDeque::new(), count: 0 }
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
            self.flows.resize(FLOWS, Flow::EMPTY);
        }
        let number = (hash % FLOWS as u64) as u8;
        let length = content.len();
        let place = Place { content, since, next: NONE };
        let at = match self.places.get_mut(self.free as usize) {
            Some(free) => {
                let at = std::mem::replace(&mut self.free, free.next);
                *free = place;
                at
            }
            None => {
                self.places.push(place);
                (self.places.len() - 1) as u32
            }
        };
        let flow = &mut self.flows[usize::from(number)];
        match self.places.get_mut(flow.last as usize) {
            Some(last) => last.next = at,
            None => {
                flow.first = at;
                flow.credit = QUANTUM;
                self.turns.push_back(number);
            }
        }
        flow.last = at;
        flow.bytes += length;
        self.count += 1;
    }

    /// The length of the packet whose turn it is; `None` when there is none.
    pub(super) fn next_len(&mut self) -> Option<usize> {
        loop {
            let number = *self.turns.front()?;
            let flow = &mut self.flows[usize::from(number)];
            if flow.credit > 0 {
                return Some(self.places[flow.first as usize].content.len());
            }
            flow.credit += QUANTUM;
            self.turns.rotate_left(1);
        }
    }

    /// Drops the packets, among those whose turn it is, that have been waiting in a standing queue. Waiting counts from
    /// `pressed` at the earliest. Calls `dropped` with the length of each.
    pub(super) fn drop_late(&mut self, now: Time, pressed: Time, mut dropped: impl FnMut(usize)) {
        while self.next_len().is_some() {
            let Some(&number) = self.turns.front() else { return };
            let flow = &mut self.flows[usize::from(number)];
            let waited: Duration = now.since(self.places[flow.first as usize].since.max(pressed));
            if !flow.codel.drops(now, waited, flow.bytes) {
                return;
            }
            if let Some(content) = self.take_from(number) {
                dropped(content.len());
            }
        }
    }

    /// Takes the packet whose turn it is.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        self.next_len()?;
        let number = *self.turns.front()?;
        let content = self.take_from(number)?;
        self.flows[usize::from(number)].credit -= content.len() as i32;
        Some(content)
    }

    /// The longest flow: its number and its bytes.
    pub(super) fn longest(&self) -> Option<(u8, usize)> {
        let flow = |number: u8| (number, self.flows[usize::from(number)].bytes);
        self.turns.iter().map(|number| flow(*number)).max_by_key(|(_, bytes)| *bytes)
    }

    /// Takes the first packet of a flow, out of turn.
    pub(super) fn take_from(&mut self, number: u8) -> Option<Bytes> {
        let flow = &mut self.flows[usize::from(number)];
        let at = flow.first;
        let place = self.places.get_mut(at as usize)?;
        let content = std::mem::take(&mut place.content);
        flow.first = std::mem::replace(&mut place.next, self.free);
        self.free = at;
        flow.bytes -= content.len();
        self.count -= 1;
        if flow.first == NONE {
            flow.last = NONE;
            if self.turns.front() == Some(&number) {
                self.turns.pop_front();
            } else {
                self.turns.retain(|known| *known != number);
            }
            if self.count == 0 {
                self.emptied();
            }
        }
        Some(content)
    }

    fn emptied(&mut self) {
        self.free = NONE;
        self.places.clear();
        if self.places.capacity() > KEPT {
            self.places.shrink_to(KEPT);
        }
    }

    /// The memory that it has on the heap, in bytes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.places.capacity() * size_of::<Place>()
            + self.flows.capacity() * size_of::<Flow>()
            + self.turns.capacity()
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        *self = Flows::new();
    }
}
