//! What neighbours are told, and when.
//!
//! That a destination was lost is told at once. That it was found, or how far it is, waits for a batch of 5 to 10 ms; a distance
//! that keeps changing waits longer. That an announce was merely renewed triggers nothing: it is passed on within a minute.

use std::sync::Arc;
use std::time::Duration;

use super::announces::{NONE, Slot};
use super::dest::Dest;
use super::select::MAX_HOPS;
use super::table::{Key, seconds};
use super::timers::Timer;
use super::{NeighbourId, Router};
use crate::time::Time;
use crate::wire::route::{
    INFINITY, Record, RouteAttributes, SignedAnnounce, Update, encode_announce, epoch, key_hash,
};

/// Changes gather for so long before they leave together.
pub(super) const BATCH: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(10));
/// Changes of distance alone are told this far apart, doubling up to [`MAX_HOLD`] while they go on.
pub(super) const HOLD: Duration = Duration::from_millis(200);
pub(super) const MAX_HOLD: Duration = Duration::from_secs(2);
/// A renewed announce is passed on within this.
pub(super) const SPREAD: Duration = Duration::from_secs(60);
/// An announce that is this old (seconds) is offered: most neighbours will have it. A younger one is announced.
pub(super) const KNOWN_AFTER: u16 = 2;
/// A neighbour is told the whole table in pieces of so many records, and what has changed is told in such pieces.
pub(super) const PIECE: usize = 256;
/// One piece each so often.
pub(super) const PIECE_EVERY: Duration = Duration::from_millis(10);
/// Of a link whose rate is known the table takes one part in so many while it is told for the first time, and what is
/// renewed one part in so many.
pub(super) const DUMP_SHARE: u64 = 2;
pub(super) const RENEWAL_SHARE: u64 = 50;

/// What we would tell of a destination now.
pub(super) struct Advert {
    announce: Arc<SignedAnnounce>,
    slot: Slot,
    pub(super) metric: u16,
    hops: u8,
    mtu: u16,
    expires: u32,
}

impl Advert {
    pub(super) fn seq(&self) -> u64 {
        self.announce.seq
    }
}

/// How what a neighbour was told differs from what is so; the later, the more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Difference {
    /// Not at all.
    None,
    /// There is a newer seq of the same epoch.
    Seq,
    /// The distance or the MTU, or the origin restarted.
    Distance,
    /// It knows of no route.
    Found,
    /// It thinks there is one.
    Lost,
}

fn difference(advert: Option<&Advert>, dest: &Dest, id: NeighbourId) -> Difference {
    let told = dest.adj(id).filter(|adj| adj.told_metric < INFINITY);
    match (advert, told) {
        (None, None) => Difference::None,
        (None, Some(_)) => Difference::Lost,
        (Some(_), None) => Difference::Found,
        (Some(advert), Some(told)) => {
            let (is, was) =
                ((advert.metric, advert.hops, advert.mtu), (told.told_metric, told.told_hops, told.told_mtu));
            if is != was || epoch(advert.announce.seq) != epoch(dest.seq_at(told.told)) {
                Difference::Distance
            } else if advert.slot != told.told {
                Difference::Seq
            } else {
                Difference::None
            }
        }
    }
}

impl Router {
    /// What we tell others of a destination; `None` when we have no route.
    pub(super) fn advert(&self, now: Time, dest: &Dest) -> Option<Advert> {
        if dest.is_own() {
            let (announce, slot, expires) = (dest.announce.clone(), dest.slot, dest.until);
            return Some(Advert { announce, slot, metric: 0, hops: 0, mtu: u16::MAX, expires });
        }
        let adj = dest.adj(dest.selected()?)?;
        let neighbour = self.neighbours.get(&adj.neighbour)?;
        let route = super::select::candidate(dest, adj, neighbour, now)?;
        (route.hops < MAX_HOPS).then_some(())?;
        let announce = dest.announce_at(adj.announce)?.clone();
        Some(Advert {
            announce,
            slot: adj.announce,
            metric: route.total,
            hops: route.hops,
            mtu: adj.mtu.min(neighbour.mtu),
            expires: adj.expires,
        })
    }

