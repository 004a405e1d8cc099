//! Next hops that swallow what they are given: told by what arrives at the other end, and avoided.
//!
//! A neighbour may lie about a distance within the limits of its proofs, or be honest and sit behind somebody who
//! does. The sender notices: its packets are not acknowledged. Of each (destination, neighbour) that loses, the last 16
//! attempts are kept. When less than half of them arrived the route counts four times as dear for a minute, and twice as
//! long each time that it happens again; then it gets another chance. If it has to be used meanwhile and still
//! nothing arrives, it counts sixteen times as dear, so that it gives way to one that was not tried so often.
//!
//! Nobody is told of this. What is advertised stays the plain sum of the route in use, never less than it costs, so
//! feasibility distances mean what they always do; and only among feasible routes is anything chosen by it, so
//! that no loop can come of an opinion. If it were told, a destination that acknowledges nothing could make a whole mesh
//! turn from an honest neighbour.

use std::time::Duration;

use super::{NeighbourId, Router};
use crate::address::Address;
use crate::route::timers::Timer;
use crate::time::Time;
use crate::wire::route::INFINITY;

/// Attempts that are judged together.
pub(super) const WINDOW: u32 = u16::BITS;
/// With fewer of them arrived, the route is avoided.
pub(super) const MIN_ARRIVED: u32 = WINDOW / 2;
/// With so many of them arrived, it is not avoided any more, if it had to be used nevertheless.
pub(super) const RECOVERED: u32 = WINDOW / 4 * 3;
/// A route that is avoided counts so many times its metric, and once more so many times when it fails again meanwhile.
pub(super) const PENALTY: u16 = 4;
/// A neighbour whose link fails within this after its packets began to vanish is not to blame for them: the link is.
pub(super) const LINK_FAILURE_WINDOW: Duration = Duration::from_secs(2);
/// It is avoided for so long, doubling each time up to [`MAX_REST`].
pub(super) const PENALTY_TIME: Duration = Duration::from_secs(60);
pub(super) const MAX_PENALTY_TIME: Duration = Duration::from_secs(960);
/// Pairs of destination and neighbour that are kept.
pub(super) const MAX_SCORES: usize = 1024;

/// What became of the packets for one destination over one neighbour.
#[derive(Default)]
pub(super) struct DeliveryScore {
    /// The last attempts, the latest in the lowest bit; set are those that arrived.
    attempts: u16,
    count: u32,
    avoided_since: Time,
    avoided_until: Time,
    /// Whether it failed again while it was avoided.
    has_failed_again: bool,
    /// How long it was avoided for the last time.
    penalty_time: Duration,
    used: Time,
}

impl DeliveryScore {
    /// Adds attempts that were made at the same time. Their order is not known, so the losses are spread among the rest: a
    /// way that loses a few of many packets at once must not look as if it had lost the last ones.
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

    fn arrived(&self) -> Option<u32> {
        (self.count >= WINDOW).then(|| self.attempts.count_ones())
    }

    fn is_over(&self, now: Time) -> bool {
        self.avoided_until <= now && now.since(self.used) >= MAX_PENALTY_TIME
    }
}

impl Router {
    /// The outcome of packets that this node sent to `destination` over `next_hop` lately: so many arrived, and so many were lost.
    pub(crate) fn score(
        &mut self,
        now: Time,
        destination: &Address,
        next_hop: NeighbourId,
        delivered: u32,
        lost: u32,
    ) {
        let Some(neighbour) = self.neighbours.get(&next_hop) else { return };
        // A neighbour is not a relay on the way to itself, and what a failing link loses is the link's matter.
        if neighbour.address == *destination || neighbour.is_last_resort() {
            return;
        }
        // By its address: a link that is made anew leads to the same neighbour.
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

    /// How many times its metric the route to `destination` over the neighbour with this address counts; 1 unless it is
    /// to be avoided.
    pub(super) fn penalty(&self, now: Time, destination: &Address, neighbour: &Address) -> u16 {
        // Most of the time there are none.
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

    /// The link to this neighbour fails: what vanished just now vanished there.
    pub(super) fn drop_recent_penalties(&mut self, now: Time, neighbour: &Address) {
        self.scores.retain(|(_, address), score| {
            address != neighbour
                || now.since(score.avoided_since) > LINK_FAILURE_WINDOW
                || score.avoided_until <= now
        });
    }

    pub(super) fn sweep_scores(&mut self, now: Time) {
        self.scores.retain(|_, score| !score.is_over(now));
    }
}

/// What a metric counts for in a choice.
pub(super) fn rank(metric: u16, penalty: u16) -> u16 {
    metric.saturating_mul(penalty).min(INFINITY.saturating_sub(1))
}
