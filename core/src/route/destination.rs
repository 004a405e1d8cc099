//! A destination, and what each neighbour says and was told of it.
//!
//! Laid out to be lean: what every destination has stands in [`Destination`], what it has only now and then in a box of its own.

use std::sync::Arc;
use std::time::Duration;

use super::adjacency::Adjacency;
use super::announces::{AnnounceSlot, KeptAnnounce, UNPROVEN};
use super::origin::Origin;
use super::seqno_request::{PendingSeqnoRequest, SeqnoRequestRelay};
use super::table::seconds;
use super::{FibEntry, NeighbourId};
use crate::time::Time;
use crate::wire::route::{Chain, INFINITY, SignedAnnounce};

/// A destination that is lost this often, never [`CALM`] apart, is said to be found again only after [`FOUND_AGAIN`], doubling
/// three times: who has destinations come and go makes its neighbours talk, and not the whole mesh.
const LOSSES_BEFORE_HOLD_DOWN: u32 = 5;
pub(super) const LOSS_MEMORY: Duration = Duration::from_secs(6);
pub(super) const HOLD_DOWN: Duration = Duration::from_millis(250);
/// No neighbour.
const NO_NEIGHBOUR: NeighbourId = NeighbourId::MAX;

/// What a destination has only now and then.
#[derive(Default)]
pub(super) struct RareState {
    /// What goes on at the moment.
    transient: Option<Box<TransientState>>,
    /// Set when the address is our own.
    own: Option<Box<Origin>>,
    /// Announces other than the newest that somebody still offers or was told of.
    pub(super) older: Vec<KeptAnnounce>,
}

/// The FIB entry as the shell was last told, without the padding of one that may be none.
struct PublishedFib {
    next: NeighbourId,
    alternate: NeighbourId,
    metric: u16,
    mtu: u16,
    hops: u8,
}

/// A destination.
pub(super) struct Destination {
    /// The highest announce seen, whoever offers it.
    pub(super) announce: Arc<SignedAnnounce>,
    /// The feasibility distance: the best that was ever told to anybody (RFC 8966, section 3.5.1).
    pub(super) fd_seq: u64,
    /// Sorted by neighbour.
    pub(super) adjacencies: Vec<Adjacency>,
    pub(super) rare: Option<Box<RareState>>,
    selected: NeighbourId,
    fib: PublishedFib,
    /// When the last announce of it expires, in seconds.
    pub(super) until: u32,
    /// Expiry of the announce that was last passed on to everybody, in seconds.
    pub(super) renewed_until: u32,
    pub(super) fd_metric: u16,
    /// When the announce was learnt: the lower half of the seconds.
    learnt: u16,
    /// Evicted: only kept until no packet in flight can loop for its feasibility distance being forgotten.
    pub(super) is_evicted: bool,
    /// The slot of `announce`, and its chain value of the fewest hops.
    pub(super) slot: AnnounceSlot,
    pub(super) hops: u8,
    pub(super) chain: Chain,
}

/// BetterSince when there is something better than the route in use.
#[derive(Clone, Copy, Default)]
pub(super) struct BetterSince {
    /// A feasible route that is better by much.
    pub(super) feasible: Option<Time>,
    /// A route that might loop, and is better by very much.
    pub(super) infeasible: Option<Time>,
    /// Either of them, and be it by little.
    pub(super) slight: Option<Time>,
}

/// What goes on with a destination at the moment.
#[derive(Default)]
pub(super) struct TransientState {
    /// BetterSince when something is better than the selected route.
    pub(super) since: BetterSince,
    /// When the next request for such a route may leave.
    pub(super) next_better_request: Time,
    /// No change of distance is told before.
    pub(super) hold_until: Time,
    pub(super) hold: Duration,
    /// How often it was lost of late, and when last.
    pub(super) losses: u32,
    pub(super) lost_at: Time,
    /// When a refreshed announce is passed on.
    pub(super) renewal_at: Option<Time>,
    /// When we last asked for a newer seq.
    pub(super) last_request: Time,
    /// Our own search for it.
    pub(super) seqno_request: Option<PendingSeqnoRequest>,
    /// Searches of others that came by.
    pub(super) relay: Option<SeqnoRequestRelay>,
}

