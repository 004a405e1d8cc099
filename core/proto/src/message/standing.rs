//! The effect of a session on its conversation: the standing of both ends. See [`meeting`](super::meeting).

use super::Conversation;
use super::incoming::Incoming;
use super::meeting::SessionNeed;
use super::outcome::PathOutcome;
use super::ranges::ReceivedNumbers;
use super::recovery::Piece;
use super::sending::Sending;
use crate::time::Time;
use crate::wire::session::{FORGOTTEN, ProvedStanding, Standing};

impl Conversation {
    /// This end of the conversation, for a handshake.
    pub fn standing(&self) -> Standing {
        Standing {
            incarnation: self.sending.incarnation(),
            floor: self.sending.queue.floor(),
            peer_incarnation: self.meeting.peer().unwrap_or(0),
            taken: self.incoming.taken() | if self.has_forgotten { FORGOTTEN } else { 0 },
        }
    }

    /// There is this session with the peer. A session that is known has no effect, so that the caller may report the
    /// present one before each use.
    pub fn on_session(&mut self, now: Time, proved: &ProvedStanding) {
        // The keys may be those of a conversation that was dropped, until they are erased.
        let is_former = proved.incarnation != self.sending.incarnation() || self.meeting.is_older(proved);
        if is_former || self.is_rolled_back_by(proved) || !self.meeting.enter(proved.session) {
            return;
        }
        self.tick(now);
        self.begin_numbers();
        let Standing { incarnation, floor, peer_incarnation, .. } = proved.peer;
        if self.meeting.peer() != Some(incarnation) {
            self.adopt_peer(incarnation);
        }
        self.on_floor(floor);
        let is_same = peer_incarnation == self.sending.incarnation();
        if is_same {
            self.on_proved_receipt(now, proved.peer.taken_below());
        }
        // One that has sent nothing since it reported that before is the same one, and has received nothing.
        if proved.peer.has_forgotten() && std::mem::take(&mut self.is_heard) {
            self.withdraw_volatile();
        }
        if !is_same || proved.peer.has_forgotten() {
            self.send_again();
        }
    }

    /// Begins with the packets of another session. Numbers belong to a session, because a peer that was started again
    /// numbers its packets from the beginning, although its incarnation may be the same. What is in flight is sent again,
    /// since it belongs to the session before.
    fn begin_numbers(&mut self) {
        self.requeue_in_flight();
        self.received = ReceivedNumbers::default();
        (self.unacknowledged, self.ack_at) = (0, None);
    }

    /// There is no session. Nothing is transmitted until there is one again.
    pub fn on_session_end(&mut self) {
        if std::mem::take(&mut self.meeting.is_connected) {
            // The keys are gone, so nothing that is in flight can be acknowledged.
            self.requeue_in_flight();
        }
    }

    /// The need for a session at this moment. A doubt of the present one is reported once, since the caller acts on it.
    pub fn session_need(&mut self) -> Option<SessionNeed> {
        if !self.reachable || self.is_rolled_back {
            return None;
        }
        if self.meeting.is_connected {
            return self.meeting.take_doubt().then_some(SessionNeed::Renew);
        }
        let has_receipt = self.incoming.taken() > self.confirmed;
        (has_receipt || !self.sending.queue.is_empty()).then_some(SessionNeed::Connect)
    }

    /// Whether there is a route to the peer.
    pub fn is_reachable(&self) -> bool {
        self.reachable
    }

    /// Whether there is a session, as far as this end knows.
    pub fn is_connected(&self) -> bool {
        self.meeting.is_connected
    }

    /// Whether a packet that was sealed in this session belongs to the present one, which is between the present
    /// incarnations.
    pub(super) fn is_present(&self, proved: &ProvedStanding) -> bool {
        !self.meeting.is_older(proved)
            && proved.incarnation == self.sending.incarnation()
            && self.meeting.peer() == Some(proved.peer.incarnation)
    }

    /// Replaces the peer's incarnation. The new one has none of the messages of the old, so everything known about the old
    /// one is reset.
    fn adopt_peer(&mut self, incarnation: u64) {
        if let Some(former) = self.meeting.replace_peer(incarnation) {
            self.keep_undelivered(former);
        }
        (self.reported, self.unreported_bytes, self.confirmed, self.confirming) = (0, 0, 0, 0);
        (self.receipt_at, self.sender_finished) = (None, false);
        self.outcome = PathOutcome::default();
    }

    /// The peer has received nothing of this incarnation, so all messages without a receipt are sent from the beginning.
    pub(super) fn send_again(&mut self) {
        self.confirming = 0;
        if let Some(Sending { queue, recovery, .. }) = self.sending.get_mut() {
            recovery.abandon(|_| {});
            queue.restart();
        }
        self.sending.end_stall();
    }

    /// The peer may have given messages to an application before it lost its memory, and has no record of those that are held
    /// in memory alone here. They are not sent again, since they could arrive twice.
    fn withdraw_volatile(&mut self) {
        if let Some(Sending { queue, events, .. }) = self.sending.get_mut() {
            queue.withdraw_volatile(events);
        }
    }

    /// The handshake has named the first sequence of ours that the peer has not taken.
    fn on_proved_receipt(&mut self, now: Time, taken: u64) {
        let Some(Sending { queue, events, .. }) = self.sending.get_mut() else { return };
        // A claim of messages that were never sent settles nothing.
        if queue.on_credit(now, (taken, 0, 0), events) == Ok(true) {
            self.sending.end_stall();
        }
    }

    /// The peer has settled all of its messages below `floor`, so receipts for them need not be repeated.
    pub(super) fn on_floor(&mut self, floor: u64) {
        self.incoming.advance(floor);
        self.confirmed = self.confirmed.max(floor);
        self.reported = self.reported.max(floor);
    }

    /// Moves the complete messages of the old incarnation out of the window, within the bound of one credit. They would
    /// be lost otherwise, because their sender no longer has them.
    fn keep_undelivered(&mut self, former: u64) {
        let (credit_bytes, credit_messages) = self.incoming.credit();
        let empty = Incoming::new(credit_bytes, credit_messages);
        let mut old = std::mem::replace(&mut self.incoming, empty);
        (self.incoming.duplicates, self.incoming.given_up) = (old.duplicates, old.given_up);
        let mut bytes: usize = self.meeting.undelivered().map(|(_, complete)| complete.body.len()).sum();
        while let Some(complete) = old.take() {
            let count = self.meeting.undelivered().len();
            let has_room =
                count == 0 || (count < usize::from(credit_messages) && bytes < credit_bytes as usize);
            if !has_room {
                self.incoming.given_up = self.incoming.given_up.saturating_add(1);
                continue;
            }
            bytes = bytes.saturating_add(complete.body.len());
            self.meeting.keep_undelivered(former, complete);
        }
    }

    /// Requeues the contents of all packets in flight, so that they are sent again without waiting for their acks.
    pub(super) fn requeue_in_flight(&mut self) {
        let Self { sending, confirming, .. } = self;
        let Some(Sending { queue, recovery, .. }) = sending.get_mut() else { return };
        recovery.abandon(|piece| match piece {
            Piece::Receipt(_) => *confirming = 0,
            piece => queue.on_lost(piece),
        });
    }
}
