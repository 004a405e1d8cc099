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

use super::{NeighbourId, Router};
use crate::address::Address;
use crate::route::timers::Timer;
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
/// Bound of the pairs of destination and neighbour.
pub(super) const MAX_SCORES: usize = 1024;

/// The deliveries to one destination over one neighbour.
#[derive(Default)]
pub(super) struct DeliveryScore {
    /// The last attempts, the latest in the lowest bit; a set bit is a packet that arrived.
    attempts: u16,
    /// The number of valid bits.
    count: u32,
    /// The begin of the present penalty, or of the last one.
    avoided_since: Time,
    /// The end of that penalty.
    avoided_until: Time,
    /// Whether the route failed again during the penalty.
    has_failed_again: bool,
    /// The length of the last penalty.
    penalty_time: Duration,
    /// The last report.
    used: Time,
}

impl DeliveryScore {
    /// Adds attempts of the same time. Their order is unknown, so the losses are spread evenly; otherwise a route that
    /// loses a few of many packets could look as if it had lost all of the last ones.
    fn push(&mut self, delivered: u32, lost: u32) {
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
    fn arrived(&self) -> Option<u32> {
        (self.count >= WINDOW).then(|| self.attempts.count_ones())
    }

    /// Whether the score can be removed.
    fn is_over(&self, now: Time) -> bool {
        self.avoided_until <= now && now.since(self.used) >= MAX_PENALTY_TIME
    }
}

impl Router {
    /// Reports deliveries to `destination` over `next_hop`: the packets that arrived and those that were lost since
    /// the last report.
    pub(crate) fn score(
        &mut self,
        now: Time,
        destination: &Address,
        next_hop: NeighbourId,
        delivered: u32,
        lost: u32,
    ) {
        let Some(neighbour) = self.neighbours.get(&next_hop) else { return };
        // A neighbour is no relay on the way to itself, and the losses of a failing link are the link's.
        if neighbour.address == *destination || neighbour.is_last_resort() {
            return;
        }
        // By address and not by link id, because a new link leads to the same neighbour.
        let pair = (*destination, neighbour.address);
        if !self.scores.contains_key(&pair) {
            if lost == 0 {
                return;
            }
            if self.scores.len() >= MAX_SCORES {
                self.scores.retain(|_, score| score.avoided_until > now);
            }
            if self.scores.len() >= MAX_SCORES {
                return;
            }
        }
        let score = self.scores.entry(pair).or_default();
        score.used = now;
        score.push(delivered, lost);
        let is_avoided = score.avoided_until > now;
        match score.arrived() {
            Some(arrived) if arrived < MIN_ARRIVED => {
                let lately =
                    now.since(score.avoided_until) < MAX_PENALTY_TIME && !score.penalty_time.is_zero();
                score.penalty_time = if lately {
                    score.penalty_time.saturating_mul(2).min(MAX_PENALTY_TIME)
                } else {
                    PENALTY_TIME
                };
                score.has_failed_again = is_avoided;
                score.avoided_since = now;
                score.avoided_until = now + score.penalty_time;
                score.count = 0;
            }
            Some(arrived) if arrived >= RECOVERED && is_avoided => score.avoided_until = now,
            _ => return,
        }
        let until = score.avoided_until;
        if let Some(key) = self.table.find(destination) {
            self.timers.arm(until, Timer::Select(key));
            self.reselect(now, key);
        }
    }

    /// The factor of the metric to `destination` over the neighbour with this address; 1 unless the route is avoided.
    pub(super) fn penalty(&self, now: Time, destination: &Address, neighbour: &Address) -> u16 {
        // Usually there are none, so that the search is skipped.
        if self.scores.is_empty() {
            return 1;
        }
        match self.scores.get(&(*destination, *neighbour)) {
            Some(score) if score.avoided_until <= now => 1,
            Some(score) if score.has_failed_again => PENALTY.saturating_mul(PENALTY),
            Some(_) => PENALTY,
            None => 1,
        }
    }

    /// Drops the penalties of the last moment for a neighbour whose link fails, because the link lost those packets.
    pub(super) fn drop_recent_penalties(&mut self, now: Time, neighbour: &Address) {
        self.scores.retain(|(_, address), score| {
            address != neighbour
                || now.since(score.avoided_since) > LINK_FAILURE_WINDOW
                || score.avoided_until <= now
        });
    }

    /// Removes scores that are not in use any more.
    pub(super) fn sweep_scores(&mut self, now: Time) {
        self.scores.retain(|_, score| !score.is_over(now));
    }
}

/// The metric that a route has in the selection. It stays finite, so that an avoided route is still used when there is
/// no other.
pub(super) fn rank(metric: u16, penalty: u16) -> u16 {
    metric.saturating_mul(penalty).min(INFINITY.saturating_sub(1))
}
