//! The age of a journal: a clock that only runs forward, and by which messages expire.
//!
//! The wall clock may be wrong by years, so no message expires by it. A journal counts the time that it was open. The
//! time between two openings is known only by the wall clock: it is believed when it has moved forward by no more than
//! [`PLAUSIBLE`]. A clock that is set a year ahead expires nothing, and one that is set back only makes messages wait
//! longer by the time for which the node was down.

use std::time::Duration;

use rouse_proto::types::Timestamp;

use crate::types::Moment;

/// The longest time between two openings that is believed.
pub(crate) const PLAUSIBLE: Duration = Duration::from_secs(31 * 24 * 3600);

/// Converts moments into the age of the journal, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LifeClock {
    /// The age at `opened`.
    age: u64,
    opened: Duration,
}

impl LifeClock {
    /// The clock of a journal that had the age `age` when it was last written, at the time `written` of the wall clock.
    pub(crate) fn resume(age: u64, written: Timestamp, now: Moment) -> Self {
        let passed =
            now.wall.0.checked_sub(written.0).filter(|passed| u128::from(*passed) <= PLAUSIBLE.as_millis());
        LifeClock { age: age.saturating_add(passed.unwrap_or(0)), opened: now.running }
    }

    pub(crate) fn age(&self, now: Moment) -> u64 {
        self.age.saturating_add(millis(now.running.saturating_sub(self.opened)))
    }
}

/// Whole milliseconds; the most that there are for longer durations.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{LifeClock, PLAUSIBLE, millis};
    use crate::types::Moment;
    use rouse_proto::types::Timestamp;
    use std::time::Duration;

    const YEAR: u64 = 365 * 24 * 3600 * 1000;

    fn at(running_ms: u64, wall: u64) -> Moment {
        Moment { running: Duration::from_millis(running_ms), wall: Timestamp(wall) }
    }

    #[test]
    fn the_age_follows_the_running_time_whatever_the_wall_clock_does() {
        let clock = LifeClock::resume(1000, Timestamp(5 * YEAR), at(70, 5 * YEAR));
        for wall in [0, 5 * YEAR, 6 * YEAR, u64::MAX] {
            assert_eq!(clock.age(at(90, wall)), 1020);
        }
        assert_eq!(clock.age(at(10, 5 * YEAR)), 1000, "it never falls");
    }

    #[test]
    fn the_time_between_two_openings_counts_when_it_is_plausible() {
        let age = |wall| LifeClock::resume(1000, Timestamp(5 * YEAR), at(0, wall)).age(at(0, wall));
        assert_eq!(age(5 * YEAR + 60_000), 61_000);
        assert_eq!(age(5 * YEAR + millis(PLAUSIBLE)), 1000 + millis(PLAUSIBLE));
        assert_eq!(age(6 * YEAR), 1000, "a clock that is a year ahead");
        assert_eq!(age(4 * YEAR), 1000, "a clock that is a year back");
        assert_eq!(age(0), 1000, "a clock that was never set");
    }
}
