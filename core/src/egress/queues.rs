//! The queues of one link: three classes in order of urgency, each bounded.
//!
//! A higher class is sent before a lower one, with a limit: once it has sent [`BURST`] bytes more than its share while
//! lower ones waited, they receive a fifth of the link. Otherwise a sender could stop all others by marking its own
//! packets as urgent.

use std::collections::VecDeque;

use bytes::Bytes;

use super::flows::FlowQueues;
use crate::hash::Keyed;
use crate::time::Time;
use crate::wire::packet::{self, Class};

/// The most bytes that the queued packets of one link may have: some 15 ms of a 1 Gbit/s link.
pub(super) const MAX_PACKETS: usize = (2 << 20) - MAX_CONTROL;
/// The most bytes that queued control frames may have. They have a bound of their own, so that packets cannot keep
/// routes and hellos out.
pub(super) const MAX_CONTROL: usize = 256 << 10;
/// The depth in bytes from which a queued frame is copied out of its receive buffer, since a small frame would otherwise
/// keep a buffer of 64 KiB allocated: 500 of the shortest frames keep 32 MiB at most.
pub(super) const COPY_FROM: usize = 32 << 10;
/// The depth for frames of at least [`LONG`] bytes, of which a full queue keeps as much.
const COPY_LONG_FROM: usize = 512 << 10;
const LONG: usize = 1024;
/// The bytes that a class may send before the share of the lower classes applies.
const BURST: usize = 64 << 10;
/// The bytes that a class sends for each byte of a lower one, while all have enough to send.
const SHARE: usize = 4;
/// The control frames for which memory is kept when the queue is empty.
const KEPT: usize = 16;

const CLASSES: usize = 3;
const CONTROL: usize = Class::Control as usize;

/// The queued frames of one link, by class.
pub(super) struct ClassQueues {
    control: VecDeque<Bytes>,
    control_bytes: usize,
    /// The flows of the interactive and the bulk class.
    packets: [FlowQueues; CLASSES - 1],
    packet_bytes: usize,
    /// The bytes that each class has sent beyond its share while lower ones waited.
    excess: [usize; CLASSES],
    /// The time since which the medium takes less than arrives; `None` while it takes everything at once.
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

    /// Records that the medium did not take a train at once. From now on the sojourn of packets is measured, until the
    /// queues are empty.
    pub(super) fn note_backpressure(&mut self, now: Time) {
        self.backpressure_since.get_or_insert(now);
    }

    /// The time from which the sojourn of packets is measured, if it is.
    pub(super) fn backpressure_since(&self) -> Option<Time> {
        self.backpressure_since
    }

    /// The content, copied out of its receive buffer where so much is queued that the buffers behind it could occupy a multiple
    /// of that.
    pub(super) fn unpinned(&self, content: Bytes) -> Bytes {
        let copied_from = if content.len() >= LONG { COPY_LONG_FROM } else { COPY_FROM };
        if self.bytes() >= copied_from { Bytes::copy_from_slice(&content) } else { content }
    }

    /// Queues the content of a frame. If there is no room for a packet, the first packets of the longest flow are
    /// dropped; returns their number. If there is no room for control, returns `None`.
    pub(super) fn push(&mut self, class: Class, content: Bytes, clock: impl FnOnce() -> Time) -> Option<u64> {
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
        // Contents without a destination form one flow.
        let hash = packet::destination_bytes(&content).map_or(0, |bytes| self.keyed.hash(bytes));
        self.packet_bytes += length;
        self.packets[class as usize - 1].push(hash, content, since);
        Some(dropped)
    }

    fn drop_longest(&mut self) -> Option<()> {
        let longest = self.packets.iter().enumerate().filter_map(|(class, flows)| {
            let (number, bytes) = flows.longest_flow()?;
            Some((bytes, class, number))
        });
        let (_, class, number) = longest.max()?;
        self.packet_bytes -= self.packets[class].dequeue_from(number)?.len();
        Some(())
    }

    /// Drops the packets that have waited too long in a standing queue. Returns their number.
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

    fn next_class(&self) -> Option<usize> {
        let may_send =
            |class: &usize| self.has(*class) && (self.excess[*class] < BURST || !self.has_below(*class));
        (0..CLASSES).find(may_send)
    }

    /// The length of the next content to send; `None` when there is none.
    pub(super) fn next_len(&mut self) -> Option<usize> {
        match self.next_class()? {
            CONTROL => self.control.front().map(Bytes::len),
            class => self.packets[class - 1].next_len(),
        }
    }

    /// Removes the next content to send, with whether it is a packet.
    pub(super) fn take(&mut self) -> Option<(Bytes, bool)> {
        let class = self.next_class()?;
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

    /// Ends the measurement of sojourns, because the queues are empty.
    pub(super) fn clear_backpressure(&mut self) {
        self.backpressure_since = None;
    }

    /// The heap memory that remains when the queues are empty, in bytes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.control.capacity() * size_of::<Bytes>()
            + self.packets.iter().map(FlowQueues::memory).sum::<usize>()
    }

    /// Drops all frames. Returns their number.
    pub(super) fn clear(&mut self) -> u64 {
        let count = self.control.len() + self.packets.iter().map(FlowQueues::count).sum::<usize>();
        self.control = VecDeque::new();
        self.packets.iter_mut().for_each(FlowQueues::clear);
        (self.control_bytes, self.packet_bytes) = (0, 0);
        count as u64
    }
}
