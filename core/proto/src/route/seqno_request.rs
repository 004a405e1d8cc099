//! Requests for a newer sequence number, for destinations whose remaining routes are not feasible (RFC 8966, section
//! 3.8).
//!
//! A request travels towards the origin, which answers with a higher seq. Every node on the way keeps the requester
//! and passes the answer on at once. A node whose next hop is the requester sends the request to another neighbour
//! with a finite route, because the requester has just lost the way through that node. A requester repeats its request
//! after 60 ms, doubling to 2 s, each time beginning with another neighbour, so that a neighbour that does not answer
//! is not the only one to be asked.
//!
//! If the remaining routes have an older *epoch*, the origin has restarted without its state. A request could not
//! prove to it that it was ever at a higher seq, so it is sent its own highest announce instead. It is also sent that
//! beside the request after some repetitions without an answer, because an origin without a clock may restart in the
//! same epoch.

use std::sync::Arc;
use std::time::Duration;

use rand_core::RngCore;

use super::Router;
use super::destination::Destination;
use super::metric::MAX_HOPS;
use super::seqno_relay::{PendingSeqnoRequest, Requester};
use super::timers::Timer;
use super::types::{DestinationKey, NeighbourId};
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::route::{INFINITY, Record, SeqnoRequest, SignedAnnounce, encode_your_highest};

/// Delay before the first repetition; it doubles up to [`MAX_RETRY`].
pub(super) const RETRY: Duration = Duration::from_millis(60);
pub(super) const MAX_RETRY: Duration = Duration::from_secs(2);
/// Repetitions without an answer after which the origin may have restarted within its epoch, at a lower counter.
pub(super) const RESTART_SUSPECTED: usize = 3;
/// Neighbours that one request is sent to, so that one bad neighbour does not stop it.
pub(super) const FAN_OUT: usize = 2;

impl Destination {
    /// Whether a neighbour searches for a newer route than it has advertised. Its present route is in doubt then,
    /// because it would not search otherwise.
    pub(super) fn is_searching(&self, now: Time, neighbour: NeighbourId) -> bool {
        let Some(relay) = self.transient().and_then(|transient| transient.relay.as_ref()) else {
            return false;
        };
        let advertised = self.adjacency(neighbour).map_or(0, |adj| self.seq_at(adj.announce));
        relay
            .requesters
            .iter()
            .any(|one| one.neighbour == neighbour && one.until > now && one.seq > advertised)
    }
}

impl Router {
    /// Begins, continues or ends the request of this node; `is_stuck` is whether no route is usable.
    pub(super) fn update_seqno_request(&mut self, now: Time, key: DestinationKey, is_stuck: bool) {
        let Some(dest) = self.table.get_mut(key) else { return };
        let is_requesting = dest.transient().is_some_and(|transient| transient.seqno_request.is_some());
        match (is_stuck, is_requesting) {
            (true, false) => {
                // Not at once if the last request is recent: a neighbour whose route flaps would otherwise cause a
                // request each time.
                let (at, step) = match dest.transient_or_new().last_request + RETRY {
                    again if again > now => (again, 0),
                    _ => (now + RETRY, 1),
                };
                dest.transient_or_new().seqno_request = Some(PendingSeqnoRequest { at, step });
                self.timers.arm(at, Timer::SeqnoRequest(key));
                if step > 0 {
                    self.send_seqno_request(now, key, 0);
                }
            }
            (false, true) => dest.transient_or_new().seqno_request = None,
            _ => {}
        }
    }

    /// Repeats a request that has no answer yet.
    pub(super) fn retry_seqno_request(&mut self, now: Time, key: DestinationKey) {
        // The event behind this search has started others as well. If all repeated in step, the request of the first
        // would always pass and this one never, because relays limit their rate.
        let stretch = self.jitter(Duration::from_millis(750), Duration::from_millis(1250)).as_secs_f64();
        let Some(transient) = self.table.get_mut(key).and_then(|dest| dest.transient_mut()) else { return };
        let Some(pending) = transient.seqno_request.as_mut().filter(|pending| pending.at <= now) else {
            return;
        };
        let step = pending.step;
        let wait = RETRY.saturating_mul(1 << step.min(6)).min(MAX_RETRY).mul_f64(stretch);
        *pending = PendingSeqnoRequest { at: now + wait, step: step.saturating_add(1) };
        self.timers.arm(now + wait, Timer::SeqnoRequest(key));
        self.send_seqno_request(now, key, usize::try_from(step).unwrap_or(0));
    }

