//! The timers of a router.
//!
//! A timer is a hint: the deadline itself is kept with its subject, and a timer that fires when nothing is due has no
//! effect. Therefore no timer has to be found and cancelled.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::types::{DestinationKey, NeighbourId};
use crate::time::Time;

/// Delay between searches for expired routes and destinations. Expiry is in minutes, so that one timer for all of them
/// is precise enough.
pub(super) const SWEEP: Duration = Duration::from_secs(30);

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

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.all.first().map(|(at, _)| *at)
    }

    /// Takes the first timer that is due.
    pub(super) fn due(&mut self, now: Time) -> Option<Timer> {
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
