//! Restarts of the peer: whether a packet belongs to the present incarnations, and the change to a new one. See
//! [`incarnation`](super::incarnation).

use bytes::Bytes;

use super::Conversation;
use super::incoming::Incoming;
use super::outcome::PathOutcome;
use super::ranges::ReceivedNumbers;
use super::recovery::Piece;
use super::sending::Sending;
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::message::{Frame, MessageHeader, Reader};

impl Conversation {
    /// Decides whether a packet belongs to the present incarnations of both sides.
    pub(super) fn check_incarnations(
        &mut self,
        now: Time,
        header: &MessageHeader,
        packet: &Bytes,
    ) -> Result<(), DropCause> {
        if header.to != 0 && header.to != self.sending.incarnation() {
            self.incarnations.correct(now, header.from);
            return Err(DropCause::Duplicate);
        }
        match self.incarnations.peer() {
            Some(peer) if peer == header.from => Ok(()),
            None => {
                self.incarnations.adopt(header.from);
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

    /// Whether the claimant acknowledges the packet that probed it. An ack is always the first frame, so that this does
    /// not have to parse the rest of an unauthenticated packet.
    fn is_answer(&self, header: &MessageHeader, packet: &Bytes) -> bool {
        if header.to != self.sending.incarnation() || !self.incarnations.has_claims() {
            return false;
        }
        let mut reader = Reader::new(packet);
        let Ok((_, Frame::Ack)) = reader.header().and_then(|header| Ok((header, reader.frame()?))) else {
            return false;
        };
        reader.ack().is_ok_and(|ack| self.incarnations.has_probed(ack.largest(), header.from))
    }

    /// Replaces the peer's incarnation. The new one has no state, so everything known about the old one is reset.
    fn adopt_incarnation(&mut self, incarnation: u64) {
        self.keep_undelivered();
        self.incarnations.adopt(incarnation);
        self.incarnations.end_claims();
        self.received = ReceivedNumbers::default();
        if let Some(sending) = self.sending.get_mut() {
            sending.recovery.abandon(|_| {});
            sending.queue.restart();
        }
        self.sending.end_stall();
        (self.unacknowledged, self.ack_at) = (0, None);
        (self.reported, self.unreported_bytes, self.confirmed, self.confirming) = (0, 0, 0, 0);
        self.receipt_at = None;
        self.outcome = PathOutcome::default();
    }

    /// Moves the complete messages of the old incarnation out of the window, within the bound of one credit. They would
    /// be lost otherwise, because their sender no longer has them.
    fn keep_undelivered(&mut self) {
        let peer = self.incarnations.peer().unwrap_or_default();
        let (credit_bytes, credit_messages) = self.incoming.credit();
        let empty = Incoming::new(credit_bytes, credit_messages);
        let mut old = std::mem::replace(&mut self.incoming, empty);
        (self.incoming.duplicates, self.incoming.given_up) = (old.duplicates, old.given_up);
        let mut bytes: usize = self.incarnations.undelivered().map(|(_, complete)| complete.body.len()).sum();
        while let Some(complete) = old.take() {
            let count = self.incarnations.undelivered().len();
            let has_room =
                count == 0 || (count < usize::from(credit_messages) && bytes < credit_bytes as usize);
            if !has_room {
                self.incoming.given_up = self.incoming.given_up.saturating_add(1);
                continue;
            }
            bytes = bytes.saturating_add(complete.body.len());
            self.incarnations.keep_undelivered(peer, complete);
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
