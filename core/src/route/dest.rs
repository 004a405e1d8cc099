//! A destination, and what each neighbour says and was told of it.
//!
//! Laid out to be lean: what every destination has stands in [`Dest`], what it has only now and then in a box of its own.

use std::sync::Arc;
use std::time::Duration;

use super::announces::{Known, NONE, Slot, UNPROVEN};
use super::origin::Origin;
use super::seek::{Ask, Relay};
use super::table::seconds;
use super::{FibEntry, NeighbourId};
use crate::time::Time;
use crate::wire::route::{Chain, INFINITY, SignedAnnounce};

/// A destination that is lost this often, never [`CALM`] apart, is said to be found again only after [`FOUND_AGAIN`], doubling
/// three times: who has destinations come and go makes its neighbours talk, and not the whole mesh.
const LOSSES: u32 = 5;
pub(super) const CALM: Duration = Duration::from_secs(6);
pub(super) const FOUND_AGAIN: Duration = Duration::from_millis(250);
/// No neighbour.
const NOBODY: NeighbourId = NeighbourId::MAX;

/// What a neighbour says of a destination, and what it was told.
pub(super) struct Adj {
    pub(super) neighbour: NeighbourId,
    /// Its own name for the destination.
    pub(super) idx: u32,
    /// When what it says expires, in seconds.
    pub(super) expires: u32,
    pub(super) metric: u16,
    /// The least metric that it has told for this seq since it last retracted: its own feasibility distance is not
    /// above that, so this, not the metric of the moment, says whether it can be behind us.
    pub(super) nearest: u16,
    pub(super) mtu: u16,
    pub(super) told_metric: u16,
    pub(super) told_mtu: u16,
    /// The announce it passed on last; none when it has never said anything, or what it said expired.
    pub(super) announce: Slot,
    /// The announce that it was last told of.
    pub(super) told: Slot,
    pub(super) hops: u8,
    /// The fewest hops that it has proved for this core.
    pub(super) proved: u8,
    pub(super) told_hops: u8,
    /// The fewest hops that it was told of since it was last sent an announce: they were proved to it.
    pub(super) told_proved: u8,
}

impl Adj {
    fn new(neighbour: NeighbourId) -> Self {
        Adj {
            neighbour,
            idx: 0,
            expires: 0,
            metric: INFINITY,
            nearest: INFINITY,
            mtu: 0,
            told_metric: INFINITY,
            told_mtu: 0,
            announce: NONE,
            told: NONE,
            hops: 0,
            proved: 0,
            told_hops: 0,
            told_proved: 0,
        }
    }

    pub(super) fn offers(&self) -> bool {
        self.announce != NONE
    }

    /// It says how far it is, for the announce that it named last.
    pub(super) fn set_metric(&mut self, metric: u16) {
        self.metric = metric;
        self.nearest = if metric == INFINITY { INFINITY } else { self.nearest.min(metric) };
    }

    /// It tells a distance that is proved, or retracts.
    pub(super) fn set_distance(&mut self, metric: u16, hops: u8) {
        self.set_metric(metric);
        if metric != INFINITY {
            self.hops = hops;
            self.proved = self.proved.min(hops);
        }
    }

    /// It tells a distance whose proof is not looked at yet. A route does not come nearer by that, only farther; one that was
    /// retracted stays so. *nearest* stays as well: the neighbour keeps its feasibility distance as long as it retracts nothing,
    /// so a route that was safe is safe.
    pub(super) fn raise_metric(&mut self, metric: u16) {
        self.set_metric(self.metric.max(metric));
    }

    /// From now on it speaks of this announce, for which it proved to be `hops` away.
    pub(super) fn set_announce(&mut self, announce: Slot, proved: u8) {
        if self.announce != announce {
            self.nearest = INFINITY;
            self.proved = proved;
        }
        self.announce = announce;
        self.proved = self.proved.min(proved);
    }

    /// What it said does not hold any more.
    pub(super) fn clear(&mut self) {
        self.announce = NONE;
        self.set_metric(INFINITY);
    }
}

/// What a destination has only now and then.
#[derive(Default)]
pub(super) struct Extra {
    /// What goes on at the moment.
    work: Option<Box<Work>>,
    /// Set when the address is our own.
    own: Option<Box<Origin>>,
    /// Announces other than the newest that somebody still offers or was told of.
    pub(super) older: Vec<Known>,
}

/// The FIB entry as the shell was last told, without the padding of one that may be none.
struct Told {
    next: NeighbourId,
    alternate: NeighbourId,
    metric: u16,
    mtu: u16,
    hops: u8,
}

