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

use super::dest::Dest;
use super::select::MAX_HOPS;
use super::table::Key;
use super::timers::Timer;
use super::{NeighbourId, Router};
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::route::{INFINITY, Record, SeqnoRequest, SignedAnnounce, encode_your_highest};

/// The first wait before asking again; it doubles.
pub(super) const AGAIN: Duration = Duration::from_millis(60);
pub(super) const AGAIN_MAX: Duration = Duration::from_secs(2);
/// Asked in vain so often, an origin may have restarted within the same epoch and count from further below.
pub(super) const FORGOT: usize = 3;
/// Neighbours asked at once.
pub(super) const FAN: usize = 2;
/// Requests for one destination are passed on this far apart: the answer to one serves all.
pub(super) const PASS: Duration = Duration::from_millis(30);
/// Who asked is remembered for so long.
pub(super) const REMEMBER: Duration = Duration::from_secs(5);
/// And so many of them, for each destination.
pub(super) const MAX_REQUESTERS: usize = 64;
/// Ids of requests that went through here, so that none goes through twice.
pub(super) const MAX_IDS: usize = 8;

/// Our own search.
pub(super) struct Ask {
    at: Time,
    step: u32,
}

/// Searches of others.
#[derive(Default)]
pub(super) struct Relay {
    requests: Passed,
    /// Of announces that go to their origin: no request holds one up, nor does one of them a request.
    highest: Passed,
    /// How often a request went to another neighbour than the next hop.
    detours: usize,
    ids: VecDeque<u32>,
    requesters: Vec<Requester>,
}

/// When something last went towards the origin, and when something last went another way, and its seq.
#[derive(Default)]
struct Passed([Option<(Time, u64)>; 2]);

impl Passed {
    /// Whether something may go on, because nothing that serves as well has gone just now. What takes a detour, which may lead
    /// nowhere, holds up nothing that goes straight, and what is older nothing that is newer.
    fn may_pass(&mut self, now: Time, detour: bool, seq: u64) -> bool {
        let [straight, around] = &mut self.0;
        let passed = if detour { around } else { straight };
        let free = passed.is_none_or(|(at, passed)| now.since(at) >= PASS || seq > passed);
        if free {
            *passed = Some((now, seq));
        }
        free
    }

    fn is_over(&self, now: Time) -> bool {
        self.0.iter().flatten().all(|(at, _)| now.since(*at) > REMEMBER)
    }
}

struct Requester {
    neighbour: NeighbourId,
    seq: u64,
    until: Time,
}

impl Relay {
    pub(super) fn is_over(&self, now: Time) -> bool {
        self.requesters.iter().all(|requester| requester.until <= now)
            && self.requests.is_over(now)
            && self.highest.is_over(now)
    }

    /// Notes an id; returns whether it is new.
    fn first(&mut self, id: u32) -> bool {
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
    fn passed_on(&mut self, detour: bool) {
        self.detours = self.detours.wrapping_add(usize::from(detour));
    }

    fn remember(&mut self, now: Time, neighbour: NeighbourId, seq: u64) {
        self.requesters.retain(|one| one.until > now && one.neighbour != neighbour);
        if self.requesters.len() < MAX_REQUESTERS {
            self.requesters.push(Requester { neighbour, seq, until: now + REMEMBER });
        }
    }
}

impl Dest {
    /// Whether a neighbour is itself looking for a newer route than it told us of: what it has is in doubt.
    pub(super) fn searches(&self, now: Time, neighbour: NeighbourId) -> bool {
        let Some(relay) = self.busy().and_then(|work| work.relay.as_ref()) else { return false };
        let told = self.adj(neighbour).map_or(0, |adj| self.seq_at(adj.announce));
        relay.requesters.iter().any(|one| one.neighbour == neighbour && one.until > now && one.seq > told)
    }
}

impl Router {
    /// Begins, keeps up or ends our own search; `stuck` when all routes that are left might loop.
    pub(super) fn keep_asking(&mut self, now: Time, key: Key, stuck: bool) {
        let Some(dest) = self.table.get_mut(key) else { return };
        let asking = dest.busy().is_some_and(|work| work.ask.is_some());
        match (stuck, asking) {
            (true, false) => {
                // A neighbour whose route comes and goes must not have others asked each time.
                let (at, step) = match dest.work().asked + AGAIN {
                    again if again > now => (again, 0),
                    _ => (now + AGAIN, 1),
                };
                dest.work().ask = Some(Ask { at, step });
                self.timers.arm(at, Timer::Ask(key));
                if step > 0 {
                    self.ask(now, key, 0);
                }
            }
            (false, true) => dest.work().ask = None,
            _ => {}
        }
    }

