//! The resources that all connections of a server share, and their bounds.
//!
//! Bounds for each connection alone would let a program with many connections take 256 times as much.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::lock;

use crate::ipc::frame_memory::FrameMemory;
use crate::ipc::protocol::MAX_CALLS;

/// The most calls under way in all, beside the [`FREE_CALLS`] of each connection: with those of all connections, 8192
/// calls that hold some 2 KiB each.
///
/// [`FREE_CALLS`]: crate::ipc::protocol::FREE_CALLS
pub(super) const MAX_CALLS_IN_ALL: usize = 4096;

/// The number of them that are reserved for the daemon's owner: as many as one connection may have.
const RESERVED_CALLS: usize = MAX_CALLS;

/// The most subscriptions in all. Each event is copied to each of them, and one that is not read holds 4096 events.
const MAX_SUBSCRIPTIONS: usize = 64;

/// The number of them that are reserved for the daemon's owner.
const RESERVED_SUBSCRIPTIONS: usize = 16;

/// The most long lists in all that wait to be read by their clients.
const MAX_UNREAD_LISTS: usize = 8;

/// The number of them that are reserved for the daemon's owner.
const RESERVED_UNREAD_LISTS: usize = 2;

/// The quotas of a server. A permit counts against its quota until it is dropped.
#[derive(Debug, Default)]
pub(super) struct ServerQuotas {
    calls: ReservedQuota,
    subscriptions: ReservedQuota,
    unread_lists: ReservedQuota,
    /// The memory of frames that are not complete yet.
    pub(super) frames: Arc<FrameMemory>,
    /// Locked by the one call that makes a list, since the longest list takes the router milliseconds.
    pub(super) listing: lock::Mutex<()>,
}

impl ServerQuotas {
    /// A permit for a call under way, of the daemon's owner or another user; `None` when the quota is used up.
    pub(super) fn call(&self, owner: bool) -> Option<ReservedQuotaPermit> {
        self.calls.take(owner, MAX_CALLS_IN_ALL, RESERVED_CALLS)
    }

    /// A permit for a subscription to events, of the daemon's owner or another user.
    pub(super) fn subscription(&self, owner: bool) -> Option<ReservedQuotaPermit> {
        self.subscriptions.take(owner, MAX_SUBSCRIPTIONS, RESERVED_SUBSCRIPTIONS)
    }

    /// A permit for a long list that waits to be read by the daemon's owner or another user.
    pub(super) fn unread_list(&self, owner: bool) -> Option<ReservedQuotaPermit> {
        self.unread_lists.take(owner, MAX_UNREAD_LISTS, RESERVED_UNREAD_LISTS)
    }
}

/// A quota of which a part is reserved for the daemon's owner, so that other users cannot keep the owner from
/// inspecting the daemon.
#[derive(Debug, Default)]
struct ReservedQuota {
    all: Arc<AtomicUsize>,
    /// The part that other users have taken.
    foreign: Arc<AtomicUsize>,
}

impl ReservedQuota {
    fn take(&self, owner: bool, limit: usize, reserved: usize) -> Option<ReservedQuotaPermit> {
        let foreign = match owner {
            true => None,
            false => Some(QuotaPermit::take(&self.foreign, limit.saturating_sub(reserved))?),
        };
        Some(ReservedQuotaPermit { _all: QuotaPermit::take(&self.all, limit)?, _foreign: foreign })
    }
}

/// A permit from a quota with a reserved part.
#[derive(Debug)]
pub(super) struct ReservedQuotaPermit {
    _all: QuotaPermit,
    _foreign: Option<QuotaPermit>,
}

/// A permit from a quota, given back when it is dropped.
#[derive(Debug)]
pub(super) struct QuotaPermit(Arc<AtomicUsize>);

impl QuotaPermit {
    /// Takes one of `limit` permits; `None` when all are taken.
    pub(super) fn take(taken: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        // The permit is made before the comparison, so that its drop takes back the addition when it is one too many.
        let permit = QuotaPermit(taken.clone());
        (taken.fetch_add(1, Ordering::SeqCst) < limit).then_some(permit)
    }
}

impl Drop for QuotaPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_bounded_and_given_back_when_dropped() {
        let quotas = ServerQuotas::default();
        let mut taken: Vec<_> = (0..MAX_SUBSCRIPTIONS).filter_map(|_| quotas.subscription(true)).collect();
        assert_eq!(taken.len(), MAX_SUBSCRIPTIONS);
        assert!(quotas.subscription(true).is_none() && quotas.subscription(true).is_none());
        taken.pop();
        assert!(quotas.subscription(true).is_some());
    }
}
