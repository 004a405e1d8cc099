//! What neighbours say, into the table.

use std::sync::Arc;

use super::accounts::{FALSE_PROOF, HASHES, Resource};
use super::cores::Slot;
use super::dest::Dest;
use super::neighbour::MIN_COST;
use super::select::MAX_HOPS;
use super::table::Key;
use super::verify::Offered;
use super::{NeighbourId, Router, RouterOutput};
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::route::{Chain, Core, INFINITY, MAX_MESSAGE, Record, Tail, Update, key_hash};

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
            Record::Announce(core, tail) => self.announce(now, id, core, tail),
            Record::Offer { key_hash, seq, tail } => self.offer(now, id, (key_hash, seq), tail),
            Record::Want { idx } => {
                self.wanted_by(now, idx, id);
                Ok(())
            }
            Record::Update(update) => self.update(now, id, update),
            Record::SeqReq(request) => {
                self.seq_req(now, id, request);
                Ok(())
            }
            Record::YourHighest(core) => self.your_highest(now, id, core),
            Record::Reserved { .. } => Err(DropCause::UnknownRecord),
        }
    }

    fn announce(&mut self, now: Time, id: NeighbourId, core: Core, tail: Tail) -> Result<(), DropCause> {
        check_tail(&tail)?;
        if tail.remaining == 0 || tail.remaining > core.lifetime || core.seq == 0 {
            return Err(DropCause::BadAnnounce);
        }
        let known = self.table.find(&core.dst);
        self.supersede(now, id, tail.idx, known);
        if let Some(key) = known.filter(|key| self.is_own(*key)) {
            self.bind(now, id, tail.idx, key);
            return self.heard_of_own(now, id, key, core);
        }
        let dest = known.and_then(|key| self.table.get(key));
        if dest.is_some_and(|dest| dest.dying) {
            return Err(DropCause::DestinationLimit);
        }
        let offered = Offered::new(now, tail);
        let shared = || self.config.shared.as_ref().and_then(|cache| cache.get(&core));
        let verified = dest.and_then(|dest| dest.known(&core)).or_else(shared);
        if let (Some(core), Some(_)) = (&verified, known) {
            return self.settle(now, id, core.clone(), offered, None);
        }
        // From here on it costs something: a place in the table, or a signature to verify.
        let is_checked = self.is_checked(&core);
        let paid = self.neighbours.get_mut(&id).is_some_and(|neighbour| neighbour.asked.remove(&tail.idx));
        if known.is_none() && !paid && !is_checked && !self.may_introduce(now, id, Some(&core.dst)) {
            self.defer(now, id, tail.idx);
            return Err(DropCause::DestinationLimit);
        }
        if verified.is_none() && !self.may_check(now, id, is_checked) {
            return self.postpone(now, id, tail.idx, known.is_none());
        }
        match verified {
            Some(core) => self.settle(now, id, core, offered, None),
            None => {
                self.check_announce(id, core, offered);
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
        tail: Tail,
    ) -> Result<(), DropCause> {
        check_tail(&tail)?;
        let known = self.table.by_hash(hash);
        self.supersede(now, id, tail.idx, known);
        let Some((key, dest)) = known.and_then(|key| Some((key, self.table.get(key)?))) else {
            if self.await_offered(id, (hash, seq), Offered::new(now, tail)) {
                return Ok(());
            }
            return self.want_unknown(now, id, tail.idx);
        };
        if dest.is_own() {
            let higher = seq > dest.core.seq;
            self.bind(now, id, tail.idx, key);
            if higher {
                self.want(id, tail.idx, false);
            }
            return Ok(());
        }
        if dest.dying {
            return Err(DropCause::DestinationLimit);
        }
        match dest.slot_of(seq).and_then(|slot| dest.core_at(slot)) {
            Some(core) if tail.remaining > 0 && tail.remaining <= core.lifetime => {
                let core = core.clone();
                self.settle(now, id, core, Offered::new(now, tail), None)
            }
            Some(_) => Err(DropCause::BadAnnounce),
            None => {
                if !self.await_offered(id, (hash, seq), Offered::new(now, tail)) {
                    self.want_newer(id, tail.idx);
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

    /// The neighbour has a core of a known destination that we do not have. What it says of the number until the core
    /// is here is about that core.
    fn want_newer(&mut self, id: NeighbourId, idx: u32) {
        if let Some(neighbour) = self.neighbours.get_mut(&id) {
            neighbour.note_awaited(idx);
        }
        self.want(id, idx, false);
    }

    /// The core that a neighbour's offer waited for has turned out false, but that came from another.
    pub(super) fn want_offered(
        &mut self,
        now: Time,
        id: NeighbourId,
        core: &Core,
        idx: u32,
    ) -> Result<(), DropCause> {
        match self.table.by_hash(key_hash(&core.dst)) {
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
        let (Some(key), Some((slot, proved, was))) = (key, adj.map(|adj| (adj.core, adj.proved, adj.metric)))
        else {
            return if metric == INFINITY { Ok(()) } else { self.want_unknown(now, id, idx) };
        };
        if metric != INFINITY && awaited {
            // It speaks of a core that we do not have. Whether it is nearer by that we shall see when it is here.
            if was == INFINITY && !postponed {
                self.want(id, idx, false);
            }
            if hops < proved {
                return if postponed { Err(DropCause::VerifyLimit) } else { Ok(()) };
            }
        }
        let sane = metric == INFINITY || check(metric, hops).is_ok();
        let proof = match chain {
            _ if !sane => Proof::False,
            _ if metric == INFINITY || hops >= proved => Proof::Holds,
            Some(chain) => self.prove(now, id, key, slot, (hops, chain)),
            None => Proof::False,
        };
        let fair = proof == Proof::Holds;
        let Some(dest) = self.table.get_mut(key) else { return Ok(()) };
        let Some(adj) = dest.adj_mut(id) else { return Ok(()) };
        // A lie about the distance leaves none to believe.
        adj.set_metric(if fair { metric } else { INFINITY });
        if fair && metric != INFINITY {
            adj.hops = hops;
            adj.proved = adj.proved.min(hops);
        }
        self.reselect(now, key);
        match proof {
            Proof::Holds => Ok(()),
            Proof::False => Err(DropCause::BadAnnounce),
            Proof::Later => self.postpone(now, id, idx, false),
        }
    }

    /// Looks at a neighbour's proof of its hops, if that is within its quota.
    fn prove(&mut self, now: Time, id: NeighbourId, key: Key, slot: Slot, proof: (u8, Chain)) -> Proof {
        let (hops, chain) = proof;
        let rounds = self.table.get(key).map_or(0, |dest| dest.rounds(slot, hops));
        // Also where it takes no rounds: who has lied much has nothing looked at.
        if !self.pays(now, id, Resource::Hashes, HASHES, u32::from(rounds)) {
            return Proof::Later;
        }
        if self.table.get_mut(key).is_some_and(|dest| dest.prove(slot, hops, chain)) {
            return Proof::Holds;
        }
        self.charge(now, id, Resource::Hashes, HASHES, FALSE_PROOF);
        Proof::False
    }

    /// Writes what a neighbour offers with a verified core into the table; `proof` is what was proved for it elsewhere.
    pub(super) fn settle(
        &mut self,
        now: Time,
        id: NeighbourId,
        core: Arc<Core>,
        offered: Offered,
        proof: Option<(u8, Chain)>,
    ) -> Result<(), DropCause> {
        let key = match self.table.find(&core.dst) {
            Some(key) => key,
            None if self.make_room(now) => {
                self.table.insert(Dest::new(core.clone(), now)).ok_or(DropCause::DestinationLimit)?
            }
            None => return Err(DropCause::DestinationLimit),
        };
        if self.is_own(key) {
            self.bind(now, id, offered.idx, key);
            return self.heard_of_own(now, id, key, (*core).clone());
        }
        let Some(dest) = self.table.get_mut(key) else { return Ok(()) };
        if dest.dying {
            return Err(DropCause::DestinationLimit);
        }
        let is_newest = core.seq > dest.core.seq;
        let slot = dest.keep(&core).ok_or(DropCause::DestinationLimit)?;
        if is_newest {
            dest.set_learnt(now);
            self.tell_origin(id, &core);
        } else if core.seq < dest.core.seq {
            let newest = dest.core.clone();
            self.tell_highest(id, &newest);
        }
        let Some(dest) = self.table.get_mut(key) else { return Ok(()) };
        dest.until = dest.until.max(offered.expires);
        // Of two announces of one seq the other is kept: it has another chain.
        let is_kept = dest.core_at(slot).is_some_and(|kept| *kept == core);
        if let Some((hops, chain)) = proof.filter(|_| is_kept) {
            dest.proven(slot, hops, chain);
        }
        let proof = if is_kept { self.prove(now, id, key, slot, offered.proof) } else { Proof::False };
        if proof != Proof::Holds {
            let Some(dest) = self.table.get_mut(key) else { return Ok(()) };
            if let Some(adj) = dest.adj_mut(id).filter(|adj| adj.offers()) {
                adj.set_metric(INFINITY);
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
        adj.set_core(slot, hops);
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

/// What became of a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    Holds,
    False,
    /// It was not looked at, because too much was proved for this neighbour lately: it is asked for again.
    Later,
}

/// Every link bears so much, in bytes: who says that a way bears less keeps others from sending anything over it.
const LEAST_MTU: u16 = 446;

fn check_tail(tail: &Tail) -> Result<(), DropCause> {
    if tail.mtu < LEAST_MTU { Err(DropCause::BadAnnounce) } else { check(tail.metric, tail.hops) }
}

/// Each hop costs something, so nobody is nearer than its hops allow.
pub(super) fn check(metric: u16, hops: u8) -> Result<(), DropCause> {
    let fair = metric < INFINITY && hops < MAX_HOPS && metric >= MIN_COST.saturating_mul(u16::from(hops));
    if fair { Ok(()) } else { Err(DropCause::BadAnnounce) }
}
