//! Selection of the next hop.
//!
//! Only feasible routes are selected, and among them the shortest. The selected route stays until another has been
//! better by an eighth for two seconds, or by a sixteenth for ten, because a route that changes often costs more than
//! a slightly longer one.
//!
//! Next hops form no loop because each has a lower feasibility distance than the node that uses it. RFC 8966 infers
//! that from the neighbour's present metric, so that a metric that rises on the way can leave a node without a
//! feasible route. Here nothing is lost or reordered between neighbours, and a neighbour keeps its feasibility
//! distance as long as its announce is valid. Therefore the least metric that it has advertised for a seq bounds it,
//! and a feasible route stays feasible when it gets longer.

use std::time::Duration;

use super::Router;
use super::adjacency::Adjacency;
use super::destination::{BetterSince, Destination};
use super::metric::MAX_HOPS;
use super::neighbour::NeighbourEntry;
use super::score::rank;
use super::timers::Timer;
use super::types::{DestinationKey, FibEntry, NeighbourId, RouterOutput, seconds};
use crate::rate_limit::Rate;
use crate::time::Time;
use crate::wire::route::INFINITY;

/// Time for which another route must have been better by an eighth.
pub(super) const SWITCH_DELAY: Duration = Duration::from_secs(2);
/// Time for which another route must have been better by a sixteenth. It is longer because measurements fluctuate by
/// that much for seconds.
pub(super) const SLIGHT_SWITCH_DELAY: Duration = Duration::from_secs(10);
/// Least delay between requests that make a much better route feasible.
pub(super) const BETTER_REQUEST_INTERVAL: Duration = Duration::from_secs(10);
/// Limit of switches and requests with a small gain (below an eighth or a quarter): one every four seconds, after a
/// burst. After a start many nodes find many routes that could be slightly shorter, and each switch is advertised to
/// all nodes behind it, so that the gain would not be worth its cost.
pub(super) const LOW_GAIN: Rate = Rate::each_second(1, 16);
pub(super) const LOW_GAIN_TOKENS: u32 = 4;

/// A finite route over one neighbour, with everything that the selection compares.
pub(super) struct RouteCandidate {
    /// The neighbour that it leads over.
    pub(super) neighbour: NeighbourId,
    /// Whether the link to it is in doubt or on probation.
    suspect: bool,
    /// Whether that holds, or the neighbour itself searches for another route.
    pub(super) is_last_resort: bool,
    /// Whether it cannot form a loop.
    pub(super) feasible: bool,
    /// Whether packets were lost on this route recently.
    pub(super) avoided: bool,
    /// The metric with the link to the neighbour.
    pub(super) total: u16,
    /// The metric in the selection: above `total` while the route is avoided.
    pub(super) rank: u16,
    /// Links to the destination.
    pub(super) hops: u8,
    /// The longest packet that passes all of them, in bytes.
    mtu: u16,
}

/// The route over a neighbour without regard to scores; `None` if the neighbour has no finite one.
pub(super) fn candidate(
    dest: &Destination,
    adj: &Adjacency,
    neighbour: &NeighbourEntry,
    now: Time,
) -> Option<RouteCandidate> {
    let announce = dest.announce_at(adj.announce)?;
    let total = adj.metric.checked_add(neighbour.cost)?;
    let hops = adj.hops.checked_add(1)?;
    let finite = adj.metric < INFINITY && total < INFINITY && hops <= MAX_HOPS;
    let alive = finite && !neighbour.away && adj.expires > seconds(now);
    alive.then(|| RouteCandidate {
        neighbour: adj.neighbour,
        suspect: neighbour.is_last_resort(),
        is_last_resort: neighbour.is_last_resort() || dest.is_searching(now, adj.neighbour),
        feasible: dest.feasible(announce.seq, adj.feasibility_bound),
        avoided: false,
        total,
        rank: total,
        hops,
        mtu: adj.mtu.min(neighbour.mtu),
    })
}

/// Whether a metric is better by one part in `share` or more.
fn is_better_by(metric: u16, than: u16, share: u16) -> bool {
    than.saturating_sub(metric) >= than.checked_div(share).unwrap_or(than).max(1)
}

