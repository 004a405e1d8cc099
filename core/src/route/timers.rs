//! The timers of a router.
//!
//! A timer is a hint: the deadline itself is kept with its subject, and a timer that fires when nothing is due has no
//! effect. Therefore no timer has to be found and cancelled.

use std::collections::{BTreeMap, BTreeSet};

use super::table::{DestinationKey, SWEEP};
use super::{NeighbourId, Router};
use crate::time::Time;

/// The subjects of timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Whether a better route has stayed better.
    Select(DestinationKey),
    /// A change of distance that was held down.
    Hold(DestinationKey),
    /// The repetition of a request for a newer seq.
    SeqnoRequest(DestinationKey),
    /// A renewed announce that is to be passed on.
    Spread(DestinationKey),
    /// The renewal of an own announce.
    Refresh(DestinationKey),
    /// The removal of an evicted destination.
    FreeEvicted(DestinationKey),
    /// The next chunk of the table for a neighbour.
    Queue(NeighbourId),
    /// The next renewed announce for a neighbour on a slow link.
    Renewals(NeighbourId),
    /// The end of a link's probation.
    Probation(NeighbourId),
    /// Destinations that a quota held back.
    Deferred,
    /// The search for expired state.
    Sweep,
}

/// Timers that one call serves. Thousands may be due at once, and messages must not wait for all of them.
const PORTION: usize = 256;

/// The timers, by time.
#[derive(Default)]
pub(super) struct Timers {
    /// All armed timers.
    all: BTreeSet<(Time, Timer)>,
    /// The earliest of those that were armed by [`Timers::arm_first`], for each subject.
    first: BTreeMap<Timer, Time>,
}

impl Timers {
    /// Arms a timer.
    pub(super) fn arm(&mut self, at: Time, timer: Timer) {
        self.all.insert((at, timer));
    }

    /// Arms a timer whose subject is examined as a whole when it fires and then armed again. While an earlier one is
    /// armed it is not armed, so that a neighbour cannot fill memory with timers by frequent changes.
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

    /// Takes the first timer that is due.
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
    /// Serves the timers that are due, up to a bound; the others stay due.
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