    /// Sees to it that neighbours hear of what has changed, each in its time.
    pub(super) fn note(&mut self, now: Time, key: Key) {
        let Some(dest) = self.table.get(key) else { return };
        let advert = self.advert(now, dest);
        let mut most = Difference::None;
        let mut lost = Vec::new();
        for (id, neighbour) in &self.neighbours {
            if neighbour.address == dest.announce.dst {
                continue;
            }
            let difference = difference(advert.as_ref(), dest, *id);
            if difference == Difference::Lost {
                lost.push(*id);
            }
            if !neighbour.away {
                most = most.max(difference);
            }
        }
        if let Some(dest) = self.table.get_mut(key).filter(|_| !lost.is_empty()) {
            dest.work().lose(now);
        }
        for id in lost {
            self.tell(now, key, id, false);
        }
        match most {
            Difference::None | Difference::Lost => {}
            Difference::Found => match self.table.get(key).and_then(|dest| dest.hidden_until(now)) {
                Some(until) => self.timers.arm_first(until, Timer::Hold(key)),
                None => self.gather(now, key),
            },
            Difference::Distance => self.gather_when_allowed(now, key),
            Difference::Seq => {
                let expires = advert.map_or(0, |advert| advert.expires);
                self.spread_later(now, key, expires);
            }
        }
    }

    fn gather(&mut self, now: Time, key: Key) {
        self.batch.insert(key);
        if self.batch_at.is_none() {
            self.batch_at = Some(now + self.jitter(BATCH.0, BATCH.1));
        }
    }

    fn gather_when_allowed(&mut self, now: Time, key: Key) {
        let until = self.table.get(key).and_then(Dest::busy).map(|work| work.hold_until);
        match until.filter(|until| *until > now) {
            Some(until) => self.timers.arm_first(until, Timer::Hold(key)),
            None => self.gather(now, key),
        }
    }

    /// An announce that was merely renewed is passed on to all, unless its predecessor is good for long still: a seq that was
    /// raised on request concerns those who asked.
    fn spread_later(&mut self, now: Time, key: Key, expires: u32) {
        let delay = self.jitter(Duration::ZERO, SPREAD);
        let Some(dest) = self.table.get_mut(key) else { return };
        let renewed = dest.spread_until.saturating_add(u32::from(dest.announce.lifetime) / 6);
        if expires > renewed && dest.work().spread_at.is_none() {
            dest.work().spread_at = Some(now + delay);
            self.timers.arm(now + delay, Timer::Spread(key));
        }
    }

    pub(super) fn spread(&mut self, now: Time, key: Key) {
        let Some(dest) = self.table.get_mut(key) else { return };
        let Some(work) = dest.busy_mut().filter(|work| work.spread_at.is_some_and(|at| at <= now)) else {
            return;
        };
        work.spread_at = None;
        self.tell_all(now, key, Difference::Seq, Difference::Seq);
    }

    /// Sends the batch, up to a portion: the rest stays due.
    pub(super) fn flush(&mut self, now: Time) {
        let cut = self.batch.iter().nth(PIECE).copied();
        let rest = cut.map(|key| self.batch.split_off(&key));
        self.batch_at = rest.as_ref().map(|_| now);
        let batch = std::mem::replace(&mut self.batch, rest.unwrap_or_default());
        for key in batch {
            let Some(dest) = self.table.get(key) else { continue };
            let held = dest.busy().is_some_and(|work| work.hold_until > now);
            let least = if held { Difference::Found } else { Difference::Distance };
            let most = match dest.hidden_until(now) {
                Some(until) => {
                    self.timers.arm_first(until, Timer::Hold(key));
                    Difference::Distance
                }
                None => Difference::Found,
            };
            if held {
                // What is held back now is told when the time comes.
                self.gather_when_allowed(now, key);
            }
            if self.tell_all(now, key, least, most) {
                let Some(dest) = self.table.get_mut(key) else { continue };
                let work = dest.work();
                let calm = work.hold.is_zero() || work.hold_until + work.hold + work.hold < now;
                work.hold = if calm { HOLD } else { work.hold.saturating_mul(2).min(MAX_HOLD) };
                work.hold_until = now + work.hold;
            }
        }
    }

