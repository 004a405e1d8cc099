//! What waits for one link: three classes, the urgent ones first, each bounded.
//!
//! A higher class goes before a lower one, but not for ever: when it has sent [`BURST`] bytes more than its share while
//! others waited, a fifth of what goes is theirs. So nobody can stop the others by calling all of its packets urgent.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Class;
use super::flows::FlowQueues;
use crate::hash::Keyed;
use crate::time::Time;
use crate::wire::packet;

/// What the packets in the queues of one link may have, in bytes. Some 15 ms of a 1 Gbit/s link.
pub(super) const MAX_PACKETS: usize = (2 << 20) - MAX_CONTROL;
/// And what control may have.
pub(super) const MAX_CONTROL: usize = 256 << 10;
/// From this depth on, what is queued is copied out of the buffer it came in, which may be much larger.
pub(super) const COPY_FROM: usize = 64 << 10;
/// What a class may send before the share of the lower ones counts.
const BURST: usize = 64 << 10;
/// Bytes that a class sends for each byte of a lower one, when all have enough to send.
const SHARE: usize = 4;
/// Control frames for which memory is kept when the queue is empty.
const KEPT: usize = 16;

const CLASSES: usize = 3;
const CONTROL: usize = Class::Control as usize;

/// What waits for one link.
pub(super) struct ClassQueues {
    control: VecDeque<Bytes>,
    control_bytes: usize,
    /// Interactive, bulk.
    packets: [FlowQueues; CLASSES - 1],
    packet_bytes: usize,
    /// How many bytes each class has sent beyond its share while lower ones waited.
    excess: [usize; CLASSES],
    /// Since when the medium takes less than comes; `None` while it takes everything at once.
    backpressure_since: Option<Time>,
    keyed: Keyed,
}

impl ClassQueues {
    pub(super) fn new() -> Self {
        ClassQueues {
            control: VecDeque::new(),
            control_bytes: 0,
            packets: [FlowQueues::new(), FlowQueues::new()],
            packet_bytes: 0,
            excess: [0; CLASSES],
            backpressure_since: None,
            keyed: Keyed::default(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.control_bytes + self.packet_bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        !(0..CLASSES).any(|class| self.has(class))
    }

    fn has(&self, class: usize) -> bool {
        if class == CONTROL { !self.control.is_empty() } else { !self.packets[class - 1].is_empty() }
    }

    fn has_below(&self, class: usize) -> bool {
        (class + 1..CLASSES).any(|class| self.has(class))
    }

    /// The medium has not taken what it was given: from now on it counts how long packets wait, until the queues are
    /// empty.
    pub(super) fn note_backpressure(&mut self, now: Time) {
        self.backpressure_since.get_or_insert(now);
    }

    /// Since when it counts how long packets wait.
    pub(super) fn backpressure_since(&self) -> Option<Time> {
        self.backpressure_since
    }

    /// ClassQueues a frame's content. For a packet that finds no room, those go that are first in the longest flow: returns how
    /// many. For control that finds none, there is none.
    pub(super) fn push(&mut self, class: Class, content: Bytes, clock: impl FnOnce() -> Time) -> Option<u64> {
        let content = if self.bytes() >= COPY_FROM { Bytes::copy_from_slice(&content) } else { content };
        let length = content.len();
        if class == Class::Control {
            if self.control_bytes + length > MAX_CONTROL {
                return None;
            }
            self.control_bytes += length;
            self.control.push_back(content);
            return Some(0);
        }
        let mut dropped = 0;
        while self.packet_bytes + length > MAX_PACKETS {
            self.drop_longest()?;
            dropped += 1;
        }
        let since = if self.backpressure_since.is_some() { clock() } else { Time::ZERO };
        // What has no destination is of one flow.
        let hash = packet::destination_bytes(&content).map_or(0, |bytes| self.keyed.hash(bytes));
        self.packet_bytes += length;
        self.packets[class as usize - 1].push(hash, content, since);
        Some(dropped)
    }

    fn drop_longest(&mut self) -> Option<()> {
        let longest = self.packets.iter().enumerate().filter_map(|(which, flows)| {
            let (number, bytes) = flows.longest_flow()?;
            Some((bytes, which, number))
        });
        let (_, which, number) = longest.max()?;
        self.packet_bytes -= self.packets[which].dequeue_from(number)?.len();
        Some(())
    }

    /// Drops what has waited for too long, where that counts. Returns how many packets.
    pub(super) fn drop_overdue(&mut self, now: Time) -> u64 {
        let Some(backpressure_since) = self.backpressure_since else { return 0 };
        let (mut count, mut bytes) = (0, 0);
        for flows in &mut self.packets {
            flows.drop_overdue(now, backpressure_since, |length| {
                count += 1;
                bytes += length;
            });
        }
        self.packet_bytes -= bytes;
        count
    }

    fn turn(&self) -> Option<usize> {
        let may =
            |class: &usize| self.has(*class) && (self.excess[*class] < BURST || !self.has_below(*class));
        (0..CLASSES).find(may)
    }

    /// The length of the content whose turn it is; `None` when there is none.
    pub(super) fn next_len(&mut self) -> Option<usize> {
        match self.turn()? {
            CONTROL => self.control.front().map(Bytes::len),
            class => self.packets[class - 1].next_len(),
        }
    }

    /// Takes the content whose turn it is, and says whether it is a packet.
    pub(super) fn take(&mut self) -> Option<(Bytes, bool)> {
        let class = self.turn()?;
        let content =
            if class == CONTROL { self.control.pop_front() } else { self.packets[class - 1].take() };
        let content = content?;
        let length = content.len();
        if class == CONTROL {
            self.control_bytes -= length;
            if self.control.is_empty() {
                self.control.shrink_to(KEPT);
            }
        } else {
            self.packet_bytes -= length;
        }
        self.excess[class] = if self.has_below(class) { self.excess[class] + length } else { 0 };
        for above in &mut self.excess[..class] {
            *above = above.saturating_sub(length * SHARE);
        }
        Some((content, class != CONTROL))
    }

    /// The queues are empty: nothing presses any more.
    pub(super) fn clear_backpressure(&mut self) {
        self.backpressure_since = None;
    }

    /// The memory on the heap that it has when it is empty, in bytes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.control.capacity() * size_of::<Bytes>()
            + self.packets.iter().map(FlowQueues::memory).sum::<usize>()
    }

    /// Drops everything; returns how many frames.
    pub(super) fn clear(&mut self) -> u64 {
        let count = self.control.len() + self.packets.iter().map(FlowQueues::count).sum::<usize>();
        self.control = VecDeque::new();
        self.packets.iter_mut().for_each(FlowQueues::clear);
        (self.control_bytes, self.packet_bytes) = (0, 0);
        count as u64
    }
}
