//! Verification of signatures, which the shell runs elsewhere because it takes much longer than anything else in
//! routing.
//!
//! A route whose announce is not verified yet waits under the neighbour's number for the destination, and updates of
//! that number change the waiting route. So the order of a neighbour's records is kept, while neither its other
//! destinations nor other neighbours have to wait. An announce is verified once, however many neighbours offer it. The
//! number of waiting announces and the rate of verified ones are bounded for each neighbour; those beyond the bounds
//! are requested again later.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::accounts::{HASHES, Resource};
use super::table::{AnnounceCache, seconds};
use super::token_bucket::Allowance;
use super::{NeighbourId, Router, RouterOutput};
use crate::identity;
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::route::{Chain, LINKS, RouteAttributes, SignedAnnounce, key_hash, leads_to};

/// Announces in one job. 64 take about a millisecond, which is short enough to be interrupted by other jobs.
const JOB: usize = 64;
/// Jobs that run at a time. Further announces gather meanwhile, so that jobs become larger under load and batch
/// verification more efficient.
const MAX_JOBS: usize = 2;
/// Bound of the waiting announces of one neighbour.
pub(super) const MAX_PENDING: usize = 1024;
/// Bound of the waiting announces of one neighbour that are for their origin.
pub(super) const MAX_HIGHEST: usize = 64;
/// Signatures that are verified for one neighbour. One that does not hold counts as [`FORGED`], so that a forger has
/// about 30 a second verified.
pub(super) const SIGNATURES: Allowance = Allowance { rate: 2000, burst: 4096 };
pub(super) const FORGED: u32 = 65;

/// The route that a neighbour offers together with an announce.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfferedRoute {
    /// The neighbour's number for the destination.
    pub(super) idx: u32,
    /// The metric without the link to the neighbour.
    pub(super) metric: u16,
    /// The least metric that it has advertised for this announce, which bounds its feasibility distance.
    pub(super) feasibility_bound: u16,
    /// Links between the neighbour and the destination.
    pub(super) hops: u8,
    /// The longest packet that passes them, in bytes.
    pub(super) mtu: u16,
    /// Expiry in seconds.
    pub(super) expires: u32,
    /// The fewest hops that it has claimed, and their chain value. A later update with more hops does not replace
    /// them, because the proof of fewer covers it.
    pub(super) proof: (u8, Chain),
}

impl OfferedRoute {
    pub(super) fn new(now: Time, attributes: RouteAttributes) -> Self {
        let RouteAttributes { idx, metric, hops, mtu, remaining, chain } = attributes;
        let expires = seconds(now).saturating_add(u32::from(remaining));
        OfferedRoute { idx, metric, feasibility_bound: metric, hops, mtu, expires, proof: (hops, chain) }
    }
}

/// An offer whose announce is being verified.
pub(super) struct PendingOffer {
    /// The verification that it waits for.
    ticket: u64,
    pub(super) offered: OfferedRoute,
    /// Whether the neighbour sent the announce itself, so that it is charged for a forgery.
    announced: bool,
}

/// An announce of a job.
#[derive(Clone, Debug)]
struct VerifyItem {
    ticket: u64,
    announce: Arc<SignedAnnounce>,
    /// The hops that its sender claims, and the chain value that proves them.
    claim: Option<(u8, Chain)>,
}

/// Signatures to be verified: a pure computation, which is to be run where it delays neither packets nor routes.
#[derive(Clone, Debug)]
pub(crate) struct VerifyJob {
    items: Vec<VerifyItem>,
    cache: Option<Arc<AnnounceCache>>,
}

impl VerifyJob {
    /// The number of signatures.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }
}

impl PartialEq for VerifyJob {
    fn eq(&self, other: &Self) -> bool {
        let tickets = |job: &Self| job.items.iter().map(|item| item.ticket).collect::<Vec<_>>();
        tickets(self) == tickets(other)
    }
}

impl Eq for VerifyJob {}

/// The results of a [`VerifyJob`], for [`Router::verified`].
#[derive(Clone, Debug)]
pub(crate) struct VerifyResults(Vec<VerifyOutcome>);

/// The result for one announce.
#[derive(Clone, Debug)]
struct VerifyOutcome {
    ticket: u64,
    /// The announce; `None` if its signature does not hold.
    announce: Option<Arc<SignedAnnounce>>,
    /// The claim, if it holds.
    proof: Option<(u8, Chain)>,
}

