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
/// [`FREE_CALLS`]: crate::ipc::proto::FREE_CALLS
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
const MAX_GUESTS: usize = 32;

/// What all connections of a server share.
#[derive(Debug, Default)]
pub(super) struct Shares {
    calls: Arc<AtomicUsize>,
    subscriptions: Parts,
    unread_lists: Parts,
    /// Held by the one call that makes a list: the longest takes the router and its caller milliseconds.
    pub(super) listing: lock::Mutex<()>,
}

impl Shares {
    /// A call under way, for as long as the share lives; `None` when there are enough.
    pub(super) fn call(&self) -> Option<Share> {
        Share::take(&self.calls, MAX_CALLS_IN_ALL)
    }

    /// A subscription to events, of the daemon's owner or another user.
    pub(super) fn subscription(&self, owner: bool) -> Option<PartedShare> {
        self.subscriptions.take(owner, MAX_SUBSCRIPTIONS, RESERVED_SUBSCRIPTIONS)
    }

    /// A long list that waits to be read by the daemon's owner or another user.
    pub(super) fn unread_list(&self, owner: bool) -> Option<PartedShare> {
        self.unread_lists.take(owner, MAX_UNREAD_LISTS, RESERVED_UNREAD_LISTS)
    }
}

/// A number of things of which a part is for the daemon's owner alone: other users do not keep it from looking at the daemon.
#[derive(Debug, Default)]
struct Parts {
    all: Arc<AtomicUsize>,
    /// Those of other users.
    foreign: Arc<AtomicUsize>,
}

impl Parts {
    fn take(&self, owner: bool, most: usize, reserved: usize) -> Option<PartedShare> {
        let foreign = match owner {
            true => None,
            false => Some(Share::take(&self.foreign, most.saturating_sub(reserved))?),
        };
        Some(PartedShare { _all: Share::take(&self.all, most)?, _foreign: foreign })
    }
}

/// A share of what has a part for the owner.
#[derive(Debug)]
pub(super) struct PartedShare {
    _all: Share,
    _foreign: Option<Share>,
}

/// One of a bounded number of things, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share(Arc<AtomicUsize>);

impl Share {
    pub(super) fn take(taken: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        // Made before the look, so that it is given back when it is one too many.
        let share = Share(taken.clone());
        (taken.fetch_add(1, Ordering::SeqCst) < most).then_some(share)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Connections without a place. There is always room for one more, because the oldest is closed for it: so a program that
/// holds every place, and every seat here, does not keep the daemon's owner out.
#[derive(Debug, Default)]
pub(super) struct Lobby {
    guests: Mutex<Guests>,
}

#[derive(Debug, Default)]
struct Guests {
    next: u64,
    by_age: VecDeque<(u64, AbortHandle)>,
}

impl Lobby {
    fn lock(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection in. What serves it is to be aborted with the registration.
    pub(super) fn enter(self: &Arc<Self>) -> (Guest, AbortRegistration) {
        let (abort, registration) = AbortHandle::new_pair();
        let mut guests = self.lock();
        let id = guests.next;
        guests.next += 1;
        guests.by_age.push_back((id, abort));
        let beyond = if guests.by_age.len() > MAX_GUESTS { guests.by_age.pop_front() } else { None };
        drop(guests);
        if let Some((_, abort)) = beyond {
            abort.abort();
        }
        (Guest { lobby: self.clone(), id }, registration)
    }
}

/// A connection in the lobby; when it is dropped the connection has left, and is not closed for another.
#[derive(Debug)]
pub(super) struct Guest {
    lobby: Arc<Lobby>,
    id: u64,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.lobby.lock().by_age.retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::Abortable;

    #[test]
    fn shares_are_bounded_and_come_back() {
        let shares = Shares::default();
        let mut taken: Vec<_> = (0..MAX_SUBSCRIPTIONS).filter_map(|_| shares.subscription(true)).collect();
        assert_eq!(taken.len(), MAX_SUBSCRIPTIONS);
        assert!(shares.subscription(true).is_none() && shares.subscription(true).is_none());
        taken.pop();
        assert!(shares.subscription(true).is_some());
    }

    #[test]
    fn the_lobby_closes_the_oldest_for_one_more_and_none_that_has_left() {
        let lobby = Arc::new(Lobby::default());
        let (has_left, first) = lobby.enter();
        drop(has_left);
        let guests: Vec<_> = (0..=MAX_GUESTS).map(|_| lobby.enter()).collect();
        let is_closed = |registration| Abortable::new((), registration).is_aborted();
        let closed: Vec<bool> = guests.into_iter().map(|(_, registration)| is_closed(registration)).collect();
        assert!(!is_closed(first));
        assert_eq!(closed.iter().filter(|closed| **closed).count(), 1);
        assert!(closed[0]);
    }
}
