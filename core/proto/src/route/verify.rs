//! Verification of signatures, which the shell runs elsewhere because it takes much longer than anything else in
//! routing.
//!
//! A route whose announce is not verified yet waits under the neighbour's number for the destination, and updates of
//! that number change the waiting route. So the order of a neighbour's records is kept, while neither its other
//! destinations nor other neighbours have to wait. An announce is verified once, however many neighbours offer it. The
//! number of waiting announces and the rate of verified ones are bounded for each neighbour; those beyond the bounds
//! are requested again later.

use super::Router;
use super::accounts::{HASHES, Resource, SIGNATURES};
use super::offer::{OfferedRoute, PendingOffer};
use super::types::{NeighbourId, RouterOutput};
use super::verifications::Verification;
use super::verify_job::{VerifyItem, VerifyJob, VerifyOutcome, VerifyResults};
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::route::{LINKS, SignedAnnounce, key_hash};

/// Announces in one job. 64 take about a millisecond, which is short enough to be interrupted by other jobs.
const JOB: usize = 64;
/// Jobs that run at a time. Further announces gather meanwhile, so that jobs become larger under load and batch
/// verification more efficient.
const MAX_JOBS: usize = 2;
/// Bound of the waiting announces of one neighbour.
pub(super) const MAX_PENDING: usize = 1024;
/// Bound of the waiting announces of one neighbour that are for their origin.
pub(super) const MAX_HIGHEST: usize = 64;
pub(super) const FORGED: u32 = 65;

impl Router {
    /// The next job, unless too many are running or nothing waits.
    pub(super) fn next_job(&mut self) -> Option<RouterOutput> {
        if self.checks.running >= MAX_JOBS {
            return None;
        }
        let mut items = Vec::new();
        while items.len() < JOB {
            let Some(ticket) = self.checks.next() else { break };
            let wanted = self.checks.checks.get(&ticket).is_some_and(|check| self.is_awaited(ticket, check));
            if !wanted {
                self.checks.remove(ticket);
            } else if let Some(check) = self.checks.checks.get(&ticket) {
                items.push(VerifyItem { ticket, announce: check.announce.clone(), claim: check.claim });
            }
        }
        (!items.is_empty()).then(|| {
            self.checks.running = self.checks.running.saturating_add(1);
            RouterOutput::Verify(VerifyJob { items, cache: self.config.shared.clone() })
        })
    }

    /// Whether an offer still waits for the announce. A neighbour may have withdrawn it meanwhile, so that the work
    /// would be wasted.
    fn is_awaited(&self, ticket: u64, check: &Verification) -> bool {
        let pending = |(id, idx): &(NeighbourId, u32)| {
            let pending = self.neighbours.get(id).and_then(|neighbour| neighbour.pending.get(idx));
            pending.is_some_and(|pending| pending.ticket == ticket)
        };
        check.offers.iter().any(pending) || check.highest.iter().any(|id| self.neighbours.contains_key(id))
    }

    /// Whether exactly this announce is being verified.
    pub(super) fn is_checked(&self, announce: &SignedAnnounce) -> bool {
        self.checks.of((key_hash(&announce.dst), announce.seq)).any(|(_, check)| *check.announce == *announce)
    }

    /// Whether one more announce of this neighbour may wait, and be verified unless it `is_checked` already; takes the
    /// token.
    pub(super) fn may_check(&mut self, now: Time, id: NeighbourId, is_checked: bool) -> bool {
        let room = self.neighbours.get(&id).is_some_and(|neighbour| neighbour.pending.len() < MAX_PENDING);
        room && (is_checked || self.try_charge(now, id, Resource::Signatures.tokens(SIGNATURES, 1)))
    }

    /// Whether that many announces and their proofs could be verified now. Half of the room is left for announces that
    /// arrive unrequested.
    pub(super) fn has_room_to_check(&self, now: Time, id: NeighbourId, announces: u32) -> bool {
        let rounds = u32::from(LINKS).saturating_mul(announces);
        self.neighbours.get(&id).is_some_and(|neighbour| neighbour.pending.len() < MAX_PENDING / 2)
            && self.can_charge(now, id, Resource::Signatures.tokens(SIGNATURES, announces))
            && self.can_charge(now, id, Resource::Hashes.tokens(HASHES, rounds))
    }

