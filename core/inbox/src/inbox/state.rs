//! The state of an inbox under its lock, and every change to it. Nothing here calls a waker, drops a waker or drops an
//! item, because each of these may run foreign code that locks the inbox again. Such work is left in [`AfterUnlock`].
//!
//! # Why no wake is lost
//!
//! **Readers.** A write of n items wakes n readers, or all if fewer wait. Hence at any time at least
//! min(items inside, readers that wait) readers are woken. A reader that takes an item lowers both numbers by one;
//! a woken reader that leaves without an item hands its wake on, so that the number of woken readers stays.
//!
//! **Writers.** After each step that makes room, the writers first in line are woken as long as their needs fit beside
//! the needs of the writers that were woken before and have not run yet.

use std::collections::VecDeque;
use std::task::Waker;

use super::error::{Closed, PushError};
use super::limits::{Full, InboxLimits};
use crate::wait_list::{Deferred, LazyWaitList, SlotState, WaitKey, WaitList};

/// The numbers of items that passed through an inbox, and of those that did not, by cause. At any time
/// `pushed + given_back` is `received + evicted` plus the number of items inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Items that were written.
    pub pushed: u64,
    /// Items that were read.
    pub received: u64,
    /// Items that a reader put back with [`push_front`](super::Inbox::push_front).
    pub given_back: u64,
    /// Items dropped to make room under [`Full::DropOldest`].
    pub evicted: u64,
    /// Items handed back to their writer because there was no room. Each further attempt counts again.
    pub refused: u64,
    /// Items that could never have fitted: handed back, or dropped from a batch.
    pub too_large: u64,
    /// Items that were written after the inbox had been closed.
    pub after_close: u64,
}

/// The work that a change leaves for the time after the lock: wakers to call, and wakers and items to drop.
#[must_use = "the wakers in it have to be called"]
pub(super) struct AfterUnlock<T> {
    pub(super) wakers: Deferred<Waker>,
    pub(super) stale: Deferred<Waker>,
    pub(super) evicted: Deferred<T>,
}

impl<T> AfterUnlock<T> {
    #[inline]
    pub(super) const fn new() -> Self {
        AfterUnlock { wakers: Deferred::new(), stale: Deferred::new(), evicted: Deferred::new() }
    }
}

/// The number of items for which a buffer is always kept, since freeing so little is not worth an allocation later.
const KEPT_CAPACITY: usize = 4;

/// The part of an inbox under its lock. The fields that each write and read touches are first, because with many
/// inboxes a wake costs as much as the cache lines that it has to fetch.
#[repr(C)]
pub(super) struct InboxState<T> {
    pub(super) closed: bool,
    pub(super) items: VecDeque<T>,
    pub(super) readers: WaitList,
    pub(super) counters: Counters,
    /// The value of `counters.pushed` when a reader last found the inbox empty; see [`InboxState::park_reader`].
    pushed_at_last_park: u64,
    /// Allocated on first use, since in most inboxes no writer ever waits.
    pub(super) writers: LazyWaitList,
    pub(super) bytes: usize,
    pub(super) spare: Vec<Waker>,
}

impl<T> InboxState<T> {
    pub(super) fn new() -> Self {
        InboxState {
            items: VecDeque::new(),
            bytes: 0,
            closed: false,
            counters: Counters::default(),
            pushed_at_last_park: 0,
            readers: WaitList::new(),
            writers: LazyWaitList::default(),
            spare: Vec::new(),
        }
    }

    /// Whether [`write_unsized`](InboxState::write_unsized) may be used: the inbox is open, does not measure its items,
    /// and has room. This is the common case.
    #[inline]
    pub(super) fn has_unsized_room(&self, limits: &InboxLimits<T>) -> bool {
        !self.closed && limits.size.is_none() && self.items.len() < limits.items
    }

    /// Writes one item after [`has_unsized_room`](InboxState::has_unsized_room). Returns the reader to wake.
    #[inline]
    pub(super) fn write_unsized(&mut self, item: T) -> Option<Waker> {
        self.append(item, 0);
        self.readers.wake_first()
    }

    /// Takes the oldest item in the common case: items are not measured, and no writer waits for room.
    #[inline]
    pub(super) fn take_unsized(&mut self, limits: &InboxLimits<T>) -> Option<T> {
        if limits.size.is_some() || self.writers.waiting() > 0 {
            return None;
        }
        let item = self.items.pop_front()?;
        if self.items.is_empty() {
            // Resets the ring to the start of its buffer, so that a queue of one item stays in one cache line.
            self.items.clear();
        }
        self.counters.received += 1;
        Some(item)
    }

