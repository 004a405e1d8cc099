//! Connections without a permit: those that have not sent a greeting yet, and those that only administer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::{AbortHandle, AbortRegistration};

/// The most provisional connections at once.
const MAX_PROVISIONAL: usize = 32;

/// The provisional connections of a server.
///
/// A new connection always gets in, because the oldest is closed when there are too many. A program that holds every
/// permit and every entry here therefore does not keep the daemon's owner out.
#[derive(Debug, Default)]
pub(super) struct ProvisionalConnections {
    table: Mutex<ProvisionalTable>,
}

#[derive(Debug, Default)]
struct ProvisionalTable {
    next_id: u64,
    /// The oldest first.
    by_age: VecDeque<(u64, AbortHandle)>,
}

impl ProvisionalConnections {
    fn lock(&self) -> MutexGuard<'_, ProvisionalTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection. The caller lets the registration abort the task that serves it.
    pub(super) fn add(self: &Arc<Self>) -> (ProvisionalEntry, AbortRegistration) {
        let (abort, registration) = AbortHandle::new_pair();
        let mut table = self.lock();
        let id = table.next_id;
        table.next_id += 1;
        table.by_age.push_back((id, abort));
        let evicted = if table.by_age.len() > MAX_PROVISIONAL { table.by_age.pop_front() } else { None };
        // Aborting calls a waker, which happens without the lock.
        drop(table);
        if let Some((_, abort)) = evicted {
            abort.abort();
        }
        (ProvisionalEntry { connections: self.clone(), id }, registration)
    }
}

/// The entry of a provisional connection. When it is dropped, the connection is no longer closed to make room for
/// another.
#[derive(Debug)]
pub(super) struct ProvisionalEntry {
    connections: Arc<ProvisionalConnections>,
    id: u64,
}

impl Drop for ProvisionalEntry {
    fn drop(&mut self) {
        self.connections.lock().by_age.retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::Abortable;

    #[test]
    fn one_connection_too_many_closes_the_oldest_and_none_whose_entry_was_dropped() {
        let connections = Arc::new(ProvisionalConnections::default());
        let (dropped, first) = connections.add();
        drop(dropped);
        let entries: Vec<_> = (0..=MAX_PROVISIONAL).map(|_| connections.add()).collect();
        let is_closed = |registration| Abortable::new((), registration).is_aborted();
        let closed: Vec<bool> =
            entries.into_iter().map(|(_, registration)| is_closed(registration)).collect();
        assert!(!is_closed(first));
        assert_eq!(closed.iter().filter(|closed| **closed).count(), 1);
        assert!(closed[0]);
    }
}
