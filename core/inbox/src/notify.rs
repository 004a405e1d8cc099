//! The wake-on-write cell: writing to its value wakes the tasks that wait for the value; reading does not.
//!
//! A shared borrow wakes no task, and the end of a mutable borrow wakes the tasks that wait. No task polls, and no code
//! sends a separate "it has changed" message, so that no change to the program can forget to send it.
//!
//! ```
//! use std::sync::Arc;
//! use std::thread;
//!
//! use futures::executor::block_on;
//! use rouse_inbox::Notify;
//!
//! let level = Arc::new(Notify::new(0));
//!
//! // A task that waits until the level is at least 3. It sleeps between writes.
//! let waiting = thread::spawn({
//!     let level = level.clone();
//!     move || block_on(level.when(|level| (*level >= 3).then_some(*level)))
//! });
//!
//! *level.write() += 1;              // wakes the task; it looks, and keeps waiting
//! assert_eq!(*level.read(), 1);     // wakes no task
//! *level.write() += 2;              // wakes the task; it looks, and is done
//! assert_eq!(waiting.join().unwrap(), 3);
//! ```
//!
//! # The contract
//!
//! 1. [`Notify::read`] wakes no task. Neither does a [`Notify::write`] guard that was only read through.
//! 2. A write guard that was borrowed mutably wakes **all** waiting tasks when it drops. The lock is released first,
//!    so that a woken task does not run into it.
//! 3. [`Notify::when`] looks under the lock and parks under the same lock. A write after the look makes it look
//!    again: no wake is lost.
//! 4. [`Notify::take_when`] may take something out of the value, and wakes no task by doing so.
//! 5. Any number of tasks may wait, on any executor. A waiting future that is dropped leaves the cell.
//! 6. A panic while a write guard is held releases the lock and wakes all waiting tasks. The value stays as the panic
//!    left it. A panic in the waker of one task does not affect the others, nor the task that wrote.
//!
//! The guards hold a plain mutex: hold them briefly, never across an `.await` (they are not `Send`, so that a spawned
//! task that tries does not compile).
//!
//! For a queue, where one item is for one consumer, use an [`Inbox`](crate::inbox::Inbox).

use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::sync::{Mutex, MutexGuard};
use crate::wait_list::{Deferred, WaitKey, WaitList};

#[cfg(all(test, not(loom)))]
mod tests;

/// A value that wakes the tasks that wait for it whenever it is written to. The [module](self) states the contract.
pub struct Notify<T> {
    cell: Mutex<Cell<T>>,
}

/// The part of a [`Notify`] under its lock.
struct Cell<T> {
    value: T,
    waiters: WaitList,
    spare: Vec<Waker>,
}

impl<T> Notify<T> {
    /// A cell that holds `value`.
    pub fn new(value: T) -> Self {
        Notify { cell: Mutex::new(Cell { value, waiters: WaitList::new(), spare: Vec::new() }) }
    }

    /// Locks the value for reading. Wakes no task.
    pub fn read(&self) -> ReadGuard<'_, T> {
        ReadGuard { cell: self.cell.lock() }
    }

    /// Locks the value for reading and writing. If it was borrowed mutably, all waiting tasks are woken when the guard
    /// drops.
    pub fn write(&self) -> WriteGuard<'_, T> {
        WriteGuard { notify: self, cell: Some(self.cell.lock()), written: false }
    }

    /// Waits until `look` returns `Some`. `look` is called now and after each write.
    ///
    /// `look` runs under the lock: it should be quick, and must not touch this cell, which would deadlock.
    pub fn when<R, F>(&self, look: F) -> When<'_, T, F>
    where
        F: FnMut(&T) -> Option<R>,
    {
        When { notify: self, look, key: None }
    }

    /// Waits until `take` returns `Some`. `take` is called now and after each write. It wakes no task by what it takes
    /// out of the value; when it returns `None`, it should have left the value unchanged.
    ///
    /// `take` runs under the lock: it should be quick, and must not touch this cell, which would deadlock.
    ///
    /// ```
    /// # use futures::executor::block_on;
    /// # use rouse_inbox::Notify;
    /// let stack = Notify::new(vec!["first", "second"]);
    /// assert_eq!(block_on(stack.take_when(Vec::pop)), "second");
    /// assert_eq!(stack.into_inner(), ["first"]);
    /// ```
    pub fn take_when<R, F>(&self, take: F) -> TakeWhen<'_, T, F>
    where
        F: FnMut(&mut T) -> Option<R>,
    {
        TakeWhen { notify: self, take, key: None }
    }

    /// Consumes the cell and returns the value.
    pub fn into_inner(self) -> T {
        self.cell.into_inner().value
    }

    fn poll<R>(
        &self,
        key: &mut WaitKey,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(&mut T) -> Option<R>,
    ) -> Poll<R> {
        let mut cell = self.cell.lock();
        match attempt(&mut cell.value) {
            Some(found) => {
                let left = cell.waiters.leave(key);
                drop(cell);
                drop(left);
                Poll::Ready(found)
            }
            None => {
                let stale = cell.waiters.park(key, cx.waker(), 0);
                drop(cell);
                drop(stale);
                Poll::Pending
            }
        }
    }

    /// Frees the slot of a dropped future. It has no wake to hand on, because every write wakes all waiting tasks.
    fn forget(&self, key: &mut WaitKey) {
        if key.is_some() {
            let left = self.cell.lock().waiters.leave(key);
            drop(left);
        }
    }
}