    pub(super) fn ask_again(&mut self, now: Time, key: Key) {
        // What has sent us searching has sent others too: in step, their requests would always pass and ours never.
        let stretch = self.jitter(Duration::from_millis(750), Duration::from_millis(1250)).as_secs_f64();
        let Some(work) = self.table.get_mut(key).and_then(|dest| dest.busy_mut()) else { return };
        let Some(ask) = work.ask.as_mut().filter(|ask| ask.at <= now) else { return };
        let step = ask.step;
        let wait = AGAIN.saturating_mul(1 << step.min(6)).min(AGAIN_MAX).mul_f64(stretch);
        *ask = Ask { at: now + wait, step: step.saturating_add(1) };
        self.timers.arm(now + wait, Timer::Ask(key));
        self.ask(now, key, usize::try_from(step).unwrap_or(0));
    }

    /// Asks neighbours whose routes might loop, beginning with the `step`th best.
    pub(super) fn ask(&mut self, now: Time, key: Key, step: usize) {
        let request = self.random.next_u32();
        let Some(dest) = self.table.get(key) else { return };
        let mut targets: Vec<NeighbourId> =
            self.candidates(now, dest).iter().filter(|one| !one.feasible).map(|one| one.neighbour).collect();
        if targets.is_empty() {
            return;
        }
        let first = step.checked_rem(targets.len()).unwrap_or(0);
        targets.rotate_left(first);
        targets.truncate(FAN);
        let request = SeqnoRequest {
            dst: dest.announce.dst,
            seq: dest.fd_seq.saturating_add(1),
            ttl: MAX_HOPS,
            id: request,
        };
        let highest = dest.announce.clone();
        for target in targets {
            let dest = self.table.get(key);
            let announce = dest.and_then(|dest| dest.announce_at(dest.adj(target)?.announce));
            let restarted = announce.is_some_and(|announce| announce.epoch() < highest.epoch());
            let forgot = step >= FORGOT && announce.is_some_and(|announce| announce.seq < highest.seq);
            let Some(neighbour) = self.neighbours.get_mut(&target) else { continue };
            if restarted || forgot {
                neighbour.say_with(|out| encode_your_highest(&highest, out));
            }
            if !restarted {
                neighbour.say(&Record::SeqnoRequest(request));
            }
        }
        if let Some(dest) = self.table.get_mut(key) {
            dest.work().asked = now;
            let relay = dest.work().relay.get_or_insert_default();
            relay.first(request.id);
            // Whichever of them is asked for, the answer is the same.
            relay.requests.may_pass(now, true, 0);
        }
    }

    /// A neighbour asks for a newer seq.
    pub(super) fn seq_req(&mut self, now: Time, id: NeighbourId, request: SeqnoRequest) {
        let Some(key) = self.table.find(&request.dst) else { return };
        if self.is_own(key) {
            self.raise(now, key, request.seq);
            return self.tell_newest(now, key, id);
        }
        if self.serve(now, key, id, request.seq) {
            return;
        }
        let Some(dest) = self.table.get_mut(key) else { return };
        dest.work().relay.get_or_insert_default().remember(now, id, request.seq);
        let Some((target, hops)) = self.towards(now, key, id) else { return };
        let Some(dest) = self.table.get_mut(key) else { return };
        let detour = dest.selected() != Some(target);
        let relay = dest.work().relay.get_or_insert_default();
        // One that ends on the way brings nothing back, and must not stand for those that get there.
        if request.ttl <= hops || !relay.first(request.id) || !relay.requests.may_pass(now, detour, 0) {
            return;
        }
        relay.passed_on(detour);
        if let Some(neighbour) = self.neighbours.get_mut(&target) {
            let ttl = request.ttl.min(MAX_HOPS).saturating_sub(1);
            neighbour.say(&Record::SeqnoRequest(SeqnoRequest { ttl, ..request }));
        }
    }

