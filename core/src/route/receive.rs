//! What neighbours say, into the table.

use std::sync::Arc;

use super::accounts::{FALSE_PROOF, HASHES, Resource};
use super::announces::Slot;
use super::dest::Dest;
use super::select::{check, check_attributes};
use super::table::Key;
use super::verify::Offered;
use super::{NeighbourId, Router, RouterOutput};
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::route::{
    Chain, INFINITY, MAX_MESSAGE, Record, RouteAttributes, SignedAnnounce, Update, key_hash,
};

impl Router {
    /// Takes one control message from a neighbour.
    ///
    /// # Errors
    /// The first refusal; the rest of the message was heard unless it is malformed. Further refusals come out as
    /// [`RouterOutput::Dropped`], and so do those of announces that do not verify, later.
    pub(crate) fn handle(&mut self, now: Time, id: NeighbourId, message: &[u8]) -> Result<(), DropCause> {
        if !self.neighbours.contains_key(&id) {
            return Err(DropCause::UnknownSession);
        }
        if message.is_empty() || message.len() > MAX_MESSAGE {
            return Err(DropCause::MalformedPacket);
        }
        let mut result = Ok(());
        let mut rest = message;
        while !rest.is_empty() {
            let heard = match Record::decode(rest) {
                Ok((record, left)) => {
                    rest = left;
                    self.hear(now, id, record)
                }
                Err(_) => {
                    rest = &[];
                    Err(DropCause::MalformedPacket)
                }
            };
            match (heard, result) {
                (Err(cause), Ok(())) => result = Err(cause),
                (Err(cause), Err(_)) => self.dropped(cause),
                (Ok(()), _) => {}
            }
        }
        result
    }

    pub(super) fn dropped(&mut self, cause: DropCause) {
        match self.events.back_mut() {
            Some(RouterOutput::Dropped(last, count)) if *last == cause => *count = count.saturating_add(1),
            _ => self.event(RouterOutput::Dropped(cause, 1)),
        }
    }

    fn hear(&mut self, now: Time, id: NeighbourId, record: Record) -> Result<(), DropCause> {
        match record {
            Record::Announce(announce, route) => self.announce(now, id, announce, route),
            Record::Offer { key_hash, seq, attributes: route } => self.offer(now, id, (key_hash, seq), route),
            Record::Want { idx } => {
                self.wanted_by(now, idx, id);
                Ok(())
            }
            Record::Update(update) => self.update(now, id, update),
            Record::SeqnoRequest(request) => {
                self.seq_req(now, id, request);
                Ok(())
            }
            Record::YourHighest(announce) => self.your_highest(now, id, announce),
            Record::Reserved { .. } => Err(DropCause::UnknownRecord),
        }
    }

    fn announce(
        &mut self,
        now: Time,
        id: NeighbourId,
        announce: SignedAnnounce,
        route: RouteAttributes,
    ) -> Result<(), DropCause> {
        check_attributes(&route)?;
        if route.remaining == 0 || route.remaining > announce.lifetime || announce.seq == 0 {
            return Err(DropCause::BadAnnounce);
        }
        let known = self.table.find(&announce.dst);
        self.supersede(now, id, route.idx, known);
        if let Some(key) = known.filter(|key| self.is_own(*key)) {
            self.bind(now, id, route.idx, key);
            return self.heard_of_own(now, id, key, announce);
        }
        let dest = known.and_then(|key| self.table.get(key));
        if dest.is_some_and(|dest| dest.dying) {
            return Err(DropCause::DestinationLimit);
        }
        let offered = Offered::new(now, route);
        let shared = || self.config.shared.as_ref().and_then(|cache| cache.get(&announce));
        let verified = dest.and_then(|dest| dest.known(&announce)).or_else(shared);
        if let (Some(announce), Some(_)) = (&verified, known) {
            return self.settle(now, id, announce.clone(), offered, None);
        }
        // From here on it costs something: a place in the table, or a signature to verify.
        let is_checked = self.is_checked(&announce);
        let paid = self.neighbours.get_mut(&id).is_some_and(|neighbour| neighbour.asked.remove(&route.idx));
        if known.is_none() && !paid && !is_checked && !self.may_introduce(now, id, Some(&announce.dst)) {
            self.defer(now, id, route.idx);
            return Err(DropCause::DestinationLimit);
        }
        if verified.is_none() && !self.may_check(now, id, is_checked) {
            return self.postpone(now, id, route.idx, known.is_none());
        }
        match verified {
            Some(announce) => self.settle(now, id, announce, offered, None),
            None => {
                self.check_announce(id, announce, offered);
                Ok(())
            }
        }
    }

