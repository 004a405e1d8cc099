//! What neighbours say, into the table.

use std::sync::Arc;

use super::neighbour::MIN_COST;
use super::select::MAX_HOPS;
use super::table::{Dest, Key, seconds};
use super::{NeighbourId, Router, RouterOutput};
use crate::identity;
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::route::{Core, INFINITY, MAX_MESSAGE, Record, Tail, Update};

impl Router {
    /// Takes one control message from a neighbour.
    ///
    /// # Errors
    /// The first refusal; the rest of the message was heard unless it is malformed. Further refusals come out as
    /// [`RouterOutput::Dropped`].
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

    fn dropped(&mut self, cause: DropCause) {
        match self.events.back_mut() {
            Some(RouterOutput::Dropped(last, count)) if *last == cause => *count = count.saturating_add(1),
            _ => self.event(RouterOutput::Dropped(cause, 1)),
        }
    }

    fn hear(&mut self, now: Time, id: NeighbourId, record: Record) -> Result<(), DropCause> {
        match record {
            Record::Announce(core, tail) => self.announce(now, id, core, tail),
            Record::Offer { key_hash, seq, tail } => self.offer(now, id, key_hash, seq, tail),
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
        }
    }

    fn announce(&mut self, now: Time, id: NeighbourId, core: Core, tail: Tail) -> Result<(), DropCause> {
        check(tail.metric, tail.hops)?;
        if tail.remaining == 0 || tail.remaining > core.lifetime || core.seq == 0 {
            return Err(DropCause::BadAnnounce);
        }
        let known = self.table.find(&core.dst);
        if let Some(key) = known.filter(|key| self.is_own(*key)) {
            self.bind(now, id, tail.idx, key);
            return self.heard_of_own(now, key, core);
        }
        let key = match known {
            Some(key) => {
                if self.table.get(key).is_none_or(|dest| dest.dying) {
                    return Err(DropCause::DestinationLimit);
                }
                let core = self.verified(Some(key), core).ok_or(DropCause::BadAnnounce)?;
                return self.place(now, id, key, core, tail);
            }
            None => self.introduce(now, id, core, tail.idx)?,
        };
        let core = self.table.get(key).map(|dest| dest.core.clone()).ok_or(DropCause::DestinationLimit)?;
        self.place(now, id, key, core, tail)
    }

    /// A destination that is not known: admitted when quota and table allow, and its core verifies.
    fn introduce(&mut self, now: Time, id: NeighbourId, core: Core, idx: u32) -> Result<Key, DropCause> {
        let paid = self.neighbours.get_mut(&id).is_some_and(|neighbour| neighbour.asked.remove(&idx));
        if !paid && !self.may_introduce(now, id, Some(&core.dst)) {
            self.release(now, id, idx);
            self.defer(now, id, idx);
            return Err(DropCause::DestinationLimit);
        }
        let core = self.verified(None, core).ok_or(DropCause::BadAnnounce)?;
        if !self.make_room(now) {
            return Err(DropCause::DestinationLimit);
        }
        self.table.insert(Dest::new(core, now)).ok_or(DropCause::DestinationLimit)
    }

