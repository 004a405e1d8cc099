//! Reports of deliveries, and the penalties that follow from the [scores](super::score).

use super::Router;
use super::score::{LINK_FAILURE_WINDOW, MAX_PENALTY_TIME, MIN_ARRIVED, PENALTY, PENALTY_TIME, RECOVERED};
use super::timers::Timer;
use super::types::NeighbourId;
use crate::address::Address;
use crate::time::Time;

/// Bound of the pairs of destination and neighbour.
pub(super) const MAX_SCORES: usize = 1024;

impl Router {
    /// Reports deliveries to `destination` over `next_hop`: the packets that arrived and those that were lost since
    /// the last report.
    pub fn score(
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
            self.mark_changed(key);
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