impl TransientState {
    /// It was lost just now.
    pub(super) fn lose(&mut self, now: Time) {
        let calm = now.since(self.lost_at) >= LOSS_MEMORY;
        self.losses = if calm { 1 } else { self.losses.saturating_add(1) };
        self.lost_at = now;
    }

    /// Until when nobody is told that it is found again, if it comes and goes.
    pub(super) fn hold_down_until(&self) -> Option<Time> {
        let beyond = self.losses.checked_sub(LOSSES_BEFORE_HOLD_DOWN)?;
        Some(self.lost_at + HOLD_DOWN.saturating_mul(1 << beyond.min(3)))
    }

    fn is_over(&self, now: Time) -> bool {
        let BetterSince { feasible, infeasible, slight } = self.since;
        feasible.or(infeasible).or(slight).is_none()
            && self.next_better_request < now
            && self.hold_until + self.hold + self.hold < now
            && (self.losses == 0 || now.since(self.lost_at) >= LOSS_MEMORY)
            && self.renewal_at.is_none()
            && self.seqno_request.is_none()
            && self.relay.as_ref().is_none_or(|relay| relay.is_over(now))
    }
}

impl Destination {
    pub(super) fn new(announce: Arc<SignedAnnounce>, now: Time) -> Self {
        Destination {
            announce,
            fd_seq: 0,
            adjacencies: Vec::new(),
            rare: None,
            selected: NO_NEIGHBOUR,
            fib: PublishedFib { next: NO_NEIGHBOUR, alternate: NO_NEIGHBOUR, metric: 0, mtu: 0, hops: 0 },
            until: 0,
            renewed_until: 0,
            fd_metric: INFINITY,
            learnt: low_half(now),
            is_evicted: false,
            slot: 1,
            hops: UNPROVEN,
            chain: [0; 16],
        }
    }

    /// The neighbour in use.
    pub(super) fn selected(&self) -> Option<NeighbourId> {
        Some(self.selected).filter(|id| *id != NO_NEIGHBOUR)
    }

    pub(super) fn select(&mut self, neighbour: Option<NeighbourId>) {
        self.selected = neighbour.unwrap_or(NO_NEIGHBOUR);
    }

    /// Until when nobody is told that it is found again; `None` when there is nothing against it.
    pub(super) fn held_down_until(&self, now: Time) -> Option<Time> {
        self.transient()?.hold_down_until().filter(|until| *until > now)
    }

    /// As the shell was last told.
    pub(super) fn fib(&self) -> Option<FibEntry> {
        let PublishedFib { next, alternate, metric, mtu, hops } = self.fib;
        let alternate = Some(alternate).filter(|id| *id != NO_NEIGHBOUR);
        (next != NO_NEIGHBOUR).then_some(FibEntry { next, alternate, metric, hops, mtu })
    }

    pub(super) fn set_fib(&mut self, entry: Option<FibEntry>) {
        self.fib.next = NO_NEIGHBOUR;
        if let Some(FibEntry { next, alternate, metric, hops, mtu }) = entry {
            self.fib = PublishedFib { next, alternate: alternate.unwrap_or(NO_NEIGHBOUR), metric, mtu, hops };
        }
    }

    /// Whether the announce was learnt less than `span` seconds ago, or a multiple of 18 hours before that.
    pub(super) fn is_young(&self, now: Time, span: u16) -> bool {
        low_half(now).wrapping_sub(self.learnt) < span
    }

    pub(super) fn set_learnt(&mut self, now: Time) {
        self.learnt = low_half(now);
    }

    pub(super) fn transient(&self) -> Option<&TransientState> {
        self.rare.as_ref()?.transient.as_deref()
    }

