//! A destination with its adjacencies, its selected route and its feasibility distance.
//!
//! A table holds up to 65 536 destinations, so that memory decides the layout: the fields that every destination needs
//! are in [`Destination`], those that few need at a time are boxed in [`RareState`].

use std::sync::Arc;
use std::time::Duration;

use super::adjacency::Adjacency;
use super::kept_announce::{AnnounceSlot, KeptAnnounce, UNPROVEN};
use super::seqno_relay::{PendingSeqnoRequest, SeqnoRequestRelay};
use super::types::{FibEntry, NeighbourId, seconds};
use crate::identity::Identity;
use crate::rate_limit::RateLimiter;
use crate::time::Time;
use crate::wire::route::{Chain, INFINITY, SignedAnnounce};

/// An address of this node.
pub(super) struct Origin {
    /// The key that signs its announces.
    pub(super) identity: Identity,
    /// The time of the next renewal.
    pub(super) refresh_at: Time,
    /// Limit of seqs raised on request.
    pub(super) raise_bucket: RateLimiter,
    /// Limit of raised seqs that all neighbours are sent.
    pub(super) advertise_bucket: RateLimiter,
    /// The recent jumps above a higher announce.
    pub(super) jumps: Vec<Time>,
    /// The end of the time without outbidding.
    pub(super) yield_until: Time,
}

/// Losses, each within [`LOSS_MEMORY`] of the one before, after which a destination is held down: it is advertised
/// again only [`HOLD_DOWN`] after its last loss, a delay that doubles three times. A node whose destinations flap
/// would otherwise make the whole mesh send updates, and not its neighbours alone.
const LOSSES_BEFORE_HOLD_DOWN: u32 = 5;
pub(super) const LOSS_MEMORY: Duration = Duration::from_secs(6);
pub(super) const HOLD_DOWN: Duration = Duration::from_millis(250);
/// The neighbour id that stands for no neighbour. It takes less memory than an `Option`.
const NO_NEIGHBOUR: NeighbourId = NeighbourId::MAX;

/// The state that few destinations have at a time.
#[derive(Default)]
pub(super) struct RareState {
    /// The state of a change, a request or a hold-down that is going on.
    transient: Option<Box<TransientState>>,
    /// The origin, if this is an address of this node.
    own: Option<Box<Origin>>,
    /// The announces besides the newest that adjacencies refer to.
    pub(super) older: Vec<KeptAnnounce>,
}

/// The FIB entry that the shell was last given. It is a copy of [`FibEntry`] without `Option`, because the padding
/// would add to every destination.
struct PublishedFib {
    next: NeighbourId,
    alternate: NeighbourId,
    metric: u16,
    mtu: u16,
    hops: u8,
}

/// A destination.
pub(super) struct Destination {
    /// The announce with the highest seq that was received from any neighbour.
    pub(super) announce: Arc<SignedAnnounce>,
    /// The seq of the feasibility distance: the best (seq, metric) that was ever advertised (RFC 8966, section 3.5.1).
    /// A route is feasible only below it, which prevents loops.
    pub(super) fd_seq: u64,
    /// The adjacencies, sorted by neighbour so that they can be searched.
    pub(super) adjacencies: Vec<Adjacency>,
    /// State that few destinations have.
    pub(super) rare: Option<Box<RareState>>,
    /// The next hop, or [`NO_NEIGHBOUR`].
    selected: NeighbourId,
    /// The entry in the FIB of the shell.
    fib: PublishedFib,
    /// Expiry of the last announce, in seconds.
    pub(super) until: u32,
    /// Expiry of the announce that was last passed on to all neighbours, in seconds.
    pub(super) renewed_until: u32,
    /// The metric of the feasibility distance.
    pub(super) fd_metric: u16,
    /// The time at which the announce was learnt: the lower half of the seconds, because only differences of a few
    /// seconds matter.
    learnt: u16,
    /// Whether the destination was evicted. It stays for a moment, because a forgotten feasibility distance would
    /// allow a loop with packets and updates that are still on their way.
    pub(super) is_evicted: bool,
    /// Whether the destination is marked for a new selection.
    pub(super) is_marked: bool,
    /// The slot of `announce`.
    pub(super) slot: AnnounceSlot,
    /// The fewest proved hops of `announce`.
    pub(super) hops: u8,
    /// The chain value of that many hops.
    pub(super) chain: Chain,
}

/// The times since which another route has been better than the one in use. A switch waits until the advantage has
/// lasted, because measured link costs fluctuate.
#[derive(Clone, Copy, Default)]
pub(super) struct BetterSince {
    /// A feasible route has been better by an eighth.
    pub(super) feasible: Option<Time>,
    /// A route that is not feasible has been better by a quarter, or the one in use is a last resort.
    pub(super) infeasible: Option<Time>,
    /// A route of either kind has been better by a sixteenth.
    pub(super) slight: Option<Time>,
}

/// The state of a change or a search of a destination, which is dropped when all of it has ended.
#[derive(Default)]
pub(super) struct TransientState {
    /// The times since which another route has been better.
    pub(super) since: BetterSince,
    /// The earliest time of the next request that makes a better route feasible.
    pub(super) next_better_request: Time,
    /// The earliest time of the next advert of a changed distance.
    pub(super) hold_until: Time,
    /// The present length of that delay.
    pub(super) hold: Duration,
    /// The losses in a row, each soon after the one before.
    pub(super) losses: u32,
    /// The last loss.
    pub(super) lost_at: Time,
    /// The time at which a renewed announce is passed on.
    pub(super) renewal_at: Option<Time>,
    /// The last time that this node requested a newer seq.
    pub(super) last_request: Time,
    /// The request of this node for a newer seq.
    pub(super) seqno_request: Option<PendingSeqnoRequest>,
    /// The requests of neighbours for a newer seq that passed through this node.
    pub(super) relay: Option<SeqnoRequestRelay>,
}

