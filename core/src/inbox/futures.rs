//! The futures of an inbox. Each has at most one entry in a wait list, and takes it along when it is dropped.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Closed, Full, Inbox, Key, PushError, State, Wakers, lock};
use crate::sync::MutexGuard;

/// A reader's place in the list. What all receiving futures have in common.
struct Reader<'a, T> {
    inbox: &'a Inbox<T>,
    key: Option<Key>,
}

impl<'a, T> Reader<'a, T> {
    fn new(inbox: &'a Inbox<T>) -> Self {
        Reader { inbox, key: None }
    }

    /// Takes something by `take`, which says how many items it took; or parks.
    fn poll<R>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&Inbox<T>, &mut State<T>) -> Option<(R, usize)>,
    ) -> Poll<Result<R, Closed>> {
        let mut wakers = Wakers::default();
        let mut state = lock(&self.inbox.state);
        let (result, _unneeded) = match take(self.inbox, &mut state) {
            Some((taken, count)) => {
                self.inbox.wake_writers(&mut state, count, &mut wakers);
                (Poll::Ready(Ok(taken)), state.readers.remove(&mut self.key).1)
            }
            None if state.closed => (Poll::Ready(Err(Closed)), state.readers.remove(&mut self.key).1),
            None => (Poll::Pending, state.readers.park(&mut self.key, cx.waker())),
        };
        drop(state);
        wakers.wake();
        result
    }
}

impl<T> Drop for Reader<'_, T> {
    fn drop(&mut self) {
        if self.key.is_none() {
            return;
        }
        let mut wakers = Wakers::default();
        let mut state = lock(&self.inbox.state);
        let (woken, _unneeded) = state.readers.remove(&mut self.key);
        if woken && !state.items.is_empty() {
            // The wake was for an item that is still there: another reader gets it.
            state.readers.wake(1, &mut wakers);
        }
        drop(state);
        wakers.wake();
    }
}

/// See [`Inbox::recv`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct Recv<'a, T>(Reader<'a, T>);

impl<'a, T> Recv<'a, T> {
    pub(super) fn new(inbox: &'a Inbox<T>) -> Self {
        Recv(Reader::new(inbox))
    }
}

impl<T> Future for Recv<'_, T> {
    type Output = Result<T, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx, |inbox, state| inbox.take(state).map(|item| (item, 1)))
    }
}

/// See [`Inbox::recv_batch_into`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct RecvBatch<'a, T> {
    reader: Reader<'a, T>,
    batch: &'a mut Vec<T>,
    limit: usize,
}

impl<'a, T> RecvBatch<'a, T> {
    pub(super) fn new(inbox: &'a Inbox<T>, batch: &'a mut Vec<T>, limit: usize) -> Self {
        RecvBatch { reader: Reader::new(inbox), batch, limit: limit.max(1) }
    }
}

impl<T> Future for RecvBatch<'_, T> {
    type Output = Result<usize, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (batch, limit) = (&mut *this.batch, this.limit);
        this.reader.poll(cx, |inbox, state| {
            let before = batch.len();
            while batch.len() - before < limit
                && let Some(item) = inbox.take(state)
            {
                batch.push(item);
            }
            let count = batch.len() - before;
            (count > 0).then_some((count, count))
        })
    }
}

/// See [`Inbox::stream`].
#[must_use = "streams do nothing unless they are polled"]
pub struct Stream<'a, T>(Reader<'a, T>);

impl<'a, T> Stream<'a, T> {
    pub(super) fn new(inbox: &'a Inbox<T>) -> Self {
        Stream(Reader::new(inbox))
    }
}

impl<T> futures::Stream for Stream<'_, T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll(cx, |inbox, state| inbox.take(state).map(|item| (item, 1))).map(Result::ok)
    }
}

/// A writer's place in the list.
struct Writer<'a, T> {
    inbox: &'a Inbox<T>,
    key: Option<Key>,
}

