//! Packets sent and not yet acknowledged: loss detection and probes after RFC 9002, section 6.
//!
//! A packet is never retransmitted as such, since each number is used once; its contents are. A packet is therefore
//! recorded as a list of [`Piece`]s, and the pieces of a lost packet return to the queue.

use std::collections::VecDeque;
use std::time::Duration;

use super::arithmetic::{after, as_u64};
use super::congestion::Congestion;
use super::outcome::Losses;
use super::rtt::Rtt;
use crate::time::Time;
use crate::wire::message::Ack;

/// A packet is lost when one sent this many later has arrived (RFC 9002, section 6.1.1).
const PACKET_THRESHOLD: u64 = 3;
/// The limit of the exponential back-off of probes, so that a recovered path is noticed within seconds.
const MAX_PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// The packets sent at each probe timeout (RFC 9002, section 6.2.4: one or two, since one may be lost as well).
const PROBES: u8 = 2;
/// The most packets in flight, since an ack may have to visit all of them.
pub(super) const MAX_OPEN_PACKETS: usize = 1 << 13;
/// The most packets recorded. Only a peer that never acknowledges causes so many.
const MAX_SENT_PACKETS: usize = 2 * MAX_OPEN_PACKETS;
/// The number of probe intervals without an arrival that is persistent congestion (RFC 9002, section 7.6).
const PERSISTENT_INTERVALS: u32 = 3;

/// A part of the contents of a packet that has to arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// `count` consecutive messages, each whole or withdrawn.
    Messages { first: u64, count: u16 },
    /// The bytes `from..to` of a message.
    Part { seq: u64, from: u32, to: u32 },
    /// The receipt for all messages below this sequence.
    Receipt(u64),
    /// A request for an ack without contents.
    Ping,
}

/// The state of a packet that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PacketState {
    /// Acknowledged or lost, so that its record may be dropped.
    Settled,
    InFlight,
    /// As `InFlight`, but its pieces were already sent again in a probe, so that its loss does not requeue them twice.
    Probed,
}

/// The record of a packet that requests an ack.
#[derive(Debug)]
struct SentPacket {
    number: u64,
    at: Time,
    bytes: u32,
    state: PacketState,
    /// The number of its first piece, counted as `Recovery::first_piece`. Its last piece precedes the next packet's
    /// first.
    pieces: u64,
}

/// Loss detection, round-trip times and congestion control of the sending direction.
#[derive(Debug)]
pub(super) struct Recovery {
    /// The number of the next packet.
    next: u64,
    /// The packets that request an ack, from the oldest that is not settled.
    packets: VecDeque<SentPacket>,
    /// The last packet that requested no ack, and its time. The peer may acknowledge it beside others, and its round
    /// trip would be unknown otherwise.
    last_ack_only: Option<(u64, Time)>,
    /// The pieces of all `packets`, in order, in one list so that a packet needs no allocation of its own.
    /// `first_piece` is the number of the first one, counted from the start of the conversation.
    pieces: VecDeque<Piece>,
    first_piece: u64,
    /// The bytes and the number of the packets that are not settled.
    in_flight_bytes: u64,
    in_flight_packets: usize,
    largest_acked: Option<u64>,
    /// The time at which the oldest packet before `largest_acked` is lost by its age.
    loss_time: Option<Time>,
    /// The start of the probe timeout: the last ack, or the first packet after nothing was in flight. Packets that follow
    /// do not put it off (RFC 6298, section 5), since a steady sender would notice a silent peer by a full window only.
    silent_since: Time,
    probe_timeouts: u32,
    /// Packets below this number took a former path, so they do not count in `path_results`.
    path_start: u64,
    losses: Losses,
    /// The packets with contents on the present path that the last ack or timeout showed to have arrived, and to be lost.
    pub path_results: (u32, u32),
    /// The probes to send, which the congestion window does not limit (RFC 9002, section 7.5).
    pub probes: u8,
    pub rtt: Rtt,
    pub congestion: Congestion,
}

