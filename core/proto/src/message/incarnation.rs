//! Incarnations: the detection of a side that has restarted and lost its state.
//!
//! Each side of a conversation has an incarnation, and packets name both. A packet for a former incarnation of ours is
//! not parsed: an empty packet informs its sender of the present one. A packet from an unknown incarnation of the peer
//! may come from the peer, which has restarted, or may be a late one from before the restart. A probe decides: a ping
//! to that incarnation, which only a running peer can acknowledge, because the probe was sent after the claim was
//! received. On the acknowledgement all messages without a receipt are transmitted from the beginning. The new
//! incarnation had received none of them, so no message is delivered twice. The first incarnation of a peer is accepted
//! without a probe, since there is no earlier one with which it could be confused.
//!
//! Any node in the mesh can forge packets with invented incarnations of another. Hence probes have an allowance, and an
//! answer is recognised by the number of the packet that carried the probe: no claim is stored until its answer
//! arrives, so that forged claims cannot evict the true one. Incarnations that claim repeatedly, as a restarted peer
//! does, have an allowance of their own, which claims invented for one packet each cannot exhaust.

use std::collections::VecDeque;
use std::time::Duration;

use super::message_run::CompleteMessage;
use crate::rate_limit::{Rate, RateLimiter};
use crate::time::Time;

/// The interval at which each allowance of probes is replenished by one.
pub(super) const CLAIM_PROBE_INTERVAL: Duration = Duration::from_millis(1);
/// The most probes that an allowance accumulates.
pub(super) const CLAIM_PROBE_BURST: u32 = 64;
const CLAIM_PROBES: Rate = Rate::one_per(CLAIM_PROBE_INTERVAL, CLAIM_PROBE_BURST);
/// The number of probes of which an answer is recognised; older ones are dropped first.
pub(super) const MAX_PROBED: usize = 1024;
/// The most probes that wait to be sent, since without a route none can be: the bursts of all three allowances.
const MAX_QUEUED_PROBES: usize = 3 * CLAIM_PROBE_BURST as usize;
/// The number of incarnations remembered as having claimed before.
const RECENT_CLAIMANTS: usize = 64;
/// The time without a claim after which the state of claims is dropped, since its answers would have arrived.
const CLAIMS_LIFETIME: Duration = Duration::from_secs(10);

/// A short packet to an incarnation of the peer other than the present one (section 9.2 of the specification).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IncarnationProbe {
    /// The incarnation to which it is sent.
    pub to: u64,
    /// Whether it requests an answer; without, it only informs the peer of our incarnation.
    pub wants_answer: bool,
}

/// The peer's present incarnation, and the state of restarts on either side.
#[derive(Debug, Default)]
pub(super) struct IncarnationTracker {
    /// The peer's present incarnation; `None` before its first packet.
    peer: Option<u64>,
    /// Boxed like `claims`, since most conversations never see a restart.
    former: Option<Box<FormerIncarnations>>,
    claims: Option<Box<IncarnationClaims>>,
}

/// The state that exists only after a side has restarted.
#[derive(Debug, Default)]
struct FormerIncarnations {
    queued: VecDeque<IncarnationProbe>,
    /// The allowance for packets to peers that use a former incarnation of ours.
    stale: RateLimiter,
    /// Complete messages of a former incarnation of the peer. They are kept, because the peer has lost its copies.
    undelivered: VecDeque<(u64, CompleteMessage)>,
}

/// The incarnations that claim to be the peer's present one.
#[derive(Debug)]
struct IncarnationClaims {
    /// The packet number and the incarnation of each probe, oldest first.
    probed: VecDeque<(u64, u64)>,
    /// Recent claimants, each in the slot selected by its first byte, so that a lookup needs no search.
    recent: [u64; RECENT_CLAIMANTS],
    new: RateLimiter,
    repeated: RateLimiter,
    last: Time,
}

impl IncarnationTracker {
    /// The peer's present incarnation; `None` before its first packet.
    pub(super) fn peer(&self) -> Option<u64> {
        self.peer
    }