impl TransientState {
    /// Counts a loss. A pause of [`LOSS_MEMORY`] begins a new count, so that rare losses are not held down.
    pub(super) fn lose(&mut self, now: Time) {
        let calm = now.since(self.lost_at) >= LOSS_MEMORY;
        self.losses = if calm { 1 } else { self.losses.saturating_add(1) };
        self.lost_at = now;
    }

    /// The time until which the hold-down of a flapping destination lasts.
    pub(super) fn hold_down_until(&self) -> Option<Time> {
        let beyond = self.losses.checked_sub(LOSSES_BEFORE_HOLD_DOWN)?;
        Some(self.lost_at + HOLD_DOWN.saturating_mul(1 << beyond.min(3)))
    }

    /// Whether nothing of this state is in use any more.
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
            is_marked: false,
            slot: 1,
            hops: UNPROVEN,
            chain: [0; 16],
        }
    }

    /// The next hop.
    pub(super) fn selected(&self) -> Option<NeighbourId> {
        Some(self.selected).filter(|id| *id != NO_NEIGHBOUR)
    }

    /// Sets the next hop.
    pub(super) fn select(&mut self, neighbour: Option<NeighbourId>) {
        self.selected = neighbour.unwrap_or(NO_NEIGHBOUR);
    }

    /// The time until which the destination must not be advertised as found; `None` if it may be.
    pub(super) fn held_down_until(&self, now: Time) -> Option<Time> {
        self.transient()?.hold_down_until().filter(|until| *until > now)
    }

    /// The entry that the shell was last given.
    pub(super) fn fib(&self) -> Option<FibEntry> {
        let PublishedFib { next, alternate, metric, mtu, hops } = self.fib;
        let alternate = Some(alternate).filter(|id| *id != NO_NEIGHBOUR);
        (next != NO_NEIGHBOUR).then_some(FibEntry { next, alternate, metric, hops, mtu })
    }

    /// Stores the entry that the shell is given.
    pub(super) fn set_fib(&mut self, entry: Option<FibEntry>) {
        self.fib.next = NO_NEIGHBOUR;
        if let Some(FibEntry { next, alternate, metric, hops, mtu }) = entry {
            self.fib = PublishedFib { next, alternate: alternate.unwrap_or(NO_NEIGHBOUR), metric, mtu, hops };
        }
    }

    /// Whether the announce was learnt less than `span` seconds ago. The clock wraps after 18 hours, which is harmless
    /// because a wrong answer only chooses a longer record.
    pub(super) fn is_young(&self, now: Time, span: u16) -> bool {
        low_half(now).wrapping_sub(self.learnt) < span
    }

    /// The announce was learnt now.
    pub(super) fn set_learnt(&mut self, now: Time) {
        self.learnt = low_half(now);
    }

    /// The transient state, if there is any.
    pub(super) fn transient(&self) -> Option<&TransientState> {
        self.rare.as_ref()?.transient.as_deref()
    }

    pub(super) fn transient_mut(&mut self) -> Option<&mut TransientState> {
        self.rare.as_mut()?.transient.as_deref_mut()
    }

    /// The transient state, which is created if there is none.
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

    /// Drops the transient state.
    pub(super) fn drop_transient(&mut self) {
        if let Some(rare) = self.rare.as_mut() {
            rare.transient = None;
        }
    }

    /// Frees state that is not in use any more.
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

    /// The adjacency with this neighbour, which is created if there is none.
    pub(super) fn adjacency_or_new(&mut self, neighbour: NeighbourId) -> Option<&mut Adjacency> {
        let at = match self.adjacencies.binary_search_by_key(&neighbour, |adj| adj.neighbour) {
            Ok(at) => at,
            Err(at) => {
                // Most destinations have a handful of neighbours, so the usual doubling would waste memory.
                if self.adjacencies.len() == self.adjacencies.capacity() {
                    self.adjacencies.reserve_exact(2);
                }
                self.adjacencies.insert(at, Adjacency::new(neighbour));
                at
            }
        };
        self.adjacencies.get_mut(at)
    }

    /// Whether a route advertised with this seq and metric cannot lead back to this node: the feasibility condition of
    /// RFC 8966, section 3.5.1.
    pub(super) fn feasible(&self, seq: u64, metric: u16) -> bool {
        seq > self.fd_seq || (seq == self.fd_seq && metric < self.fd_metric)
    }

    /// Records that (seq, metric) was advertised; returns whether that lowered the feasibility distance. It is
    /// recorded when the advert is sent and not when the route is selected, because only what neighbours know of can
    /// lead them here.
    pub(super) fn lower_feasibility_distance(&mut self, seq: u64, metric: u16) -> bool {
        let lowers = self.feasible(seq, metric);
        if lowers {
            self.fd_seq = seq;
            self.fd_metric = metric;
        }
        lowers
    }

    /// Memory beyond the struct itself, in bytes.
    ///
    /// Sums do not overflow, because all of it is in memory at the same time.
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
    fn a_destination_and_the_advert_of_a_neighbour_are_lean() {
        assert!(size_of::<Adjacency>() <= 28, "{}", size_of::<Adjacency>());
        let dest =
            size_of::<Destination>() + size_of::<SignedAnnounce>() + 16 + size_of::<(u64, u32)>() * 3 / 2;
        // The anchor and one chain value take 32 of them.
        assert!(dest <= 250 + 32, "{dest}");
    }
}