impl Recovery {
    /// `next` is the number of the first packet.
    pub(super) fn new(next: u64) -> Self {
        Recovery {
            next,
            packets: VecDeque::new(),
            last_ack_only: None,
            pieces: VecDeque::new(),
            first_piece: 0,
            in_flight_bytes: 0,
            in_flight_packets: 0,
            largest_acked: None,
            loss_time: None,
            silent_since: Time::ZERO,
            probe_timeouts: 0,
            path_start: 0,
            losses: Losses::default(),
            path_results: (0, 0),
            probes: 0,
            rtt: Rtt::new(),
            congestion: Congestion::new(),
        }
    }

    /// The number of the next packet.
    pub(super) fn next_number(&self) -> u64 {
        self.next
    }

    /// The distance of the oldest unsettled packet from the next number. The peer uses it to forget older numbers.
    pub(super) fn open_distance(&self) -> u32 {
        let oldest = self.packets.front().map_or(self.next, |sent| sent.number);
        u32::try_from(self.next.saturating_sub(oldest)).unwrap_or(u32::MAX)
    }

    /// Whether a packet that requests an ack is in flight.
    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight_packets > 0
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.packets.len()
    }

    /// Whether so many packets are recorded that all of them must be abandoned.
    pub(super) fn is_full(&self) -> bool {
        self.packets.len() >= MAX_SENT_PACKETS
    }

    /// The number of consecutive probe timeouts without an ack (the PTO count of RFC 9002).
    pub(super) fn probe_timeouts(&self) -> u32 {
        self.probe_timeouts
    }

    /// Whether the congestion window has room for a packet.
    pub(super) fn has_room(&self) -> bool {
        self.packets.len() < MAX_OPEN_PACKETS && self.congestion.has_room(self.in_flight_bytes)
    }

    /// Records the next packet as sent. It requests an ack if it carries pieces.
    pub(super) fn on_sent(&mut self, now: Time, bytes: usize, pieces: &[Piece]) {
        let number = self.next;
        self.next = number.saturating_add(1);
        // Packets without pieces are neither acknowledged nor lost, so the congestion window does not count them.
        if pieces.is_empty() {
            self.last_ack_only = Some((number, now));
            return;
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.in_flight_bytes = self.in_flight_bytes.saturating_add(u64::from(bytes));
        if self.in_flight_packets == 0 {
            self.silent_since = now;
        }
        self.in_flight_packets = self.in_flight_packets.saturating_add(1);
        self.congestion.on_sent(u64::from(bytes));
        let first = self.first_piece.saturating_add(as_u64(self.pieces.len()));
        self.pieces.extend(pieces);
        self.packets.push_back(SentPacket {
            number,
            at: now,
            bytes,
            state: PacketState::InFlight,
            pieces: first,
        });
    }

    /// Processes an ack. `report` is called for each piece that has arrived (`true`) or is lost (`false`). Returns the
    /// size of the longest packet that has now arrived. The error is an ack for a number that was never sent.
    pub(super) fn on_ack(
        &mut self,
        now: Time,
        ack: &Ack,
        mut report: impl FnMut(Piece, bool),
    ) -> Result<usize, ()> {
        if ack.largest() >= self.next_number() {
            return Err(());
        }
        // The delay in the ack is that of the largest number, so the round trip is sampled on that packet, and only
        // once.
        let largest_at = self.sent_at(ack.largest());
        let is_news = self.largest_acked.is_none_or(|before| ack.largest() > before);
        let mut longest = 0;
        self.path_results = (0, 0);
        for &(low, high) in ack.ranges() {
            self.path_results.0 = self.path_results.0.saturating_add(self.losses.acked(low, high));
            let from = self.packets.partition_point(|sent| sent.number < low);
            let to = self.packets.partition_point(|sent| sent.number <= high);
            for index in from..to {
                if let Some((at, bytes)) = self.settle(index, |piece| report(piece, true)) {
                    longest = longest.max(bytes);
                    self.congestion.on_ack(at, u64::from(bytes));
                }
            }
        }
        if longest > 0 {
            if let Some(at) = largest_at.filter(|_| is_news) {
                self.rtt.sample(now.since(at), Duration::from_micros(u64::from(ack.delay_us)));
            }
            (self.probe_timeouts, self.probes) = (0, 0);
            self.silent_since = now;
        }
        self.largest_acked = self.largest_acked.max(Some(ack.largest()));
        self.detect_losses(now, |piece| report(piece, false));
        self.drop_settled();
        Ok(longest as usize)
    }

    /// The time at which the last packet was sent that is recorded.
    pub(super) fn last_sent(&self) -> Option<Time> {
        self.packets.back().map(|sent| sent.at)
    }

    /// The time at which [`Self::on_timeout`] has to be called.
    pub(super) fn deadline(&self) -> Option<Time> {
        if self.in_flight_packets == 0 {
            return None;
        }
        Some(self.loss_time.unwrap_or_else(|| after(self.silent_since, self.probe_timeout())))
    }

    /// Handles the deadline: either packets are lost by their age, or probes are requested.
    pub(super) fn on_timeout(&mut self, now: Time, lost: impl FnMut(Piece)) {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        self.path_results = (0, 0);
        if self.loss_time.is_some() {
            self.detect_losses(now, lost);
            self.drop_settled();
            return;
        }
        self.probe_timeouts = self.probe_timeouts.saturating_add(1);
        self.send_probes(now, lost);
    }

    /// The path has changed. If the old path was silent, the pieces in flight are sent again at once, since they are
    /// probably lost, and the back-off starts again. Packets sent before do not count in `path_results` any more.
    pub(super) fn on_path_change(&mut self, now: Time, lost: impl FnMut(Piece)) {
        self.path_start = self.next_number();
        self.losses.clear();
        if std::mem::take(&mut self.probe_timeouts) > 0 {
            self.send_probes(now, lost);
        }
    }

    fn send_probes(&mut self, now: Time, mut lost: impl FnMut(Piece)) {
        self.probes = PROBES;
        // The next timeout counts from here, even if nothing can be sent now.
        self.silent_since = now;
        let mut left = PROBES;
        for index in 0..self.packets.len() {
            if left > 0 && self.packets.get(index).is_some_and(|sent| sent.state == PacketState::InFlight) {
                self.each_piece(index, &mut lost);
                if let Some(sent) = self.packets.get_mut(index) {
                    sent.state = PacketState::Probed;
                }
                left = left.saturating_sub(1);
            }
        }
    }

    /// Abandons all packets in flight without a congestion response, because the path is not the cause: the route was
    /// gone, or the recipient has restarted. The window stays.
    pub(super) fn abandon(&mut self, mut lost: impl FnMut(Piece)) {
        for index in 0..self.packets.len() {
            let Some(sent) = self.packets.get_mut(index) else { break };
            let state = std::mem::replace(&mut sent.state, PacketState::Settled);
            if state == PacketState::InFlight {
                self.each_piece(index, &mut lost);
            }
        }
        (self.in_flight_bytes, self.in_flight_packets) = (0, 0);
        (self.probe_timeouts, self.probes) = (0, 0);
        self.loss_time = None;
        self.drop_settled();
    }

    fn probe_timeout(&self) -> Duration {
        let interval = self.rtt.probe_interval();
        // The interval doubles with each timeout, so that an unreachable peer is not flooded (RFC 9002, section 6.2.1).
        let factor = 1u32.checked_shl(self.probe_timeouts.min(16)).unwrap_or(u32::MAX);
        interval.saturating_mul(factor).min(MAX_PROBE_INTERVAL.max(interval))
    }

    /// Marks a packet as acknowledged. Returns its time and its size, unless it was settled before.
    fn settle(&mut self, index: usize, mut arrived: impl FnMut(Piece)) -> Option<(Time, u32)> {
        let sent = self.packets.get_mut(index).filter(|sent| sent.state != PacketState::Settled)?;
        sent.state = PacketState::Settled;
        let (number, at, bytes) = (sent.number, sent.at, sent.bytes);
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(u64::from(bytes));
        self.in_flight_packets = self.in_flight_packets.saturating_sub(1);
        let counts = number >= self.path_start && self.has_payload(index);
        self.path_results.0 = self.path_results.0.saturating_add(u32::from(counts));
        self.each_piece(index, &mut arrived);
        Some((at, bytes))
    }

    fn detect_losses(&mut self, now: Time, mut lost: impl FnMut(Piece)) {
        self.loss_time = None;
        let Some(largest) = self.largest_acked else { return };
        let delay = self.rtt.loss_delay();
        let count = self.packets.partition_point(|sent| sent.number < largest);
        // The first and the last packet of the current run of consecutive losses.
        let mut run: Option<(Time, Time)> = None;
        for index in 0..count {
            let Some(sent) = self.packets.get_mut(index) else { break };
            if sent.state == PacketState::Settled {
                run = None;
                continue;
            }
            let (number, at, bytes, state) = (sent.number, sent.at, sent.bytes, sent.state);
            let due = after(at, delay);
            if number.saturating_add(PACKET_THRESHOLD) > largest && due > now {
                self.loss_time = Some(self.loss_time.map_or(due, |earlier| earlier.min(due)));
                run = None;
                continue;
            }
            sent.state = PacketState::Settled;
            // One congestion event covers all packets sent before its detection: only the first reduces the window.
            let is_first = self.congestion.on_loss(now, at);
            let counts = number >= self.path_start && self.has_payload(index);
            self.losses.add(number, after(at, self.rtt.probe_interval()), is_first, counts);
            self.in_flight_bytes = self.in_flight_bytes.saturating_sub(u64::from(bytes));
            self.in_flight_packets = self.in_flight_packets.saturating_sub(1);
            if state == PacketState::InFlight {
                self.each_piece(index, &mut lost);
            }
            let start = run.map_or(at, |run| run.0);
            run = Some((start, at));
            let persistent = self.rtt.probe_interval().saturating_mul(PERSISTENT_INTERVALS);
            // Without a sample the probe interval is only a guess, so persistent congestion is not declared.
            if self.rtt.smoothed().is_some() && at.since(start) > persistent {
                self.congestion.on_persistent_congestion();
            }
        }
        self.path_results.1 = self.path_results.1.saturating_add(self.losses.certain(now));
    }

    /// Whether a packet carried more than a ping. A ping is small, so its arrival does not show that full packets
    /// arrive.
    fn has_payload(&self, index: usize) -> bool {
        let mut any = false;
        self.each_piece(index, &mut |piece| any |= piece != Piece::Ping);
        any
    }

    /// The time at which the packet with this number was sent, if it is recorded.
    fn sent_at(&self, number: u64) -> Option<Time> {
        let last_ack_only =
            self.last_ack_only.filter(|(last_ack_only, _)| *last_ack_only == number).map(|(_, at)| at);
        let index = self.packets.binary_search_by_key(&number, |sent| sent.number).ok();
        last_ack_only.or_else(|| index.and_then(|index| self.packets.get(index)).map(|sent| sent.at))
    }

    /// Calls `report` for each piece of the packet at `index`.
    fn each_piece(&self, index: usize, report: &mut impl FnMut(Piece)) {
        let start = self.packets.get(index).map_or(0, |sent| sent.pieces);
        let relative = |at: u64| usize::try_from(at.saturating_sub(self.first_piece)).unwrap_or(usize::MAX);
        for at in relative(start)..relative(self.pieces_end(index)) {
            if let Some(piece) = self.pieces.get(at) {
                report(*piece);
            }
        }
    }

    fn pieces_end(&self, index: usize) -> u64 {
        let next = self.packets.get(index.saturating_add(1)).map(|next| next.pieces);
        next.unwrap_or(self.first_piece.saturating_add(as_u64(self.pieces.len())))
    }

    /// Drops the records of the oldest packets as far as they are settled.
    fn drop_settled(&mut self) {
        while self.packets.front().is_some_and(|sent| sent.state == PacketState::Settled) {
            let end = self.pieces_end(0);
            while self.first_piece < end && self.pieces.pop_front().is_some() {
                self.first_piece = self.first_piece.saturating_add(1);
            }
            self.packets.pop_front();
        }
    }
}
