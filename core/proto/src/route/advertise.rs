//! Advertising: which records a neighbour is sent, and when.
//!
//! A retraction is sent at once, because the neighbour would go on sending packets that have no way. A new route or a
//! new distance waits for a batch of 5 to 10 ms, so that the many changes of one event leave in one message; a
//! distance that keeps changing waits longer (hold-down), so that a link that oscillates does not occupy the whole
//! mesh. A renewed announce triggers nothing, because no route changes by it: it is passed on within a minute.

use std::time::Duration;

use super::Router;
use super::advert::{Advert, Difference, difference, suffices_update};
use super::destination::Destination;
use super::timers::Timer;
use super::types::{DestinationKey, NeighbourId};
use crate::time::Time;
use crate::wire::route::{INFINITY, Record, Update, encode_announce, key_hash};

/// Delay of a batch, from and to. It is random so that nodes that learn of one event do not all send at the same
/// moment.
pub(super) const BATCH: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(10));
/// Delay between changes of distance alone. It doubles up to [`MAX_HOLD`] while changes continue, since each of them
/// would otherwise spread through the whole mesh.
pub(super) const HOLD: Duration = Duration::from_millis(200);
pub(super) const MAX_HOLD: Duration = Duration::from_secs(2);
/// Longest delay of a renewed announce.
pub(super) const RENEWAL_SPREAD: Duration = Duration::from_secs(60);
/// Age in seconds from which an announce is offered by its hash alone, because most neighbours have received it
/// elsewhere by then. A younger one is sent whole, which saves a round trip.
pub(super) const OFFER_AGE: u16 = 2;
/// Records in one chunk of the table. A chunk bounds the time of one call, so that other messages need not wait for a
/// whole table.
pub(super) const CHUNK: usize = 256;
/// Delay between chunks.
pub(super) const CHUNK_INTERVAL: Duration = Duration::from_millis(10);
/// Share of a link of known rate, as 1 part in that many, that the first dump of the table takes, and that renewals
/// take. Both are bounded because user traffic has to share a slow link with them.
pub(super) const DUMP_SHARE: u64 = 2;
pub(super) const RENEWAL_SHARE: u64 = 50;