impl Router {
    /// The finite routes to a destination, the best first.
    pub(super) fn candidates(&self, now: Time, dest: &Destination) -> Vec<RouteCandidate> {
        let candidates = dest.adjacencies.iter().filter_map(|adj| {
            let neighbour = self.neighbours.get(&adj.neighbour)?;
            self.candidate(now, dest, adj, neighbour)
        });
        let mut candidates: Vec<RouteCandidate> = candidates.collect();
        candidates.sort_by_key(|one| (one.is_last_resort, one.rank, one.hops, one.neighbour));
        candidates
    }

    /// The route over a neighbour, with its score.
    pub(super) fn candidate(
        &self,
        now: Time,
        dest: &Destination,
        adj: &Adjacency,
        neighbour: &NeighbourEntry,
    ) -> Option<RouteCandidate> {
        let candidate = candidate(dest, adj, neighbour, now)?;
        let penalty = self.penalty(now, &dest.announce.dst, &neighbour.address);
        Some(RouteCandidate { avoided: penalty > 1, rank: rank(candidate.total, penalty), ..candidate })
    }

    /// Whether a change of small gain is within its limit.
    fn has_low_gain_tokens(&self, now: Time) -> bool {
        self.low_gain.has(now, LOW_GAIN, LOW_GAIN_TOKENS)
    }

    /// Takes the tokens of a change of small gain, if there are any.
    fn take_low_gain_tokens(&mut self, now: Time) -> bool {
        let free = self.has_low_gain_tokens(now);
        if free {
            self.low_gain.spend(now, LOW_GAIN, LOW_GAIN_TOKENS);
        }
        free
    }

    /// Marks a destination for a new selection, because something that its next hop depends on has changed.
    pub(super) fn mark_changed(&mut self, key: DestinationKey) {
        let Some(dest) = self.table.get_mut(key) else { return };
        if !std::mem::replace(&mut dest.is_marked, true) {
            self.changed.push(key);
        }
    }

    /// Selects again for all marked destinations, in the order in which they were marked. It runs between two records,
    /// timers or results of verification, which may depend on each other's selection, and before outputs are taken.
    pub(super) fn settle(&mut self, now: Time) {
        // A selection marks nothing, so one pass is enough.
        for key in std::mem::take(&mut self.changed) {
            if let Some(dest) = self.table.get_mut(key) {
                dest.is_marked = false;
            }
            self.reselect(now, key);
        }
    }

    /// Selects the next hop again after any change to a destination, and publishes and advertises the result. All
    /// changes pass through here, so that the FIB, the neighbours and the pending requests always agree.
    fn reselect(&mut self, now: Time, key: DestinationKey) {
        let Some(dest) = self.table.get(key).filter(|dest| !dest.is_own()) else { return };
        let candidates = if dest.is_evicted { Vec::new() } else { self.candidates(now, dest) };
        let has_tokens = self.has_low_gain_tokens(now);
        let Choice { select, since, is_low_gain } = choose_next_hop(dest, &candidates, now, has_tokens);
        if is_low_gain {
            self.take_low_gain_tokens(now);
        }

        let Some(dest) = self.table.get_mut(key) else { return };
        dest.select(select);
        let BetterSince { feasible, infeasible, slight } = since;
        if feasible.or(infeasible).or(slight).is_some() || dest.transient().is_some() {
            let spans = [(feasible, SWITCH_DELAY), (infeasible, SWITCH_DELAY), (slight, SLIGHT_SWITCH_DELAY)];
            let checks = spans.iter().filter_map(|(since, span)| Some((*since)? + *span));
            if let Some(at) = checks.filter(|at| *at > now).min() {
                self.timers.arm_first(at, Timer::Select(key));
            }
            let transient = dest.transient_or_new();
            transient.since = since;
            let ripe = |since: Option<Time>, span| since.is_some_and(|since| now.since(since) >= span);
            let much = ripe(infeasible, SWITCH_DELAY);
            let loops = candidates.first().is_some_and(|first| !first.feasible);
            if much || ripe(slight, SLIGHT_SWITCH_DELAY) {
                let due = transient.next_better_request <= now;
                if due {
                    transient.next_better_request = now + BETTER_REQUEST_INTERVAL;
                }
                self.timers.arm_first(transient.next_better_request, Timer::Select(key));
                // A small gain is requested within its limit only. A feasible route needs no request, because it will
                // be selected by itself.
                if due && (much || (loops && self.take_low_gain_tokens(now))) {
                    self.send_seqno_request(now, key, 0);
                }
            }
        }
        self.publish(now, key);
        self.schedule_adverts(now, key);
        // A newer seq is needed if no route is feasible, or if the only feasible one is in doubt while another is not.
        let doubtful = candidates.iter().any(|one| one.suspect && Some(one.neighbour) == select);
        let is_stuck = match select {
            None => !candidates.is_empty(),
            Some(_) => doubtful && candidates.iter().any(|one| !one.is_last_resort),
        };
        self.update_seqno_request(now, key, is_stuck);
        self.answer_requesters(now, key);
    }

