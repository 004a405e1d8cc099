//! The wake-on-write cell: readers are silent, and whoever waits runs when somebody has written.
//!
//! # The idea
//!
//! Rust's types already say who only looks at a value (`&T`) and who may change it (`&mut T`). A cell that hands out
//! both can tell them apart by itself: it stays silent for those who look, and wakes the tasks that wait for the value
//! when one who may change it has let go. Nobody polls. Nobody sends a separate "it has changed" message, so nobody
//! can forget to.
//!
//! ```
//! use std::sync::Arc;
//! use rouse_core::notify::Notify;
//!
//! # async_std::task::block_on(async {
//! let level = Arc::new(Notify::new(0));
//!
//! // A task that waits until the level is at least 3. It sleeps between writes.
//! let waiting = async_std::task::spawn({
//!     let level = level.clone();
//!     async move { level.when(|level| (*level >= 3).then_some(*level)).await }
//! });
//!
//! *level.write() += 1;              // wakes it; it looks, and waits on
//! assert_eq!(*level.read(), 1);     // wakes nobody
//! *level.write() += 2;              // wakes it; it looks, and is done
//! assert_eq!(waiting.await, 3);
//! # });
//! ```
//!
//! # The contract
//!
//! 1. [`Notify::read`] never wakes anybody. Neither does a [`Notify::write`] guard that was only read through.
//! 2. A write guard that was borrowed mutably wakes **all** who wait, when it drops: first the lock is released,
//!    then they are woken.
//! 3. [`Notify::when`] looks under the lock and parks under the same lock. A write that comes after the look
//!    makes it look again: no wake is lost.
//! 4. [`Notify::take_when`] may take something out of the value, and wakes nobody by doing so.
//! 5. Any number of tasks may wait, on any executor. A waiting future that is dropped leaves the cell.
//! 6. A panic while a write guard is held releases the lock and wakes all who wait. The value stays as the panic
//!    left it.
//!
//! The guards hold a plain mutex: hold them for moments, never across an `.await` (they are not `Send`, so a spawned
//! task that tries does not compile).
//!
//! For a queue, where one item is for one consumer, take an [`Inbox`](crate::inbox::Inbox).

use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::sync::{Mutex, MutexGuard};
use crate::waitlist::{Deferred, WaitKey, WaitList};

#[cfg(all(test, not(feature = "loom")))]
mod tests;

/// A value that wakes the tasks which wait for it whenever it was written to. See the [module](self).
pub struct Notify<T> {
    cell: Mutex<Cell<T>>,
}

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

    /// Looks at the value. Wakes nobody.
    pub fn read(&self) -> ReadGuard<'_, T> {
        ReadGuard { cell: self.cell.lock() }
    }

    /// Looks at the value or changes it. If it was borrowed mutably, all who wait are woken when the guard drops.
    pub fn write(&self) -> WriteGuard<'_, T> {
        WriteGuard { notify: self, cell: Some(self.cell.lock()), written: false }
    }

    /// Waits until `look` returns something, looking now and after each write.
    ///
    /// `look` runs under the lock: it should be quick, and must not touch this cell.
    pub fn when<R, F>(&self, look: F) -> When<'_, T, F>
    where
        F: FnMut(&T) -> Option<R>,
    {
        When { notify: self, look, key: None }
    }

    /// Waits until `take` returns something, trying now and after each write. What it takes out of the value wakes
    /// nobody; when it returns `None` it should have left the value as it was.
    ///
    /// `take` runs under the lock: it should be quick, and must not touch this cell.
    ///
    /// ```
    /// # use rouse_core::notify::Notify;
    /// # async_std::task::block_on(async {
    /// let stack = Notify::new(vec!["first", "second"]);
    /// assert_eq!(stack.take_when(Vec::pop).await, "second");
    /// assert_eq!(stack.into_inner(), ["first"]);
    /// # });
    /// ```
    pub fn take_when<R, F>(&self, take: F) -> TakeWhen<'_, T, F>
    where
        F: FnMut(&mut T) -> Option<R>,
    {
        TakeWhen { notify: self, take, key: None }
    }

    /// The value itself.
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

    /// Every write wakes everybody, so one who leaves has no wake to hand on.
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

/// Looks at the value of a [`Notify`]; made by [`Notify::read`].
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

/// Looks at the value of a [`Notify`] or changes it, and wakes those who wait if it was borrowed mutably; made by
/// [`Notify::write`].
#[must_use = "the lock is held as long as the guard lives"]
pub struct WriteGuard<'a, T> {
    notify: &'a Notify<T>,
    /// Gone only while the guard drops.
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

/// Waits until a look at the value finds something; made by [`Notify::when`].
#[must_use = "futures do nothing unless awaited"]
pub struct When<'a, T, F> {
    notify: &'a Notify<T>,
    look: F,
    key: WaitKey,
}

/// Waits until something can be taken out of the value; made by [`Notify::take_when`].
#[must_use = "futures do nothing unless awaited"]
pub struct TakeWhen<'a, T, F> {
    notify: &'a Notify<T>,
    take: F,
    key: WaitKey,
}

// The closure is only ever called, never pinned.
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

#[cfg(all(test, feature = "loom"))]
mod models;