/// A destination.
pub(super) struct Dest {
    /// The highest announce seen, whoever offers it.
    pub(super) announce: Arc<SignedAnnounce>,
    /// The feasibility distance: the best that was ever told to anybody (RFC 8966, section 3.5.1).
    pub(super) fd_seq: u64,
    /// Sorted by neighbour.
    pub(super) adj: Vec<Adj>,
    pub(super) extra: Option<Box<Extra>>,
    selected: NeighbourId,
    fib: Told,
    /// When the last announce of it expires, in seconds.
    pub(super) until: u32,
    /// Expiry of the announce that was last passed on to everybody, in seconds.
    pub(super) spread_until: u32,
    pub(super) fd_metric: u16,
    /// When the announce was learnt: the lower half of the seconds.
    learnt: u16,
    /// Evicted: only kept until no packet in flight can loop for its feasibility distance being forgotten.
    pub(super) dying: bool,
    /// The slot of `announce`, and its chain value of the fewest hops.
    pub(super) slot: Slot,
    pub(super) hops: u8,
    pub(super) chain: Chain,
}

/// Since when there is something better than the route in use.
#[derive(Clone, Copy, Default)]
pub(super) struct Since {
    /// A feasible route that is better by much.
    pub(super) better: Option<Time>,
    /// A route that might loop, and is better by very much.
    pub(super) wish: Option<Time>,
    /// Either of them, and be it by little.
    pub(super) slightly: Option<Time>,
}

/// What goes on with a destination at the moment.
#[derive(Default)]
pub(super) struct Work {
    /// Since when something is better than the selected route.
    pub(super) since: Since,
    /// When the next request for such a route may leave.
    pub(super) wish_again: Time,
    /// No change of distance is told before.
    pub(super) hold_until: Time,
    pub(super) hold: Duration,
    /// How often it was lost of late, and when last.
    pub(super) losses: u32,
    pub(super) lost_at: Time,
    /// When a refreshed announce is passed on.
    pub(super) spread_at: Option<Time>,
    /// When we last asked for a newer seq.
    pub(super) asked: Time,
    /// Our own search for it.
    pub(super) ask: Option<Ask>,
    /// Searches of others that came by.
    pub(super) relay: Option<Relay>,
}

impl Work {
    /// It was lost just now.
    pub(super) fn lose(&mut self, now: Time) {
        let calm = now.since(self.lost_at) >= CALM;
        self.losses = if calm { 1 } else { self.losses.saturating_add(1) };
        self.lost_at = now;
    }

    /// Until when nobody is told that it is found again, if it comes and goes.
    pub(super) fn found_at(&self) -> Option<Time> {
        let beyond = self.losses.checked_sub(LOSSES)?;
        Some(self.lost_at + FOUND_AGAIN.saturating_mul(1 << beyond.min(3)))
    }

    fn is_over(&self, now: Time) -> bool {
        let Since { better, wish, slightly } = self.since;
        better.or(wish).or(slightly).is_none()
            && self.wish_again < now
            && self.hold_until + self.hold + self.hold < now
            && (self.losses == 0 || now.since(self.lost_at) >= CALM)
            && self.spread_at.is_none()
            && self.ask.is_none()
            && self.relay.as_ref().is_none_or(|relay| relay.is_over(now))
    }
}

impl Dest {
    pub(super) fn new(announce: Arc<SignedAnnounce>, now: Time) -> Self {
        Dest {
            announce,
            fd_seq: 0,
            adj: Vec::new(),
            extra: None,
            selected: NOBODY,
            fib: Told { next: NOBODY, alternate: NOBODY, metric: 0, mtu: 0, hops: 0 },
            until: 0,
            spread_until: 0,
            fd_metric: INFINITY,
            learnt: low_half(now),
            dying: false,
            slot: 1,
            hops: UNPROVEN,
            chain: [0; 16],
        }
    }

    /// The neighbour in use.
    pub(super) fn selected(&self) -> Option<NeighbourId> {
        Some(self.selected).filter(|id| *id != NOBODY)
    }

    pub(super) fn select(&mut self, neighbour: Option<NeighbourId>) {
        self.selected = neighbour.unwrap_or(NOBODY);
    }

    /// Until when nobody is told that it is found again; `None` when there is nothing against it.
    pub(super) fn hidden_until(&self, now: Time) -> Option<Time> {
        self.busy()?.found_at().filter(|until| *until > now)
    }

    /// As the shell was last told.
    pub(super) fn fib(&self) -> Option<FibEntry> {
        let Told { next, alternate, metric, mtu, hops } = self.fib;
        let alternate = Some(alternate).filter(|id| *id != NOBODY);
        (next != NOBODY).then_some(FibEntry { next, alternate, metric, hops, mtu })
    }

    pub(super) fn set_fib(&mut self, entry: Option<FibEntry>) {
        self.fib.next = NOBODY;
        if let Some(FibEntry { next, alternate, metric, hops, mtu }) = entry {
            self.fib = Told { next, alternate: alternate.unwrap_or(NOBODY), metric, mtu, hops };
        }
    }

