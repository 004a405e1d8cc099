//! A bell: tasks that wait for a change of something that has a lock of its own.
//!
//! The task reads the count of rings, looks at what it waits for, and waits for another count when it has to: a change between
//! the look and the wait is not missed. As with every [`Notify`], a waker is called, and dropped, when no lock is unconfirmed: it may
//! be an application's, and may use the connection that it waits for at once.

use crate::notify::Notify;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct EventCount {
    rings: Notify<u64>,
}

impl EventCount {
    /// Wakes every task that waits. No lock may be unconfirmed.
    pub(super) fn ring(&self) {
        *self.rings.write() += 1;
    }

    /// The count of rings, to be read before the look at what the task waits for.
    pub(super) fn rings(&self) -> u64 {
        *self.rings.read()
    }

    /// Waits until the count is another than `seen`.
    pub(super) async fn after(&self, seen: u64) {
        self.rings.when(|rings| (*rings != seen).then_some(())).await;
    }
}
