//! A suspicion that a neighbour is gone.

use std::time::Duration;

use super::limits::{HELLO_INTERVAL, SUSPECT_PROBE_GAP};
use crate::time::Time;

/// A suspicion that the neighbour is gone. It exists until an authentic frame arrives or the link is down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspicion {
    /// The number of probes sent so far.
    pub(super) probes: u32,
    /// The time of the next probe, or of the verdict after the last one.
    pub(super) next_probe: Time,
    /// The time at which the link is away or down; `None` until the neighbour is suspect.
    pub(super) gone: Option<Time>,
    /// The number of delayed timers that were excused in a row.
    pub(super) excuses: u32,
    /// The state of a neighbour that the medium reports as cut off.
    pub(super) cut: Option<MediumCut>,
}

impl Suspicion {
    /// The time from the present probe to the next one. `gap` is that of a neighbour that is not suspect yet.
    pub(super) fn next_gap(&mut self, gap: Duration) -> Duration {
        match &mut self.cut {
            Some(cut) => {
                cut.gap = cut.gap.saturating_mul(if cut.out { 2 } else { 1 }).min(HELLO_INTERVAL);
                cut.gap
            }
            None if self.gone.is_some() => gap.max(SUSPECT_PROBE_GAP),
            None => gap,
        }
    }
}

/// The additional state of a suspicion that a report of the medium began.
#[derive(Clone, Copy, Debug)]
pub(super) struct MediumCut {
    /// The time from the next probe to the one after it.
    pub(super) gap: Duration,
    /// Whether the neighbour is out of service already.
    pub(super) out: bool,
}
