//! When to look at what again.
//!
//! A timer is a hint: who set it notes its own deadline where the matter is kept, and a timer that comes when there
//! is nothing to do (any more) does nothing. So none needs to be found and taken back.

use std::collections::{BTreeMap, BTreeSet};

use super::table::{DestinationKey, SWEEP};
use super::{NeighbourId, Router};
use crate::time::Time;

/// What to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Whether a better next hop has stayed better.
    Select(DestinationKey),
    /// A change of distance that had to wait.
    Hold(DestinationKey),
    /// Asking for a newer seq again.
    SeqnoRequest(DestinationKey),
    /// Passing on a refreshed core.
    Spread(DestinationKey),
    /// Renewing an announce of our own.
    Refresh(DestinationKey),
    /// Freeing an evicted destination.
    FreeEvicted(DestinationKey),
    /// What a neighbour is still to be told of the table.
    Queue(NeighbourId),
    /// Renewed announces that a neighbour on a slow link is still to be told of.
    Renewals(NeighbourId),
    /// A link that kept failing has stayed up.
    Probation(NeighbourId),
    /// Destinations that a quota held back.
    Deferred,
    /// What has expired.
    Sweep,
}

/// Timers that are served at once. Some thousands may come together, and other things must not wait for all of them.
const PORTION: usize = 256;

/// The timers of a router.
#[derive(Default)]
pub(super) struct Timers {
    all: BTreeSet<(Time, Timer)>,
    /// Of those that were armed by [`Timers::arm_first`], the first of each.
    first: BTreeMap<Timer, Time>,
}

impl Timers {
    pub(super) fn arm(&mut self, at: Time, timer: Timer) {
        self.all.insert((at, timer));
    }

    /// The same for what is looked at whole when a timer comes, and then arms again what is later: while one is armed that
    /// comes sooner, no other is. So nobody fills memory with timers by saying now this and now that.
    pub(super) fn arm_first(&mut self, at: Time, timer: Timer) {
        if self.first.get(&timer).is_none_or(|first| at < *first) {
            self.first.insert(timer, at);
            self.arm(at, timer);
        }
    }

    #[cfg(any(test, feature = "sim"))]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.all.first().map(|(at, _)| *at)
    }

    fn due(&mut self, now: Time) -> Option<Timer> {
        let (at, timer) = *self.all.first()?;
        if at > now {
            return None;
        }
        self.all.pop_first();
        if self.first.get(&timer) == Some(&at) {
            self.first.remove(&timer);
        }
        Some(timer)
    }
}

impl Router {
    /// Does what is due, up to a portion: what is left stays due.
    pub(crate) fn handle_timeout(&mut self, now: Time) {
        for _ in 0..PORTION {
            let Some(timer) = self.timers.due(now) else { break };
            match timer {
                Timer::Select(key) => self.reselect(now, key),
                Timer::Hold(key) => self.schedule_adverts(now, key),
                Timer::SeqnoRequest(key) => self.retry_seqno_request(now, key),
                Timer::Spread(key) => self.pass_on_renewal(now, key),
                Timer::Refresh(key) => self.refresh(now, key),
                Timer::FreeEvicted(key) => self.free_evicted(now, key),
                Timer::Queue(id) => self.serve_queue(now, id),
                Timer::Renewals(id) => self.serve_renewals(now, id),
                Timer::Probation(id) => self.end_probation(now, id),
                Timer::Deferred => self.request_deferred(now),
                Timer::Sweep => {
                    self.sweep(now);
                    self.timers.arm(now + SWEEP, Timer::Sweep);
                }
            }
        }
        if self.batch_at.is_some_and(|at| at <= now) {
            self.flush(now);
        }
    }
}
