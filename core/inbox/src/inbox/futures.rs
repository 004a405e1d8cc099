//! The futures and the stream of an inbox. Each owns at most one slot in a wait list, from its first pending poll until
//! it is ready or dropped.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::stream::{FusedStream, Stream};

use super::limits::InboxLimits;
use super::state::{AfterUnlock, InboxState};
use super::{Closed, Full, Inbox, PushError, wake};
use crate::sync::MutexGuard;
use crate::wait_list::WaitKey;

impl<T> Inbox<T> {
    fn poll_with<R>(
        &self,
        mut state: MutexGuard<'_, InboxState<T>>,
        key: &mut WaitKey,
        cx: &mut Context<'_>,
        take: impl FnOnce(&mut InboxState<T>, &InboxLimits<T>, &mut AfterUnlock<T>) -> Option<R>,
    ) -> Poll<Result<R, Closed>> {
        let mut after = AfterUnlock::new();
        let poll = match take(&mut state, &self.limits, &mut after) {
            Some(taken) => Poll::Ready(Ok(taken)),
            None if state.closed => Poll::Ready(Err(Closed)),
            None => Poll::Pending,
        };
        match poll {
            Poll::Ready(_) => state.finish_reader(key, &mut after),
            Poll::Pending => {
                if let Some(stale) = state.park_reader(key, cx.waker()) {
                    after.stale.push(stale);
                }
            }
        }
        drop(state);
        self.run_after_unlock(after);
        poll
    }

    #[inline]
    fn poll_one(&self, key: &mut WaitKey, cx: &mut Context<'_>) -> Poll<Result<T, Closed>> {
        let mut state = self.state.lock();
        if let Some(item) = state.take_unsized(&self.limits) {
            let left = state.readers.leave(key);
            drop(state);
            drop(left);
            return Poll::Ready(Ok(item));
        }
        if state.items.is_empty() && !state.closed {
            let stale = state.park_reader(key, cx.waker());
            drop(state);
            drop(stale);
            return Poll::Pending;
        }
        self.poll_with(state, key, cx, |state, limits, after| state.take(limits, after))
    }

    fn poll_batch(
        &self,
        key: &mut WaitKey,
        cx: &mut Context<'_>,
        items: &mut Vec<T>,
        limit: usize,
    ) -> Poll<Result<usize, Closed>> {
        self.poll_with(self.state.lock(), key, cx, |state, limits, after| {
            Some(state.take_batch(limits, items, limit, after)).filter(|&taken| taken > 0)
        })
    }

    fn drop_reader(&self, key: &mut WaitKey) {
        if key.is_some() {
            let mut after = AfterUnlock::new();
            let mut state = self.state.lock();
            state.remove_reader(key, &mut after);
            drop(state);
            self.run_after_unlock(after);
        }
    }

    fn drop_writer(&self, key: &mut WaitKey) {
        if key.is_some() {
            let mut after = AfterUnlock::new();
            let mut state = self.state.lock();
            state.remove_writer(&self.limits, key, &mut after);
            drop(state);
            self.run_after_unlock(after);
        }
    }

    /// Parks a writer that found no room, and releases the lock.
    fn park_writer(
        &self,
        mut state: MutexGuard<'_, InboxState<T>>,
        key: &mut WaitKey,
        cx: &mut Context<'_>,
        need: usize,
        mut after: AfterUnlock<T>,
    ) {
        if let Some(stale) = state.writers.park(key, cx.waker(), need) {
            after.stale.push(stale);
        }
        // If this writer had been woken, the room that was reserved for it may be enough for another one.
        state.wake_writers(&self.limits, &mut after);
        drop(state);
        self.run_after_unlock(after);
    }
}

/// Writes an item; made by [`Inbox::push`].
#[must_use = "futures do nothing unless awaited"]
pub struct Push<'a, T> {
    pub(super) inbox: &'a Inbox<T>,
    pub(super) item: Option<T>,
    pub(super) key: WaitKey,
}

/// Writes a batch; made by [`Inbox::push_batch`].
#[must_use = "futures do nothing unless awaited"]
pub struct PushBatch<'a, T> {
    pub(super) inbox: &'a Inbox<T>,
    pub(super) items: &'a mut Vec<T>,
    pub(super) written: usize,
    pub(super) key: WaitKey,
}

/// Takes an item; made by [`Inbox::recv`].
#[must_use = "futures do nothing unless awaited"]
pub struct Recv<'a, T> {
    pub(super) inbox: &'a Inbox<T>,
    pub(super) key: WaitKey,
}

/// Takes a batch; made by [`Inbox::recv_batch`].
#[must_use = "futures do nothing unless awaited"]
pub struct RecvBatch<'a, T> {
    pub(super) inbox: &'a Inbox<T>,
    pub(super) limit: usize,
    pub(super) key: WaitKey,
}

/// Takes a batch into a buffer; made by [`Inbox::recv_batch_into`].
#[must_use = "futures do nothing unless awaited"]
pub struct RecvBatchInto<'a, T> {
    pub(super) inbox: &'a Inbox<T>,
    pub(super) items: &'a mut Vec<T>,
    pub(super) limit: usize,
    pub(super) key: WaitKey,
}

