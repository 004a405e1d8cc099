//! The room that a client has for items of a stream.

use std::sync::{Mutex, MutexGuard, PoisonError};

use event_listener::Event as EventCount;

/// Further items of a stream that the client has room for.
#[derive(Debug, Default)]
pub(super) struct Credit {
    items: Mutex<u64>,
    more: EventCount,
}

impl Credit {
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, items: u32) {
        let mut credit = self.lock();
        *credit = credit.saturating_add(u64::from(items));
        drop(credit);
        self.more.notify(usize::MAX);
    }

    pub(super) async fn spend(&self) {
        loop {
            let listener = {
                let mut credit = self.lock();
                if let Some(left) = credit.checked_sub(1) {
                    *credit = left;
                    return;
                }
                self.more.listen()
            };
            listener.await;
        }
    }
}
