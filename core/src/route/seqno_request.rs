//! The search for a newer sequence number, where only routes are left that might loop (RFC 8966, section 3.8).
//!
//! A request goes towards the origin, which answers with a higher seq. Every node on the way remembers who asked and passes
//! the answer on at once. A node whose next hop is the one that asks sends the request to another neighbour
//! with a finite route, because the requester has just lost the way that went through it. Who asks asks again, at 60 ms
//! doubling to 2 s, each time beginning with another neighbour.
//!
//! Where the routes that are left are of an older *epoch*, the origin has restarted and forgotten its past: a request could not
//! prove to it that it was ever further. It gets its own highest announce instead; and so it does beside the request where
//! that has been in vain some times, for without a clock it may restart in the epoch that it had.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rand_core::RngCore;

use super::destination::Destination;
use super::select::MAX_HOPS;
use super::table::DestinationKey;
use super::timers::Timer;
use super::{NeighbourId, Router};
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::route::{INFINITY, Record, SeqnoRequest, SignedAnnounce, encode_your_highest};

/// The first wait before asking again; it doubles.
pub(super) const RETRY: Duration = Duration::from_millis(60);
pub(super) const MAX_RETRY: Duration = Duration::from_secs(2);
/// Asked in vain so often, an origin may have restarted within the same epoch and count from further below.
pub(super) const RESTART_SUSPECTED: usize = 3;
/// Neighbours asked at once.
pub(super) const FAN_OUT: usize = 2;
/// Requests for one destination are passed on this far apart: the answer to one serves all.
pub(super) const RELAY_INTERVAL: Duration = Duration::from_millis(30);
/// Who asked is remembered for so long.
pub(super) const REQUESTER_TIME: Duration = Duration::from_secs(5);
/// And so many of them, for each destination.
pub(super) const MAX_REQUESTERS: usize = 64;
/// Ids of requests that went through here, so that none goes through twice.
pub(super) const MAX_IDS: usize = 8;

/// Our own search.
pub(super) struct PendingSeqnoRequest {
    at: Time,
    step: u32,
}

/// Searches of others.
#[derive(Default)]
pub(super) struct SeqnoRequestRelay {
    requests: RelayLimiter,
    /// Of announces that go to their origin: no request holds one up, nor does one of them a request.
    highest: RelayLimiter,
    /// How often a request went to another neighbour than the next hop.
    detours: usize,
    ids: VecDeque<u32>,
    requesters: Vec<Requester>,
}

/// When something last went towards the origin, and when something last went another way, and its seq.
#[derive(Default)]
struct RelayLimiter([Option<(Time, u64)>; 2]);

impl RelayLimiter {
    /// Whether something may go on, because nothing that serves as well has gone just now. What takes a detour, which may lead
    /// nowhere, holds up nothing that goes straight, and what is older nothing that is newer.
    fn try_relay(&mut self, now: Time, detour: bool, seq: u64) -> bool {
        let [straight, around] = &mut self.0;
        let passed = if detour { around } else { straight };
        let free = passed.is_none_or(|(at, passed)| now.since(at) >= RELAY_INTERVAL || seq > passed);
        if free {
            *passed = Some((now, seq));
        }
        free
    }

    fn is_over(&self, now: Time) -> bool {
        self.0.iter().flatten().all(|(at, _)| now.since(*at) > REQUESTER_TIME)
    }
}

struct Requester {
    neighbour: NeighbourId,
    seq: u64,
    until: Time,
}

impl SeqnoRequestRelay {
    pub(super) fn is_over(&self, now: Time) -> bool {
        self.requesters.iter().all(|requester| requester.until <= now)
            && self.requests.is_over(now)
            && self.highest.is_over(now)
    }

    /// Notes an id; returns whether it is new.
    fn note_id(&mut self, id: u32) -> bool {
        if self.ids.contains(&id) {
            return false;
        }
        if self.ids.len() >= MAX_IDS {
            self.ids.pop_front();
        }
        self.ids.push_back(id);
        true
    }