    /// Somebody holds a higher announce of an origin than the origin may know.
    pub(super) fn your_highest(
        &mut self,
        now: Time,
        id: NeighbourId,
        announce: SignedAnnounce,
    ) -> Result<(), DropCause> {
        let Some(key) = self.table.find(&announce.dst) else { return Ok(()) };
        if self.is_own(key) {
            return self.heard_of_own(now, id, key, announce);
        }
        if self.serve(now, key, id, announce.seq) {
            return Ok(());
        }
        match self.table.get(key).and_then(|dest| dest.known(&announce)) {
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
        if self.serve(now, key, id, announce.seq) {
            return;
        }
        let Some(dest) = self.table.get_mut(key) else { return };
        if announce.seq > dest.announce.seq && dest.keep(&announce).is_none() {
            return;
        }
        dest.work().relay.get_or_insert_default().remember(now, id, announce.seq);
        let Some((target, _)) = self.towards(now, key, id) else { return };
        let Some(dest) = self.table.get_mut(key) else { return };
        let detour = dest.selected() != Some(target);
        let relay = dest.work().relay.get_or_insert_default();
        if !relay.highest.may_pass(now, detour, announce.seq) {
            return;
        }
        relay.passed_on(detour);
        if let Some(neighbour) = self.neighbours.get_mut(&target) {
            neighbour.say_with(|out| encode_your_highest(&announce, out));
        }
    }

    /// An origin that says less than we hold of it is told what that is.
    pub(super) fn tell_highest(&mut self, id: NeighbourId, newest: &SignedAnnounce) {
        if let Some(origin) = self.neighbours.get_mut(&id).filter(|one| one.address == newest.dst) {
            origin.say_with(|out| encode_your_highest(newest, out));
        }
    }

    /// Who is a neighbour of an origin tells it of every higher announce that comes another way. It has made it itself, and
    /// pays no heed; or somebody else has who has its identity, and otherwise neither would ever hear of the other.
    pub(super) fn tell_origin(&mut self, from: NeighbourId, announce: &SignedAnnounce) {
        for (id, neighbour) in &mut self.neighbours {
            if neighbour.address == announce.dst && *id != from {
                neighbour.say_with(|out| encode_your_highest(announce, out));
            }
        }
    }

    /// Answers with our route, if it is of that seq at least.
    fn serve(&mut self, now: Time, key: Key, id: NeighbourId, seq: u64) -> bool {
        let Some(dest) = self.table.get(key) else { return true };
        let served = self.advert(now, dest).is_some_and(|advert| advert.seq() >= seq);
        if served {
            self.tell_newest(now, key, id);
        }
        served
    }

    /// Whom to ask for a neighbour, and how many links lead from here to the origin that way: the next hop, or, when that is
    /// who asks, another with a finite route.
    fn towards(&self, now: Time, key: Key, id: NeighbourId) -> Option<(NeighbourId, u8)> {
        let dest = self.table.get(key)?;
        let mut others = self.candidates(now, dest);
        others.retain(|one| one.neighbour != id);
        let straight = others.iter().find(|one| Some(one.neighbour) == dest.selected());
        let around = || {
            let detours = dest.busy().and_then(|work| work.relay.as_ref()).map_or(0, |relay| relay.detours);
            others.get(detours.checked_rem(others.len())?)
        };
        straight.or_else(around).map(|one| (one.neighbour, one.hops))
    }

    /// Tells those who asked of a newer seq, at once.
    pub(super) fn answer(&mut self, now: Time, key: Key) {
        let Some(dest) = self.table.get(key) else { return };
        let Some(relay) = dest.busy().and_then(|work| work.relay.as_ref()) else { return };
        if relay.requesters.is_empty() {
            return;
        }
        let Some(advert) = self.advert(now, dest) else { return };
        // Whatever is newer than what they have: a request for too much must not keep others waiting.
        let behind = |requester: &&Requester| {
            let adj = dest.adj(requester.neighbour);
            adj.is_none_or(|adj| adj.told_metric == INFINITY || dest.seq_at(adj.told) < advert.seq())
        };
        let tell: Vec<NeighbourId> =
            relay.requesters.iter().filter(behind).map(|requester| requester.neighbour).collect();
        for id in tell {
            self.tell_newest(now, key, id);
        }
        let seq = advert.seq();
        let Some(dest) = self.table.get_mut(key) else { return };
        if let Some(relay) = dest.work().relay.as_mut() {
            relay.requesters.retain(|requester| requester.seq > seq && requester.until > now);
        }
    }
}