    /// Has the announce of a route verified; the route waits for it.
    pub(super) fn check_announce(
        &mut self,
        id: NeighbourId,
        announce: SignedAnnounce,
        offered: OfferedRoute,
    ) {
        let key = (key_hash(&announce.dst), announce.seq);
        let same =
            self.checks.of(key).find(|(_, check)| *check.announce == announce).map(|(ticket, _)| ticket);
        let ticket = same.unwrap_or_else(|| self.checks.add(id, announce, Some(offered.proof)));
        self.await_check(id, ticket, offered, true);
    }

    /// Lets an offer wait for an announce that is already being verified; `false` if there is none.
    pub(super) fn await_offered(&mut self, id: NeighbourId, key: (u64, u64), offered: OfferedRoute) -> bool {
        let room = self.neighbours.get(&id).is_some_and(|neighbour| neighbour.pending.len() < MAX_PENDING);
        let Some(ticket) = self.checks.of(key).next().map(|(ticket, _)| ticket).filter(|_| room) else {
            return false;
        };
        self.await_check(id, ticket, offered, false);
        true
    }

    /// Lets an offer wait under its number.
    fn await_check(&mut self, id: NeighbourId, ticket: u64, offered: OfferedRoute, announced: bool) {
        if let (Some(check), Some(neighbour)) =
            (self.checks.checks.get_mut(&ticket), self.neighbours.get_mut(&id))
        {
            if !check.offers.contains(&(id, offered.idx)) {
                check.offers.push((id, offered.idx));
            }
            neighbour.pending.insert(offered.idx, PendingOffer { ticket, offered, announced });
        }
    }

    /// Has an announce verified that a neighbour sent for its origin.
    pub(super) fn check_highest(
        &mut self,
        now: Time,
        id: NeighbourId,
        announce: SignedAnnounce,
    ) -> Result<(), DropCause> {
        let key = (key_hash(&announce.dst), announce.seq);
        let same =
            self.checks.of(key).find(|(_, check)| *check.announce == announce).map(|(ticket, _)| ticket);
        let Some(neighbour) = self.neighbours.get(&id) else { return Ok(()) };
        if neighbour.highest >= MAX_HIGHEST
            || (same.is_none() && !self.try_charge(now, id, Resource::Signatures.tokens(SIGNATURES, 1)))
        {
            return Err(DropCause::VerifyLimit);
        }
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return Ok(()) };
        neighbour.highest = neighbour.highest.saturating_add(1);
        let ticket = same.unwrap_or_else(|| self.checks.add(id, announce, None));
        if let Some(check) = self.checks.checks.get_mut(&ticket) {
            check.highest.push(id);
        }
        Ok(())
    }

    /// Takes the results of a [`VerifyJob`]. Each job has to be returned, in any order, because only `MAX_JOBS` run
    /// at a time.
    pub fn verified(&mut self, now: Time, verified: VerifyResults) {
        self.checks.running = self.checks.running.saturating_sub(1);
        for VerifyOutcome { ticket, announce, proof } in verified.0 {
            let Some(check) = self.checks.remove(ticket) else { continue };
            for (id, idx) in check.offers {
                let Some(neighbour) = self.neighbours.get_mut(&id) else { continue };
                if neighbour.pending.get(&idx).is_none_or(|pending| pending.ticket != ticket) {
                    continue;
                }
                let Some(PendingOffer { offered, announced, .. }) = neighbour.pending.remove(&idx) else {
                    continue;
                };
                let result = match &announce {
                    Some(announce) => self.install_route(now, id, announce.clone(), offered, proof),
                    None if announced => self.forged(now, id),
                    // Another neighbour sent the forged announce; this one may have a genuine one.
                    None => self.request_offered(now, id, &check.announce, offered.idx),
                };
                if let Err(cause) = result {
                    self.dropped(cause);
                }
                self.settle(now);
            }
            for id in check.highest {
                let Some(neighbour) = self.neighbours.get_mut(&id) else { continue };
                neighbour.highest = neighbour.highest.saturating_sub(1);
                match &announce {
                    Some(announce) => self.highest_verified(now, id, announce.clone()),
                    None => {
                        if let Err(cause) = self.forged(now, id) {
                            self.dropped(cause);
                        }
                    }
                }
            }
        }
    }

    /// Charges a forgery.
    fn forged(&mut self, now: Time, id: NeighbourId) -> Result<(), DropCause> {
        self.charge_penalty(now, id, Resource::Signatures.tokens(SIGNATURES, FORGED));
        Err(DropCause::BadAnnounce)
    }
}