    /// The next that has to go another way tries another neighbour.
    fn note_detour(&mut self, detour: bool) {
        self.detours = self.detours.wrapping_add(usize::from(detour));
    }

    fn add_requester(&mut self, now: Time, neighbour: NeighbourId, seq: u64) {
        self.requesters.retain(|one| one.until > now && one.neighbour != neighbour);
        if self.requesters.len() < MAX_REQUESTERS {
            self.requesters.push(Requester { neighbour, seq, until: now + REQUESTER_TIME });
        }
    }
}

impl Destination {
    /// Whether a neighbour is itself looking for a newer route than it told us of: what it has is in doubt.
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
    /// Begins, keeps up or ends our own search; `stuck` when all routes that are left might loop.
    pub(super) fn update_seqno_request(&mut self, now: Time, key: DestinationKey, is_stuck: bool) {
        let Some(dest) = self.table.get_mut(key) else { return };
        let is_requesting = dest.transient().is_some_and(|transient| transient.seqno_request.is_some());
        match (is_stuck, is_requesting) {
            (true, false) => {
                // A neighbour whose route comes and goes must not have others asked each time.
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

    pub(super) fn retry_seqno_request(&mut self, now: Time, key: DestinationKey) {
        // What has sent us searching has sent others too: in step, their requests would always pass and ours never.
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

    /// Asks neighbours whose routes might loop, beginning with the `step`th best.
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
            // Whichever of them is asked for, the answer is the same.
            relay.requests.try_relay(now, true, 0);
        }
    }

    /// A neighbour asks for a newer seq.
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
        // One that ends on the way brings nothing back, and must not stand for those that get there.
        if request.ttl <= hops || !relay.note_id(request.id) || !relay.requests.try_relay(now, detour, 0) {
            return;
        }
        relay.note_detour(detour);
        if let Some(neighbour) = self.neighbours.get_mut(&target) {
            let ttl = request.ttl.min(MAX_HOPS).saturating_sub(1);
            neighbour.send(&Record::SeqnoRequest(SeqnoRequest { ttl, ..request }));
        }
    }

    /// Somebody holds a higher announce of an origin than the origin may know.
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

    /// The same, when it has verified.
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

    /// An origin that says less than we hold of it is told what that is.
    pub(super) fn send_highest_to_origin(&mut self, id: NeighbourId, newest: &SignedAnnounce) {
        if let Some(origin) = self.neighbours.get_mut(&id).filter(|one| one.address == newest.dst) {
            origin.send_with(|out| encode_your_highest(newest, out));
        }
    }

    /// Who is a neighbour of an origin tells it of every higher announce that comes another way. It has made it itself, and
    /// pays no heed; or somebody else has who has its identity, and otherwise neither would ever hear of the other.
    pub(super) fn report_to_origin(&mut self, from: NeighbourId, announce: &SignedAnnounce) {
        for (id, neighbour) in &mut self.neighbours {
            if neighbour.address == announce.dst && *id != from {
                neighbour.send_with(|out| encode_your_highest(announce, out));
            }
        }
    }

    /// Answers with our route, if it is of that seq at least.
    fn answer_if_new_enough(&mut self, now: Time, key: DestinationKey, id: NeighbourId, seq: u64) -> bool {
        let Some(dest) = self.table.get(key) else { return true };
        let served = self.advert(now, dest).is_some_and(|advert| advert.seq() >= seq);
        if served {
            self.advertise_newest(now, key, id);
        }
        served
    }

    /// Whom to ask for a neighbour, and how many links lead from here to the origin that way: the next hop, or, when that is
    /// who asks, another with a finite route.
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

    /// Tells those who asked of a newer seq, at once.
    pub(super) fn answer_requesters(&mut self, now: Time, key: DestinationKey) {
        let Some(dest) = self.table.get(key) else { return };
        let Some(relay) = dest.transient().and_then(|transient| transient.relay.as_ref()) else { return };
        if relay.requesters.is_empty() {
            return;
        }
        let Some(advert) = self.advert(now, dest) else { return };
        // Whatever is newer than what they have: a request for too much must not keep others waiting.
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
