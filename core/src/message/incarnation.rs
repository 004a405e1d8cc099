//! Who is there: incarnations, and what happens when one side has lost its memory.
//!
//! Each side of a conversation has an incarnation, and packets name both. A packet for a former incarnation of
//! ours is not looked at: its sender is told of the present one by an empty packet. A packet from an incarnation
//! other than the one we know may come from the peer, which has restarted, or may be a late one from before: a
//! ping addressed to it decides. Only who acknowledges a packet that was sent after its first word is there *now*.
//! Then all that it has not taken is sent to it from the beginning; it never had any of it, so nothing is
//! delivered twice. A first contact is believed at once: there is nothing that could be mixed up.
//!
//! Anybody in the mesh can invent incarnations in the name of another. So every claim is asked, as far as an allowance
//! goes, and an answer is recognised by the number of the packet that asked: no claim has to be remembered until its
//! answer comes, and none can push another out. An incarnation that claims again, as a peer does that is there, has
//! an allowance that those invented for one packet do not use up.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::Conversation;
use super::incoming::Incoming;
use super::message_run::CompleteMessage;
use super::outcome::Outcome;
use super::ranges::ReceivedNumbers;
use super::recovery::{Piece, after};
use super::sending::Sending;
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::message::{Frame, Header, Reader};

/// Greetings of each kind: one in this time,
pub(super) const CLAIM_PROBE_INTERVAL: Duration = Duration::from_millis(1);
/// and so many at once.
pub(super) const CLAIM_PROBE_BURST: u32 = 64;
/// Greetings that ask, of which the answer is recognised.
pub(super) const MAX_PROBED: usize = 1024;
/// Greetings that wait to leave: without a route none can. What each allowance lets go at once.
const MAX_QUEUED_PROBES: usize = 3 * CLAIM_PROBE_BURST as usize;
/// Incarnations of which it is remembered that they have claimed before.
const RECENT_CLAIMANTS: usize = 64;
/// After so long without a claim all of this is forgotten.
const CLAIMS_LIFETIME: Duration = Duration::from_secs(10);

/// A short packet outside of the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IncarnationProbe {
    /// The incarnation it is for.
    pub to: u64,
    /// Whether it asks for an answer.
    pub wants_answer: bool,
}

/// What is known of the peer's incarnation.
#[derive(Debug, Default)]
pub(super) struct IncarnationTracker {
    peer: Option<u64>,
    former: Option<Box<FormerIncarnations>>,
    claims: Option<Box<IncarnationClaims>>,
}

/// What is there only when a side has lost its memory.
#[derive(Debug, Default)]
struct FormerIncarnations {
    queued: VecDeque<IncarnationProbe>,
    /// For those that know a former incarnation of ours.
    stale: ProbeAllowance,
    /// Complete messages of a former incarnation of the peer, which only live here any more.
    undelivered: VecDeque<(u64, CompleteMessage)>,
}

/// Incarnations that claim to be the present one.
#[derive(Debug)]
struct IncarnationClaims {
    /// The packets that asked, oldest first, and whom.
    probed: VecDeque<(u64, u64)>,
    /// Each at a place that follows from it.
    recent: [u64; RECENT_CLAIMANTS],
    new: ProbeAllowance,
    repeated: ProbeAllowance,
    last: Time,
}

/// How many greetings may leave.
#[derive(Debug, Default)]
struct ProbeAllowance {
    /// The moment at which all of it is there again.
    replenished_at: Time,
}

impl ProbeAllowance {
    fn take(&mut self, now: Time) -> bool {
        let most = CLAIM_PROBE_INTERVAL.saturating_mul(CLAIM_PROBE_BURST.saturating_sub(1));
        let allowed = self.replenished_at.since(now) <= most;
        if allowed {
            self.replenished_at = after(self.replenished_at.max(now), CLAIM_PROBE_INTERVAL);
        }
        allowed
    }
}

impl IncarnationTracker {
    /// The peer's present incarnation.
    pub fn peer(&self) -> Option<u64> {
        self.peer
    }

    /// The greeting that should leave, if any. It does in the packet with this number.
    pub fn next_probe(&mut self, number: u64) -> Option<IncarnationProbe> {
        let probe = self.former.as_mut()?.queued.pop_front()?;
        if let Some(claims) = self.claims.as_mut().filter(|_| probe.wants_answer) {
            if claims.probed.len() >= MAX_PROBED {
                claims.probed.pop_front();
            }
            claims.probed.push_back((number, probe.to));
        }
        Some(probe)
    }

    #[cfg(test)]
    pub fn has_claims(&self) -> bool {
        self.claims.is_some()
    }

    /// Messages of former incarnations of the peer, and which ones.
    pub fn undelivered(&self) -> impl ExactSizeIterator<Item = &(u64, CompleteMessage)> {
        self.former.as_ref().map(|former| former.undelivered.iter()).unwrap_or_default()
    }

    pub fn take_undelivered(&mut self) -> Option<(u64, CompleteMessage)> {
        self.former.as_mut()?.undelivered.pop_front()
    }

