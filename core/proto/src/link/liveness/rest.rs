//! The time between hellos, which grows on a link at rest.
//!
//! A hello a second is most of the traffic and most of the wakes of a node that has nothing to send. It is of little use
//! there: the first packet over a link that has died is missed within [`ANSWER_TIMEOUT`](super::limits::ANSWER_TIMEOUT), because the
//! neighbour answers packets. So hellos become rarer while no packet passes. Each of these hellos states when the next one
//! is due at the latest, so that silence is judged by it (as by the interval in the hellos of RFC 8966, section 3.4.1).

use std::time::Duration;

use super::limits::{HELLO_INTERVAL, IDLE_TIMEOUT};
use crate::time::Time;

/// The time without a packet after which hellos become rarer.
pub(in crate::link) const REST_AFTER: Duration = Duration::from_secs(10);
/// The mean time between two hellos of a link that has been at rest for long. Each hello doubles the time up to this.
pub(in crate::link) const HELLO_INTERVAL_AT_REST: Duration = Duration::from_secs(5);
/// The time after the stated moment at which a hello is missed. It covers the path and a busy machine.
pub(in crate::link) const REST_MARGIN: Duration = Duration::from_millis(500);
/// The longest time that a neighbour's hello can state. A longer one would let its end go unnoticed for as long.
pub(in crate::link) const MAX_STATED: Duration = Duration::from_secs(10);

/// The hellos of both ends of a link.
#[derive(Debug)]
pub(super) struct Rest {
    /// Whether the neighbour understands hellos that state the next one.
    is_understood: bool,
    /// The time of the last packet in either direction, or of the last doubt about the link.
    active: Time,
    /// The present mean time between our hellos.
    interval: Duration,
    /// The time that may pass between the neighbour's hellos, as its last one has stated; zero when it stated none.
    stated: Duration,
}

impl Rest {
    pub(super) fn new(now: Time) -> Self {
        Rest { is_understood: false, active: now, interval: HELLO_INTERVAL, stated: Duration::ZERO }
    }

    /// Lets hellos become rarer, because the neighbour understands those that state the next one.
    pub(super) fn enable(&mut self) {
        self.is_understood = true;
    }

    /// Ends the rest. Returns whether the next hello is due sooner by that.
    pub(super) fn end(&mut self, now: Time) -> bool {
        self.active = now;
        std::mem::replace(&mut self.interval, HELLO_INTERVAL) > HELLO_INTERVAL
    }

    /// The present mean time between our hellos.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// The mean time to the hello after the one that is sent now.
    pub(super) fn next_interval(&mut self, now: Time) -> Duration {
        if self.is_understood && now.since(self.active) >= REST_AFTER {
            self.interval = self.interval.saturating_mul(2).min(HELLO_INTERVAL_AT_REST);
        }
        self.interval
    }

    /// The time within which a hello at rest states the next one, if it is one: the interval with the most that chance
    /// adds.
    pub(super) fn statement(&self) -> Option<Duration> {
        let interval = self.interval;
        (interval > HELLO_INTERVAL)
            .then(|| interval.saturating_add(interval.checked_div(8).unwrap_or_default()))
    }

    /// Takes the time that the neighbour's hello has stated; zero for a hello that states none.
    pub(super) fn on_hello(&mut self, stated: Duration) {
        self.stated = stated.min(MAX_STATED);
    }

    /// The silence after which the neighbour is in doubt.
    pub(super) fn idle_timeout(&self) -> Duration {
        match self.stated {
            Duration::ZERO => IDLE_TIMEOUT,
            stated => stated.saturating_add(REST_MARGIN).max(IDLE_TIMEOUT),
        }
    }
}
