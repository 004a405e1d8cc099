//! Received records, and their effect on the table.
//!
//! Records of a neighbour are applied in their order, because an UPDATE refers to the announce that came before it. A
//! record that cannot be applied yet, because a quota is used up or a signature unverified, leaves a note under its
//! number, and the announce is requested again.

use super::Router;
use super::install::Proof;
use super::metric::{check, check_attributes};
use super::offer::OfferedRoute;
use super::types::{DestinationKey, NeighbourId, RouterOutput};
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::route::{INFINITY, MAX_MESSAGE, Record, RouteAttributes, SignedAnnounce, Update, key_hash};

impl Router {
    /// Handles one control message of a neighbour.
    ///
    /// # Errors
    /// The first refusal. The rest of the message is still handled, unless it is malformed, because one bad record
    /// must not discard the good ones. Further refusals, and those of announces whose verification fails later, are
    /// reported as [`RouterOutput::Dropped`].
    pub fn handle(&mut self, now: Time, id: NeighbourId, message: &[u8]) -> Result<(), DropCause> {
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
                    self.handle_record(now, id, record)
                }
                Err(_) => {
                    rest = &[];
                    Err(DropCause::MalformedPacket)
                }
            };
            self.settle(now);
            match (heard, result) {
                (Err(cause), Ok(())) => result = Err(cause),
                (Err(cause), Err(_)) => self.dropped(cause),
                (Ok(()), _) => {}
            }
        }
        result
    }

    /// Counts a refusal. Equal ones in a row share one event, so that a flood of bad records does not become a flood
    /// of events.
    pub(super) fn dropped(&mut self, cause: DropCause) {
        match self.events.back_mut() {
            Some(RouterOutput::Dropped(last, count)) if *last == cause => *count = count.saturating_add(1),
            _ => self.event(RouterOutput::Dropped(cause, 1)),
        }
    }

    /// Handles one record.
    fn handle_record(&mut self, now: Time, id: NeighbourId, record: Record) -> Result<(), DropCause> {
        match record {
            Record::Announce(announce, route) => self.handle_announce(now, id, announce, route),
            Record::Offer { key_hash, seq, attributes: route } => {
                self.handle_offer(now, id, (key_hash, seq), route)
            }
            Record::Want { idx } => {
                self.handle_want(now, idx, id);
                Ok(())
            }
            Record::Update(update) => self.handle_update(now, id, update),
            Record::SeqnoRequest(request) => {
                self.handle_seqno_request(now, id, request);
                Ok(())
            }
            Record::YourHighest(announce) => self.handle_your_highest(now, id, announce),
            Record::Reserved { .. } => Err(DropCause::UnknownRecord),
        }
    }

    /// Handles ANNOUNCE: a route together with its signed announce.
    fn handle_announce(
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
        self.supersede(id, route.idx, known);
        if let Some(key) = known.filter(|key| self.is_own(*key)) {
            self.bind(id, route.idx, key);
            return self.handle_own_announce(now, id, key, announce);
        }
        let dest = known.and_then(|key| self.table.get(key));
        if dest.is_some_and(|dest| dest.is_evicted) {
            return Err(DropCause::DestinationLimit);
        }
        let offered = OfferedRoute::new(now, route);
        let shared = || self.config.shared.as_ref().and_then(|cache| cache.get(&announce));
        let verified = dest.and_then(|dest| dest.verified_equal(&announce)).or_else(shared);
        if let (Some(announce), Some(_)) = (&verified, known) {
            return self.install_route(now, id, announce.clone(), offered, None);
        }
        // The record costs something from here on: room in the table, or the verification of a signature.
        let is_checked = self.is_checked(&announce);
        let paid =
            self.neighbours.get_mut(&id).is_some_and(|neighbour| neighbour.requested.remove(&route.idx));
        if known.is_none() && !paid && !is_checked && !self.may_introduce(now, id, Some(&announce.dst)) {
            self.defer(now, id, route.idx);
            return Err(DropCause::DestinationLimit);
        }
        if verified.is_none() && !self.may_check(now, id, is_checked) {
            return self.postpone(now, id, route.idx, known.is_none());
        }
        match verified {
            Some(announce) => self.install_route(now, id, announce, offered, None),
            None => {
                self.check_announce(id, announce, offered);
                Ok(())
            }
        }
    }

    /// Ends the former meaning of a number, unless it was `known` already. A neighbour reuses a number only after its
    /// destination is gone.
    fn supersede(&mut self, id: NeighbourId, idx: u32, known: Option<DestinationKey>) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        neighbour.pending.remove(&idx);
        neighbour.awaited.remove(&idx);
        neighbour.postponed.remove(&idx);
        let Some(before) = neighbour.key(idx).filter(|before| Some(*before) != known) else { return };
        neighbour.unbind(idx, before);
        self.withdraw(id, idx, before);
    }

    /// Handles OFFER: a route with its announce named by hash and seq only.
    fn handle_offer(
        &mut self,
        now: Time,
        id: NeighbourId,
        (hash, seq): (u64, u64),
        route: RouteAttributes,
    ) -> Result<(), DropCause> {
        check_attributes(&route)?;
        let known = self.table.by_hash(hash);
        self.supersede(id, route.idx, known);
        let Some((key, dest)) = known.and_then(|key| Some((key, self.table.get(key)?))) else {
            if self.await_offered(id, (hash, seq), OfferedRoute::new(now, route)) {
                return Ok(());
            }
            return self.request_unknown(now, id, route.idx);
        };
        if dest.is_own() {
            let higher = seq > dest.announce.seq;
            self.bind(id, route.idx, key);
            if higher {
                self.send_want(id, route.idx, false);
            }
            return Ok(());
        }
        if dest.is_evicted {
            return Err(DropCause::DestinationLimit);
        }
        match dest.slot_of(seq).and_then(|slot| dest.announce_at(slot)) {
            Some(announce) if route.remaining > 0 && route.remaining <= announce.lifetime => {
                let announce = announce.clone();
                self.install_route(now, id, announce, OfferedRoute::new(now, route), None)
            }
            Some(_) => Err(DropCause::BadAnnounce),
            None => {
                if !self.await_offered(id, (hash, seq), OfferedRoute::new(now, route)) {
                    self.request_newer(id, route.idx);
                }
                Ok(())
            }
        }
    }

    /// Requests the announce of a number that is unknown here.
    fn request_unknown(&mut self, now: Time, id: NeighbourId, idx: u32) -> Result<(), DropCause> {
        let Some(neighbour) = self.neighbours.get(&id) else { return Ok(()) };
        if neighbour.is_noted(idx) {
            return Ok(());
        }
        if !self.may_introduce(now, id, None) {
            self.defer(now, id, idx);
            return Err(DropCause::DestinationLimit);
        }
        self.send_want(id, idx, true);
        Ok(())
    }

    /// Requests an announce of a known destination that is missing here. Until it arrives, updates of the number refer
    /// to it.
    fn request_newer(&mut self, id: NeighbourId, idx: u32) {
        if let Some(neighbour) = self.neighbours.get_mut(&id) {
            neighbour.note_awaited(idx);
        }
        self.send_want(id, idx, false);
    }

    /// Requests the announce of an offer again. It had waited for an announce from another neighbour, which turned out
    /// forged; this neighbour may have a genuine one.
    pub(super) fn request_offered(
        &mut self,
        now: Time,
        id: NeighbourId,
        announce: &SignedAnnounce,
        idx: u32,
    ) -> Result<(), DropCause> {
        match self.table.by_hash(key_hash(&announce.dst)) {
            None => self.request_unknown(now, id, idx),
            Some(_) => {
                self.request_newer(id, idx);
                Ok(())
            }
        }
    }

    /// Handles UPDATE: another distance of a route that was advertised before, or its retraction.
    fn handle_update(&mut self, now: Time, id: NeighbourId, update: Update) -> Result<(), DropCause> {
        let Update { idx, metric, hops, chain } = update;
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return Ok(()) };
        let key = neighbour.key(idx);
        if metric == INFINITY {
            neighbour.requested.remove(&idx);
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
        let adj = key.and_then(|key| self.table.get(key)?.adjacency(id));
        let adj = adj.filter(|adj| adj.offers() && adj.idx == idx);
        let (Some(key), Some((slot, proved, was))) =
            (key, adj.map(|adj| (adj.announce, adj.proved, adj.metric)))
        else {
            return if metric == INFINITY { Ok(()) } else { self.request_unknown(now, id, idx) };
        };
        let sane = metric == INFINITY || check(metric, hops).is_ok();
        let proof = match chain {
            _ if !sane => Proof::False,
            _ if metric == INFINITY || hops >= proved => Proof::Holds,
            // The update refers to an announce that is missing here. Whether the proof holds can only be decided with
            // it.
            _ if awaited => Proof::Later,
            Some(chain) => self.prove(now, id, key, slot, (hops, chain)),
            None => Proof::False,
        };
        if metric != INFINITY && awaited && was == INFINITY && !postponed {
            self.send_want(id, idx, false);
        }
        let Some(dest) = self.table.get_mut(key) else { return Ok(()) };
        let Some(adj) = dest.adjacency_mut(id) else { return Ok(()) };
        match proof {
            Proof::Holds => adj.set_distance(metric, hops),
            // An unproven distance retracts the route.
            Proof::False => adj.set_metric(INFINITY),
            Proof::Later => adj.raise_metric(metric),
        }
        self.mark_changed(key);
        match proof {
            Proof::Holds => Ok(()),
            Proof::False => Err(DropCause::BadAnnounce),
            Proof::Later if awaited && !postponed => Ok(()),
            Proof::Later if awaited => Err(DropCause::VerifyLimit),
            Proof::Later => self.postpone(now, id, idx, false),
        }
    }

    /// Makes the neighbour's number stand for `key`.
    pub(super) fn bind(&mut self, id: NeighbourId, idx: u32, key: DestinationKey) {
        let before = self.neighbours.get_mut(&id).and_then(|neighbour| neighbour.bind(idx, key));
        if let Some(before) = before {
            self.withdraw(id, idx, before);
        }
    }

    /// Removes the route that a number stood for.
    fn withdraw(&mut self, id: NeighbourId, idx: u32, key: DestinationKey) {
        let Some(adj) = self.table.get_mut(key).and_then(|dest| dest.adjacency_mut(id)) else { return };
        if adj.idx == idx && adj.offers() {
            adj.clear();
            self.mark_changed(key);
        }
    }
}
