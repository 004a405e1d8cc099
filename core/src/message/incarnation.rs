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
use super::outcome::Outcome;
use super::ranges::Received;
use super::recovery::{Piece, after};
use super::run::Complete;
use super::sending::Sending;
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::message::{Frame, Header, Reader};

/// Greetings of each kind: one in this time,
pub(super) const GREETING_INTERVAL: Duration = Duration::from_millis(1);
/// and so many at once.
pub(super) const GREETINGS: u32 = 64;
/// Greetings that ask, of which the answer is recognised.
pub(super) const ASKED: usize = 1024;
/// Greetings that wait to leave: without a route none can. What each allowance lets go at once.
const DUE: usize = 3 * GREETINGS as usize;
/// Incarnations of which it is remembered that they have claimed before.
const SEEN: usize = 64;
/// After so long without a claim all of this is forgotten.
const CLAIMS_KEPT: Duration = Duration::from_secs(10);

/// A short packet outside of the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    /// The incarnation it is for.
    pub to: u64,
    /// Whether it asks for an answer.
    pub asks: bool,
}

/// What is known of the peer's incarnation.
#[derive(Debug, Default)]
pub(super) struct Meeting {
    known: Option<u64>,
    past: Option<Box<Past>>,
    claims: Option<Box<Claims>>,
}

/// What is there only when a side has lost its memory.
#[derive(Debug, Default)]
struct Past {
    due: VecDeque<Greeting>,
    /// For those that know a former incarnation of ours.
    forgetful: Allowance,
    /// Complete messages of a former incarnation of the peer, which only live here any more.
    left_over: VecDeque<(u64, Complete)>,
}

/// Incarnations that claim to be the present one.
#[derive(Debug)]
struct Claims {
    /// The packets that asked, oldest first, and whom.
    asked: VecDeque<(u64, u64)>,
    /// Each at a place that follows from it.
    seen: [u64; SEEN],
    new: Allowance,
    again: Allowance,
    last: Time,
}

/// How many greetings may leave.
#[derive(Debug, Default)]
struct Allowance {
    /// The moment at which all of it is there again.
    full_at: Time,
}

impl Allowance {
    fn take(&mut self, now: Time) -> bool {
        let most = GREETING_INTERVAL.saturating_mul(GREETINGS.saturating_sub(1));
        let allowed = self.full_at.since(now) <= most;
        if allowed {
            self.full_at = after(self.full_at.max(now), GREETING_INTERVAL);
        }
        allowed
    }
}

impl Meeting {
    /// The peer's present incarnation.
    pub fn known(&self) -> Option<u64> {
        self.known
    }

    /// The greeting that should leave, if any. It does in the packet with this number.
    pub fn take_due(&mut self, number: u64) -> Option<Greeting> {
        let greeting = self.past.as_mut()?.due.pop_front()?;
        if let Some(claims) = self.claims.as_mut().filter(|_| greeting.asks) {
            if claims.asked.len() >= ASKED {
                claims.asked.pop_front();
            }
            claims.asked.push_back((number, greeting.to));
        }
        Some(greeting)
    }

    #[cfg(test)]
    pub fn has_claims(&self) -> bool {
        self.claims.is_some()
    }

    /// Messages of former incarnations of the peer, and which ones.
    pub fn left_over(&self) -> impl ExactSizeIterator<Item = &(u64, Complete)> {
        self.past.as_ref().map(|past| past.left_over.iter()).unwrap_or_default()
    }

    pub fn take_left_over(&mut self) -> Option<(u64, Complete)> {
        self.past.as_mut()?.left_over.pop_front()
    }

    /// Forgets claims that nothing has come of.
    pub fn forget_claims(&mut self, now: Time) {
        let is_over =
            |past: &Past| past.due.is_empty() && past.left_over.is_empty() && past.forgetful.full_at <= now;
        if self.past.as_deref().is_some_and(is_over) {
            self.past = None;
        }
        if self.claims.as_ref().is_some_and(|claims| now.since(claims.last) > CLAIMS_KEPT) {
            self.claims = None;
        }
    }

    /// One that knows a former incarnation of ours is told of the present one.
    fn greet(&mut self, now: Time, to: u64) {
        if self.past.get_or_insert_default().forgetful.take(now) {
            self.put(Greeting { to, asks: false });
        }
    }