impl<T> Cell<T> {
    fn all(&mut self) -> Deferred<Waker> {
        let mut wakers = Deferred::new();
        while let Some(waker) = self.waiters.wake_first() {
            wakers.push_reusing(waker, &mut self.spare);
        }
        wakers
    }
}

impl<T: Default> Default for Notify<T> {
    fn default() -> Self {
        Notify::new(T::default())
    }
}

impl<T> From<T> for Notify<T> {
    fn from(value: T) -> Self {
        Notify::new(value)
    }
}

impl<T: fmt::Debug> fmt::Debug for Notify<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Notify").field(&*self.read()).finish()
    }
}

/// A lock on the value of a [`Notify`] for reading; made by [`Notify::read`].
#[must_use = "the lock is held as long as the guard lives"]
pub struct ReadGuard<'a, T> {
    cell: MutexGuard<'a, Cell<T>>,
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.cell.value
    }
}

/// A lock on the value of a [`Notify`] for reading and writing, which wakes the waiting tasks if it was borrowed
/// mutably; made by [`Notify::write`].
#[must_use = "the lock is held as long as the guard lives"]
pub struct WriteGuard<'a, T> {
    notify: &'a Notify<T>,
    /// `None` only while the guard drops, which has to release the lock before it wakes.
    cell: Option<MutexGuard<'a, Cell<T>>>,
    written: bool,
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.cell {
            Some(cell) => &cell.value,
            None => unreachable!("the lock is held until the guard drops"),
        }
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.written = true;
        match &mut self.cell {
            Some(cell) => &mut cell.value,
            None => unreachable!("the lock is held until the guard drops"),
        }
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        let Some(mut cell) = self.cell.take().filter(|_| self.written) else { return };
        let wakers = cell.all();
        drop(cell);
        if let Some(spare) = wakers.wake() {
            self.notify.cell.lock().spare = spare;
        }
    }
}

/// A future that waits until a look at the value returns `Some`; made by [`Notify::when`].
#[must_use = "futures do nothing unless awaited"]
pub struct When<'a, T, F> {
    notify: &'a Notify<T>,
    look: F,
    key: WaitKey,
}

/// A future that waits until something can be taken out of the value; made by [`Notify::take_when`].
#[must_use = "futures do nothing unless awaited"]
pub struct TakeWhen<'a, T, F> {
    notify: &'a Notify<T>,
    take: F,
    key: WaitKey,
}

// The closures are only ever called, never pinned.
impl<T, F> Unpin for When<'_, T, F> {}
impl<T, F> Unpin for TakeWhen<'_, T, F> {}

impl<T, R, F: FnMut(&T) -> Option<R>> Future for When<'_, T, F> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let When { notify, look, key } = &mut *self;
        notify.poll(key, cx, |value| look(value))
    }
}

impl<T, R, F: FnMut(&mut T) -> Option<R>> Future for TakeWhen<'_, T, F> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let TakeWhen { notify, take, key } = &mut *self;
        notify.poll(key, cx, take)
    }
}

impl<T, F> Drop for When<'_, T, F> {
    fn drop(&mut self) {
        self.notify.forget(&mut self.key);
    }
}

impl<T, F> Drop for TakeWhen<'_, T, F> {
    fn drop(&mut self) {
        self.notify.forget(&mut self.key);
    }
}

#[cfg(all(test, loom))]
mod models;