    /// Tells every neighbour whose difference is within the bounds; returns whether any was one of distance.
    fn tell_all(&mut self, now: Time, key: Key, least: Difference, most: Difference) -> bool {
        let Some(dest) = self.table.get(key) else { return false };
        let advert = self.advert(now, dest);
        let mut distance = false;
        let mut tell = Vec::new();
        for (id, neighbour) in &self.neighbours {
            let difference = difference(advert.as_ref(), dest, *id);
            let hears = !neighbour.away && neighbour.address != dest.announce.dst;
            if hears && difference >= least && difference <= most {
                distance |= difference == Difference::Distance;
                tell.push(*id);
            }
        }
        let advert_metric = advert.as_ref().map(|advert| advert.metric);
        let expires = advert.map(|advert| advert.expires);
        if let (Some(expires), Some(dest)) = (expires, self.table.get_mut(key)) {
            dest.spread_until =
                if tell.is_empty() { dest.spread_until } else { dest.spread_until.max(expires) };
        }
        let metric = advert_metric.unwrap_or(INFINITY);
        for id in tell {
            match self.neighbours.get_mut(&id) {
                // What is merely renewed can wait where the link is slow.
                Some(neighbour) if most == Difference::Seq && neighbour.rate.is_some() => {
                    neighbour.renewals.insert((metric, key));
                    self.serve_renewals(now, id);
                }
                _ => self.tell(now, key, id, false),
            }
        }
        distance
    }

    /// Tells a neighbour what is so, if it differs from what it was told, or if it `wants` the core.
    pub(super) fn tell(&mut self, now: Time, key: Key, id: NeighbourId, wants: bool) {
        self.tell_as(now, key, id, wants, false);
    }

    /// The same for a neighbour that looks for a newer seq: nothing older is an answer.
    pub(super) fn tell_newest(&mut self, now: Time, key: Key, id: NeighbourId) {
        self.tell_as(now, key, id, false, true);
    }

    fn tell_as(&mut self, now: Time, key: Key, id: NeighbourId, wants: bool, newest: bool) {
        let Some(dest) = self.table.get(key) else { return };
        let advert = self.advert(now, dest);
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        let difference = difference(advert.as_ref(), dest, id);
        let Some(dest) = self.table.get_mut(key) else { return };
        let nothing_new = difference == Difference::None && !(wants && advert.is_some());
        // Who is away is told the rest when it is back. What is lost goes into its channel at once, so that nothing that is
        // told later of the same number can overtake it.
        let waits = neighbour.away && advert.is_some();
        if nothing_new || waits || neighbour.address == dest.announce.dst {
            return;
        }
        let (dst, young) = (dest.announce.dst, dest.is_young(now, KNOWN_AFTER));
        let Some(adj) = dest.adj_or_new(id) else { return };
        let Some(advert) = advert else {
            adj.told_metric = INFINITY;
            return neighbour.say(&Record::Update(Update::retract(key)));
        };
        let (told, told_proved, has) = (adj.told, adj.told_proved, adj.announce == advert.slot);
        let Advert { slot, metric, hops, mtu, .. } = advert;
        let sends_announce = wants || !understands_update(&advert, dest, id, newest);
        let about = if sends_announce { slot } else { told };
        // Whoever is told of a distance has it proved, for it may have to prove it in turn.
        if !dest.has_chain(about, hops) {
            return;
        }
        // An UPDATE that is no nearer needs none, and where all are told the same it is made once.
        let proves = sends_announce || hops < told_proved;
        let chain = if proves { self.memo.chain(dest, about, hops) } else { None };
        if sends_announce {
            let left = advert.expires.saturating_sub(seconds(now));
            let remaining = u16::try_from(left).unwrap_or(u16::MAX);
            let attributes =
                RouteAttributes { idx: key, metric, hops, mtu, remaining, chain: chain.unwrap_or_default() };
            if wants || (young && !has) {
                neighbour.say_with(|out| encode_announce(&advert.announce, attributes, out));
            } else {
                neighbour.say(&Record::Offer {
                    key_hash: key_hash(&dst),
                    seq: advert.announce.seq,
                    attributes,
                });
            }
        } else {
            neighbour.say(&Record::Update(Update { idx: key, metric, hops, chain }));
        }
        let Some(adj) = dest.adj_mut(id) else { return };
        adj.told_proved = if sends_announce { hops } else { told_proved.min(hops) };
        adj.told = about;
        adj.told_metric = metric;
        adj.told_hops = hops;
        adj.told_mtu = mtu;
        let seq = dest.seq_at(about);
        if dest.lower(seq, metric) {
            // What might loop now is no alternate any more.
            self.publish(now, key);
        }
    }

