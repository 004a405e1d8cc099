//! [`Notify`]: a cell that wakes whoever waits exactly because it was written to.
//!
//! Rust's types already say who only looks at data (`&T`) and who may change it (`&mut T`). `Notify` takes them at their
//! word. A reader gets a guard that derefs to `&T`, and nobody is woken. A writer gets a guard that also derefs to
//! `&mut T`; when it was used that way, dropping it wakes all who wait. Nobody polls, nobody sends a separate "there is
//! news", and nobody can forget to.
//!
//! ```
//! use std::sync::Arc;
//! use rouse_core::notify::Notify;
//!
//! # async_std::task::block_on(async {
//! let temperature = Arc::new(Notify::new(20));
//! let alarm = async_std::task::spawn({
//!     let temperature = temperature.clone();
//!     // Looks now, and again after every write, until it gives something.
//!     async move { temperature.when(|now| (*now > 90).then_some(*now)).await }
//! });
//! *temperature.write() = 50;      // wakes the alarm, which looks and waits on
//! assert_eq!(*temperature.read(), 50);
//! *temperature.write() = 95;
//! assert_eq!(alarm.await, 95);
//! # });
//! ```
//!
//! # What holds
//!
//! 1. **No lost wake.** Looking and parking happen under one lock: a write comes before the look, and is seen, or after
//!    the parking, and wakes.
//! 2. **No self-wake.** [`Notify::take_when`] changes the value on behalf of a waiter, and wakes nobody.
//! 3. **No wake under the lock.** The guard releases the lock first, then wakes.
//! 4. **Any number of waiters, any executor.** Each waiting future has one entry, freed when it is dropped.
//! 5. **A panic in a writer** neither poisons the cell nor strands a waiter: they are woken as by any write.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::sync::{Mutex, MutexGuard, lock};
use crate::waitlist::{Key, WaitList, Wakers};

/// A value that wakes those who wait on it when it is written to. See the [module's page](self).
pub struct Notify<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    value: T,
    waiters: WaitList,
}

impl<T> Notify<T> {
    /// A cell with this value.
    pub fn new(value: T) -> Self {
        Notify { state: Mutex::new(State { value, waiters: WaitList::new() }) }
    }

    /// To look at the value. Wakes nobody. Others wait while the guard lives: do not hold it across an await.
    pub fn read(&self) -> ReadGuard<'_, T> {
        ReadGuard(lock(&self.state))
    }

    /// To change the value. If the guard is used to, dropping it wakes all who wait.
    pub fn write(&self) -> WriteGuard<'_, T> {
        WriteGuard { guard: Some(lock(&self.state)), written: false }
    }

    /// Waits until `look` gives something. It looks at once, and then after every write.
    pub fn when<R, F: FnMut(&T) -> Option<R>>(
        &self,
        mut look: F,
    ) -> When<'_, T, impl FnMut(&mut T) -> Option<R> + use<T, R, F>> {
        self.take_when(move |value: &mut T| look(value))
    }

    /// Waits until `take` gives something, and lets it change the value then. That change wakes nobody: who takes
    /// something out has no news for those who wait for something to be put in.
    pub fn take_when<R, F: FnMut(&mut T) -> Option<R>>(&self, take: F) -> When<'_, T, F> {
        When { cell: self, take, key: None }
    }
}

impl<T: Default> Default for Notify<T> {
    fn default() -> Self {
        Notify::new(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Notify<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Notify").field(&*self.read()).finish()
    }
}

/// Derefs to `&T`. See [`Notify::read`].
pub struct ReadGuard<'a, T>(MutexGuard<'a, State<T>>);

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

/// Derefs to `&mut T`, and wakes on drop if it was used to. See [`Notify::write`].
pub struct WriteGuard<'a, T> {
    /// There until the guard is dropped.
    guard: Option<MutexGuard<'a, State<T>>>,
    written: bool,
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.guard {
            Some(guard) => &guard.value,
            None => unreachable!("the guard is taken by drop alone"),
        }
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.written = true;
        match &mut self.guard {
            Some(guard) => &mut guard.value,
            None => unreachable!("the guard is taken by drop alone"),
        }
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        let Some(mut guard) = self.guard.take() else { return };
        let mut wakers = Wakers::default();
        if self.written {
            guard.waiters.wake(usize::MAX, &mut wakers);
        }
        drop(guard);
        wakers.wake();
    }
}

/// Waits for a [`Notify`]. May be dropped at any time.
#[must_use = "futures do nothing unless they are awaited"]
pub struct When<'a, T, F> {
    cell: &'a Notify<T>,
    take: F,
    key: Option<Key>,
}

impl<T, F> Unpin for When<'_, T, F> {}

impl<T, R, F: FnMut(&mut T) -> Option<R>> Future for When<'_, T, F> {
    type Output = R;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let this = self.get_mut();
        let mut state = lock(&this.cell.state);
        // A waker that is not needed any more is dropped after the lock: its drop may run any code.
        let (result, _unneeded) = match (this.take)(&mut state.value) {
            Some(result) => (Poll::Ready(result), state.waiters.remove(&mut this.key).1),
            None => (Poll::Pending, state.waiters.park(&mut this.key, cx.waker())),
        };
        drop(state);
        result
    }
}

impl<T, F> Drop for When<'_, T, F> {
    fn drop(&mut self) {
        if self.key.is_some() {
            // Every write wakes all, so that a wake used up here was lost to nobody.
            let mut state = lock(&self.cell.state);
            let _unneeded = state.waiters.remove(&mut self.key);
            drop(state);
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