    /// Takes this as the peer's present incarnation.
    pub(super) fn adopt(&mut self, incarnation: u64) {
        self.peer = Some(incarnation);
    }

    /// Whether an incarnation of the peer other than the present one was probed lately.
    pub(super) fn has_claims(&self) -> bool {
        self.claims.is_some()
    }

    /// Drops the state of claims, since one of them was decided.
    pub(super) fn end_claims(&mut self) {
        self.claims = None;
    }

    /// Keeps a complete message of a former incarnation of the peer for the application.
    pub(super) fn keep_undelivered(&mut self, incarnation: u64, complete: CompleteMessage) {
        self.former.get_or_insert_default().undelivered.push_back((incarnation, complete));
    }

    /// The next probe to send, if any, in the packet with this number.
    pub(super) fn next_probe(&mut self, number: u64) -> Option<IncarnationProbe> {
        let probe = self.former.as_mut()?.queued.pop_front()?;
        if let Some(claims) = self.claims.as_mut().filter(|_| probe.wants_answer) {
            if claims.probed.len() >= MAX_PROBED {
                claims.probed.pop_front();
            }
            claims.probed.push_back((number, probe.to));
        }
        Some(probe)
    }

    /// Complete messages of former incarnations of the peer, each with its incarnation.
    pub(super) fn undelivered(&self) -> impl ExactSizeIterator<Item = &(u64, CompleteMessage)> {
        self.former.as_ref().map(|former| former.undelivered.iter()).unwrap_or_default()
    }

    pub(super) fn take_undelivered(&mut self) -> Option<(u64, CompleteMessage)> {
        self.former.as_mut()?.undelivered.pop_front()
    }

    /// Drops the state of claims and of restarts when it is no longer needed.
    pub(super) fn expire_claims(&mut self, now: Time) {
        let is_over = |former: &FormerIncarnations| {
            former.queued.is_empty() && former.undelivered.is_empty() && former.stale.is_full(now)
        };
        if self.former.as_deref().is_some_and(is_over) {
            self.former = None;
        }
        if self.claims.as_ref().is_some_and(|claims| now.since(claims.last) > CLAIMS_LIFETIME) {
            self.claims = None;
        }
    }

    /// Informs a sender that uses a former incarnation of ours of the present one.
    pub(super) fn correct(&mut self, now: Time, to: u64) {
        if self.former.get_or_insert_default().stale.try_take(now, CLAIM_PROBES) {
            self.enqueue(IncarnationProbe { to, wants_answer: false });
        }
    }

    /// Probes an incarnation that claims to be the present one, if an allowance permits.
    pub(super) fn probe(&mut self, now: Time, to: u64) {
        let claims = self.claims.get_or_insert_with(|| {
            let (new, repeated) = (RateLimiter::default(), RateLimiter::default());
            Box::new(IncarnationClaims {
                probed: VecDeque::new(),
                recent: [0; RECENT_CLAIMANTS],
                new,
                repeated,
                last: now,
            })
        });
        claims.last = now;
        let [place, ..] = to.to_le_bytes();
        let before =
            claims.recent.get_mut(usize::from(place & 63)).map(|recent| std::mem::replace(recent, to));
        if (before == Some(to) && claims.repeated.try_take(now, CLAIM_PROBES))
            || claims.new.try_take(now, CLAIM_PROBES)
        {
            self.enqueue(IncarnationProbe { to, wants_answer: true });
        }
    }

    fn enqueue(&mut self, probe: IncarnationProbe) {
        let queued = &mut self.former.get_or_insert_default().queued;
        // Probes that wait already are sent first. A peer that is running sends again, and is probed then.
        if queued.len() < MAX_QUEUED_PROBES && !queued.contains(&probe) {
            queued.push_back(probe);
        }
    }

    /// Whether the packet with this number probed this incarnation.
    pub(super) fn has_probed(&self, number: u64, incarnation: u64) -> bool {
        self.claims.as_ref().is_some_and(|claims| claims.probed.contains(&(number, incarnation)))
    }
}