    /// Forgets claims that nothing has come of.
    pub fn expire_claims(&mut self, now: Time) {
        let is_over = |former: &FormerIncarnations| {
            former.queued.is_empty() && former.undelivered.is_empty() && former.stale.replenished_at <= now
        };
        if self.former.as_deref().is_some_and(is_over) {
            self.former = None;
        }
        if self.claims.as_ref().is_some_and(|claims| now.since(claims.last) > CLAIMS_LIFETIME) {
            self.claims = None;
        }
    }

    /// One that knows a former incarnation of ours is told of the present one.
    fn correct(&mut self, now: Time, to: u64) {
        if self.former.get_or_insert_default().stale.take(now) {
            self.enqueue(IncarnationProbe { to, wants_answer: false });
        }
    }

    /// One that claims to be the present incarnation is asked.
    fn probe(&mut self, now: Time, to: u64) {
        let claims = self.claims.get_or_insert_with(|| {
            let (new, repeated) = (ProbeAllowance::default(), ProbeAllowance::default());
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
        if (before == Some(to) && claims.repeated.take(now)) || claims.new.take(now) {
            self.enqueue(IncarnationProbe { to, wants_answer: true });
        }
    }

    fn enqueue(&mut self, probe: IncarnationProbe) {
        let queued = &mut self.former.get_or_insert_default().queued;
        // Those that wait go first. A peer that is there sends again, and is greeted then.
        if queued.len() < MAX_QUEUED_PROBES && !queued.contains(&probe) {
            queued.push_back(probe);
        }
    }

    /// Whether the packet with this number asked this incarnation.
    fn has_probed(&self, number: u64, incarnation: u64) -> bool {
        self.claims.as_ref().is_some_and(|claims| claims.probed.contains(&(number, incarnation)))
    }
}

impl Conversation {
    /// Decides whether a packet belongs to this conversation.
    pub(super) fn check_incarnations(
        &mut self,
        now: Time,
        header: &Header,
        packet: &Bytes,
    ) -> Result<(), DropCause> {
        if header.to != 0 && header.to != self.sending.incarnation() {
            self.incarnations.correct(now, header.from);
            return Err(DropCause::Duplicate);
        }
        match self.incarnations.peer {
            Some(peer) if peer == header.from => Ok(()),
            None => {
                self.incarnations.peer = Some(header.from);
                Ok(())
            }
            Some(_) if self.is_answer(header, packet) => {
                self.adopt_incarnation(header.from);
                Ok(())
            }
            Some(_) => {
                self.incarnations.probe(now, header.from);
                Err(DropCause::Duplicate)
            }
        }
    }

    /// Whether the claimant acknowledges the packet that asked it. An ack is always the first frame.
    fn is_answer(&self, header: &Header, packet: &Bytes) -> bool {
        if header.to != self.sending.incarnation() || self.incarnations.claims.is_none() {
            return false;
        }
        let mut reader = Reader::new(packet);
        let Ok((_, Frame::Ack)) = reader.header().and_then(|header| Ok((header, reader.frame()?))) else {
            return false;
        };
        reader.ack().is_ok_and(|ack| self.incarnations.has_probed(ack.largest(), header.from))
    }

    /// The peer is another one now, which knows nothing.
    fn adopt_incarnation(&mut self, incarnation: u64) {
        self.keep_undelivered();
        self.incarnations.peer = Some(incarnation);
        self.incarnations.claims = None;
        self.received = ReceivedNumbers::default();
        if let Some(sending) = self.sending.get_mut() {
            sending.recovery.abandon(|_| {});
            sending.queue.restart();
        }
        self.sending.end_stall();
        (self.unacknowledged, self.ack_at) = (0, None);
        (self.reported, self.unreported_bytes, self.confirmed, self.confirming) = (0, 0, 0, 0);
        self.receipt_at = None;
        self.outcome = Outcome::default();
    }

    /// Complete messages of the incarnation that is gone are in no other memory than this: they stay, within the
    /// bound of one credit.
    fn keep_undelivered(&mut self) {
        let peer = self.incarnations.peer.unwrap_or_default();
        let (credit_bytes, credit_messages) = self.incoming.credit();
        let empty = Incoming::new(credit_bytes, credit_messages);
        let mut old = std::mem::replace(&mut self.incoming, empty);
        (self.incoming.duplicates, self.incoming.given_up) = (old.duplicates, old.given_up);
        let mut bytes: usize = self.incarnations.undelivered().map(|(_, complete)| complete.body.len()).sum();
        while let Some(complete) = old.take() {
            let undelivered = &mut self.incarnations.former.get_or_insert_default().undelivered;
            let has_room = undelivered.is_empty()
                || (undelivered.len() < usize::from(credit_messages) && bytes < credit_bytes as usize);
            if !has_room {
                self.incoming.given_up = self.incoming.given_up.saturating_add(1);
                continue;
            }
            bytes = bytes.saturating_add(complete.body.len());
            undelivered.push_back((peer, complete));
        }
    }

    /// What is on its way will not be waited for: it is sent again.
    pub(super) fn requeue_in_flight(&mut self) {
        let Self { sending, confirming, .. } = self;
        let Some(Sending { queue, recovery, .. }) = sending.get_mut() else { return };
        recovery.abandon(|piece| match piece {
            Piece::Receipt(_) => *confirming = 0,
            piece => queue.on_lost(piece),
        });
    }
}