    /// Writes one item, or hands it back. `key` is the slot of a writer that has waited.
    pub(super) fn write(
        &mut self,
        limits: &InboxLimits<T>,
        item: T,
        key: WaitKey,
        after: &mut AfterUnlock<T>,
    ) -> Result<(), PushError<T>> {
        if self.closed {
            self.counters.after_close += 1;
            return Err(PushError::Closed(item));
        }
        let size = limits.size_of(&item);
        if size > limits.bytes {
            self.counters.too_large += 1;
            return Err(PushError::TooLarge(item));
        }
        if !self.fits(limits, size, key) {
            if limits.full != Full::DropOldest {
                return Err(PushError::Full(item));
            }
            self.evict_until_fits(limits, size, after);
        }
        self.append(item, size);
        after.wakers = self.wake_readers(1);
        Ok(())
    }

    /// Writes as many of `items` as fit, and removes those from `items`.
    pub(super) fn write_batch(
        &mut self,
        limits: &InboxLimits<T>,
        items: &mut Vec<T>,
        key: WaitKey,
        after: &mut AfterUnlock<T>,
    ) -> Result<usize, Closed> {
        if self.closed {
            self.counters.after_close += items.len() as u64;
            return Err(Closed);
        }
        let before = self.counters.pushed;
        match limits.size {
            None if limits.full != Full::DropOldest => {
                let room = limits.items.saturating_sub(self.items.len());
                let written = room.min(items.len());
                self.items.extend(items.drain(..written));
                self.counters.pushed += written as u64;
            }
            _ => self.write_one_by_one(limits, items, key, after),
        }
        let written = (self.counters.pushed - before) as usize;
        after.wakers = self.wake_readers(written);
        Ok(written)
    }

    /// The general case of [`write_batch`](InboxState::write_batch): item by item, because each has its own size or
    /// evicts older ones.
    fn write_one_by_one(
        &mut self,
        limits: &InboxLimits<T>,
        items: &mut Vec<T>,
        key: WaitKey,
        after: &mut AfterUnlock<T>,
    ) {
        let (mut done, mut count, mut bytes) = (0, 0, 0_usize);
        let evicts = limits.full == Full::DropOldest;
        for item in items.iter() {
            let size = limits.size_of(item);
            if size <= limits.bytes {
                if !evicts && !self.fits_behind(limits, count, bytes.saturating_add(size), key) {
                    break;
                }
                count += 1;
                bytes = bytes.saturating_add(size);
            }
            done += 1;
        }
        for item in items.drain(..done) {
            let size = limits.size_of(&item);
            if size > limits.bytes {
                self.counters.too_large += 1;
                after.evicted.push(item);
                continue;
            }
            if evicts {
                self.evict_until_fits(limits, size, after);
            }
            self.append(item, size);
        }
    }

    /// Puts an item back at the head regardless of the bounds, since its reader took it out of them before.
    pub(super) fn give_back(&mut self, limits: &InboxLimits<T>, item: T, after: &mut AfterUnlock<T>) {
        self.bytes = self.bytes.saturating_add(limits.size_of(&item));
        self.items.push_front(item);
        self.counters.given_back += 1;
        after.wakers = self.wake_readers(1);
    }

    /// Takes the oldest item, and wakes the writers for which that makes room.
    pub(super) fn take(&mut self, limits: &InboxLimits<T>, after: &mut AfterUnlock<T>) -> Option<T> {
        let item = self.items.pop_front()?;
        self.bytes = self.bytes.saturating_sub(limits.size_of(&item));
        self.counters.received += 1;
        self.wake_writers(limits, after);
        Some(item)
    }

