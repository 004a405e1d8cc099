//! Neighbours: links that come up, change, fail and go down.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::accounts::{Location, Reserve};
use super::metric::check;
use super::offer::PendingOffer;
use super::types::DestinationKey;
use crate::address::Address;
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::route::{Record, Update};

/// Bound, for each neighbour, of the numbers that are noted because a quota held their destination back or its
/// announce is on its way.
pub(super) const MAX_NOTED: usize = 65_536;

/// A neighbour with a link that is up or away.
pub(super) struct NeighbourEntry {
    /// The neighbour's address.
    pub(super) address: Address,
    /// The cost of the link to it.
    pub(super) cost: u16,
    /// The longest packet that the link takes, in bytes.
    pub(super) mtu: u16,
    /// Whether the user has configured it. Others are strangers.
    pub(super) configured: bool,
    /// Its place in the network, which decides whose accounts it shares if it is a stranger.
    pub(super) location: Location,
    /// The part of its allowance that it shares with no other stranger.
    pub(super) reserve: Reserve,
    /// The last turn in which it was admitted from the strangers that wait for their common quota.
    pub(super) admitted: u64,
    /// Whether the link may be dead, because packets on it go unacknowledged.
    pub(super) suspect: bool,
    /// Whether the link is out of service while its session is kept. Routes advertised over it are still valid when it
    /// is back.
    pub(super) away: bool,
    /// Whether the link flapped, so that its routes are the last resort for a while.
    pub(super) probation: bool,
    pub(super) probation_until: Time,
    /// The destinations that the neighbour's numbers stand for.
    pub(super) idx: BTreeMap<u32, DestinationKey>,
    /// Numbers of destinations that a quota held back.
    pub(super) deferred: BTreeSet<u32>,
    /// Numbers of destinations that are charged already and whose announce is on its way, so that the announce is not
    /// charged again.
    pub(super) requested: BTreeSet<u32>,
    /// Offers whose announces are being verified, by the neighbour's numbers.
    pub(super) pending: BTreeMap<u32, PendingOffer>,
    /// Numbers of known destinations for which it has named an announce that is missing here. Its updates refer to the
    /// missing announce, so they must not be applied to the one that is in the table.
    pub(super) awaited: BTreeSet<u32>,
    /// Numbers of announces that arrived faster than they can be verified, and are requested again later.
    pub(super) postponed: BTreeSet<u32>,
    /// Announces for their origins that are being verified.
    pub(super) highest: usize,
    /// Destinations that it is still to be sent, the shortest route first, and whether it requested their announces.
    pub(super) queue: BTreeSet<(u16, DestinationKey, bool)>,
    /// The earliest time of the next chunk of the queue.
    pub(super) queue_at: Option<Time>,
    /// Bytes a second that the link carries, where that is known.
    pub(super) rate: Option<u64>,
    /// Destinations whose renewed announce it is still to be sent, the shortest route first.
    pub(super) renewals: BTreeSet<(u16, DestinationKey)>,
    /// The earliest time of the next renewal.
    pub(super) renew_at: Time,
    /// Bytes of all records for it so far.
    pub(super) sent_bytes: u64,
    /// Messages to be sent; the last one still takes records, because packing many records into one frame saves most
    /// of its overhead.
    pub(super) out: VecDeque<Vec<u8>>,
}

impl NeighbourEntry {
    /// Whether its routes are used only if there are no others, because the link is in doubt or has flapped.
    pub(super) fn is_last_resort(&self) -> bool {
        self.suspect || self.probation
    }

    /// The destination that this number stands for.
    pub(super) fn key(&self, idx: u32) -> Option<DestinationKey> {
        self.idx.get(&idx).copied()
    }

    /// Makes a number stand for a destination; returns the destination that it stood for before.
    pub(super) fn bind(&mut self, idx: u32, key: DestinationKey) -> Option<DestinationKey> {
        self.idx.insert(idx, key).filter(|before| *before != key)
    }

    /// The numbers that stand for a destination. There may be several, because a neighbour may number an address again
    /// after it evicted it.
    pub(super) fn indices_of(&self, key: DestinationKey) -> impl Iterator<Item = u32> {
        self.idx.iter().filter(move |(_, named)| **named == key).map(|(idx, _)| *idx)
    }