    /// Gives the shell the FIB entry if it has changed.
    pub(super) fn publish(&mut self, now: Time, key: DestinationKey) {
        let Some(dest) = self.table.get(key).filter(|dest| !dest.is_own()) else { return };
        let entry = dest.selected().and_then(|next| {
            let candidates = self.candidates(now, dest);
            let used = candidates.iter().find(|one| one.neighbour == next)?;
            let alternate = candidates.iter().find(|one| one.feasible && one.neighbour != next);
            Some(FibEntry {
                next,
                alternate: alternate.map(|one| one.neighbour),
                metric: used.total,
                hops: used.hops,
                mtu: used.mtu,
            })
        });
        let Some(dest) = self.table.get_mut(key) else { return };
        let (destination, before) = (dest.announce.dst, dest.fib());
        if entry == before {
            return;
        }
        dest.set_fib(entry);
        self.event(RouterOutput::Fib(destination, entry));
        let next_hop = entry.map(|entry| entry.next);
        if next_hop != before.map(|before| before.next) {
            let (metric, hops) = entry.map_or((INFINITY, 0), |entry| (entry.metric, entry.hops));
            self.event(RouterOutput::Changed { destination, next_hop, metric, hops });
        }
    }
}

/// The result of a selection.
#[derive(Default)]
struct Choice {
    /// The next hop.
    select: Option<NeighbourId>,
    /// The times since which another route has been better, as long as it is too early to switch.
    since: BetterSince,
    /// Whether the switch has a small gain only.
    is_low_gain: bool,
}

/// Selects among the candidates; `has_tokens` is whether a switch of small gain is within its limit.
fn choose_next_hop(dest: &Destination, candidates: &[RouteCandidate], now: Time, has_tokens: bool) -> Choice {
    let (mut since, mut is_low_gain) = (BetterSince::default(), false);
    let Some(best) = candidates.iter().find(|one| one.feasible) else {
        return Choice::default();
    };
    let before = dest.transient().map(|transient| transient.since).unwrap_or_default();
    let used =
        dest.selected().and_then(|id| candidates.iter().find(|one| one.neighbour == id && one.feasible));
    let select = match used {
        // Between two routes that differ in their metric only, the one in use stays for a while.
        Some(used)
            if used.neighbour != best.neighbour
                && used.is_last_resort == best.is_last_resort
                && (best.avoided || !used.avoided) =>
        {
            let (much, little) =
                (is_better_by(best.rank, used.rank, 8), is_better_by(best.rank, used.rank, 16));
            let steady = much.then(|| before.feasible.unwrap_or(now));
            let lasts = before.slight.is_some_and(|since| now.since(since) >= SLIGHT_SWITCH_DELAY);
            if steady.is_some_and(|since| now.since(since) >= SWITCH_DELAY) {
                best
            } else if little && lasts && has_tokens {
                is_low_gain = true;
                best
            } else {
                since.feasible = steady;
                used
            }
        }
        _ => best,
    };
    let first = candidates.first().unwrap_or(select);
    if !first.feasible
        && ((select.is_last_resort && !first.is_last_resort) || is_better_by(first.rank, select.rank, 4))
    {
        // A route that loses packets is not kept until the delay is over, because packets are lost meanwhile.
        let begin = if select.avoided { now - SWITCH_DELAY } else { now };
        since.infeasible = Some(before.infeasible.unwrap_or(now).min(begin));
    }
    if is_better_by(first.rank, select.rank, 16) {
        // A route that was just selected waits the whole time again, so that three similar routes do not take turns.
        let same = dest.selected() == Some(select.neighbour);
        since.slight = Some(before.slight.filter(|_| same).unwrap_or(now));
    }
    Choice { select: Some(select.neighbour), since, is_low_gain }
}
