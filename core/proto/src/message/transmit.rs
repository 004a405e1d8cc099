//! Building packets, and the time at which the next one is due.

use std::time::Duration;

use super::arithmetic::after;
use super::meeting::DOUBTFUL;
use super::packet_builder::PacketBuilder;
use super::packet_size::BLACK_HOLE;
use super::recovery::Piece;
use super::sending::Sending;
use super::{CONFIRM_DELAY, Conversation};
use crate::time::Time;
use crate::wire::message::{self as wire, CREDIT, HEADER, MAX_RANGES, MessageHeader};
use crate::wire::session::SEAL;

/// The smallest packet of a usable route, in bytes, without its seal. With less, headers would take most of it.
const SMALLEST_PACKET: usize = 256 - SEAL;
/// The first pause before a ping to a recipient that does not take its messages. It doubles each time.
const FIRST_STALL: Duration = Duration::from_millis(200);
/// The longest pause between such pings.
const LAST_STALL: Duration = Duration::from_secs(10);

/// The contents that a packet must carry now.
#[derive(Clone, Copy)]
struct PacketContents {
    /// An ack of packets that request one.
    ack: bool,
    /// A receipt for messages that were taken.
    receipt: bool,
    /// A receipt that requests an ack, since it is unknown whether an earlier one arrived.
    confirm: bool,
    /// A request for an ack.
    ping: bool,
    /// Messages, as far as window and pacer permit.
    data: bool,
}

impl Conversation {
    /// Appends the content of one packet, of at most `max` bytes, to `out`; returns false if nothing is to be sent now.
    pub fn poll_transmit(&mut self, now: Time, max: usize, out: &mut Vec<u8>) -> bool {
        self.tick(now);
        if let Some(sending) = self.sending.get_mut() {
            sending.paced_until = None;
        }
        self.is_route_too_small = max < SMALLEST_PACKET;
        if !self.is_open() {
            return false;
        }
        // A peer that never acknowledges would make the records grow, so its packets are abandoned and sent again.
        if self.sending.recovery.is_full() {
            self.requeue_in_flight();
        }
        let max = self.sending.get_mut().map_or(max, |sending| {
            let Sending { packet_size, recovery, .. } = sending;
            let most = packet_size.next(now, max, recovery.probes);
            recovery.congestion.set_packet(most);
            most
        });
        let contents = self.packet_contents(now);
        if contents.ack || contents.receipt || contents.confirm || contents.ping || contents.data {
            let start = out.len();
            let mut pieces = self.sending.borrow_pieces();
            let built = self.build(now, max, contents, &mut pieces, out);
            if built {
                self.sending.on_sent(now, out.len().saturating_sub(start), &pieces);
            }
            self.sending.give_back_pieces(pieces);
            if built {
                return true;
            }
            out.truncate(start);
        }
        self.watch_for_stall(now);
        false
    }

