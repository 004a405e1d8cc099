//! Requests for a newer sequence number that are under way: that of this node, and those that it relays for others.

use std::collections::VecDeque;
use std::time::Duration;

use super::types::NeighbourId;
use crate::time::Time;

/// Least delay between relayed requests for one destination, because the answer to one serves all requesters.
pub(super) const RELAY_INTERVAL: Duration = Duration::from_millis(30);

/// Time for which a requester is kept.
pub(super) const REQUESTER_TIME: Duration = Duration::from_secs(5);

/// Bound of the requesters of one destination.
pub(super) const MAX_REQUESTERS: usize = 64;

/// Ids of relayed requests that are kept for each destination, so that none is relayed twice.
pub(super) const MAX_IDS: usize = 8;

/// The request of this node that has no answer yet.
pub(super) struct PendingSeqnoRequest {
    /// The time of the next repetition.
    pub(super) at: Time,
    /// The number of repetitions.
    pub(super) step: u32,
}

/// The requests of others for one destination that passed through this node.
#[derive(Default)]
pub(super) struct SeqnoRequestRelay {
    /// The last relayed requests.
    pub(super) requests: RelayLimiter,
    /// The last announces that were relayed to their origin. They have a limiter of their own, because neither kind
    /// must hold up the other.
    pub(super) highest: RelayLimiter,
    /// Requests that were sent to another neighbour than the next hop. The number selects the neighbour, so that each
    /// takes another way.
    pub(super) detours: usize,
    /// The ids of the last requests.
    ids: VecDeque<u32>,
    /// The neighbours that wait for an answer.
    pub(super) requesters: Vec<Requester>,
}

/// The last relay towards the next hop and the last detour, each with its time and seq.
#[derive(Default)]
pub(super) struct RelayLimiter([Option<(Time, u64)>; 2]);

impl RelayLimiter {
    /// Whether something may be relayed, because nothing that serves as well was relayed a moment ago. A detour may
    /// end nowhere, so it does not hold up the direct way, and an older seq does not hold up a newer one.
    pub(super) fn try_relay(&mut self, now: Time, detour: bool, seq: u64) -> bool {
        let [straight, around] = &mut self.0;
        let passed = if detour { around } else { straight };
        let free = passed.is_none_or(|(at, passed)| now.since(at) >= RELAY_INTERVAL || seq > passed);
        if free {
            *passed = Some((now, seq));
        }
        free
    }

    /// Whether both relays are long past.
    fn is_over(&self, now: Time) -> bool {
        self.0.iter().flatten().all(|(at, _)| now.since(*at) > REQUESTER_TIME)
    }
}

/// A neighbour that waits for a newer seq.
pub(super) struct Requester {
    pub(super) neighbour: NeighbourId,
    pub(super) seq: u64,
    pub(super) until: Time,
}

impl SeqnoRequestRelay {
    /// Whether nothing of this state is in use any more.
    pub(super) fn is_over(&self, now: Time) -> bool {
        self.requesters.iter().all(|requester| requester.until <= now)
            && self.requests.is_over(now)
            && self.highest.is_over(now)
    }

    /// Keeps an id; returns whether it is new.
    pub(super) fn note_id(&mut self, id: u32) -> bool {
        if self.ids.contains(&id) {
            return false;
        }
        if self.ids.len() >= MAX_IDS {
            self.ids.pop_front();
        }
        self.ids.push_back(id);
        true
    }

    /// Counts a detour, so that the next one takes another neighbour.
    pub(super) fn note_detour(&mut self, detour: bool) {
        self.detours = self.detours.wrapping_add(usize::from(detour));
    }

    /// Keeps a requester, which replaces its former request.
    pub(super) fn add_requester(&mut self, now: Time, neighbour: NeighbourId, seq: u64) {
        self.requesters.retain(|one| one.until > now && one.neighbour != neighbour);
        if self.requesters.len() < MAX_REQUESTERS {
            self.requesters.push(Requester { neighbour, seq, until: now + REQUESTER_TIME });
        }
    }
}
