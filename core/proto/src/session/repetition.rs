//! The times at which a message that waits for its answer is sent again.

use std::time::Duration;

use crate::time::Time;

/// The time to the first repetition of a message; it doubles after that.
pub(super) const FIRST_DELAY: Duration = Duration::from_millis(250);

/// The repetitions of one message, with exponential back-off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repetition {
    /// The number of transmissions.
    tries: u32,
    delay: Duration,
    /// The time of the next transmission.
    next: Time,
    /// The time of the last one.
    last: Option<Time>,
}

impl Repetition {
    /// A message that is due for the first time at `first`.
    pub(super) fn starting(first: Time) -> Self {
        Repetition { tries: 0, delay: FIRST_DELAY, next: first, last: None }
    }

    /// The time of the next transmission.
    pub(super) fn next(&self) -> Time {
        self.next
    }

    /// The time of the last transmission.
    pub(super) fn last(&self) -> Option<Time> {
        self.last
    }

    /// The number of transmissions.
    pub(super) fn tries(&self) -> u32 {
        self.tries
    }

    /// Postpones the next transmission.
    pub(super) fn hold_until(&mut self, until: Time) {
        self.next = self.next.max(until);
    }

    /// Notes a transmission. The time between two of them doubles up to `max`.
    pub(super) fn sent(&mut self, now: Time, max: Duration) {
        self.last = Some(now);
        self.next = now + self.delay;
        self.delay = self.delay.saturating_mul(2).min(max);
        self.tries = self.tries.saturating_add(1);
    }

    /// Begins again now, unless the last transmission was a moment ago.
    pub(super) fn restart(&mut self, now: Time) {
        if self.last.is_none_or(|last| now.since(last) >= FIRST_DELAY) {
            *self = Repetition { last: self.last, ..Repetition::starting(now) };
        }
    }

    /// Begins again after a pause.
    pub(super) fn pause(&mut self, until: Time) {
        *self = Repetition::starting(until);
    }
}