    /// Whether the announce was learnt less than `span` seconds ago, or a multiple of 18 hours before that.
    pub(super) fn is_young(&self, now: Time, span: u16) -> bool {
        low_half(now).wrapping_sub(self.learnt) < span
    }

    pub(super) fn set_learnt(&mut self, now: Time) {
        self.learnt = low_half(now);
    }

    pub(super) fn busy(&self) -> Option<&Work> {
        self.extra.as_ref()?.work.as_deref()
    }

    pub(super) fn busy_mut(&mut self) -> Option<&mut Work> {
        self.extra.as_mut()?.work.as_deref_mut()
    }

    pub(super) fn work(&mut self) -> &mut Work {
        self.extra.get_or_insert_default().work.get_or_insert_default()
    }

    pub(super) fn own_mut(&mut self) -> Option<&mut Origin> {
        self.extra.as_mut()?.own.as_deref_mut()
    }

    pub(super) fn is_own(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.own.is_some())
    }

    pub(super) fn set_own(&mut self, own: Option<Origin>) {
        self.extra.get_or_insert_default().own = own.map(Box::new);
    }

    pub(super) fn drop_work(&mut self) {
        if let Some(extra) = self.extra.as_mut() {
            extra.work = None;
        }
    }

    /// Frees what is not needed any more.
    pub(super) fn tidy(&mut self, now: Time) {
        self.prune();
        let Some(extra) = self.extra.as_mut() else { return };
        if extra.work.as_ref().is_some_and(|work| work.is_over(now)) {
            extra.work = None;
        }
        if extra.work.is_none() && extra.own.is_none() && extra.older.is_empty() {
            self.extra = None;
        }
    }

    pub(super) fn adj(&self, neighbour: NeighbourId) -> Option<&Adj> {
        let at = self.adj.binary_search_by_key(&neighbour, |adj| adj.neighbour).ok()?;
        self.adj.get(at)
    }

    pub(super) fn adj_mut(&mut self, neighbour: NeighbourId) -> Option<&mut Adj> {
        let at = self.adj.binary_search_by_key(&neighbour, |adj| adj.neighbour).ok()?;
        self.adj.get_mut(at)
    }

    pub(super) fn adj_or_new(&mut self, neighbour: NeighbourId) -> Option<&mut Adj> {
        let at = match self.adj.binary_search_by_key(&neighbour, |adj| adj.neighbour) {
            Ok(at) => at,
            Err(at) => {
                // Most have a handful of neighbours: no room to spare.
                if self.adj.len() == self.adj.capacity() {
                    self.adj.reserve_exact(2);
                }
                self.adj.insert(at, Adj::new(neighbour));
                at
            }
        };
        self.adj.get_mut(at)
    }

    /// Whether a route told with this seq and metric cannot lead back here (RFC 8966, section 3.5.1).
    pub(super) fn feasible(&self, seq: u64, metric: u16) -> bool {
        seq > self.fd_seq || (seq == self.fd_seq && metric < self.fd_metric)
    }

    /// Notes that (seq, metric) was told to somebody; returns whether that lowered the feasibility distance.
    pub(super) fn lower(&mut self, seq: u64, metric: u16) -> bool {
        let lowers = self.feasible(seq, metric);
        if lowers {
            self.fd_seq = seq;
            self.fd_metric = metric;
        }
        lowers
    }

    /// Memory beyond the struct itself, in bytes.
    // What lies in memory does not overflow when it is added up.
    #[cfg(any(test, feature = "sim"))]
    #[allow(clippy::arithmetic_side_effects)]
    pub(super) fn heap(&self) -> usize {
        let extra = self.extra.as_ref().map_or(0, |extra| {
            let work = extra.work.as_ref().map_or(0, |_| size_of::<Work>());
            let older = extra.older.capacity().saturating_mul(size_of::<Known>());
            let announces = extra
                .older
                .iter()
                .map(|known| known.announce.heap().saturating_add(size_of::<SignedAnnounce>()));
            [size_of::<Extra>(), work, older].into_iter().chain(announces).sum()
        });
        [self.adj.capacity().saturating_mul(size_of::<Adj>()), extra, self.announce.heap()].iter().sum()
    }
}

fn low_half(now: Time) -> u16 {
    u16::try_from(seconds(now) & 0xffff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_and_what_a_neighbour_says_of_it_are_lean() {
        assert!(size_of::<Adj>() <= 28, "{}", size_of::<Adj>());
        let dest = size_of::<Dest>() + size_of::<SignedAnnounce>() + 16 + size_of::<(u64, u32)>() * 3 / 2;
        // Of them 32 for the anchor and one chain value.
        assert!(dest <= 250 + 32, "{dest}");
    }
}