    fn offer(
        &mut self,
        now: Time,
        id: NeighbourId,
        key_hash: u64,
        seq: u64,
        tail: Tail,
    ) -> Result<(), DropCause> {
        check(tail.metric, tail.hops)?;
        let Some(key) = self.table.by_hash(key_hash) else {
            self.release(now, id, tail.idx);
            return self.want_unknown(now, id, tail.idx);
        };
        let Some(dest) = self.table.get(key) else { return Ok(()) };
        if dest.own.is_some() {
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
        match dest.known_seq(seq) {
            Some(core) if tail.remaining > 0 && tail.remaining <= core.lifetime => {
                self.place(now, id, key, core, tail)
            }
            Some(_) => Err(DropCause::BadAnnounce),
            None => {
                let bound = self.neighbours.get(&id).and_then(|neighbour| neighbour.key(tail.idx));
                if bound != Some(key) {
                    self.release(now, id, tail.idx);
                }
                self.want(id, tail.idx, false);
                Ok(())
            }
        }
    }

    /// The neighbour has a route to something that we do not know by that number.
    fn want_unknown(&mut self, now: Time, id: NeighbourId, idx: u32) -> Result<(), DropCause> {
        let Some(neighbour) = self.neighbours.get(&id) else { return Ok(()) };
        if neighbour.asked.contains(&idx) || neighbour.deferred.contains(&idx) {
            return Ok(());
        }
        if !self.may_introduce(now, id, None) {
            self.defer(now, id, idx);
            return Err(DropCause::DestinationLimit);
        }
        self.want(id, idx, true);
        Ok(())
    }

    fn update(&mut self, now: Time, id: NeighbourId, update: Update) -> Result<(), DropCause> {
        let Update { idx, metric, hops } = update;
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return Ok(()) };
        let key = neighbour.key(idx);
        if metric == INFINITY {
            neighbour.asked.remove(&idx);
            neighbour.deferred.remove(&idx);
        }
        if key.is_some_and(|key| self.is_own(key)) {
            return Ok(());
        }
        let dest = key.and_then(|key| self.table.get_mut(key));
        let adj = dest.and_then(|dest| dest.adj_mut(id)).filter(|adj| adj.core.is_some());
        let (Some(adj), Some(key)) = (adj, key) else {
            return if metric == INFINITY { Ok(()) } else { self.want_unknown(now, id, idx) };
        };
        let fair = if metric == INFINITY { Ok(()) } else { check(metric, hops) };
        // A lie about the distance leaves none to believe.
        adj.set_metric(if fair.is_ok() { metric } else { INFINITY });
        adj.hops = if metric == INFINITY { adj.hops } else { hops };
        self.reselect(now, key);
        fair
    }

    /// Writes what a neighbour offers into the table.
    fn place(
        &mut self,
        now: Time,
        id: NeighbourId,
        key: Key,
        core: Arc<Core>,
        tail: Tail,
    ) -> Result<(), DropCause> {
        self.bind(now, id, tail.idx, key);
        let second = seconds(now);
        let expires = second.saturating_add(u32::from(tail.remaining));
        let Some(dest) = self.table.get_mut(key) else { return Ok(()) };
        if core.seq > dest.core.seq {
            dest.core = core.clone();
            dest.learnt = second;
        }
        dest.until = dest.until.max(expires);
        let Some(adj) = dest.adj_or_new(id) else { return Ok(()) };
        let former = adj.idx;
        let moved = adj.core.is_some() && former != tail.idx;
        adj.set_core(core, tail.metric);
        adj.idx = tail.idx;
        adj.expires = expires;
        adj.hops = tail.hops;
        adj.mtu = tail.mtu;
        if let Some(neighbour) = self.neighbours.get_mut(&id) {
            neighbour.asked.remove(&tail.idx);
            neighbour.deferred.remove(&tail.idx);
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

    /// The neighbour means something else by `idx` now, which we do not know yet.
    fn release(&mut self, now: Time, id: NeighbourId, idx: u32) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        if let Some(before) = neighbour.key(idx) {
            neighbour.unbind(idx, before);
            self.withdraw(now, id, idx, before);
        }
    }

    fn withdraw(&mut self, now: Time, id: NeighbourId, idx: u32, key: Key) {
        let Some(adj) = self.table.get_mut(key).and_then(|dest| dest.adj_mut(id)) else { return };
        if adj.idx == idx && adj.core.is_some() {
            adj.clear();
            self.reselect(now, key);
        }
    }

    /// The core as one that was verified: each is verified once.
    pub(super) fn verified(&mut self, key: Option<Key>, core: Core) -> Option<Arc<Core>> {
        let known = key.and_then(|key| self.table.get(key)).and_then(|dest| dest.known(&core));
        let shared = || self.config.shared.as_ref().and_then(|cache| cache.get(&core));
        if let Some(known) = known.or_else(shared) {
            return Some(known);
        }
        let signed = core.signed().ok()?;
        if !identity::verify(&core.dst, &signed, &core.signature) {
            return None;
        }
        let core = Arc::new(core);
        if let Some(cache) = &self.config.shared {
            cache.put(core.clone());
        }
        Some(core)
    }
}

/// Each hop costs something, so nobody is nearer than its hops allow.
fn check(metric: u16, hops: u8) -> Result<(), DropCause> {
    let fair = metric < INFINITY && hops < MAX_HOPS && metric >= MIN_COST.saturating_mul(u16::from(hops));
    if fair { Ok(()) } else { Err(DropCause::BadAnnounce) }
}
