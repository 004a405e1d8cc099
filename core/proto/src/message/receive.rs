//! Parsing packets, and applying their frames.

use bytes::Bytes;

use super::Conversation;
use super::arithmetic::after;
use super::incoming::FrameContext;
use super::reassembly::FragmentSpan;
use super::recovery::Piece;
use super::rtt::MAX_ACK_DELAY;
use super::sending::Sending;
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::message::{Ack, Frame, MAX_FRAMES, MAX_MESSAGES, MessageHeader, Reader};
use crate::wire::session::ProvedStanding;

/// The effect of the frames of one packet.
#[derive(Default)]
struct HandledFrames {
    /// The messages and fragments that they carried.
    messages: u64,
    /// Whether one of them requests an ack.
    request_ack: bool,
    /// The cause for which the packet must not be acknowledged, although its other frames were applied.
    refused: Option<DropCause>,
}

impl Conversation {
    /// Applies a packet of the peer, which was sealed in the session that `proved` describes. The error is the cause for
    /// which it was dropped.
    pub fn handle(&mut self, now: Time, proved: &ProvedStanding, packet: &Bytes) -> Result<(), DropCause> {
        self.tick(now);
        self.on_session(now, proved);
        if !self.is_present(proved) {
            return Err(DropCause::Duplicate);
        }
        // The peer uses the session, so it has seen the standing.
        (self.has_forgotten, self.is_heard) = (false, true);
        let mut reader = Reader::new(packet);
        let header = reader.header().map_err(|_| DropCause::MalformedMessage)?;
        // A repeated packet is dropped before it has any effect, so that no timer or counter moves twice.
        if self.received.contains(header.number) {
            return Err(DropCause::Duplicate);
        }
        self.note_packet(now, &header, packet.len());
        let known = self.incoming.duplicates;
        let frames = self.handle_frames(now, &header, packet, &mut reader)?;
        let all_known =
            frames.messages > 0 && self.incoming.duplicates.saturating_sub(known) >= frames.messages;
        self.outcome.note_acks(now, header.number.saturating_sub(u64::from(header.open)), all_known);
        self.note_receipt();
        if let Some(cause) = frames.refused {
            // The packet is not acknowledged, so that the peer retransmits it when there may be credit.
            return Err(cause);
        }
        self.record_number(now, &header, frames.request_ack);
        Ok(())
    }

    /// Applies what the header and the length of a packet show.
    fn note_packet(&mut self, now: Time, header: &MessageHeader, bytes: usize) {
        (self.last_used, self.last_received) = (now, now);
        self.incoming.begin_packet(bytes);
        self.on_floor(header.floor);
    }

    /// Applies all frames of a packet.
    fn handle_frames(
        &mut self,
        now: Time,
        header: &MessageHeader,
        packet: &Bytes,
        reader: &mut Reader<'_>,
    ) -> Result<HandledFrames, DropCause> {
        let mut handled = HandledFrames::default();
        let (mut frames, mut whole) = (0usize, 0usize);
        let mut context = FrameContext { packet, attributes: 0..0 };
        while !reader.is_at_end() {
            frames = frames.saturating_add(1);
            // The number of frames is bounded, because even an empty one costs work.
            if frames > MAX_FRAMES {
                return Err(DropCause::MalformedMessage);
            }
            let frame = reader.frame().map_err(|_| DropCause::MalformedMessage)?;
            // One ack is enough, and its place is fixed.
            if matches!(frame, Frame::Ack) && frames > 1 {
                return Err(DropCause::MalformedMessage);
            }
            if let Frame::Messages { count, .. } = frame {
                whole = whole.saturating_add(usize::from(count));
                if whole > MAX_MESSAGES {
                    return Err(DropCause::MalformedMessage);
                }
            }
            handled.messages = handled.messages.saturating_add(match frame {
                Frame::Messages { count, .. } => u64::from(count),
                Frame::Fragment { .. } => 1,
                _ => 0,
            });
            handled.request_ack |= !matches!(frame, Frame::Ack | Frame::Credit { .. } | Frame::Attributes);
            if matches!(frame, Frame::Attributes) {
                let start = reader.position();
                let attributes = reader.attributes().map_err(|_| DropCause::MalformedMessage)?;
                // Their one byte is not kept, so that a plain message is stored alike with and without the frame.
                let end = if attributes.is_default() { start } else { reader.position() };
                context.attributes = start..end;
                continue;
            }
            match self.on_frame(now, header.floor, frame, &context, reader) {
                Ok(()) => {}
                Err(cause @ (DropCause::OverCredit | DropCause::ReassemblyLimit)) => {
                    handled.refused = Some(cause);
                }
                Err(cause) => return Err(cause),
            }
        }
        Ok(handled)
    }

    /// Records the number of a packet that was applied, and schedules its ack.
    fn record_number(&mut self, now: Time, header: &MessageHeader, request_ack: bool) {
        let largest = self.received.largest();
        self.outcome.packet_arrived(header.number, largest);
        let in_order = largest.is_none_or(|largest| header.number == largest.saturating_add(1));
        self.received.insert(now, header.number);
        self.received.forget_below(header.number.saturating_sub(u64::from(header.open)));
        if request_ack {
            // Every second packet is acknowledged at once, as is a gap, since the sender detects losses by these acks
            // (RFC 9000, section 13.2.1).
            self.unacknowledged = self.unacknowledged.saturating_add(1);
            let at = if self.unacknowledged >= 2 || !in_order { now } else { after(now, MAX_ACK_DELAY) };
            self.ack_at = Some(self.ack_at.map_or(at, |earlier| earlier.min(at)));
        }
    }

    fn on_frame(
        &mut self,
        now: Time,
        floor: u64,
        frame: Frame,
        context: &FrameContext<'_>,
        reader: &mut Reader<'_>,
    ) -> Result<(), DropCause> {
        let seq = |above: u16| floor.saturating_add(u64::from(above));
        match frame {
            Frame::Ack => {
                let ack = reader.ack().map_err(|_| DropCause::MalformedMessage)?;
                self.on_ack(now, &ack)
            }
            Frame::Credit { taken, bytes, messages } => self.on_credit(now, (taken, bytes, messages)),
            Frame::Messages { above, sent_at, count } => {
                self.sender_finished = false;
                self.incoming.messages((seq(above), count), sent_at, context, reader)
            }
            Frame::Fragment { above, sent_at, total, offset, bytes: (start, end) } => {
                self.sender_finished = false;
                self.incoming.part(
                    seq(above),
                    sent_at,
                    context,
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
            Frame::Attributes => Ok(()),
        }
    }

    fn on_ack(&mut self, now: Time, ack: &Ack) -> Result<(), DropCause> {
        if ack.largest() >= self.sending.next_number() {
            return Err(DropCause::MalformedMessage);
        }
        let Self { sending, outcome, confirmed, confirming, .. } = self;
        // Without a sending state only packets without contents were sent, so there is nothing to settle.
        let Some(sending) = sending.get_mut() else { return Ok(()) };
        let Sending { queue, recovery, .. } = sending;
        let longest = recovery
            .on_ack(now, ack, |piece, arrived| match (piece, arrived) {
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

    fn on_credit(&mut self, now: Time, credit: (u64, u32, u16)) -> Result<(), DropCause> {
        let Some(Sending { queue, events, .. }) = self.sending.get_mut() else {
            return if credit.0 == 0 { Ok(()) } else { Err(DropCause::MalformedMessage) };
        };
        let progress = queue.on_credit(now, credit, events).map_err(|()| DropCause::MalformedMessage)?;
        if progress {
            self.sending.end_stall();
        }
        Ok(())
    }
}
