//! What all connections of a server share, and how much of it there is.
//!
//! Bounds per connection alone would let a program with many connections take 256 times as much.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::{AbortHandle, AbortRegistration};
use futures::lock;

/// The most calls under way in all, beside the [`FREE_CALLS`] of each connection: with those of all connections, 8192 calls that
/// hold some 2 KiB each.
///
/// [`FREE_CALLS`]: crate::ipc::protocol::FREE_CALLS
pub(super) const MAX_CALLS_IN_ALL: usize = 4096;

/// The most subscriptions in all. Each event is copied to each of them, and one that is not read holds 4096 events.
const MAX_SUBSCRIPTIONS: usize = 64;

/// So many of them are for the daemon's owner alone.
const RESERVED_SUBSCRIPTIONS: usize = 16;

/// The most long lists in all that wait to be read by their clients.
const MAX_UNREAD_LISTS: usize = 8;

/// So many of them are for the daemon's owner alone.
const RESERVED_UNREAD_LISTS: usize = 2;

/// The most connections without a place: they have not greeted yet, or are there to administer.
const MAX_PROVISIONAL: usize = 32;

/// What all connections of a server share.
#[derive(Debug, Default)]
pub(super) struct ServerQuotas {
    calls: Arc<AtomicUsize>,
    subscriptions: ReservedQuota,
    unread_lists: ReservedQuota,
    /// UnconfirmedMessages by the one call that makes a list: the longest takes the router and its caller milliseconds.
    pub(super) listing: lock::Mutex<()>,
}

impl ServerQuotas {
    /// A call under way, for as long as the share lives; `None` when there are enough.
    pub(super) fn call(&self) -> Option<QuotaPermit> {
        QuotaPermit::take(&self.calls, MAX_CALLS_IN_ALL)
    }

    /// A subscription to events, of the daemon's owner or another user.
    pub(super) fn subscription(&self, owner: bool) -> Option<ReservedQuotaPermit> {
        self.subscriptions.take(owner, MAX_SUBSCRIPTIONS, RESERVED_SUBSCRIPTIONS)
    }

    /// A long list that waits to be read by the daemon's owner or another user.
    pub(super) fn unread_list(&self, owner: bool) -> Option<ReservedQuotaPermit> {
        self.unread_lists.take(owner, MAX_UNREAD_LISTS, RESERVED_UNREAD_LISTS)
    }
}

/// A number of things of which a part is for the daemon's owner alone: other users do not keep it from looking at the daemon.
#[derive(Debug, Default)]
struct ReservedQuota {
    all: Arc<AtomicUsize>,
    /// Those of other users.
    foreign: Arc<AtomicUsize>,
}

impl ReservedQuota {
    fn take(&self, owner: bool, most: usize, reserved: usize) -> Option<ReservedQuotaPermit> {
        let foreign = match owner {
            true => None,
            false => Some(QuotaPermit::take(&self.foreign, most.saturating_sub(reserved))?),
        };
        Some(ReservedQuotaPermit { _all: QuotaPermit::take(&self.all, most)?, _foreign: foreign })
    }
}

/// A share of what has a part for the owner.
#[derive(Debug)]
pub(super) struct ReservedQuotaPermit {
    _all: QuotaPermit,
    _foreign: Option<QuotaPermit>,
}

/// One of a bounded number of things, given back when it is dropped.
#[derive(Debug)]
pub(super) struct QuotaPermit(Arc<AtomicUsize>);

impl QuotaPermit {
    pub(super) fn take(taken: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        // Made before the look, so that it is given back when it is one too many.
        let share = QuotaPermit(taken.clone());
        (taken.fetch_add(1, Ordering::SeqCst) < most).then_some(share)
    }
}

impl Drop for QuotaPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Connections without a place. There is always room for one more, because the oldest is closed for it: so a program that
/// holds every place, and every seat here, does not keep the daemon's owner out.
#[derive(Debug, Default)]
pub(super) struct ProvisionalConnections {
    entries: Mutex<ProvisionalTable>,
}

#[derive(Debug, Default)]
struct ProvisionalTable {
    next: u64,
    by_age: VecDeque<(u64, AbortHandle)>,
}

impl ProvisionalConnections {
    fn lock(&self) -> MutexGuard<'_, ProvisionalTable> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection in. What serves it is to be aborted with the registration.
    pub(super) fn enter(self: &Arc<Self>) -> (ProvisionalEntry, AbortRegistration) {
        let (abort, registration) = AbortHandle::new_pair();
        let mut entries = self.lock();
        let id = entries.next;
        entries.next += 1;
        entries.by_age.push_back((id, abort));
        let beyond = if entries.by_age.len() > MAX_PROVISIONAL { entries.by_age.pop_front() } else { None };
        drop(entries);
        if let Some((_, abort)) = beyond {
            abort.abort();
        }
        (ProvisionalEntry { provisional: self.clone(), id }, registration)
    }
}

/// A connection in the provisional; when it is dropped the connection has left, and is not closed for another.
#[derive(Debug)]
pub(super) struct ProvisionalEntry {
    provisional: Arc<ProvisionalConnections>,
    id: u64,
}

impl Drop for ProvisionalEntry {
    fn drop(&mut self) {
        self.provisional.lock().by_age.retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::Abortable;

    #[test]
    fn shares_are_bounded_and_come_back() {
        let quotas = ServerQuotas::default();
        let mut taken: Vec<_> = (0..MAX_SUBSCRIPTIONS).filter_map(|_| quotas.subscription(true)).collect();
        assert_eq!(taken.len(), MAX_SUBSCRIPTIONS);
        assert!(quotas.subscription(true).is_none() && quotas.subscription(true).is_none());
        taken.pop();
        assert!(quotas.subscription(true).is_some());
    }

    #[test]
    fn the_lobby_closes_the_oldest_for_one_more_and_none_that_has_left() {
        let provisional = Arc::new(ProvisionalConnections::default());
        let (has_left, first) = provisional.enter();
        drop(has_left);
        let entries: Vec<_> = (0..=MAX_PROVISIONAL).map(|_| provisional.enter()).collect();
        let is_closed = |registration| Abortable::new((), registration).is_aborted();
        let closed: Vec<bool> =
            entries.into_iter().map(|(_, registration)| is_closed(registration)).collect();
        assert!(!is_closed(first));
        assert_eq!(closed.iter().filter(|closed| **closed).count(), 1);
        assert!(closed[0]);
    }
}
