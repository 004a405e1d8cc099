//! The inbox: a bounded queue in which writing an item wakes the task that waits for it.
//!
//! Writing an item is the signal: it wakes one task that waits for an item. Reading wakes no reader, because a read
//! leaves nothing for another reader to find; it wakes a writer only if that writer waits for the room.
//!
//! ```
//! use std::sync::Arc;
//! use std::thread;
//!
//! use futures::executor::block_on;
//! use rouse_inbox::{Closed, Full, Inbox};
//!
//! let inbox = Arc::new(Inbox::new(100, Full::Wait));
//!
//! // A reader: it sleeps until an item is written.
//! let reader = thread::spawn({
//!     let inbox = inbox.clone();
//!     move || {
//!         block_on(async {
//!             let mut sum = 0;
//!             while let Ok(number) = inbox.recv().await {
//!                 sum += number;
//!             }
//!             sum
//!         })
//!     }
//! });
//!
//! // A writer: it sleeps only while the inbox is full.
//! for number in 1..=1000 {
//!     block_on(inbox.push(number)).unwrap();
//! }
//! inbox.close(); // the reader gets the items that are left, then `Closed`
//! assert_eq!(reader.join().unwrap(), 500_500);
//! assert_eq!(block_on(inbox.recv()), Err(Closed));
//! ```
//!
//! Data that arrives in bursts should be moved in bursts, since a batch costs one lock and one wake for many items.
//!
//! ```
//! # use rouse_inbox::{Full, Inbox};
//! // A slow reader may lose the oldest frames, and counts them; 64 KiB are kept at most.
//! let frames = Inbox::with_bytes(1000, 65_536, Vec::len, Full::DropOldest);
//!
//! let mut arrived: Vec<Vec<u8>> = vec![vec![1; 1200]; 100];
//! frames.try_push_batch(&mut arrived).unwrap();
//! assert!(arrived.is_empty(), "all are written, and the buffer is there for the next burst");
//! assert_eq!(frames.counters().evicted, 46);
//!
//! let mut work = Vec::new();
//! futures::executor::block_on(frames.recv_batch_into(&mut work, 32)).unwrap();
//! assert_eq!(work.len(), 32);
//! ```
//!
//! # The contract
//!
//! 1. **No lost wake.** A reader looks for an item and parks itself under one lock. An item is therefore written
//!    either before the look, which finds it, or after the parking, which wakes the reader.
//! 2. **No self-wake.** Taking an item wakes no reader. It wakes a writer only if one waits for room. A reader
//!    that waits on an empty inbox is not polled.
//! 3. **No wake under the lock.** The lock is released before a waker is called or dropped and before an item is
//!    dropped, so that a task that runs at once on another core does not run into a lock that its waker still holds.
//! 4. **Any number of readers and writers, on any executor**, woken in order of arrival. A reader that was woken and
//!    finds that a faster task took its item returns to its old place in the line.
//! 5. **One item wakes one reader**, a batch of n at most n; [`close`](Inbox::close) wakes all.
//! 6. **Cancelling is safe.** A waiting future may be dropped at any time. It leaves the line, and if it had been woken
//!    already, it hands the wake on to the next, since otherwise an item would stay beside a reader that sleeps. An
//!    item leaves the inbox only in the poll that returns it, and enters it only in the poll that reports success.
//! 7. **Bounded** in items and, if requested, in bytes. The policy for a full inbox is chosen at construction
//!    ([`Full`]), and every item that was not delivered is counted by its cause ([`Counters`]).
//! 8. **A panic** in one task that uses the inbox, or in its waker, does not affect the others: the lock is not
//!    poisoned, the other tasks are woken, and the call that woke it returns.
//!
//! All methods take `&self`: share an inbox in an [`Arc`].

use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use crate::sync::{Mutex, MutexGuard};
use crate::wait_list;

mod deferred;
mod error;
mod futures;
mod limits;
mod state;
#[cfg(all(test, not(loom)))]
mod tests;

pub use deferred::DeferredWake;
pub use error::{Closed, PushError, TryRecvError};
pub use futures::{Items, Push, PushBatch, Recv, RecvBatch, RecvBatchInto};
pub use limits::Full;
use limits::InboxLimits;
pub use state::Counters;
use state::{AfterUnlock, InboxState};

/// A bounded queue that wakes its readers when it is written to. The [module](self) states the contract.
///
/// An empty inbox that has not been used owns no memory on the heap.
pub struct Inbox<T> {
    limits: InboxLimits<T>,
    state: Mutex<InboxState<T>>,
}

impl<T> Inbox<T> {
    /// An inbox for at most `items` items (at least one).
    pub fn new(items: usize, full: Full) -> Self {
        Self::with_limits(InboxLimits { items: items.max(1), bytes: usize::MAX, size: None, full })
    }

    /// An inbox for at most `items` items (at least one) of at most `bytes` bytes together, as measured by `size`.
    /// `size` runs under the lock, and must return the same value for an item each time it is called, because an item
    /// is measured when it is written and again when it is taken.
    ///
    /// An item with more than `bytes` bytes of its own is never accepted: [`PushError::TooLarge`].
    pub fn with_bytes(items: usize, bytes: usize, size: fn(&T) -> usize, full: Full) -> Self {
        Self::with_limits(InboxLimits { items: items.max(1), bytes, size: Some(size), full })
    }

