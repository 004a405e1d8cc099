//! The phases in which a server ends, and the counts of the connections that it waits for.

use std::sync::Arc;

use crate::notify::Notify;

/// The phase that a server and all its connections are in. A server passes through the phases in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Connections and calls are accepted.
    #[default]
    Serving,
    /// No more calls are accepted, and those under way have been ended.
    Draining,
    /// Messages that were fetched and not confirmed go back to their inboxes. This phase is later than the first,
    /// because otherwise one connection would fetch the messages that another gave back.
    Returning,
    /// No more connections are accepted, and those that are open end.
    Closed,
}

/// The lifecycle of a server, shared with its connections.
#[derive(Debug, Default)]
pub(super) struct Lifecycle {
    /// Every connection waits on it. The counts have a cell of their own, so that a connection that begins or ends does
    /// not wake all others.
    phase: Notify<Phase>,
    /// Only a server that stops waits on it.
    counts: Notify<ConnectionCounts>,
}

/// The numbers of connections, by the reason for which they are counted.
#[derive(Debug, Default)]
struct ConnectionCounts {
    open: usize,
    foreign: usize,
    calling: usize,
    unconfirmed: usize,
}

/// One of the counts of connections.
#[derive(Clone, Copy, Debug)]
pub(super) enum ConnectionCount {
    /// Connections that hold a permit.
    Open,
    /// Connections of users that do not own the daemon.
    Foreign,
    /// Connections that may have calls under way.
    Calling,
    /// Connections that may have messages fetched and not confirmed.
    Unconfirmed,
}

impl ConnectionCounts {
    fn get_mut(&mut self, count: ConnectionCount) -> &mut usize {
        match count {
            ConnectionCount::Open => &mut self.open,
            ConnectionCount::Foreign => &mut self.foreign,
            ConnectionCount::Calling => &mut self.calling,
            ConnectionCount::Unconfirmed => &mut self.unconfirmed,
        }
    }

    fn get(&self, count: ConnectionCount) -> usize {
        match count {
            ConnectionCount::Open => self.open,
            ConnectionCount::Foreign => self.foreign,
            ConnectionCount::Calling => self.calling,
            ConnectionCount::Unconfirmed => self.unconfirmed,
        }
    }
}

impl Lifecycle {
    /// The current phase.
    pub(super) fn now(&self) -> Phase {
        *self.phase.read()
    }

    /// Enters a phase, unless a later one has been entered.
    pub(super) fn enter(&self, next: Phase) {
        let mut phase = self.phase.write();
        *phase = next.max(*phase);
    }

    /// Waits until the phase is a later one than `phase`, and returns it.
    pub(super) async fn beyond(&self, phase: Phase) -> Phase {
        self.phase.when(|now| (*now > phase).then_some(*now)).await
    }

    /// Waits until a count is zero.
    pub(super) async fn none(&self, count: ConnectionCount) {
        self.counts.when(|counts| (counts.get(count) == 0).then_some(())).await;
    }

    /// Counts a connection for as long as the guard lives. Returns the guard and the count before.
    pub(super) fn count(self: &Arc<Self>, count: ConnectionCount) -> (CountGuard, usize) {
        let mut counts = self.counts.write();
        let counted = counts.get_mut(count);
        let before = *counted;
        *counted += 1;
        (CountGuard { lifecycle: self.clone(), count }, before)
    }
}

/// A connection that is counted; it is counted no longer when the guard is dropped.
pub(super) struct CountGuard {
    lifecycle: Arc<Lifecycle>,
    count: ConnectionCount,
}

impl Drop for CountGuard {
    fn drop(&mut self) {
        *self.lifecycle.counts.write().get_mut(self.count) -= 1;
    }
}