impl VerifyJob {
    /// Verifies all signatures as one batch, and one by one if that fails, so that exactly the bad ones are refused.
    pub(crate) fn run(self) -> VerifyResults {
        let signed: Vec<Vec<u8>> =
            self.items.iter().map(|item| item.announce.signed().unwrap_or_default()).collect();
        let all = self.items.iter().zip(&signed);
        let claims: Vec<_> =
            all.map(|(item, signed)| (&item.announce.dst, &signed[..], &item.announce.signature)).collect();
        let good = identity::verify_all(&claims);
        let outcomes = self.items.into_iter().zip(good).map(|(item, good)| {
            let VerifyItem { ticket, announce, claim } = item;
            if !good {
                return VerifyOutcome { ticket, announce: None, proof: None };
            }
            if let Some(cache) = &self.cache {
                cache.put(announce.clone());
            }
            let proof = claim.filter(|claim| leads_to(&announce.dst, announce.seq, *claim, &announce.anchor));
            VerifyOutcome { ticket, announce: Some(announce), proof }
        });
        VerifyResults(outcomes.collect())
    }
}

/// An announce that is being verified, with the offers that wait for it.
struct Verification {
    announce: Arc<SignedAnnounce>,
    claim: Option<(u8, Chain)>,
    /// The waiting offers, by neighbour and number.
    offers: Vec<(NeighbourId, u32)>,
    /// The neighbours that sent it for its origin.
    highest: Vec<NeighbourId>,
}

/// All announces that are being verified.
#[derive(Default)]
pub(super) struct Verifications {
    /// The last ticket.
    tickets: u64,
    /// The announces by ticket.
    checks: BTreeMap<u64, Verification>,
    /// The tickets by key hash and seq.
    index: BTreeMap<(u64, u64), Vec<u64>>,
    /// The tickets that are in no job yet, by the neighbour that brought them. Neighbours take turns, so that one that
    /// sends much does not delay the others.
    queues: BTreeMap<NeighbourId, VecDeque<u64>>,
    /// The neighbour of the last turn.
    last: NeighbourId,
    /// Jobs that are running.
    running: usize,
}

impl Verifications {
    /// The verifications with this key hash and seq.
    fn of(&self, key: (u64, u64)) -> impl Iterator<Item = (u64, &Verification)> {
        let tickets = self.index.get(&key).into_iter().flatten();
        tickets.filter_map(|ticket| Some((*ticket, self.checks.get(ticket)?)))
    }

    /// Adds an announce.
    fn add(&mut self, id: NeighbourId, announce: SignedAnnounce, claim: Option<(u8, Chain)>) -> u64 {
        self.tickets = self.tickets.saturating_add(1);
        let ticket = self.tickets;
        self.index.entry((key_hash(&announce.dst), announce.seq)).or_default().push(ticket);
        self.queues.entry(id).or_default().push_back(ticket);
        let announce = Arc::new(announce);
        self.checks.insert(ticket, Verification { announce, claim, offers: Vec::new(), highest: Vec::new() });
        ticket
    }

    /// Removes an announce.
    fn remove(&mut self, ticket: u64) -> Option<Verification> {
        let check = self.checks.remove(&ticket)?;
        let key = (key_hash(&check.announce.dst), check.announce.seq);
        if let Some(tickets) = self.index.get_mut(&key) {
            tickets.retain(|one| *one != ticket);
            if tickets.is_empty() {
                self.index.remove(&key);
            }
        }
        Some(check)
    }

    /// The next ticket in turn.
    fn next(&mut self) -> Option<u64> {
        let after = self.queues.range(self.last.saturating_add(1)..).next().map(|(id, _)| *id);
        let id = after.or_else(|| self.queues.keys().next().copied())?;
        self.last = id;
        let queue = self.queues.get_mut(&id)?;
        let ticket = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&id);
        }
        ticket
    }
}

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
        room && (is_checked || self.try_charge(now, id, Resource::Signatures, SIGNATURES, 1))
    }

    /// Whether that many announces and their proofs could be verified now. Half of the room is left for announces that
    /// arrive unrequested.
    pub(super) fn has_room_to_check(&self, now: Time, id: NeighbourId, announces: u32) -> bool {
        let rounds = u32::from(LINKS).saturating_mul(announces);
        self.neighbours.get(&id).is_some_and(|neighbour| neighbour.pending.len() < MAX_PENDING / 2)
            && self.can_charge(now, id, Resource::Signatures, SIGNATURES, announces)
            && self.can_charge(now, id, Resource::Hashes, HASHES, rounds)
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
            || (same.is_none() && !self.try_charge(now, id, Resource::Signatures, SIGNATURES, 1))
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

    /// Takes the results of a [`VerifyJob`]. Each job has to be returned, in any order, because only [`MAX_JOBS`] run
    /// at a time.
    pub(crate) fn verified(&mut self, now: Time, verified: VerifyResults) {
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
        self.charge_penalty(now, id, Resource::Signatures, SIGNATURES, FORGED);
        Err(DropCause::BadAnnounce)
    }
}
