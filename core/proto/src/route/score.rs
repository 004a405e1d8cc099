//! Delivery scores: next hops that lose packets are detected by missing acknowledgements, and avoided.
//!
//! A neighbour may claim a false distance within the limits of its proofs, or be honest and have such a neighbour
//! behind it. The sender notices, because its packets are not acknowledged. For each pair of destination and neighbour
//! that loses packets, the last 16 attempts are kept. When fewer than half of them arrived, the metric of the route
//! counts four times for a minute, and twice as long each time that it happens again; then the route gets another
//! chance, because a failure may have been repaired. If it has to be used meanwhile and still loses, it counts sixteen
//! times, so that it gives way to a route that has failed less often.
//!
//! Scores are never advertised. The advertised metric stays the sum of the link costs, so that feasibility distances
//! keep their meaning; and a score only chooses among feasible routes, so that no loop can result from it. If scores
//! were advertised, a destination that acknowledges nothing could turn a whole mesh away from an honest neighbour.

use std::time::Duration;

use crate::time::Time;
use crate::wire::route::INFINITY;

/// Attempts that are judged together.
pub(super) const WINDOW: u32 = u16::BITS;
/// Arrivals among them below which the route is avoided.
pub(super) const MIN_ARRIVED: u32 = WINDOW / 2;
/// Arrivals among them from which it is no longer avoided. It is higher than the other threshold, so that a route near
/// it does not alternate.
pub(super) const RECOVERED: u32 = WINDOW / 4 * 3;
/// Factor of the metric while the route is avoided; it is squared if the route fails again meanwhile.
pub(super) const PENALTY: u16 = 4;
/// Time within which a link failure explains the losses before it, so that the neighbour is not blamed for its link.
pub(super) const LINK_FAILURE_WINDOW: Duration = Duration::from_secs(2);
/// Time for which a route is avoided. It doubles with each failure up to [`MAX_PENALTY_TIME`].
pub(super) const PENALTY_TIME: Duration = Duration::from_secs(60);
pub(super) const MAX_PENALTY_TIME: Duration = Duration::from_secs(960);

/// The deliveries to one destination over one neighbour.
#[derive(Default)]
pub(super) struct DeliveryScore {
    /// The last attempts, the latest in the lowest bit; a set bit is a packet that arrived.
    attempts: u16,
    /// The number of valid bits.
    pub(super) count: u32,
    /// The begin of the present penalty, or of the last one.
    pub(super) avoided_since: Time,
    /// The end of that penalty.
    pub(super) avoided_until: Time,
    /// Whether the route failed again during the penalty.
    pub(super) has_failed_again: bool,
    /// The length of the last penalty.
    pub(super) penalty_time: Duration,
    /// The last report.
    pub(super) used: Time,
}

impl DeliveryScore {
    /// Adds attempts of the same time. Their order is unknown, so the losses are spread evenly; otherwise a route that
    /// loses a few of many packets could look as if it had lost all of the last ones.
    pub(super) fn push(&mut self, delivered: u32, lost: u32) {
        let (delivered, lost) = (delivered.min(WINDOW), lost.min(WINDOW));
        let all = delivered.saturating_add(lost);
        let losses_in = |first: u32| first.saturating_mul(lost).checked_div(all).unwrap_or(0);
        for nth in 0..all {
            let arrived = losses_in(nth.saturating_add(1)) == losses_in(nth);
            self.attempts = self.attempts << 1 | u16::from(arrived);
        }
        self.count = self.count.saturating_add(all).min(WINDOW);
    }

    /// Arrivals in a full window; `None` as long as there are too few attempts to judge.
    pub(super) fn arrived(&self) -> Option<u32> {
        (self.count >= WINDOW).then(|| self.attempts.count_ones())
    }

    /// Whether the score can be removed.
    pub(super) fn is_over(&self, now: Time) -> bool {
        self.avoided_until <= now && now.since(self.used) >= MAX_PENALTY_TIME
    }
}

/// The metric that a route has in the selection. It stays finite, so that an avoided route is still used when there is
/// no other.
pub(super) fn rank(metric: u16, penalty: u16) -> u16 {
    metric.saturating_mul(penalty).min(INFINITY.saturating_sub(1))
}