    /// Removes a number, unless it stands for another destination by now.
    pub(super) fn unbind(&mut self, idx: u32, key: DestinationKey) {
        if self.key(idx) == Some(key) {
            self.idx.remove(&idx);
        }
    }

    /// Whether the announce under this number is requested already or will be, so that it is not requested twice.
    pub(super) fn is_noted(&self, idx: u32) -> bool {
        self.requested.contains(&idx) || self.deferred.contains(&idx) || self.postponed.contains(&idx)
    }

    /// Notes that updates of this number refer to an announce that is missing here.
    pub(super) fn note_awaited(&mut self, idx: u32) {
        if self.awaited.len() < MAX_NOTED {
            self.awaited.insert(idx);
        }
    }

    /// Applies an UPDATE to an offer whose announce is still being verified, so that the order of the neighbour's
    /// records is kept.
    pub(super) fn update_pending(&mut self, update: Update) -> Result<(), DropCause> {
        let Update { idx, metric, hops, chain } = update;
        let Some(offered) = self.pending.get_mut(&idx).map(|pending| &mut pending.offered) else {
            return Ok(());
        };
        let proof = match chain {
            Some(chain) if hops < offered.proof.0 => (hops, chain),
            _ => offered.proof,
        };
        if check(metric, hops).is_err() || hops < proof.0 {
            self.pending.remove(&idx);
            return Err(DropCause::BadAnnounce);
        }
        offered.metric = metric;
        offered.feasibility_bound = offered.feasibility_bound.min(metric);
        offered.hops = hops;
        offered.proof = proof;
        Ok(())
    }

    /// Appends a record to the message that leaves next.
    pub(super) fn send(&mut self, record: &Record) {
        self.send_with(|out| record.encode(out));
    }

    /// Appends the record that `write` encodes.
    pub(super) fn send_with<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) {
        let mut bytes = Vec::with_capacity(64);
        // Only an announce with too many extensions does not encode, and the decoder refuses such an announce, so none
        // is kept.
        if write(&mut bytes).is_err() {
            return;
        }
        self.sent_bytes = self.sent_bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        match self.out.back_mut().filter(|last| last.len().saturating_add(bytes.len()) <= PACKED_SIZE) {
            Some(last) => last.extend_from_slice(&bytes),
            None => self.out.push_back(bytes),
        }
    }

    /// The time that the bytes since `before` take on one part in `share` of the link; zero if its rate is unknown.
    pub(super) fn transmit_time(&self, before: u64, share: u64) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let bytes = self.sent_bytes.saturating_sub(before).saturating_mul(share);
        Duration::from_secs(bytes).checked_div(u32::try_from(rate).unwrap_or(u32::MAX)).unwrap_or_default()
    }

    // Sums do not overflow, because all of it is in memory at the same time.
    #[allow(clippy::arithmetic_side_effects)]
    pub(super) fn memory(&self) -> usize {
        let idx = self.idx.len().saturating_mul(size_of::<(u32, DestinationKey)>());
        let numbers = [&self.deferred, &self.requested, &self.awaited, &self.postponed]
            .map(BTreeSet::len)
            .iter()
            .sum::<usize>();
        let pending = self.pending.len().saturating_mul(size_of::<(u32, PendingOffer)>());
        let sets = numbers.saturating_mul(size_of::<u32>()).saturating_add(pending);
        let renewals = self.renewals.len().saturating_mul(size_of::<(u16, DestinationKey)>());
        let queue = self
            .queue
            .len()
            .saturating_mul(size_of::<(u16, DestinationKey, bool)>())
            .saturating_add(renewals);
        let fixed = (queue.saturating_mul(3) / 2).saturating_add(size_of::<Self>());
        (idx.saturating_add(sets).saturating_mul(3) / 2).saturating_add(fixed)
    }
}

/// Size up to which records are packed into a message, in bytes. A frame of any medium carries that much, so a message
/// is not fragmented.
pub(super) const PACKED_SIZE: usize = 1000;