    /// One that claims to be the present incarnation is asked.
    fn ask(&mut self, now: Time, to: u64) {
        let claims = self.claims.get_or_insert_with(|| {
            let (new, again) = (Allowance::default(), Allowance::default());
            Box::new(Claims { asked: VecDeque::new(), seen: [0; SEEN], new, again, last: now })
        });
        claims.last = now;
        let [place, ..] = to.to_le_bytes();
        let before = claims.seen.get_mut(usize::from(place & 63)).map(|seen| std::mem::replace(seen, to));
        if (before == Some(to) && claims.again.take(now)) || claims.new.take(now) {
            self.put(Greeting { to, asks: true });
        }
    }

    fn put(&mut self, greeting: Greeting) {
        let due = &mut self.past.get_or_insert_default().due;
        // Those that wait go first. A peer that is there sends again, and is greeted then.
        if due.len() < DUE && !due.contains(&greeting) {
            due.push_back(greeting);
        }
    }

    /// Whether the packet with this number asked this incarnation.
    fn has_asked(&self, number: u64, incarnation: u64) -> bool {
        self.claims.as_ref().is_some_and(|claims| claims.asked.contains(&(number, incarnation)))
    }
}

impl Conversation {
    /// Decides whether a packet belongs to this conversation.
    pub(super) fn meet(&mut self, now: Time, header: &Header, packet: &Bytes) -> Result<(), DropCause> {
        if header.to != 0 && header.to != self.sending.incarnation() {
            self.meeting.greet(now, header.from);
            return Err(DropCause::Duplicate);
        }
        match self.meeting.known {
            Some(known) if known == header.from => Ok(()),
            None => {
                self.meeting.known = Some(header.from);
                Ok(())
            }
            Some(_) if self.is_answer(header, packet) => {
                self.begin_anew(header.from);
                Ok(())
            }
            Some(_) => {
                self.meeting.ask(now, header.from);
                Err(DropCause::Duplicate)
            }
        }
    }

    /// Whether the claimant acknowledges the packet that asked it. An ack is always the first frame.
    fn is_answer(&self, header: &Header, packet: &Bytes) -> bool {
        if header.to != self.sending.incarnation() || self.meeting.claims.is_none() {
            return false;
        }
        let mut reader = Reader::new(packet);
        let Ok((_, Frame::Ack)) = reader.header().and_then(|header| Ok((header, reader.frame()?))) else {
            return false;
        };
        reader.ack().is_ok_and(|ack| self.meeting.has_asked(ack.largest(), header.from))
    }

    /// The peer is another one now, which knows nothing.
    fn begin_anew(&mut self, incarnation: u64) {
        self.keep_complete();
        self.meeting.known = Some(incarnation);
        self.meeting.claims = None;
        self.received = Received::default();
        if let Some(sending) = self.sending.get_mut() {
            sending.recovery.give_up(|_| {});
            sending.queue.start_over();
        }
        self.sending.end_stall();
        (self.unacked, self.ack_at) = (0, None);
        (self.told, self.told_bytes, self.confirmed, self.confirming) = (0, 0, 0, 0);
        self.receipt_at = None;
        self.outcome = Outcome::default();
    }

    /// Complete messages of the incarnation that is gone are in no other memory than this: they stay, within the
    /// bound of one credit.
    fn keep_complete(&mut self) {
        let known = self.meeting.known.unwrap_or_default();
        let (credit_bytes, credit_messages) = self.incoming.credit();
        let empty = Incoming::new(credit_bytes, credit_messages);
        let mut old = std::mem::replace(&mut self.incoming, empty);
        (self.incoming.duplicates, self.incoming.given_up) = (old.duplicates, old.given_up);
        let mut bytes: usize = self.meeting.left_over().map(|(_, complete)| complete.body.len()).sum();
        while let Some(complete) = old.take() {
            let left_over = &mut self.meeting.past.get_or_insert_default().left_over;
            let has_room = left_over.is_empty()
                || (left_over.len() < usize::from(credit_messages) && bytes < credit_bytes as usize);
            if !has_room {
                self.incoming.given_up = self.incoming.given_up.saturating_add(1);
                continue;
            }
            bytes = bytes.saturating_add(complete.body.len());
            left_over.push_back((known, complete));
        }
    }

    /// What is on its way will not be waited for: it is sent again.
    pub(super) fn give_up_flight(&mut self) {
        let Self { sending, confirming, .. } = self;
        let Some(Sending { queue, recovery, .. }) = sending.get_mut() else { return };
        recovery.give_up(|piece| match piece {
            Piece::Taken(_) => *confirming = 0,
            piece => queue.on_lost(piece),
        });
    }
}
