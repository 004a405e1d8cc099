//! Parsing packets, and applying their frames.

use bytes::Bytes;

use super::Conversation;
use super::reassembly::FragmentSpan;
use super::recovery::{Piece, after};
use super::rtt::MAX_ACK_DELAY;
use super::sending::Sending;
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::message::{Frame, MAX_FRAMES, Reader};

impl Conversation {
    /// Applies a packet of the peer. The error is the cause for which it was dropped.
    pub fn handle(&mut self, now: Time, packet: &Bytes) -> Result<(), DropCause> {
        self.tick(now);
        let mut reader = Reader::new(packet);
        let header = reader.header().map_err(|_| DropCause::MalformedMessage)?;
        if header.source != self.ends.0 {
            return Err(DropCause::MalformedMessage);
        }
        self.check_incarnations(now, &header, packet)?;
        // A repeated packet is dropped before it has any effect, so that no timer or counter moves twice.
        if self.received.contains(header.number) {
            return Err(DropCause::Duplicate);
        }
        (self.last_used, self.last_received) = (now, now);
        self.proven |= header.to != 0;
        self.incarnations.expire_claims(now);
        self.incoming.begin_packet(packet.len());
        self.incoming.advance(header.floor);
        // The peer has settled all below its floor, so receipts for it need not be repeated.
        self.confirmed = self.confirmed.max(header.floor);
        self.reported = self.reported.max(header.floor);
        let mut refused = None;
        let mut asks = false;
        let (mut parts, known) = (0u64, self.incoming.duplicates);
        let mut frames = 0usize;
        while !reader.is_at_end() {
            frames = frames.saturating_add(1);
            // The number of frames is bounded, because even an empty one costs work.
            if frames > MAX_FRAMES {
                return Err(DropCause::MalformedMessage);
            }
            let frame = reader.frame().map_err(|_| DropCause::MalformedMessage)?;
            // A claim of a new incarnation is decided by the first frame alone, so an ack must not come later.
            if matches!(frame, Frame::Ack) && frames > 1 {
                return Err(DropCause::MalformedMessage);
            }
            parts = parts.saturating_add(match frame {
                Frame::Messages { count, .. } => u64::from(count),
                Frame::Fragment { .. } => 1,
                _ => 0,
            });
            asks |= !matches!(frame, Frame::Ack | Frame::Credit { .. });
            // Such a packet is from a peer that does not know our incarnation yet, so it cannot acknowledge any of its
            // packets.
            if header.to == 0 && matches!(frame, Frame::Ack | Frame::Credit { .. }) {
                return Err(DropCause::MalformedMessage);
            }
            match self.on_frame(now, header.floor, frame, packet, &mut reader) {
                Ok(()) => {}
                Err(cause @ (DropCause::OverCredit | DropCause::ReassemblyLimit)) => refused = Some(cause),
                Err(cause) => return Err(cause),
            }
        }
        let all_known = parts > 0 && self.incoming.duplicates.saturating_sub(known) >= parts;
        self.outcome.note_acks(now, header.number.saturating_sub(u64::from(header.open)), all_known);
        self.note_receipt();
        if let Some(cause) = refused {
            // The packet is not acknowledged, so that the peer retransmits it when there may be credit.
            return Err(cause);
        }
        let largest = self.received.largest();
        self.outcome.heard(header.number, largest);
        let in_order = largest.is_none_or(|largest| header.number == largest.saturating_add(1));
        self.received.insert(now, header.number);
        self.received.forget_below(header.number.saturating_sub(u64::from(header.open)));
        if asks {
            // Every second packet is acknowledged at once, as is a gap, since the sender detects losses by these acks
            // (RFC 9000, section 13.2.1).
            self.unacknowledged = self.unacknowledged.saturating_add(1);
            let at = if self.unacknowledged >= 2 || !in_order { now } else { after(now, MAX_ACK_DELAY) };
            self.ack_at = Some(self.ack_at.map_or(at, |earlier| earlier.min(at)));
        }
        Ok(())
    }

    fn on_frame(
        &mut self,
        now: Time,
        floor: u64,
        frame: Frame,
        packet: &Bytes,
        reader: &mut Reader<'_>,
    ) -> Result<(), DropCause> {
        let seq = |above: u16| floor.saturating_add(u64::from(above));
        match frame {
            Frame::Ack => {
                let ack = reader.ack().map_err(|_| DropCause::MalformedMessage)?;
                if ack.largest() >= self.sending.next_number() {
                    return Err(DropCause::MalformedMessage);
                }
                let Self { sending, outcome, confirmed, confirming, .. } = self;
                // Without a sending state only packets without contents were sent, so there is nothing to settle.
                let Some(sending) = sending.get_mut() else { return Ok(()) };
                let Sending { queue, recovery, .. } = sending;
                let longest = recovery
                    .on_ack(now, &ack, |piece, arrived| match (piece, arrived) {
                        (Piece::Receipt(taken), true) => *confirmed = taken.max(*confirmed),
                        (Piece::Receipt(_), false) => *confirming = 0,
                        (_, true) => {}
                        (piece, false) => queue.on_lost(piece),
                    })
                    .map_err(|()| DropCause::MalformedMessage)?;
                outcome.note(std::mem::take(&mut recovery.path_results));
                sending.packet_size.on_arrival(longest);
                Ok(())
            }
            Frame::Credit { taken, bytes, messages } => {
                let Some(Sending { queue, events, .. }) = self.sending.get_mut() else {
                    return if taken == 0 { Ok(()) } else { Err(DropCause::MalformedMessage) };
                };
                let progress = queue
                    .on_credit(now, (taken, bytes, messages), events)
                    .map_err(|()| DropCause::MalformedMessage)?;
                if progress {
                    self.sending.end_stall();
                }
                Ok(())
            }
            Frame::Messages { above, sent_at, count } => {
                self.sender_finished = false;
                self.incoming.messages((seq(above), count), sent_at, packet, reader)
            }
            Frame::Fragment { above, sent_at, total, offset, bytes: (start, end) } => {
                self.sender_finished = false;
                self.incoming.part(
                    seq(above),
                    sent_at,
                    packet,
                    FragmentSpan { total, offset, bytes: start..end },
                )
            }
            Frame::Skip { above, count } => self.incoming.skip(seq(above), count),
            Frame::Ping => {
                // A ping tests the path or the peer, so its ack must not wait.
                self.ack_at = Some(now);
                Ok(())
            }
            Frame::Last => {
                self.sender_finished = true;
                Ok(())
            }
        }
    }
}