    fn with_limits(limits: InboxLimits<T>) -> Self {
        Inbox { limits, state: Mutex::new(InboxState::new()) }
    }

    /// Writes an item and wakes one reader. Under [`Full::Wait`] the future waits for room first; otherwise it is ready
    /// at its first poll. A future that is dropped before it is ready has written nothing.
    ///
    /// # Errors
    /// The item comes back in the error when the inbox is closed, when it could never fit, or when there is no
    /// room and the policy is [`Full::RefuseNewest`].
    pub fn push(&self, item: T) -> Push<'_, T> {
        Push { inbox: self, item: Some(item), key: None }
    }

    /// Writes all of `items`, in order, and wakes at most as many readers. Items are removed from `items` as they are
    /// written, so that nothing is lost when the future is dropped half way. Under [`Full::Wait`] it writes the items
    /// that fit, waits for room, and continues until `items` is empty; under [`Full::RefuseNewest`] the items for which
    /// there is no room stay in `items`. Items that could never fit are dropped and counted as [`Counters::too_large`].
    ///
    /// Returns the number of items written.
    ///
    /// # Errors
    /// [`Closed`]; the items that were not written before the inbox was closed stay in `items`.
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

    /// The general case of [`try_push`](Inbox::try_push): items are measured, or there is no room. It is kept out of
    /// line so that the common case stays small enough to be inlined.
    #[cold]
    fn try_push_general(
        &self,
        mut state: MutexGuard<'_, InboxState<T>>,
        item: T,
    ) -> Result<(), PushError<T>> {
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
    /// with one lock, and wakes at most as many readers. Items without room stay in `items` and are counted as
    /// refused; items that could never fit are dropped and counted as [`Counters::too_large`].
    ///
    /// Returns the number of items written.
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

    /// Puts an item that a reader took but could not use back at the head, and wakes one reader. The item is exempt
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
    /// [`TryRecvError::Empty`], or [`TryRecvError::Closed`] when no item can arrive any more.
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut state = self.state.lock();
        if let Some(item) = state.take_unsized(&self.limits) {
            return Ok(item);
        }
        self.try_recv_general(state)
    }

    /// The general case of [`try_recv`](Inbox::try_recv): items are measured, or a writer waits for room, or the inbox
    /// is empty.
    #[cold]
    fn try_recv_general(&self, mut state: MutexGuard<'_, InboxState<T>>) -> Result<T, TryRecvError> {
        let mut after = AfterUnlock::new();
        let taken = state.take(&self.limits, &mut after);
        let closed = state.closed;
        drop(state);
        self.run_after_unlock(after);
        taken.ok_or(if closed { TryRecvError::Closed } else { TryRecvError::Empty })
    }

    /// Takes up to `limit` items (0 counts as 1) and appends them to `items`. Returns the number of items taken.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`], or [`TryRecvError::Closed`] when no item can arrive any more.
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

    /// Like [`recv_batch`](Inbox::recv_batch), but appends to a buffer that the caller reuses. Returns the number of
    /// items taken.
    ///
    /// # Errors
    /// [`Closed`] once the inbox is closed and empty.
    pub fn recv_batch_into<'a>(&'a self, items: &'a mut Vec<T>, limit: usize) -> RecvBatchInto<'a, T> {
        RecvBatchInto { inbox: self, items, limit, key: None }
    }

    /// A stream of the items, which ends when the inbox is closed and empty.
    pub fn stream(&self) -> Items<&Self, T> {
        Items::new(self)
    }

    /// Like [`stream`](Inbox::stream), but owns the inbox, for a task that outlives its caller.
    pub fn into_stream(self: Arc<Self>) -> Items<Arc<Self>, T> {
        Items::new(self)
    }

    /// Ends the writing and wakes every waiting task. Readers still receive the items left inside, then [`Closed`].
    /// Returns whether the inbox was open.
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

    /// Whether [`close`](Inbox::close) was called. Items may still be left.
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// The number of items inside.
    pub fn len(&self) -> usize {
        self.state.lock().items.len()
    }

    /// Whether no item is inside.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Looks at the item that is read next, under the lock of the inbox: `look` must not use the inbox.
    pub fn peek<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.state.lock().items.front().map(look)
    }

    /// The size of all items together, in bytes; 0 when the inbox was made without a size function.
    pub fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// The largest number of items that may be inside.
    pub fn capacity(&self) -> usize {
        self.limits.items
    }

    /// The numbers of items that were written, read and lost, by cause.
    pub fn counters(&self) -> Counters {
        self.state.lock().counters
    }

    /// Calls the wakers and drops the items that a change set aside while it held the lock.
    #[inline]
    fn run_after_unlock(&self, after: AfterUnlock<T>) {
        let AfterUnlock { wakers, stale, evicted } = after;
        if let Some(spare) = wakers.wake() {
            self.state.lock().spare = spare;
        }
        drop((stale, evicted));
    }
}

/// Calls a waker, if there is one. The lock must be free.
#[inline]
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        wait_list::wake(waker);
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

#[cfg(all(test, loom))]
pub(crate) mod models;
