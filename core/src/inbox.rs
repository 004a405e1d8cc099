//! The inbox: a bounded queue whose writers wake its readers, and nothing else does.
//!
//! # The idea
//!
//! A task that waits for something should sleep until it is there, then run at once. The two usual ways fall
//! short: polling burns a core or comes late, and a separate "there is work" signal can be forgotten, doubled or
//! lost. An inbox makes the write itself the signal. Writing an item wakes one task that waits for one; reading
//! wakes no reader, because a reader leaves nothing for others to see.
//!
//! ```
//! use std::sync::Arc;
//! use rouse_core::inbox::{Closed, Full, Inbox};
//!
//! # async_std::task::block_on(async {
//! let inbox = Arc::new(Inbox::new(100, Full::Wait));
//!
//! // A reader: it sleeps until something is written.
//! let reader = async_std::task::spawn({
//!     let inbox = inbox.clone();
//!     async move {
//!         let mut sum = 0;
//!         while let Ok(number) = inbox.recv().await {
//!             sum += number;
//!         }
//!         sum
//!     }
//! });
//!
//! // A writer: it sleeps only while the inbox is full.
//! for number in 1..=1000 {
//!     inbox.push(number).await.unwrap();
//! }
//! inbox.close(); // the reader gets what is left, then `Closed`
//! assert_eq!(reader.await, 500_500);
//! assert_eq!(inbox.recv().await, Err(Closed));
//! # });
//! ```
//!
//! Where work comes in bursts, move it in bursts: a batch is one lock and one wake for many items.
//!
//! ```
//! # use rouse_core::inbox::{Full, Inbox};
//! # async_std::task::block_on(async {
//! // A slow reader may lose the oldest frames, and counts them; 64 KiB are kept at most.
//! let frames = Inbox::with_bytes(1000, 65_536, Vec::len, Full::DropOldest);
//!
//! let mut arrived: Vec<Vec<u8>> = vec![vec![1; 1200]; 100];
//! frames.try_push_batch(&mut arrived).unwrap();
//! assert!(arrived.is_empty(), "all are written, and the buffer is there for the next burst");
//! assert_eq!(frames.counters().evicted, 46);
//!
//! let mut work = Vec::new();
//! frames.recv_batch_into(&mut work, 32).await.unwrap();
//! assert_eq!(work.len(), 32);
//! # });
//! ```
//!
//! # The contract
//!
//! 1. **No lost wake.** Looking and parking are one step under one lock: an item written after a reader looked
//!    wakes it.
//! 2. **No self-wake.** Taking an item wakes no reader. It wakes a writer only if one waits for room. A reader
//!    that waits on an empty inbox is not polled.
//! 3. **No wake under the lock.** The lock is free before a waker is called or dropped, or an item is dropped.
//! 4. **Any number of readers and writers, on any executor**, woken in the order they arrived. One that was woken and
//!    found that a faster task took its item keeps its place in the line.
//! 5. **One item wakes one reader**, a batch of n at most n; [`close`](Inbox::close) wakes all.
//! 6. **Cancelling is safe.** A waiting future may be dropped at any time: it leaves the line, and if it had been woken
//!    already, it hands the wake on. An item leaves the inbox only in the poll that returns it, and enters it only in
//!    the poll that says so.
//! 7. **Bounded** in items and, if wished, in bytes. What happens when it is full is chosen when it is made
//!    ([`Full`]), and every item that did not make it through is counted ([`Counters`]).
//! 8. **A panic** in a task that uses the inbox harms nobody else.
//!
//! All methods take `&self`: share an inbox in an [`Arc`].

use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use crate::sync::{Mutex, MutexGuard};

mod error;
mod futures;
mod state;
#[cfg(all(test, not(feature = "loom")))]
mod tests;

pub use error::{Closed, PushError, TryRecvError};
pub use futures::{Items, Push, PushBatch, Recv, RecvBatch, RecvBatchInto};
pub use state::Counters;
use state::{AfterUnlock, Limits, State};

/// What happens to a write when the inbox is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Full {
    /// [`Inbox::push`] and [`Inbox::push_batch`] wait for room: back-pressure. The `try_` writes hand back what
    /// finds no room.
    Wait,
    /// The oldest items make room for the new one. They are dropped, and counted as [`Counters::evicted`].
    DropOldest,
    /// The new item is handed back to its writer at once, and counted as [`Counters::refused`].
    RefuseNewest,
}