    /// Takes up to `limit` items (0 counts as 1), and wakes the writers for which that makes room.
    pub(super) fn take_batch(
        &mut self,
        limits: &InboxLimits<T>,
        into: &mut Vec<T>,
        limit: usize,
        after: &mut AfterUnlock<T>,
    ) -> usize {
        let count = self.items.len().min(limit.max(1));
        if count == 0 {
            return 0;
        }
        let from = into.len();
        into.extend(self.items.drain(..count));
        if limits.size.is_some() {
            let bytes =
                into.iter().skip(from).map(|item| limits.size_of(item)).fold(0, usize::saturating_add);
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        self.counters.received += count as u64;
        self.wake_writers(limits, after);
        count
    }

    /// Wakes every reader and writer, since the inbox was closed and each of them has to see it.
    pub(super) fn wake_all(&mut self, after: &mut AfterUnlock<T>) {
        after.wakers = self.wake_readers(usize::MAX);
        while let Some(waker) = self.writers.wake_first() {
            after.wakers.push_reusing(waker, &mut self.spare);
        }
    }

    /// Wakes writers in line order, as long as there is room for them beside the writers that were woken before.
    #[inline]
    pub(super) fn wake_writers(&mut self, limits: &InboxLimits<T>, after: &mut AfterUnlock<T>) {
        if self.writers.waiting() > 0 {
            self.wake_writers_that_fit(limits, after);
        }
    }

    fn wake_writers_that_fit(&mut self, limits: &InboxLimits<T>, after: &mut AfterUnlock<T>) {
        while let Some(need) = self.writers.first_waiting_need() {
            let items = self.items.len().saturating_add(self.writers.woken());
            let bytes = self.bytes.saturating_add(self.writers.woken_need()).saturating_add(need);
            if items >= limits.items || bytes > limits.bytes {
                return;
            }
            if let Some(waker) = self.writers.wake_first() {
                after.wakers.push_reusing(waker, &mut self.spare);
            }
        }
    }

    /// Parks a reader that found nothing. Returns a waker that is no longer needed.
    ///
    /// If far fewer items than the buffer holds were written since the last parking, the buffer is freed here, so that
    /// an idle inbox is small even if it was once full.
    #[inline]
    pub(super) fn park_reader(&mut self, key: &mut WaitKey, waker: &Waker) -> Option<Waker> {
        let capacity = self.items.capacity();
        if capacity > KEPT_CAPACITY && (self.counters.pushed - self.pushed_at_last_park) < capacity as u64 / 4
        {
            self.items = VecDeque::new();
        }
        self.pushed_at_last_park = self.counters.pushed;
        self.readers.park(key, waker, 0)
    }

    /// Frees the slot of a reader that received its item.
    pub(super) fn finish_reader(&mut self, key: &mut WaitKey, after: &mut AfterUnlock<T>) {
        if let SlotState::Waiting(waker) = self.readers.leave(key) {
            after.stale.push(waker);
        }
    }

    /// Frees the slot of a reader that was dropped. An unused wake is handed on to the next reader in line, since
    /// otherwise its item would stay beside a reader that sleeps.
    pub(super) fn remove_reader(&mut self, key: &mut WaitKey, after: &mut AfterUnlock<T>) {
        match self.readers.leave(key) {
            SlotState::Waiting(waker) => after.stale.push(waker),
            SlotState::Woken if !self.items.is_empty() => after.wakers = self.wake_readers(1),
            SlotState::Woken | SlotState::Absent => {}
        }
    }

    /// Frees the slot of a writer that was dropped or is done. Other writers are then woken, because the room that was
    /// reserved for this one, or that it held the others back from, may be enough for them.
    pub(super) fn remove_writer(
        &mut self,
        limits: &InboxLimits<T>,
        key: &mut WaitKey,
        after: &mut AfterUnlock<T>,
    ) {
        if let SlotState::Waiting(waker) = self.writers.leave(key) {
            after.stale.push(waker);
        }
        self.wake_writers(limits, after);
    }

    #[inline]
    fn wake_readers(&mut self, most: usize) -> Deferred<Waker> {
        let mut wakers = Deferred::new();
        let count = most.min(self.readers.waiting());
        for _ in 0..count {
            if let Some(waker) = self.readers.wake_first() {
                wakers.push_reusing(waker, &mut self.spare);
            }
        }
        wakers
    }

    #[inline]
    fn append(&mut self, item: T, size: usize) {
        if self.items.capacity() == 0 {
            // `VecDeque` would start with room for four; most inboxes never hold more than one item.
            self.items.reserve_exact(1);
        }
        self.items.push_back(item);
        self.bytes += size;
        self.counters.pushed += 1;
    }

    fn evict_until_fits(&mut self, limits: &InboxLimits<T>, size: usize, after: &mut AfterUnlock<T>) {
        while self.items.len() >= limits.items || self.bytes.saturating_add(size) > limits.bytes {
            let Some(oldest) = self.items.pop_front() else { return };
            self.bytes = self.bytes.saturating_sub(limits.size_of(&oldest));
            self.counters.evicted += 1;
            after.evicted.push(oldest);
        }
    }

    #[inline]
    fn fits(&self, limits: &InboxLimits<T>, size: usize, key: WaitKey) -> bool {
        match limits.size {
            None => self.items.len() < limits.items,
            Some(_) => self.fits_behind(limits, 0, size, key),
        }
    }

    /// Whether an item fits behind `count` others of its batch, where `bytes` is the size of all of them.
    ///
    /// A running writer may overtake writers that wait or were just woken, which saves a task switch per item. Where
    /// bytes are bounded it may not overtake a writer with an item that does not fit yet, since otherwise a stream of
    /// small items would keep a large one out for ever.
    fn fits_behind(&self, limits: &InboxLimits<T>, count: usize, bytes: usize, key: WaitKey) -> bool {
        if self.items.len().saturating_add(count) >= limits.items {
            return false;
        }
        let own = self.writers.need_if_woken(key);
        let promised = self.bytes.saturating_add(self.writers.woken_need()).saturating_sub(own.unwrap_or(0));
        let overtakes_a_large_one = own.is_none()
            && self
                .writers
                .first_waiting_need()
                .is_some_and(|need| promised.saturating_add(need) > limits.bytes);
        !overtakes_a_large_one && promised.saturating_add(bytes) <= limits.bytes
    }
}