impl Router {
    /// Arranges that all neighbours are sent the change of a destination, after the delay that its urgency allows.
    pub(super) fn schedule_adverts(&mut self, now: Time, key: DestinationKey) {
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
            dest.transient_or_new().lose(now);
        }
        for id in lost {
            self.advertise(now, key, id, false);
        }
        match most {
            Difference::None | Difference::Lost => {}
            Difference::Found => match self.table.get(key).and_then(|dest| dest.held_down_until(now)) {
                Some(until) => self.timers.arm_first(until, Timer::Hold(key)),
                None => self.add_to_batch(now, key),
            },
            Difference::Distance => self.batch_after_hold(now, key),
            Difference::Seq => {
                let expires = advert.map_or(0, |advert| advert.expires);
                self.schedule_renewal(now, key, expires);
            }
        }
    }

    /// Adds a destination to the batch, and starts the batch if there was none.
    fn add_to_batch(&mut self, now: Time, key: DestinationKey) {
        self.batch.insert(key);
        if self.batch_at.is_none() {
            self.batch_at = Some(now + self.jitter(BATCH.0, BATCH.1));
        }
    }

    /// Adds a destination to the batch once its hold-down has ended.
    fn batch_after_hold(&mut self, now: Time, key: DestinationKey) {
        let until =
            self.table.get(key).and_then(Destination::transient).map(|transient| transient.hold_until);
        match until.filter(|until| *until > now) {
            Some(until) => self.timers.arm_first(until, Timer::Hold(key)),
            None => self.add_to_batch(now, key),
        }
    }

    /// Schedules a renewed announce for all neighbours unless its predecessor is valid for long. A seq raised on
    /// request concerns the requesters only, so it would be wasteful to send it to all.
    fn schedule_renewal(&mut self, now: Time, key: DestinationKey, expires: u32) {
        let delay = self.jitter(Duration::ZERO, RENEWAL_SPREAD);
        let Some(dest) = self.table.get_mut(key) else { return };
        let renewed = dest.renewed_until.saturating_add(u32::from(dest.announce.lifetime) / 6);
        if expires > renewed && dest.transient_or_new().renewal_at.is_none() {
            dest.transient_or_new().renewal_at = Some(now + delay);
            self.timers.arm(now + delay, Timer::Spread(key));
        }
    }

    /// Sends a renewed announce to all neighbours that have the previous one.
    pub(super) fn pass_on_renewal(&mut self, now: Time, key: DestinationKey) {
        let Some(dest) = self.table.get_mut(key) else { return };
        let Some(transient) =
            dest.transient_mut().filter(|transient| transient.renewal_at.is_some_and(|at| at <= now))
        else {
            return;
        };
        transient.renewal_at = None;
        self.advertise_to_all(now, key, Difference::Seq, Difference::Seq);
    }

    /// Sends the batch, at most one chunk of it; the remainder stays due.
    pub(super) fn flush(&mut self, now: Time) {
        let cut = self.batch.iter().nth(CHUNK).copied();
        let rest = cut.map(|key| self.batch.split_off(&key));
        self.batch_at = rest.as_ref().map(|_| now);
        let batch = std::mem::replace(&mut self.batch, rest.unwrap_or_default());
        for key in batch {
            let Some(dest) = self.table.get(key) else { continue };
            let held = dest.transient().is_some_and(|transient| transient.hold_until > now);
            let least = if held { Difference::Found } else { Difference::Distance };
            let most = match dest.held_down_until(now) {
                Some(until) => {
                    self.timers.arm_first(until, Timer::Hold(key));
                    Difference::Distance
                }
                None => Difference::Found,
            };
            if held {
                // The change that is held down now is advertised when the hold-down ends.
                self.batch_after_hold(now, key);
            }
            if self.advertise_to_all(now, key, least, most) {
                let Some(dest) = self.table.get_mut(key) else { continue };
                let transient = dest.transient_or_new();
                let calm =
                    transient.hold.is_zero() || transient.hold_until + transient.hold + transient.hold < now;
                transient.hold = if calm { HOLD } else { transient.hold.saturating_mul(2).min(MAX_HOLD) };
                transient.hold_until = now + transient.hold;
            }
        }
    }

    /// Advertises to every neighbour whose difference is within the bounds; returns whether one of them was a
    /// difference of distance.
    fn advertise_to_all(
        &mut self,
        now: Time,
        key: DestinationKey,
        least: Difference,
        most: Difference,
    ) -> bool {
        let Some(dest) = self.table.get(key) else { return false };
        let advert = self.advert(now, dest);
        let mut distance = false;
        let mut targets = Vec::new();
        for (id, neighbour) in &self.neighbours {
            let difference = difference(advert.as_ref(), dest, *id);
            let is_served = !neighbour.away && neighbour.address != dest.announce.dst;
            if is_served && difference >= least && difference <= most {
                distance |= difference == Difference::Distance;
                targets.push(*id);
            }
        }
        let advert_metric = advert.as_ref().map(|advert| advert.metric);
        let expires = advert.map(|advert| advert.expires);
        if let (Some(expires), Some(dest)) = (expires, self.table.get_mut(key)) {
            dest.renewed_until =
                if targets.is_empty() { dest.renewed_until } else { dest.renewed_until.max(expires) };
        }
        let metric = advert_metric.unwrap_or(INFINITY);
        for id in targets {
            if most == Difference::Seq {
                self.advertise_renewal(now, key, id, metric);
            } else {
                self.advertise(now, key, id, false);
            }
        }
        distance
    }

    /// Sends a neighbour a renewed announce. On a slow link it may wait, because the predecessor is still valid.
    pub(super) fn advertise_renewal(&mut self, now: Time, key: DestinationKey, id: NeighbourId, metric: u16) {
        match self.neighbours.get_mut(&id).filter(|neighbour| neighbour.rate.is_some() && !neighbour.away) {
            Some(neighbour) => {
                neighbour.renewals.insert((metric, key));
                self.serve_renewals(now, id);
            }
            None => self.advertise(now, key, id, false),
        }
    }

    /// Sends a neighbour the present route if it differs from the one that the neighbour has, or if it `wants` the
    /// announce.
    pub(super) fn advertise(&mut self, now: Time, key: DestinationKey, id: NeighbourId, wants: bool) {
        self.advertise_as(now, key, id, wants, false);
    }

    /// Sends a neighbour that searches for a newer seq the newest one, because an older one would not end its search.
    pub(super) fn advertise_newest(&mut self, now: Time, key: DestinationKey, id: NeighbourId) {
        self.advertise_as(now, key, id, false, true);
    }

    /// Sends a neighbour the present route in the shortest record that it understands.
    fn advertise_as(&mut self, now: Time, key: DestinationKey, id: NeighbourId, wants: bool, newest: bool) {
        let Some(dest) = self.table.get(key) else { return };
        let advert = self.advert(now, dest);
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        let difference = difference(advert.as_ref(), dest, id);
        let Some(dest) = self.table.get_mut(key) else { return };
        let nothing_new = difference == Difference::None && !(wants && advert.is_some());
        // A neighbour that is away is sent new routes when it is back. A retraction enters its channel at once, so
        // that no later use of the same idx can overtake it.
        let waits = neighbour.away && advert.is_some();
        if nothing_new || waits || neighbour.address == dest.announce.dst {
            return;
        }
        let (dst, young) = (dest.announce.dst, dest.is_young(now, OFFER_AGE));
        let Some(adj) = dest.adjacency_or_new(id) else { return };
        let Some(advert) = advert else {
            adj.advertised_metric = INFINITY;
            return neighbour.send(&Record::Update(Update::retract(key)));
        };
        let (advertised, advertised_proved, has) =
            (adj.advertised, adj.advertised_proved, adj.announce == advert.slot);
        let Advert { slot, metric, hops, mtu, .. } = advert;
        let sends_announce = wants || !suffices_update(&advert, dest, id, newest);
        let about = if sends_announce { slot } else { advertised };
        // A route without a chain value is not advertised, because the neighbour has to prove its own distance with
        // it.
        if !dest.has_chain(about, hops) {
            return;
        }
        // An UPDATE with no fewer hops needs no proof, because the neighbour can derive it from the last one.
        let proves = sends_announce || hops < advertised_proved;
        let chain = if proves { self.chain_cache.chain(dest, about, hops) } else { None };
        if sends_announce {
            let attributes = advert.attributes(now, key, chain.unwrap_or_default());
            if wants || (young && !has) {
                neighbour.send_with(|out| encode_announce(&advert.announce, attributes, out));
            } else {
                neighbour.send(&Record::Offer { key_hash: key_hash(&dst), seq: advert.seq(), attributes });
            }
        } else {
            neighbour.send(&Record::Update(Update { idx: key, metric, hops, chain }));
        }
        let Some(adj) = dest.adjacency_mut(id) else { return };
        adj.advertised_proved = if sends_announce { hops } else { advertised_proved.min(hops) };
        adj.advertised = about;
        adj.advertised_metric = metric;
        adj.advertised_hops = hops;
        adj.advertised_mtu = mtu;
        let seq = dest.seq_at(about);
        if dest.lower_feasibility_distance(seq, metric) {
            // The feasibility distance has fallen, so the alternate may not be feasible any more.
            self.publish(now, key);
        }
    }

    /// Sends a neighbour the next chunk of the routes that are queued for it, the shortest routes first so that most
    /// of its traffic has a way early.
    pub(super) fn serve_queue(&mut self, now: Time, id: NeighbourId) {
        let mut served = false;
        let mut busy = Duration::ZERO;
        for _ in 0..CHUNK {
            let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
            if neighbour.away || neighbour.queue_at.is_some_and(|at| at > now) {
                return;
            }
            let Some((_, key, wants)) = neighbour.queue.pop_first() else { break };
            served = true;
            let before = neighbour.sent_bytes;
            self.advertise(now, key, id, wants);
            let Some(neighbour) = self.neighbours.get(&id) else { return };
            busy = busy.saturating_add(neighbour.transmit_time(before, DUMP_SHARE));
            if busy > CHUNK_INTERVAL {
                break;
            }
        }
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        // Requests that arrive meanwhile wait for the next chunk, so that frequent requests bring no more records.
        let again = now + busy.max(CHUNK_INTERVAL);
        neighbour.queue_at = served.then_some(again);
        if served {
            self.timers.arm(again, Timer::Queue(id));
        }
    }

    /// Sends a neighbour on a slow link renewed announces, within their share of the link.
    pub(super) fn serve_renewals(&mut self, now: Time, id: NeighbourId) {
        while let Some(neighbour) = self.neighbours.get_mut(&id) {
            if neighbour.renewals.is_empty() || neighbour.away {
                return;
            }
            if neighbour.renew_at > now {
                return self.timers.arm(neighbour.renew_at, Timer::Renewals(id));
            }
            let Some((_, key)) = neighbour.renewals.pop_first() else { return };
            let before = neighbour.sent_bytes;
            self.advertise(now, key, id, false);
            if let Some(neighbour) = self.neighbours.get_mut(&id) {
                neighbour.renew_at = now + neighbour.transmit_time(before, RENEWAL_SHARE);
            }
        }
    }

    /// The routes that have changed while a neighbour was away.
    pub(super) fn changes_for(&self, now: Time, id: NeighbourId) -> Vec<(u16, DestinationKey, bool)> {
        let changed = |(key, dest): (DestinationKey, &Destination)| {
            let advert = self.advert(now, dest);
            let differs = difference(advert.as_ref(), dest, id) != Difference::None;
            differs.then(|| (advert.map_or(INFINITY, |advert| advert.metric), key, false))
        };
        self.table.destinations().filter_map(changed).collect()
    }

    /// Handles WANT: the neighbour requests the announce that we call `key`. The request is queued and not answered
    /// directly, because a short WANT requests an announce that is many times longer.
    pub(super) fn handle_want(&mut self, now: Time, key: DestinationKey, id: NeighbourId) {
        let advertised = self
            .table
            .get(key)
            .and_then(|dest| dest.adjacency(id))
            .filter(|adj| adj.advertised_metric < INFINITY);
        let (Some(advertised), Some(neighbour)) = (advertised, self.neighbours.get_mut(&id)) else { return };
        neighbour.queue.insert((advertised.advertised_metric, key, true));
        if neighbour.queue_at.is_none() {
            self.serve_queue(now, id);
        }
    }
}