    /// Sends a request to neighbours whose routes are not feasible, beginning with the `step`th best.
    pub(super) fn send_seqno_request(&mut self, now: Time, key: DestinationKey, step: usize) {
        let request = self.random.next_u32();
        let Some(dest) = self.table.get(key) else { return };
        let mut targets: Vec<NeighbourId> =
            self.candidates(now, dest).iter().filter(|one| !one.feasible).map(|one| one.neighbour).collect();
        if targets.is_empty() {
            return;
        }
        let first = step.checked_rem(targets.len()).unwrap_or(0);
        targets.rotate_left(first);
        targets.truncate(FAN_OUT);
        let request = SeqnoRequest {
            dst: dest.announce.dst,
            seq: dest.fd_seq.saturating_add(1),
            ttl: MAX_HOPS,
            id: request,
        };
        let highest = dest.announce.clone();
        for target in targets {
            let dest = self.table.get(key);
            let announce = dest.and_then(|dest| dest.announce_at(dest.adjacency(target)?.announce));
            let restarted = announce.is_some_and(|announce| announce.epoch() < highest.epoch());
            let forgot =
                step >= RESTART_SUSPECTED && announce.is_some_and(|announce| announce.seq < highest.seq);
            let Some(neighbour) = self.neighbours.get_mut(&target) else { continue };
            if restarted || forgot {
                neighbour.send_with(|out| encode_your_highest(&highest, out));
            }
            if !restarted {
                neighbour.send(&Record::SeqnoRequest(request));
            }
        }
        if let Some(dest) = self.table.get_mut(key) {
            dest.transient_or_new().last_request = now;
            let relay = dest.transient_or_new().relay.get_or_insert_default();
            relay.note_id(request.id);
            // The answer to a request does not depend on its seq, so that one of them holds up all others.
            relay.requests.try_relay(now, true, 0);
        }
    }

    /// Handles SEQNO_REQUEST: a neighbour needs a newer seq.
    pub(super) fn handle_seqno_request(&mut self, now: Time, id: NeighbourId, request: SeqnoRequest) {
        let Some(key) = self.table.find(&request.dst) else { return };
        if self.is_own(key) {
            self.raise(now, key, request.seq);
            return self.advertise_newest(now, key, id);
        }
        if self.answer_if_new_enough(now, key, id, request.seq) {
            return;
        }
        let Some(dest) = self.table.get_mut(key) else { return };
        dest.transient_or_new().relay.get_or_insert_default().add_requester(now, id, request.seq);
        let Some((target, hops)) = self.relay_target(now, key, id) else { return };
        let Some(dest) = self.table.get_mut(key) else { return };
        let detour = dest.selected() != Some(target);
        let relay = dest.transient_or_new().relay.get_or_insert_default();
        // A request that cannot reach the origin is dropped here, because it would hold up those that can.
        if request.ttl <= hops || !relay.note_id(request.id) || !relay.requests.try_relay(now, detour, 0) {
            return;
        }
        relay.note_detour(detour);
        if let Some(neighbour) = self.neighbours.get_mut(&target) {
            let ttl = request.ttl.min(MAX_HOPS).saturating_sub(1);
            neighbour.send(&Record::SeqnoRequest(SeqnoRequest { ttl, ..request }));
        }
    }

    /// Handles YOUR_HIGHEST: an announce for its origin, which may have forgotten it.
    pub(super) fn handle_your_highest(
        &mut self,
        now: Time,
        id: NeighbourId,
        announce: SignedAnnounce,
    ) -> Result<(), DropCause> {
        let Some(key) = self.table.find(&announce.dst) else { return Ok(()) };
        if self.is_own(key) {
            return self.handle_own_announce(now, id, key, announce);
        }
        if self.answer_if_new_enough(now, key, id, announce.seq) {
            return Ok(());
        }
        match self.table.get(key).and_then(|dest| dest.verified_equal(&announce)) {
            Some(announce) => self.highest_verified(now, id, announce),
            None => return self.check_highest(now, id, announce),
        }
        Ok(())
    }

