//! The announces that are being verified, and the offers that wait for them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::types::NeighbourId;
use crate::wire::route::{Chain, SignedAnnounce, key_hash};

/// An announce that is being verified, with the offers that wait for it.
pub(super) struct Verification {
    pub(super) announce: Arc<SignedAnnounce>,
    pub(super) claim: Option<(u8, Chain)>,
    /// The waiting offers, by neighbour and number.
    pub(super) offers: Vec<(NeighbourId, u32)>,
    /// The neighbours that sent it for its origin.
    pub(super) highest: Vec<NeighbourId>,
}

/// All announces that are being verified.
#[derive(Default)]
pub(super) struct Verifications {
    /// The last ticket.
    tickets: u64,
    /// The announces by ticket.
    pub(super) checks: BTreeMap<u64, Verification>,
    /// The tickets by key hash and seq.
    index: BTreeMap<(u64, u64), Vec<u64>>,
    /// The tickets that are in no job yet, by the neighbour that brought them. Neighbours take turns, so that one that
    /// sends much does not delay the others.
    queues: BTreeMap<NeighbourId, VecDeque<u64>>,
    /// The neighbour of the last turn.
    last: NeighbourId,
    /// Jobs that are running.
    pub(super) running: usize,
}

impl Verifications {
    /// The verifications with this key hash and seq.
    pub(super) fn of(&self, key: (u64, u64)) -> impl Iterator<Item = (u64, &Verification)> {
        let tickets = self.index.get(&key).into_iter().flatten();
        tickets.filter_map(|ticket| Some((*ticket, self.checks.get(ticket)?)))
    }

    /// Adds an announce.
    pub(super) fn add(
        &mut self,
        id: NeighbourId,
        announce: SignedAnnounce,
        claim: Option<(u8, Chain)>,
    ) -> u64 {
        self.tickets = self.tickets.saturating_add(1);
        let ticket = self.tickets;
        self.index.entry((key_hash(&announce.dst), announce.seq)).or_default().push(ticket);
        self.queues.entry(id).or_default().push_back(ticket);
        let announce = Arc::new(announce);
        self.checks.insert(ticket, Verification { announce, claim, offers: Vec::new(), highest: Vec::new() });
        ticket
    }

    /// Removes an announce.
    pub(super) fn remove(&mut self, ticket: u64) -> Option<Verification> {
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
    pub(super) fn next(&mut self) -> Option<u64> {
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
