//! Writing now and waking later, for a caller that holds a lock of its own.

use std::fmt;
use std::sync::Arc;

use super::state::AfterUnlock;
use super::{Inbox, PushError};

impl<T> Inbox<T> {
    /// Writes an item as [`try_push`](Inbox::try_push) does, but leaves the wake to the caller: the reader is woken when
    /// the [`DeferredWake`] is dropped. It is for a caller that holds a lock of its own, which a woken reader may need;
    /// the caller drops the wake when it has released that lock.
    ///
    /// ```
    /// # use std::sync::{Arc, Mutex};
    /// # use rouse_inbox::{Full, Inbox};
    /// let (numbers, inbox) = (Mutex::new(0), Arc::new(Inbox::new(8, Full::DropOldest)));
    ///
    /// let mut last = numbers.lock().unwrap();
    /// *last += 1;
    /// let (result, wake) = inbox.try_push_deferred(*last); // under the lock, so that the numbers are written in order
    /// drop(last);
    /// drop(wake);
    /// assert_eq!((result, inbox.try_recv()), (Ok(()), Ok(1)));
    /// ```
    pub fn try_push_deferred(self: &Arc<Self>, item: T) -> (Result<(), PushError<T>>, DeferredWake<T>) {
        let mut after = AfterUnlock::new();
        let mut state = self.state.lock();
        let result = state.write(&self.limits, item, None, &mut after);
        if let Err(PushError::Full(_)) = result {
            state.counters.refused += 1;
        }
        drop(state);
        (result, DeferredWake { inbox: self.clone(), after: Some(after) })
    }
}

/// The wake of a reader that [`Inbox::try_push_deferred`] has left to its caller. Dropping it wakes the reader, so that
/// no wake can be forgotten.
#[must_use = "it wakes at once if it is not kept"]
pub struct DeferredWake<T> {
    inbox: Arc<Inbox<T>>,
    /// `None` only while it drops.
    after: Option<AfterUnlock<T>>,
}

impl<T> Drop for DeferredWake<T> {
    fn drop(&mut self) {
        if let Some(after) = self.after.take() {
            self.inbox.run_after_unlock(after);
        }
    }
}

impl<T> fmt::Debug for DeferredWake<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeferredWake").finish_non_exhaustive()
    }
}