    /// Continues with such an announce once it is verified.
    pub(super) fn highest_verified(&mut self, now: Time, id: NeighbourId, announce: Arc<SignedAnnounce>) {
        let Some(key) = self.table.find(&announce.dst) else { return };
        if self.is_own(key) {
            return self.outbid(now, key, &announce);
        }
        if self.answer_if_new_enough(now, key, id, announce.seq) {
            return;
        }
        let Some(dest) = self.table.get_mut(key) else { return };
        if announce.seq > dest.announce.seq && dest.keep(&announce).is_none() {
            return;
        }
        dest.transient_or_new().relay.get_or_insert_default().add_requester(now, id, announce.seq);
        let Some((target, _)) = self.relay_target(now, key, id) else { return };
        let Some(dest) = self.table.get_mut(key) else { return };
        let detour = dest.selected() != Some(target);
        let relay = dest.transient_or_new().relay.get_or_insert_default();
        if !relay.highest.try_relay(now, detour, announce.seq) {
            return;
        }
        relay.note_detour(detour);
        if let Some(neighbour) = self.neighbours.get_mut(&target) {
            neighbour.send_with(|out| encode_your_highest(&announce, out));
        }
    }

    /// Sends an origin the newest announce, because it advertises less than this node has of it.
    pub(super) fn send_highest_to_origin(&mut self, id: NeighbourId, newest: &SignedAnnounce) {
        if let Some(origin) = self.neighbours.get_mut(&id).filter(|one| one.address == newest.dst) {
            origin.send_with(|out| encode_your_highest(newest, out));
        }
    }

    /// Sends an origin that is a neighbour every higher announce that arrives another way. Normally the origin has
    /// made it and ignores it; but another node may have the same identity, and otherwise neither would learn of the
    /// other.
    pub(super) fn report_to_origin(&mut self, from: NeighbourId, announce: &SignedAnnounce) {
        for (id, neighbour) in &mut self.neighbours {
            if neighbour.address == announce.dst && *id != from {
                neighbour.send_with(|out| encode_your_highest(announce, out));
            }
        }
    }

    /// Answers with the present route if it has that seq or a newer one.
    fn answer_if_new_enough(&mut self, now: Time, key: DestinationKey, id: NeighbourId, seq: u64) -> bool {
        let Some(dest) = self.table.get(key) else { return true };
        let served = self.advert(now, dest).is_some_and(|advert| advert.seq() >= seq);
        if served {
            self.advertise_newest(now, key, id);
        }
        served
    }

    /// The neighbour to relay a request to, and the links between here and the origin that way: the next hop, or
    /// another neighbour with a finite route if the next hop is the requester.
    fn relay_target(&self, now: Time, key: DestinationKey, id: NeighbourId) -> Option<(NeighbourId, u8)> {
        let dest = self.table.get(key)?;
        let mut others = self.candidates(now, dest);
        others.retain(|one| one.neighbour != id);
        let straight = others.iter().find(|one| Some(one.neighbour) == dest.selected());
        let around = || {
            let detours = dest
                .transient()
                .and_then(|transient| transient.relay.as_ref())
                .map_or(0, |relay| relay.detours);
            others.get(detours.checked_rem(others.len())?)
        };
        straight.or_else(around).map(|one| (one.neighbour, one.hops))
    }

    /// Sends a newer seq to the neighbours that requested one. It does not wait for a batch, because they have no
    /// route until it arrives.
    pub(super) fn answer_requesters(&mut self, now: Time, key: DestinationKey) {
        let Some(dest) = self.table.get(key) else { return };
        let Some(relay) = dest.transient().and_then(|transient| transient.relay.as_ref()) else { return };
        if relay.requesters.is_empty() {
            return;
        }
        let Some(advert) = self.advert(now, dest) else { return };
        // Any seq that is newer than theirs is an answer, because a request for too high a seq must not delay the
        // others.
        let behind = |requester: &&Requester| {
            let adj = dest.adjacency(requester.neighbour);
            adj.is_none_or(|adj| {
                adj.advertised_metric == INFINITY || dest.seq_at(adj.advertised) < advert.seq()
            })
        };
        let targets: Vec<NeighbourId> =
            relay.requesters.iter().filter(behind).map(|requester| requester.neighbour).collect();
        for id in targets {
            self.advertise_newest(now, key, id);
        }
        let seq = advert.seq();
        let Some(dest) = self.table.get_mut(key) else { return };
        if let Some(relay) = dest.transient_or_new().relay.as_mut() {
            relay.requesters.retain(|requester| requester.seq > seq && requester.until > now);
        }
    }
}
