//! [`Inbox`]: a bounded queue that wakes whoever waits exactly because something was written into it.
//!
//! This is the heart of the router: a network worker writes a frame into the inbox of the neighbour it came from, and
//! because of that write the task that waits for that neighbour wakes. A message is written into the inbox of its
//! sender, and `recv_from` wakes. There is no polling, and no separate signal that could be lost or forgotten.
//!
//! ```
//! use std::sync::Arc;
//! use rouse_core::inbox::{Full, Inbox};
//!
//! # async_std::task::block_on(async {
//! let inbox = Arc::new(Inbox::bounded(100, Full::Wait));
//! let reader = async_std::task::spawn({
//!     let inbox = inbox.clone();
//!     async move { inbox.recv().await }
//! });
//! inbox.push("a frame").await.unwrap();       // wakes the reader
//! assert_eq!(reader.await, Ok("a frame"));
//! # });
//! ```
//!
//! # What holds
//!
//! 1. **No lost wake.** Looking and parking happen under one lock.
//! 2. **No self-wake.** Taking an item out wakes a writer if one waits for room, and nobody else. A reader parked at an
//!    empty inbox costs no polls.
//! 3. **No wake under the lock.** Who is woken never runs into a lock that its waker still holds.
//! 4. **Any number of readers and writers, any executor.** They are woken in the order of their arrival. Who was woken
//!    and finds its item taken by a faster one keeps its place.
//! 5. **One item wakes one reader**, a batch of n at most n; [`close`](Inbox::close) wakes all.
//! 6. **Cancellation is safe.** A waiting future that is dropped leaves the list; if it had been woken, it hands the wake
//!    on. An item leaves the inbox only in the poll that returns it.
//! 7. **Bounded**, in items and, if they have a size, in bytes. What happens when it is full is chosen when it is made;
//!    every drop is counted.

use std::collections::VecDeque;
use std::fmt;

use crate::sync::{Mutex, lock};
use crate::waitlist::{Key, WaitList, Wakers};

mod futures;

pub use self::futures::{Push, PushBatch, Recv, RecvBatch, Stream};

/// What happens when an inbox is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The writer waits. (Who cannot wait, as with [`Inbox::try_push`], is refused.)
    Wait,
    /// The oldest items are dropped.
    DropOldest,
    /// The new item is refused.
    RefuseNewest,
}

/// Why an item was not taken; it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError<T> {
    /// The inbox is full.
    #[error("the inbox is full")]
    Full(T),
    /// The inbox is closed.
    #[error("the inbox is closed")]
    Closed(T),
}

impl<T> PushError<T> {
    /// The item.
    pub fn into_inner(self) -> T {
        match self {
            PushError::Full(item) | PushError::Closed(item) => item,
        }
    }
}

/// The inbox is closed, and empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the inbox is closed")]
pub struct Closed;

/// Why nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TryRecvError {
    /// The inbox is empty.
    #[error("the inbox is empty")]
    Empty,
    /// The inbox is closed, and empty.
    #[error("the inbox is closed")]
    Closed,
}

/// What an inbox has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Items taken in.
    pub pushed: u64,
    /// Items given out.
    pub received: u64,
    /// Items dropped to make room for newer ones.
    pub dropped_oldest: u64,
    /// Items refused because there was no room.
    pub refused: u64,
}

/// A bounded queue that wakes whoever waits for what is written into it. See the [module's page](self).
pub struct Inbox<T> {
    state: Mutex<State<T>>,
    most_items: usize,
    most_bytes: usize,
    size: fn(&T) -> usize,
    full: Full,
}

struct State<T> {
    items: VecDeque<T>,
    bytes: usize,
    closed: bool,
    readers: WaitList,
    writers: WaitList,
    counters: Counters,
}

impl<T> Inbox<T> {
    /// An inbox for at most `items`, at least one.
    pub fn bounded(items: usize, full: Full) -> Self {
        Self::with_bytes(items, usize::MAX, |_| 0, full)
    }

    /// An inbox for at most `items` that are at most `bytes` long together, as `size` measures them. A single item
    /// is taken whatever its size.
    pub fn with_bytes(items: usize, bytes: usize, size: fn(&T) -> usize, full: Full) -> Self {
        Inbox {
            state: Mutex::new(State {
                items: VecDeque::new(),
                bytes: 0,
                closed: false,
                readers: WaitList::new(),
                writers: WaitList::new(),
                counters: Counters::default(),
            }),
            most_items: items.max(1),
            most_bytes: bytes,
            size,
            full,
        }
    }

    fn has_room(&self, state: &State<T>, size: usize) -> bool {
        state.items.is_empty()
            || (state.items.len() < self.most_items && state.bytes.saturating_add(size) <= self.most_bytes)
    }

    /// Puts an item in, if the policy allows. What has to be dropped for it is dropped after the lock.
    fn offer(&self, state: &mut State<T>, item: T, dropped: &mut Vec<T>) -> Result<(), PushError<T>> {
        if state.closed {
            return Err(PushError::Closed(item));
        }
        let size = (self.size)(&item);
        while !self.has_room(state, size) {
            match (self.full, state.items.pop_front()) {
                (Full::DropOldest, Some(oldest)) => {
                    state.bytes -= (self.size)(&oldest);
                    state.counters.dropped_oldest += 1;
                    dropped.push(oldest);
                }
                (_, Some(oldest)) => {
                    state.items.push_front(oldest);
                    return Err(PushError::Full(item));
                }
                (_, None) => break,
            }
        }
        state.bytes += size;
        state.counters.pushed += 1;
        state.items.push_back(item);
        Ok(())
    }