    /// The time at which to call [`Self::handle_timeout`], followed by [`Self::poll_transmit`]; `None` if there is
    /// nothing to wait for.
    pub fn next_deadline(&self) -> Option<Time> {
        let expiry = self.sending.queue.next_expiry();
        // Without a usable route and a session nothing can be sent, so only the expiry of messages is waited for.
        if !self.is_open() {
            return expiry;
        }
        let deadlines = [
            expiry,
            self.ack_at.filter(|_| self.unacknowledged > 0),
            self.receipt_at,
            self.confirm_at(),
            self.sending.recovery.deadline(),
            self.sending.paced_until,
            self.sending.stall_at,
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Handles all timers that are due. Packets that become due are sent by [`Self::poll_transmit`].
    pub fn handle_timeout(&mut self, now: Time) {
        self.tick(now);
        self.pass_time(now);
        if self.is_open()
            && let Some(sending) = self.sending.get_mut()
            && sending.stall_at.is_some_and(|at| at <= now)
        {
            sending.stall_at = None;
            sending.stalls = sending.stalls.saturating_add(1);
            self.ping_due = true;
        }
    }

    fn pass_time(&mut self, now: Time) {
        let is_open = self.is_open();
        let Self { sending, confirming, .. } = self;
        let Some(sending) = sending.get_mut() else { return };
        let Sending { queue, recovery, events, .. } = sending;
        queue.expire(now, events);
        if !is_open {
            return;
        }
        // Timeouts count only with a route, since silence without one shows nothing about the path.
        let before = recovery.probe_timeouts();
        recovery.on_timeout(now, |piece| match piece {
            Piece::Receipt(_) => *confirming = 0,
            piece => queue.on_lost(piece),
        });
        let probe_timeouts = recovery.probe_timeouts();
        if probe_timeouts > before {
            self.outcome.probe_timeout(now);
            if probe_timeouts >= DOUBTFUL {
                self.meeting.doubt();
            }
        }
        self.outcome.note(std::mem::take(&mut recovery.path_results));
        if probe_timeouts > before && probe_timeouts.is_multiple_of(BLACK_HOLE) {
            sending.packet_size.reduce(now);
        }
    }

    fn packet_contents(&mut self, now: Time) -> PacketContents {
        PacketContents {
            ack: self.unacknowledged > 0 && self.ack_at.is_some_and(|at| at <= now),
            receipt: self.receipt_at.is_some_and(|at| at <= now),
            confirm: self.confirm_at().is_some_and(|at| at <= now),
            ping: self.ping_due || self.sending.recovery.probes > 0,
            data: self.may_send(now),
        }
    }

    /// Whether the congestion window and the pacer permit data, and there is some.
    fn may_send(&mut self, now: Time) -> bool {
        let Some(sending) = self.sending.get_mut() else { return false };
        let Sending { queue, recovery, .. } = sending;
        let has_work = queue.has_work();
        // Probes ignore the window and the pacer, since they find out whether anything arrives at all (RFC 9002,
        // section 7.5).
        if recovery.probes > 0 {
            return has_work;
        }
        recovery.congestion.app_limited = !has_work;
        if !has_work || !recovery.has_room() {
            return false;
        }
        match recovery.congestion.pace(now, recovery.rtt.smoothed()) {
            Ok(()) => true,
            Err(until) => {
                sending.paced_until = Some(until);
                false
            }
        }
    }

    /// Builds a packet; returns false if it would be empty.
    fn build(
        &mut self,
        now: Time,
        max: usize,
        contents: PacketContents,
        pieces: &mut Vec<Piece>,
        out: &mut Vec<u8>,
    ) -> bool {
        let start = out.len();
        pieces.clear();
        wire::write_header(&self.header(), out);
        self.build_ack(now, max, contents, pieces, out);
        if let Some(Sending { queue, retransmits, .. }) = self.sending.get_mut().filter(|_| contents.data) {
            let limit = start.saturating_add(max);
            let mut builder = PacketBuilder::new(out, limit, max, queue.floor(), pieces);
            queue.fill(&mut builder);
            *retransmits = retransmits.saturating_add(u64::from(builder.has_retransmission));
            if !pieces.is_empty() && !queue.has_work() {
                wire::write_last(out);
            }
        }
        // A receipt by itself does not request an ack, so a ping is put beside it.
        if pieces.iter().all(|piece| matches!(piece, Piece::Receipt(_)))
            && (contents.ping || !pieces.is_empty())
        {
            wire::write_ping(out);
            pieces.push(Piece::Ping);
        }
        if !pieces.is_empty() {
            self.ping_due = false;
            if let Some(Sending { recovery, .. }) = self.sending.get_mut() {
                recovery.probes = recovery.probes.saturating_sub(1);
            }
        }
        out.len() > start.saturating_add(HEADER)
    }

    /// Writes the ack and the receipt if one is due, or if the packet is sent anyway.
    fn build_ack(
        &mut self,
        now: Time,
        max: usize,
        contents: PacketContents,
        pieces: &mut Vec<Piece>,
        out: &mut Vec<u8>,
    ) {
        let taken = self.incoming.taken();
        let fresh = self.unacknowledged > 0;
        let receipt = contents.receipt || contents.confirm || taken > self.reported;
        if !fresh && !receipt {
            return;
        }
        if fresh {
            let room = max.saturating_sub(HEADER + CREDIT + 10) / 8;
            if let Some(ack) = self.received.ack(now, room.min(MAX_RANGES)) {
                wire::write_ack(&ack, out);
            }
            (self.unacknowledged, self.ack_at) = (0, None);
        }
        let (bytes, messages) = self.incoming.credit();
        wire::write_credit(taken, bytes, messages, out);
        // A receipt beside a fresh ack needs no ack of its own: if this packet is lost, the peer retransmits, and the
        // next ack carries a receipt again.
        if contents.confirm || (!fresh && taken > self.confirmed) {
            pieces.push(Piece::Receipt(taken));
            self.confirming = taken;
        }
        (self.reported, self.unreported_bytes, self.receipt_at) = (taken, 0, None);
    }

    /// Whether packets can leave: there is a usable route, and a session to seal them in.
    fn is_open(&self) -> bool {
        self.reachable && !self.is_route_too_small && self.meeting.is_connected
    }

    fn header(&self) -> MessageHeader {
        MessageHeader {
            number: self.sending.next_number(),
            open: self.sending.recovery.open_distance(),
            floor: self.sending.queue.floor(),
        }
    }

    /// The time at which a ping has to find out whether the peer has the last receipt.
    fn confirm_at(&self) -> Option<Time> {
        let taken = self.incoming.taken();
        (taken > self.confirmed && taken > self.confirming).then(|| after(self.last_received, CONFIRM_DELAY))
    }

    /// Starts the stall timer if everything was acknowledged and nothing is taken: the recipient is busy, or has
    /// restarted. A ping finds out, since a recipient that has restarted does not answer.
    fn watch_for_stall(&mut self, now: Time) {
        let Some(sending) = self.sending.get_mut() else { return };
        let Sending { queue, recovery, stall_at, stalls, .. } = sending;
        if queue.is_empty() || recovery.is_in_flight() || queue.has_work() {
            *stall_at = None;
        } else if stall_at.is_none() {
            let first = recovery.rtt.probe_interval().saturating_mul(2).max(FIRST_STALL);
            let factor = 1u32.checked_shl((*stalls).min(16)).unwrap_or(u32::MAX);
            *stall_at = Some(after(now, first.saturating_mul(factor).min(LAST_STALL)));
        }
    }
}