/// A bounded queue that wakes its readers when it is written to. See the [module](self).
///
/// An empty inbox that has not been used owns no memory on the heap.
pub struct Inbox<T> {
    limits: Limits<T>,
    state: Mutex<State<T>>,
}

impl<T> Inbox<T> {
    /// An inbox for at most `items` items (at least one).
    pub fn new(items: usize, full: Full) -> Self {
        Self::with_limits(Limits { items: items.max(1), bytes: usize::MAX, size: None, full })
    }

    /// An inbox for at most `items` items (at least one) that have at most `bytes` bytes together, as `size` counts
    /// them. `size` runs under the lock, and must say the same of an item each time it is asked.
    ///
    /// An item with more than `bytes` bytes of its own is never accepted: [`PushError::TooLarge`].
    pub fn with_bytes(items: usize, bytes: usize, size: fn(&T) -> usize, full: Full) -> Self {
        Self::with_limits(Limits { items: items.max(1), bytes, size: Some(size), full })
    }

    fn with_limits(limits: Limits<T>) -> Self {
        Inbox { limits, state: Mutex::new(State::new()) }
    }

    /// Writes an item and wakes one reader. Under [`Full::Wait`] it waits for room first; otherwise it is done at
    /// once. A future that is dropped before it is done has written nothing.
    ///
    /// # Errors
    /// The item comes back in the error when the inbox is closed, when it could never fit, or when there is no
    /// room and the policy is [`Full::RefuseNewest`].
    pub fn push(&self, item: T) -> Push<'_, T> {
        Push { inbox: self, item: Some(item), key: None }
    }

    /// Writes all of `items`, in order, and wakes at most as many readers. What was written is gone from `items`, so
    /// nothing is lost when the future is dropped half way. Under [`Full::Wait`] it writes what fits, waits for
    /// room, and goes on until `items` is empty; under [`Full::RefuseNewest`] what finds no room stays in `items`. Items
    /// that could never fit are dropped, and counted as [`Counters::too_large`].
    ///
    /// Returns how many were written.
    ///
    /// # Errors
    /// [`Closed`]; what was not written before that stays in `items`.
    pub fn push_batch<'a>(&'a self, items: &'a mut Vec<T>) -> PushBatch<'a, T> {
        PushBatch { inbox: self, items, written: 0, key: None }
    }

    /// Writes an item if there is room now (or, under [`Full::DropOldest`], after making room) and wakes one reader.
    ///
    /// # Errors
    /// The item comes back in the error when the inbox is full or closed, or when the item could never fit.
    #[inline]
    pub fn try_push(&self, item: T) -> Result<(), PushError<T>> {
        let mut state = self.state.lock();
        if state.has_unsized_room(&self.limits) {
            let waker = state.write_unsized(item);
            drop(state);
            wake(waker);
            return Ok(());
        }
        self.try_push_general(state, item)
    }

    /// Where sizes matter, or there is no room.
    #[cold]
    fn try_push_general(&self, mut state: MutexGuard<'_, State<T>>, item: T) -> Result<(), PushError<T>> {
        let mut after = AfterUnlock::new();
        let result = state.write(&self.limits, item, None, &mut after);
        if let Err(PushError::Full(_)) = result {
            state.counters.refused += 1;
        }
        drop(state);
        self.run_after_unlock(after);
        result
    }

    /// Writes as many of `items` as there is room for now (under [`Full::DropOldest`]: all of them), in order,
    /// with one lock, and wakes at most as many readers. What found no room stays in `items` and is counted as
    /// refused; items that could never fit are dropped, and counted as [`Counters::too_large`].
    ///
    /// Returns how many were written.
    ///
    /// # Errors
    /// [`Closed`]; all of `items` stay where they are.
    pub fn try_push_batch(&self, items: &mut Vec<T>) -> Result<usize, Closed> {
        let mut after = AfterUnlock::new();
        let mut state = self.state.lock();
        let result = state.write_batch(&self.limits, items, None, &mut after);
        if result.is_ok() {
            state.counters.refused += items.len() as u64;
        }
        drop(state);
        self.run_after_unlock(after);
        result
    }

    /// Puts an item that a reader took and could not use back to the head, and wakes one reader. It is exempt
    /// from the bounds, since there was room for it before, and it is accepted after [`close`](Inbox::close) too.
    pub fn push_front(&self, item: T) {
        let mut after = AfterUnlock::new();
        let mut state = self.state.lock();
        state.give_back(&self.limits, item, &mut after);
        drop(state);
        self.run_after_unlock(after);
    }

    /// Takes the oldest item if there is one now.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`], or [`TryRecvError::Closed`] when nothing will come any more.
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut state = self.state.lock();
        if let Some(item) = state.take_unsized(&self.limits) {
            return Ok(item);
        }
        self.try_recv_general(state)
    }

    /// Where sizes matter, or a writer waits for room, or there is nothing.
    #[cold]
    fn try_recv_general(&self, mut state: MutexGuard<'_, State<T>>) -> Result<T, TryRecvError> {
        let mut after = AfterUnlock::new();
        let taken = state.take(&self.limits, &mut after);
        let closed = state.closed;
        drop(state);
        self.run_after_unlock(after);
        taken.ok_or(if closed { TryRecvError::Closed } else { TryRecvError::Empty })
    }

    /// Takes up to `limit` items (0 counts as 1) and appends them to `items`. Returns how many.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`], or [`TryRecvError::Closed`] when nothing will come any more.
    pub fn try_recv_batch(&self, items: &mut Vec<T>, limit: usize) -> Result<usize, TryRecvError> {
        let mut after = AfterUnlock::new();
        let mut state = self.state.lock();
        let taken = state.take_batch(&self.limits, items, limit, &mut after);
        let closed = state.closed;
        drop(state);
        self.run_after_unlock(after);
        match taken {
            0 if closed => Err(TryRecvError::Closed),
            0 => Err(TryRecvError::Empty),
            taken => Ok(taken),
        }
    }

    /// Takes the oldest item, and waits for one if there is none.
    ///
    /// # Errors
    /// [`Closed`] once the inbox is closed and empty.
    pub fn recv(&self) -> Recv<'_, T> {
        Recv { inbox: self, key: None }
    }

    /// Takes up to `limit` items (0 counts as 1) in one wake; waits until there is at least one.
    ///
    /// # Errors
    /// [`Closed`] once the inbox is closed and empty.
    pub fn recv_batch(&self, limit: usize) -> RecvBatch<'_, T> {
        RecvBatch { inbox: self, limit, key: None }
    }

    /// Like [`recv_batch`](Inbox::recv_batch), but appends to a buffer that the caller reuses. Returns how many.
    ///
    /// # Errors
    /// [`Closed`] once the inbox is closed and empty.
    pub fn recv_batch_into<'a>(&'a self, items: &'a mut Vec<T>, limit: usize) -> RecvBatchInto<'a, T> {
        RecvBatchInto { inbox: self, items, limit, key: None }
    }

    /// The items as they come, until the inbox is closed and empty.
    pub fn stream(&self) -> Items<&Self, T> {
        Items::new(self)
    }

    /// Like [`stream`](Inbox::stream), for a task that outlives its caller.
    pub fn into_stream(self: Arc<Self>) -> Items<Arc<Self>, T> {
        Items::new(self)
    }

    /// Ends the writing and wakes all who wait. Readers still get what is left; then they get [`Closed`].
    /// Returns whether it was open.
    pub fn close(&self) -> bool {
        let mut state = self.state.lock();
        let was_open = !std::mem::replace(&mut state.closed, true);
        let mut after = AfterUnlock::new();
        if was_open {
            state.wake_all(&mut after);
        }
        drop(state);
        self.run_after_unlock(after);
        was_open
    }

    /// Whether [`close`](Inbox::close) was called. There may be items left.
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// How many items are in it.
    pub fn len(&self) -> usize {
        self.state.lock().items.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes the items have together; 0 when the inbox was made without a size function.
    pub fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// How many items may be in it.
    pub fn capacity(&self) -> usize {
        self.limits.items
    }

    /// What went through it and what did not.
    pub fn counters(&self) -> Counters {
        self.state.lock().counters
    }

    /// What is left to do once the lock is free.
    #[inline]
    fn run_after_unlock(&self, after: AfterUnlock<T>) {
        let AfterUnlock { wakers, stale, evicted } = after;
        if let Some(spare) = wakers.wake() {
            self.state.lock().spare = spare;
        }
        drop((stale, evicted));
    }
}

/// Calls a waker, if there is one. Never under the lock.
#[inline]
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl<T> fmt::Debug for Inbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Inbox")
            .field("len", &state.items.len())
            .field("bytes", &state.bytes)
            .field("closed", &state.closed)
            .field("counters", &state.counters)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "loom"))]
pub(crate) mod models;