    pub(super) fn transient_mut(&mut self) -> Option<&mut TransientState> {
        self.rare.as_mut()?.transient.as_deref_mut()
    }

    pub(super) fn transient_or_new(&mut self) -> &mut TransientState {
        self.rare.get_or_insert_default().transient.get_or_insert_default()
    }

    pub(super) fn own_mut(&mut self) -> Option<&mut Origin> {
        self.rare.as_mut()?.own.as_deref_mut()
    }

    pub(super) fn is_own(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.own.is_some())
    }

    pub(super) fn set_own(&mut self, own: Option<Origin>) {
        self.rare.get_or_insert_default().own = own.map(Box::new);
    }

    pub(super) fn drop_transient(&mut self) {
        if let Some(rare) = self.rare.as_mut() {
            rare.transient = None;
        }
    }

    /// Frees what is not needed any more.
    pub(super) fn tidy(&mut self, now: Time) {
        self.prune();
        let Some(rare) = self.rare.as_mut() else { return };
        if rare.transient.as_ref().is_some_and(|transient| transient.is_over(now)) {
            rare.transient = None;
        }
        if rare.transient.is_none() && rare.own.is_none() && rare.older.is_empty() {
            self.rare = None;
        }
    }

    pub(super) fn adjacency(&self, neighbour: NeighbourId) -> Option<&Adjacency> {
        let at = self.adjacencies.binary_search_by_key(&neighbour, |adj| adj.neighbour).ok()?;
        self.adjacencies.get(at)
    }

    pub(super) fn adjacency_mut(&mut self, neighbour: NeighbourId) -> Option<&mut Adjacency> {
        let at = self.adjacencies.binary_search_by_key(&neighbour, |adj| adj.neighbour).ok()?;
        self.adjacencies.get_mut(at)
    }

    pub(super) fn adjacency_or_new(&mut self, neighbour: NeighbourId) -> Option<&mut Adjacency> {
        let at = match self.adjacencies.binary_search_by_key(&neighbour, |adj| adj.neighbour) {
            Ok(at) => at,
            Err(at) => {
                // Most have a handful of neighbours: no room to spare.
                if self.adjacencies.len() == self.adjacencies.capacity() {
                    self.adjacencies.reserve_exact(2);
                }
                self.adjacencies.insert(at, Adjacency::new(neighbour));
                at
            }
        };
        self.adjacencies.get_mut(at)
    }

    /// Whether a route told with this seq and metric cannot lead back here (RFC 8966, section 3.5.1).
    pub(super) fn feasible(&self, seq: u64, metric: u16) -> bool {
        seq > self.fd_seq || (seq == self.fd_seq && metric < self.fd_metric)
    }

    /// Notes that (seq, metric) was told to somebody; returns whether that lowered the feasibility distance.
    pub(super) fn lower_feasibility_distance(&mut self, seq: u64, metric: u16) -> bool {
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
        let rare = self.rare.as_ref().map_or(0, |rare| {
            let transient = rare.transient.as_ref().map_or(0, |_| size_of::<TransientState>());
            let older = rare.older.capacity().saturating_mul(size_of::<KeptAnnounce>());
            let announces = rare
                .older
                .iter()
                .map(|known| known.announce.heap().saturating_add(size_of::<SignedAnnounce>()));
            [size_of::<RareState>(), transient, older].into_iter().chain(announces).sum()
        });
        [self.adjacencies.capacity().saturating_mul(size_of::<Adjacency>()), rare, self.announce.heap()]
            .iter()
            .sum()
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
        assert!(size_of::<Adjacency>() <= 28, "{}", size_of::<Adjacency>());
        let dest =
            size_of::<Destination>() + size_of::<SignedAnnounce>() + 16 + size_of::<(u64, u32)>() * 3 / 2;
        // Of them 32 for the anchor and one chain value.
        assert!(dest <= 250 + 32, "{dest}");
    }
}