impl<T> Writer<'_, T> {
    /// Off the list: done.
    fn leave(&mut self, state: &mut MutexGuard<'_, State<T>>) -> Option<std::task::Waker> {
        state.writers.remove(&mut self.key).1
    }
}

impl<T> Drop for Writer<'_, T> {
    fn drop(&mut self) {
        if self.key.is_none() {
            return;
        }
        let mut wakers = Wakers::default();
        let mut state = lock(&self.inbox.state);
        let (woken, _unneeded) = state.writers.remove(&mut self.key);
        if woken {
            self.inbox.wake_writers(&mut state, 1, &mut wakers);
        }
        drop(state);
        wakers.wake();
    }
}

/// See [`Inbox::push`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct Push<'a, T> {
    writer: Writer<'a, T>,
    /// There until it is in.
    item: Option<T>,
}

impl<'a, T> Push<'a, T> {
    pub(super) fn new(inbox: &'a Inbox<T>, item: T) -> Self {
        Push { writer: Writer { inbox, key: None }, item: Some(item) }
    }
}

impl<T> Unpin for Push<'_, T> {}

impl<T> Future for Push<'_, T> {
    type Output = Result<(), PushError<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let inbox = this.writer.inbox;
        let Some(item) = this.item.take() else { return Poll::Pending };
        let (mut wakers, mut dropped) = (Wakers::default(), Vec::new());
        let mut state = lock(&inbox.state);
        let (result, _unneeded) = match inbox.offer(&mut state, item, &mut dropped) {
            Ok(()) => {
                state.readers.wake(1, &mut wakers);
                let unneeded = this.writer.leave(&mut state);
                // The place of one long item may be room for several short ones.
                inbox.wake_writers(&mut state, 1, &mut wakers);
                (Poll::Ready(Ok(())), unneeded)
            }
            Err(PushError::Full(item)) if inbox.full == Full::Wait => {
                this.item = Some(item);
                (Poll::Pending, state.writers.park(&mut this.writer.key, cx.waker()))
            }
            Err(refused) => {
                state.counters.refused += 1;
                (Poll::Ready(Err(refused)), this.writer.leave(&mut state))
            }
        };
        drop(state);
        wakers.wake();
        result
    }
}

/// See [`Inbox::push_batch`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct PushBatch<'a, T> {
    writer: Writer<'a, T>,
    items: VecDeque<T>,
}

impl<'a, T> PushBatch<'a, T> {
    pub(super) fn new(inbox: &'a Inbox<T>, items: Vec<T>) -> Self {
        PushBatch { writer: Writer { inbox, key: None }, items: items.into() }
    }
}

impl<T> Unpin for PushBatch<'_, T> {}

impl<T> Future for PushBatch<'_, T> {
    type Output = Result<(), PushError<Vec<T>>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let inbox = this.writer.inbox;
        let (mut wakers, mut dropped) = (Wakers::default(), Vec::new());
        let mut taken = 0;
        let mut refused = None;
        let mut state = lock(&inbox.state);
        while let Some(item) = this.items.pop_front() {
            match inbox.offer(&mut state, item, &mut dropped) {
                Ok(()) => taken += 1,
                Err(error) => {
                    let full = matches!(error, PushError::Full(_));
                    this.items.push_front(error.into_inner());
                    refused = Some(full);
                    break;
                }
            }
        }
        state.readers.wake(taken, &mut wakers);
        let (result, _unneeded) = match refused {
            None => {
                let unneeded = this.writer.leave(&mut state);
                inbox.wake_writers(&mut state, 1, &mut wakers);
                (Poll::Ready(Ok(())), unneeded)
            }
            Some(true) if inbox.full == Full::Wait => {
                (Poll::Pending, state.writers.park(&mut this.writer.key, cx.waker()))
            }
            Some(full) => {
                state.counters.refused += this.items.len() as u64;
                let left = std::mem::take(&mut this.items).into();
                let error = if full { PushError::Full(left) } else { PushError::Closed(left) };
                (Poll::Ready(Err(error)), this.writer.leave(&mut state))
            }
        };
        drop(state);
        wakers.wake();
        result
    }
}