    /// What the neighbour meant by this number until now does not hold any more, if that was not `known`.
    fn supersede(&mut self, now: Time, id: NeighbourId, idx: u32, known: Option<Key>) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        neighbour.pending.remove(&idx);
        neighbour.awaited.remove(&idx);
        neighbour.postponed.remove(&idx);
        let Some(before) = neighbour.key(idx).filter(|before| Some(*before) != known) else { return };
        neighbour.unbind(idx, before);
        self.withdraw(now, id, idx, before);
    }

    fn offer(
        &mut self,
        now: Time,
        id: NeighbourId,
        (hash, seq): (u64, u64),
        route: RouteAttributes,
    ) -> Result<(), DropCause> {
        check_attributes(&route)?;
        let known = self.table.by_hash(hash);
        self.supersede(now, id, route.idx, known);
        let Some((key, dest)) = known.and_then(|key| Some((key, self.table.get(key)?))) else {
            if self.await_offered(id, (hash, seq), Offered::new(now, route)) {
                return Ok(());
            }
            return self.want_unknown(now, id, route.idx);
        };
        if dest.is_own() {
            let higher = seq > dest.announce.seq;
            self.bind(now, id, route.idx, key);
            if higher {
                self.want(id, route.idx, false);
            }
            return Ok(());
        }
        if dest.dying {
            return Err(DropCause::DestinationLimit);
        }
        match dest.slot_of(seq).and_then(|slot| dest.announce_at(slot)) {
            Some(announce) if route.remaining > 0 && route.remaining <= announce.lifetime => {
                let announce = announce.clone();
                self.settle(now, id, announce, Offered::new(now, route), None)
            }
            Some(_) => Err(DropCause::BadAnnounce),
            None => {
                if !self.await_offered(id, (hash, seq), Offered::new(now, route)) {
                    self.want_newer(id, route.idx);
                }
                Ok(())
            }
        }
    }

    /// The neighbour has a route to something that we do not know by that number.
    fn want_unknown(&mut self, now: Time, id: NeighbourId, idx: u32) -> Result<(), DropCause> {
        let Some(neighbour) = self.neighbours.get(&id) else { return Ok(()) };
        if neighbour.is_noted(idx) {
            return Ok(());
        }
        if !self.may_introduce(now, id, None) {
            self.defer(now, id, idx);
            return Err(DropCause::DestinationLimit);
        }
        self.want(id, idx, true);
        Ok(())
    }

    /// The neighbour has an announce of a known destination that we do not have. What it says of the number until the announce
    /// is here is about that core.
    fn want_newer(&mut self, id: NeighbourId, idx: u32) {
        if let Some(neighbour) = self.neighbours.get_mut(&id) {
            neighbour.note_awaited(idx);
        }
        self.want(id, idx, false);
    }

    /// The announce that a neighbour's offer waited for has turned out false, but that came from another.
    pub(super) fn want_offered(
        &mut self,
        now: Time,
        id: NeighbourId,
        announce: &SignedAnnounce,
        idx: u32,
    ) -> Result<(), DropCause> {
        match self.table.by_hash(key_hash(&announce.dst)) {
            None => self.want_unknown(now, id, idx),
            Some(_) => {
                self.want_newer(id, idx);
                Ok(())
            }
        }
    }

    fn update(&mut self, now: Time, id: NeighbourId, update: Update) -> Result<(), DropCause> {
        let Update { idx, metric, hops, chain } = update;
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return Ok(()) };
        let key = neighbour.key(idx);
        if metric == INFINITY {
            neighbour.asked.remove(&idx);
            neighbour.deferred.remove(&idx);
            if neighbour.pending.remove(&idx).is_some() && key.is_some() {
                neighbour.note_awaited(idx);
            }
        } else if neighbour.pending.contains_key(&idx) {
            return neighbour.update_pending(update);
        }
        let (awaited, postponed) = (neighbour.awaited.contains(&idx), neighbour.postponed.contains(&idx));
        if key.is_some_and(|key| self.is_own(key)) {
            return Ok(());
        }
        let adj = key.and_then(|key| self.table.get(key)?.adj(id));
        let adj = adj.filter(|adj| adj.offers() && adj.idx == idx);
        let (Some(key), Some((slot, proved, was))) =
            (key, adj.map(|adj| (adj.announce, adj.proved, adj.metric)))
        else {
            return if metric == INFINITY { Ok(()) } else { self.want_unknown(now, id, idx) };
        };
        let sane = metric == INFINITY || check(metric, hops).is_ok();
        let proof = match chain {
            _ if !sane => Proof::False,
            _ if metric == INFINITY || hops >= proved => Proof::Holds,
            // It speaks of an announce that is not here: whether it is nearer by that shows when it is.
            _ if awaited => Proof::Later,
            Some(chain) => self.prove(now, id, key, slot, (hops, chain)),
            None => Proof::False,
        };
        if metric != INFINITY && awaited && was == INFINITY && !postponed {
            self.want(id, idx, false);
        }
        let Some(dest) = self.table.get_mut(key) else { return Ok(()) };
        let Some(adj) = dest.adj_mut(id) else { return Ok(()) };
        match proof {
            Proof::Holds => adj.set_distance(metric, hops),
            // An unproven distance retracts the route.
            Proof::False => adj.set_metric(INFINITY),
            Proof::Later => adj.raise_metric(metric),
        }
        self.reselect(now, key);
        match proof {
            Proof::Holds => Ok(()),
            Proof::False => Err(DropCause::BadAnnounce),
            Proof::Later if awaited && !postponed => Ok(()),
            Proof::Later if awaited => Err(DropCause::VerifyLimit),
            Proof::Later => self.postpone(now, id, idx, false),
        }
    }

    /// Looks at a neighbour's proof of its hops, if that is within its quota.
    fn prove(&mut self, now: Time, id: NeighbourId, key: Key, slot: Slot, proof: (u8, Chain)) -> Proof {
        let (hops, chain) = proof;
        let rounds = self.table.get(key).map_or(0, |dest| dest.rounds(slot, hops));
        // Also where it takes no rounds: nothing is looked at of a neighbour that has lied much.
        if !self.pays(now, id, Resource::Hashes, HASHES, u32::from(rounds)) {
            return Proof::Later;
        }
        if self.table.get_mut(key).is_some_and(|dest| dest.prove(slot, hops, chain)) {
            return Proof::Holds;
        }
        self.penalise(now, id, Resource::Hashes, HASHES, FALSE_PROOF);
        Proof::False
    }

    /// Writes what a neighbour offers with a verified announce into the table; `proof` is what was proved for it elsewhere.
    pub(super) fn settle(
        &mut self,
        now: Time,
        id: NeighbourId,
        announce: Arc<SignedAnnounce>,
        offered: Offered,
        proof: Option<(u8, Chain)>,
    ) -> Result<(), DropCause> {
        let key = match self.table.find(&announce.dst) {
            Some(key) => key,
            None if self.make_room(now) => {
                self.table.insert(Dest::new(announce.clone(), now)).ok_or(DropCause::DestinationLimit)?
            }
            None => return Err(DropCause::DestinationLimit),
        };
        if self.is_own(key) {
            self.bind(now, id, offered.idx, key);
            return self.heard_of_own(now, id, key, (*announce).clone());
        }
        let Some(dest) = self.table.get_mut(key) else { return Ok(()) };
        if dest.dying {
            return Err(DropCause::DestinationLimit);
        }
        let is_newest = announce.seq > dest.announce.seq;
        let slot = dest.keep(&announce).ok_or(DropCause::DestinationLimit)?;
        if is_newest {
            dest.set_learnt(now);
            self.tell_origin(id, &announce);
        } else if announce.seq < dest.announce.seq {
            let newest = dest.announce.clone();
            self.tell_highest(id, &newest);
        }
        let Some(dest) = self.table.get_mut(key) else { return Ok(()) };
        dest.until = dest.until.max(offered.expires);
        // Of two announces of one seq the other is kept: it has another chain.
        let is_kept = dest.announce_at(slot).is_some_and(|kept| *kept == announce);
        if let Some((hops, chain)) = proof.filter(|_| is_kept) {
            dest.proven(slot, hops, chain);
        }
        let proof = if is_kept { self.prove(now, id, key, slot, offered.proof) } else { Proof::False };
        if proof != Proof::Holds {
            let Some(dest) = self.table.get_mut(key) else { return Ok(()) };
            if let Some(adj) = dest.adj_mut(id).filter(|adj| adj.offers()) {
                match proof {
                    // Under another number its retractions would not be about this route.
                    Proof::Later if adj.idx == offered.idx => adj.raise_metric(offered.metric),
                    _ => adj.set_metric(INFINITY),
                }
                self.reselect(now, key);
            }
            return match proof {
                Proof::Later => self.postpone(now, id, offered.idx, false),
                _ => Err(DropCause::BadAnnounce),
            };
        }
        let hops = offered.proof.0;
        self.bind(now, id, offered.idx, key);
        let Some(dest) = self.table.get_mut(key) else { return Ok(()) };
        let Some(adj) = dest.adj_or_new(id) else { return Ok(()) };
        let former = adj.idx;
        let moved = adj.offers() && former != offered.idx;
        adj.set_announce(slot, hops);
        adj.set_metric(offered.nearest);
        adj.set_metric(offered.metric);
        adj.idx = offered.idx;
        adj.expires = offered.expires;
        adj.hops = offered.hops;
        adj.mtu = offered.mtu;
        if let Some(neighbour) = self.neighbours.get_mut(&id) {
            neighbour.asked.remove(&offered.idx);
            neighbour.deferred.remove(&offered.idx);
            if moved {
                neighbour.unbind(former, key);
            }
        }
        self.reselect(now, key);
        Ok(())
    }

    /// From now on the neighbour means `key` by `idx`.
    fn bind(&mut self, now: Time, id: NeighbourId, idx: u32, key: Key) {
        let before = self.neighbours.get_mut(&id).and_then(|neighbour| neighbour.bind(idx, key));
        if let Some(before) = before {
            self.withdraw(now, id, idx, before);
        }
    }

    fn withdraw(&mut self, now: Time, id: NeighbourId, idx: u32, key: Key) {
        let Some(adj) = self.table.get_mut(key).and_then(|dest| dest.adj_mut(id)) else { return };
        if adj.idx == idx && adj.offers() {
            adj.clear();
            self.reselect(now, key);
        }
    }
}

/// The result of looking at a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    Holds,
    False,
    /// It was not looked at, for want of quota or of its announce, and is asked for again: meanwhile the route is no nearer than
    /// was proved before.
    Later,
}