    fn take(&self, state: &mut State<T>) -> Option<T> {
        let item = state.items.pop_front()?;
        state.bytes -= (self.size)(&item);
        state.counters.received += 1;
        Some(item)
    }

    /// Readies a writer for each place that was freed, if there is room indeed.
    fn wake_writers(&self, state: &mut State<T>, freed: usize, wakers: &mut Wakers) {
        if !state.writers.is_idle() && state.items.len() < self.most_items && state.bytes < self.most_bytes {
            state.writers.wake(freed, wakers);
        }
    }

    /// Puts an item in without waiting.
    ///
    /// # Errors
    /// The item, when the inbox is closed, or full and not [`Full::DropOldest`].
    pub fn try_push(&self, item: T) -> Result<(), PushError<T>> {
        let (mut wakers, mut dropped) = (Wakers::default(), Vec::new());
        let mut state = lock(&self.state);
        let result = self.offer(&mut state, item, &mut dropped);
        match &result {
            Ok(()) => state.readers.wake(1, &mut wakers),
            Err(_) => state.counters.refused += 1,
        }
        drop(state);
        wakers.wake();
        result
    }

    /// Puts items in, in one write, until one is refused. Returns how many were taken; the others are dropped,
    /// and counted.
    pub fn try_push_batch(&self, items: impl IntoIterator<Item = T>) -> usize {
        let (mut wakers, mut dropped) = (Wakers::default(), Vec::new());
        let mut taken = 0;
        let mut state = lock(&self.state);
        for item in items {
            match self.offer(&mut state, item, &mut dropped) {
                Ok(()) => taken += 1,
                Err(refused) => {
                    state.counters.refused += 1;
                    dropped.push(refused.into_inner());
                }
            }
        }
        state.readers.wake(taken, &mut wakers);
        drop(state);
        wakers.wake();
        taken
    }

    /// Puts an item in; with [`Full::Wait`] it waits while there is no room.
    ///
    /// # Errors
    /// As [`Inbox::try_push`]; with [`Full::Wait`] only when the inbox is closed.
    pub fn push(&self, item: T) -> Push<'_, T> {
        Push::new(self, item)
    }

    /// Puts items in, in as few writes as there is room for; with [`Full::Wait`] it waits while there is no room. Dropped
    /// midway, what is in stays in, and the rest is dropped.
    ///
    /// # Errors
    /// The items that were not taken: those after the closing, or those refused.
    pub fn push_batch(&self, items: Vec<T>) -> PushBatch<'_, T> {
        PushBatch::new(self, items)
    }

    /// Gives an item back that was received: it goes to the head, whether there is room or not, and also when
    /// the inbox is closed.
    pub fn push_front(&self, item: T) {
        let mut wakers = Wakers::default();
        let mut state = lock(&self.state);
        state.bytes += (self.size)(&item);
        state.counters.received = state.counters.received.saturating_sub(1);
        state.items.push_front(item);
        state.readers.wake(1, &mut wakers);
        drop(state);
        wakers.wake();
    }

    /// Takes the next item, if there is one.
    ///
    /// # Errors
    /// [`TryRecvError`]: there is none now, or there will be none.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut wakers = Wakers::default();
        let mut state = lock(&self.state);
        let item = self.take(&mut state);
        let closed = state.closed;
        if item.is_some() {
            self.wake_writers(&mut state, 1, &mut wakers);
        }
        drop(state);
        wakers.wake();
        item.ok_or(if closed { TryRecvError::Closed } else { TryRecvError::Empty })
    }

    /// Waits for the next item.
    ///
    /// # Errors
    /// [`Closed`] when the inbox is closed and nothing is left.
    pub fn recv(&self) -> Recv<'_, T> {
        Recv::new(self)
    }

    /// Waits until there is something, then appends up to `limit` items to `batch`; returns how many.
    ///
    /// # Errors
    /// As [`Inbox::recv`].
    pub fn recv_batch_into<'a>(&'a self, batch: &'a mut Vec<T>, limit: usize) -> RecvBatch<'a, T> {
        RecvBatch::new(self, batch, limit)
    }

    /// Waits until there is something, then takes up to `limit` items.
    ///
    /// # Errors
    /// As [`Inbox::recv`].
    pub async fn recv_batch(&self, limit: usize) -> Result<Vec<T>, Closed> {
        let mut batch = Vec::new();
        self.recv_batch_into(&mut batch, limit).await?;
        Ok(batch)
    }

    /// The items as a stream that ends when the inbox is closed and empty.
    pub fn stream(&self) -> Stream<'_, T> {
        Stream::new(self)
    }

    /// Takes nothing in from now on, and wakes all who wait. What is in can still be received.
    pub fn close(&self) {
        let mut wakers = Wakers::default();
        let mut state = lock(&self.state);
        state.closed = true;
        state.readers.wake(usize::MAX, &mut wakers);
        state.writers.wake(usize::MAX, &mut wakers);
        drop(state);
        wakers.wake();
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    /// How many items are in.
    pub fn len(&self) -> usize {
        lock(&self.state).items.len()
    }

    /// Whether nothing is in.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes are in, as its `size` measures them.
    pub fn bytes(&self) -> usize {
        lock(&self.state).bytes
    }

    /// What it has seen.
    pub fn counters(&self) -> Counters {
        lock(&self.state).counters
    }
}

impl<T> fmt::Debug for Inbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.state);
        f.debug_struct("Inbox")
            .field("items", &state.items.len())
            .field("bytes", &state.bytes)
            .field("closed", &state.closed)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