    /// Tells a neighbour a piece of what it is still to be told.
    pub(super) fn serve_queue(&mut self, now: Time, id: NeighbourId) {
        let mut served = false;
        let mut busy = Duration::ZERO;
        for _ in 0..PIECE {
            let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
            if neighbour.away || neighbour.queue_at.is_some_and(|at| at > now) {
                return;
            }
            let Some((_, key, wants)) = neighbour.queue.pop_first() else { break };
            served = true;
            let before = neighbour.said;
            self.tell(now, key, id, wants);
            let Some(neighbour) = self.neighbours.get(&id) else { return };
            busy = busy.saturating_add(neighbour.takes(before, DUMP_SHARE));
            if busy > PIECE_EVERY {
                break;
            }
        }
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        // Requests that come in the meantime wait their turn: asking more often brings no more.
        let again = now + busy.max(PIECE_EVERY);
        neighbour.queue_at = served.then_some(again);
        if served {
            self.timers.arm(again, Timer::Queue(id));
        }
    }

    /// Tells a neighbour on a slow link of renewed announces, as far as their share of the link goes.
    pub(super) fn serve_renewals(&mut self, now: Time, id: NeighbourId) {
        while let Some(neighbour) = self.neighbours.get_mut(&id) {
            if neighbour.renewals.is_empty() || neighbour.away {
                return;
            }
            if neighbour.renew_at > now {
                return self.timers.arm(neighbour.renew_at, Timer::Renewals(id));
            }
            let Some((_, key)) = neighbour.renewals.pop_first() else { return };
            let before = neighbour.said;
            self.tell(now, key, id, false);
            if let Some(neighbour) = self.neighbours.get_mut(&id) {
                neighbour.renew_at = now + neighbour.takes(before, RENEWAL_SHARE);
            }
        }
    }

    /// What a neighbour is to be told that was away.
    pub(super) fn changes_for(&self, now: Time, id: NeighbourId) -> Vec<(u16, Key, bool)> {
        let changed = |(key, dest): (Key, &Dest)| {
            let advert = self.advert(now, dest);
            let differs = difference(advert.as_ref(), dest, id) != Difference::None;
            differs.then(|| (advert.map_or(INFINITY, |advert| advert.metric), key, false))
        };
        self.table.dests().filter_map(changed).collect()
    }

    /// A neighbour asks for the announce of what we call `key`.
    pub(super) fn wanted_by(&mut self, now: Time, key: Key, id: NeighbourId) {
        let told = self.table.get(key).and_then(|dest| dest.adj(id)).filter(|adj| adj.told_metric < INFINITY);
        let (Some(told), Some(neighbour)) = (told, self.neighbours.get_mut(&id)) else { return };
        neighbour.queue.insert((told.told_metric, key, true));
        if neighbour.queue_at.is_none() {
            self.serve_queue(now, id);
        }
    }
}

/// Whether an UPDATE will do, which costs least. A distance that has not grown may be told for an older seq, because that
/// promises less; one that has grown may be of use only with the newer seq.
fn understands_update(advert: &Advert, dest: &Dest, id: NeighbourId, newest: bool) -> bool {
    let Some(adj) = dest.adj(id).filter(|adj| adj.told != NONE) else { return false };
    let (seq, told) = (advert.announce.seq, dest.seq_at(adj.told));
    let found = adj.told_metric == INFINITY;
    let newer =
        seq != told && (newest || found || advert.metric >= adj.told_metric || epoch(seq) != epoch(told));
    // An UPDATE says nothing of the MTU, and a retracted idx of another seq nothing at all.
    !newer && advert.mtu == adj.told_mtu && dest.has_chain(adj.told, advert.hops)
}
