//! An event count (Reed and Kanodia, 1979): tasks wait for a change of a value that has a lock of its own.
//!
//! A [`Notify`] wakes every task that waits for its value. A value on which two kinds of tasks wait, each for another
//! change, has a lock of its own and one event count for each kind instead, so that a change wakes only the tasks that
//! it concerns. As with every [`Notify`], a waker is called, and dropped, while no lock is held: it may be an
//! application's, and may use the connection that it waits for at once.

use crate::notify::Notify;

/// A counter of changes, on which tasks wait. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct EventCount {
    count: Notify<u64>,
}

impl EventCount {
    /// Counts a change and wakes every task that waits. The caller holds no lock.
    pub(super) fn advance(&self) {
        *self.count.write() += 1;
    }

    /// Waits until `look` returns `Some`. `look` is called now and after each change; it runs without the lock of the
    /// count, so that it may take the lock of the value.
    pub(super) async fn when<R>(&self, mut look: impl FnMut() -> Option<R>) -> R {
        loop {
            // The count is read before the look, so that a change between the look and the wait is not missed.
            let seen = *self.count.read();
            if let Some(found) = look() {
                return found;
            }
            self.count.when(|count| (*count != seen).then_some(())).await;
        }
    }
}