/// A stream of the items; made by [`Inbox::stream`] and [`Inbox::into_stream`].
#[must_use = "streams do nothing unless polled"]
pub struct Items<H: Deref<Target = Inbox<T>>, T> {
    pub(super) inbox: H,
    pub(super) key: WaitKey,
    pub(super) ended: bool,
}

// No field is ever pinned: items are moved in and out, and the inbox is behind a reference.
impl<T> Unpin for Push<'_, T> {}
impl<H: Deref<Target = Inbox<T>>, T> Unpin for Items<H, T> {}

impl<T> Future for Push<'_, T> {
    type Output = Result<(), PushError<T>>;

    /// # Panics
    /// When it is polled again after it was ready, because its item is gone.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Push { inbox, item, key } = &mut *self;
        let mut state = inbox.state.lock();
        let plain = key.is_none() && state.has_unsized_room(&inbox.limits);
        let Some(to_write) = item.take() else { panic!("a push was polled after it was done") };
        if plain {
            let waker = state.write_unsized(to_write);
            drop(state);
            wake(waker);
            return Poll::Ready(Ok(()));
        }
        let mut after = AfterUnlock::new();
        let result = state.write(&inbox.limits, to_write, *key, &mut after);
        if let Err(PushError::Full(back)) = result {
            if inbox.limits.full == Full::Wait {
                let need = inbox.limits.size_of(item.insert(back));
                inbox.park_writer(state, key, cx, need, after);
                return Poll::Pending;
            }
            state.counters.refused += 1;
            return Poll::Ready(Err(PushError::Full(back)));
        }
        if key.is_some() {
            state.remove_writer(&inbox.limits, key, &mut after);
        }
        drop(state);
        inbox.run_after_unlock(after);
        Poll::Ready(result)
    }
}

impl<T> Future for PushBatch<'_, T> {
    type Output = Result<usize, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let PushBatch { inbox, items, written, key } = &mut *self;
        let mut after = AfterUnlock::new();
        let mut state = inbox.state.lock();
        let result = state.write_batch(&inbox.limits, items, *key, &mut after);
        if let Ok(now) = result {
            *written += now;
            if let Some(next) = items.first() {
                if inbox.limits.full == Full::Wait {
                    let need = inbox.limits.size_of(next);
                    inbox.park_writer(state, key, cx, need, after);
                    return Poll::Pending;
                }
                state.counters.refused += items.len() as u64;
            }
        }
        if key.is_some() {
            state.remove_writer(&inbox.limits, key, &mut after);
        }
        drop(state);
        inbox.run_after_unlock(after);
        Poll::Ready(result.map(|_| *written))
    }
}

impl<T> Future for Recv<'_, T> {
    type Output = Result<T, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Recv { inbox, key } = &mut *self;
        inbox.poll_one(key, cx)
    }
}

impl<T> Future for RecvBatch<'_, T> {
    type Output = Result<Vec<T>, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let RecvBatch { inbox, limit, key } = &mut *self;
        // An empty `Vec` owns no heap memory, so that a pending poll does not allocate.
        let mut items = Vec::new();
        let taken = ready!(inbox.poll_batch(key, cx, &mut items, *limit));
        Poll::Ready(taken.map(|_| items))
    }
}

impl<T> Future for RecvBatchInto<'_, T> {
    type Output = Result<usize, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let RecvBatchInto { inbox, items, limit, key } = &mut *self;
        inbox.poll_batch(key, cx, items, *limit)
    }
}

impl<H: Deref<Target = Inbox<T>>, T> Items<H, T> {
    pub(super) fn new(inbox: H) -> Self {
        Items { inbox, key: None, ended: false }
    }
}

impl<H: Deref<Target = Inbox<T>>, T> Stream for Items<H, T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let Items { inbox, key, ended } = &mut *self;
        let next = ready!(inbox.poll_one(key, cx)).ok();
        *ended = next.is_none();
        Poll::Ready(next)
    }
}

impl<H: Deref<Target = Inbox<T>>, T> FusedStream for Items<H, T> {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl<T> Drop for Push<'_, T> {
    fn drop(&mut self) {
        self.inbox.drop_writer(&mut self.key);
    }
}

impl<T> Drop for PushBatch<'_, T> {
    fn drop(&mut self) {
        self.inbox.drop_writer(&mut self.key);
    }
}

impl<T> Drop for Recv<'_, T> {
    fn drop(&mut self) {
        self.inbox.drop_reader(&mut self.key);
    }
}

impl<T> Drop for RecvBatch<'_, T> {
    fn drop(&mut self) {
        self.inbox.drop_reader(&mut self.key);
    }
}

impl<T> Drop for RecvBatchInto<'_, T> {
    fn drop(&mut self) {
        self.inbox.drop_reader(&mut self.key);
    }
}

impl<H: Deref<Target = Inbox<T>>, T> Drop for Items<H, T> {
    fn drop(&mut self) {
        self.inbox.drop_reader(&mut self.key);
    }
}
