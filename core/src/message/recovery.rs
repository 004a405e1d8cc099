//! What has been sent and not yet acknowledged: loss detection and probes, as RFC 9002 section 6 has them.
//!
//! Packets are never sent again, what they carried is: a packet is a list of [`Piece`]s, and the pieces of a lost
//! packet go back to the one who sends.

use std::collections::VecDeque;
use std::time::Duration;

use super::congestion::Congestion;
use super::rtt::Rtt;
use crate::time::Time;
use crate::wire::message::Ack;

/// A packet is lost when one sent so many later has arrived (RFC 9002 section 6.1.1).
const PACKET_THRESHOLD: u64 = 3;
/// Probes back off by doubling, up to this.
const MAX_PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// Probes sent at each time-out.
const PROBES: u8 = 2;
/// While so many packets are open the window is closed: each ack may have to look at all of them.
pub(super) const MAX_OPEN_PACKETS: usize = 1 << 13;
/// No more packets than this are remembered. It takes a peer that never acknowledges to get there.
const MAX_SENT_PACKETS: usize = 2 * MAX_OPEN_PACKETS;
/// Silence of so many probe intervals with nothing arriving is persistent congestion (RFC 9002 section 7.6).
const PERSISTENT_INTERVALS: u32 = 3;

/// Something that a packet carried and that must arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Whole messages, or the word that they are given up, `count` in sequence.
    Messages { first: u64, count: u16 },
    /// Bytes of a message.
    Part { seq: u64, from: u32, to: u32 },
    /// The word that all below this sequence is taken.
    Receipt(u64),
    /// Nothing but the wish for an answer.
    Ping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PacketState {
    /// It has had its ack, or is lost.
    Settled,
    InFlight,
    /// As `Open`, but its pieces were sent again already, as a probe.
    Probed,
}

#[derive(Debug)]
struct SentPacket {
    number: u64,
    at: Time,
    bytes: u32,
    state: PacketState,
    pieces: u64,
}

/// The sender's knowledge of the path and of the packets on it.
#[derive(Debug)]
pub(super) struct Recovery {
    /// The number of the next packet.
    next: u64,
    /// Those that ask for an ack, from the oldest whose fate is not known.
    packets: VecDeque<SentPacket>,
    /// The last packet that asked for none, and when it left.
    last_ack_only: Option<(u64, Time)>,
    /// The pieces of `packets`, in order; the first of them is the `first_piece`th ever.
    pieces: VecDeque<Piece>,
    first_piece: u64,
    in_flight_bytes: u64,
    in_flight_packets: usize,
    largest_acked: Option<u64>,
    loss_time: Option<Time>,
    last_sent: Time,
    probe_timeouts: u32,
    /// Packets before this number took another way.
    path_start: u64,
    /// Packets with payload, of the present way, that the last ack or time-out has shown to have arrived, and to be
    /// lost.
    pub path_results: (u32, u32),
    /// Probes to be sent whatever the window says.
    pub probes: u8,
    pub rtt: Rtt,
    pub congestion: Congestion,
}

impl Recovery {
    /// `next` is the number of the first packet.
    pub fn new(next: u64) -> Self {
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
            last_sent: Time::ZERO,
            probe_timeouts: 0,
            path_start: 0,
            path_results: (0, 0),
            probes: 0,
            rtt: Rtt::new(),
            congestion: Congestion::new(),
        }
    }

    /// The number of the next packet.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// How far back from the next packet the oldest one lies whose fate is not known.
    pub fn open_distance(&self) -> u32 {
        let oldest = self.packets.front().map_or(self.next, |sent| sent.number);
        u32::try_from(self.next.saturating_sub(oldest)).unwrap_or(u32::MAX)
    }

    /// Whether something is on its way that asks for an ack.
    pub fn is_in_flight(&self) -> bool {
        self.in_flight_packets > 0
    }

    #[cfg(test)]
    pub fn remembered(&self) -> usize {
        self.packets.len()
    }

    /// Whether so many packets are remembered that they must be given up.
    pub fn is_full(&self) -> bool {
        self.packets.len() >= MAX_SENT_PACKETS
    }

    /// How many probe time-outs have passed since the last sign of life.
    pub fn probe_timeouts(&self) -> u32 {
        self.probe_timeouts
    }

    /// Whether the window has room.
    pub fn has_room(&self) -> bool {
        self.packets.len() < MAX_OPEN_PACKETS && self.congestion.has_room(self.in_flight_bytes)
    }

    /// The next packet has left. It asks for an ack when it carried pieces.
    pub fn on_sent(&mut self, now: Time, bytes: usize, pieces: &[Piece]) {
        let number = self.next;
        self.next = number.saturating_add(1);
        if pieces.is_empty() {
            self.last_ack_only = Some((number, now));
            return;
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.in_flight_bytes = self.in_flight_bytes.saturating_add(u64::from(bytes));
        self.in_flight_packets = self.in_flight_packets.saturating_add(1);
        self.last_sent = now;
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

    /// Takes an ack. `told` hears of each piece that has arrived (`true`) or is lost (`false`). Returns the
    /// size of the longest packet that has now arrived; the error is an ack of something that was never sent.
    pub fn on_ack(&mut self, now: Time, ack: &Ack, mut report: impl FnMut(Piece, bool)) -> Result<usize, ()> {
        if ack.largest() >= self.next_number() {
            return Err(());
        }
        // The delay told is that of the largest number, so the round trip is measured on it alone, and once.
        let largest_at = self.sent_at(ack.largest());
        let is_news = self.largest_acked.is_none_or(|before| ack.largest() > before);
        let mut longest = 0;
        self.path_results = (0, 0);
        for &(low, high) in ack.ranges() {
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
            self.probe_timeouts = 0;
            self.probes = 0;
        }
        self.largest_acked = self.largest_acked.max(Some(ack.largest()));
        self.detect_losses(now, |piece| report(piece, false));
        self.drop_settled();
        Ok(longest as usize)
    }

    /// When [`Self::on_timeout`] wants to be called.
    pub fn deadline(&self) -> Option<Time> {
        if self.in_flight_packets == 0 {
            return None;
        }
        Some(self.loss_time.unwrap_or_else(|| after(self.last_sent, self.probe_timeout())))
    }

    /// The deadline has passed: either time tells that packets are lost, or probes must find out.
    pub fn on_timeout(&mut self, now: Time, lost: impl FnMut(Piece)) {
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

    /// The way is another one: what is open is sent again at once if the last way was silent, and the next silence is the
    /// first. Packets sent before do not count any more in `fates`.
    pub fn on_path_change(&mut self, now: Time, lost: impl FnMut(Piece)) {
        self.path_start = self.next_number();
        if std::mem::take(&mut self.probe_timeouts) > 0 {
            self.send_probes(now, lost);
        }
    }

    fn send_probes(&mut self, now: Time, mut lost: impl FnMut(Piece)) {
        self.probes = PROBES;
        // The next time-out counts from here, even if nothing can be sent.
        self.last_sent = now;
        let mut left = PROBES;
        for index in 0..self.packets.len() {
            if left == 0 {
                break;
            }
            if self.packets.get(index).is_some_and(|sent| sent.state == PacketState::InFlight) {
                self.each_piece(index, &mut lost);
                if let Some(sent) = self.packets.get_mut(index) {
                    sent.state = PacketState::Probed;
                }
                left = left.saturating_sub(1);
            }
        }
    }

    /// Gives up all packets on their way, without blaming the path: the route was gone, or the recipient is a new
    /// one. The window stays.
    pub fn abandon(&mut self, mut lost: impl FnMut(Piece)) {
        for index in 0..self.packets.len() {
            let Some(sent) = self.packets.get_mut(index) else { break };
            let state = std::mem::replace(&mut sent.state, PacketState::Settled);
            if state == PacketState::InFlight {
                self.each_piece(index, &mut lost);
            }
        }
        (self.in_flight_bytes, self.in_flight_packets) = (0, 0);
        self.probe_timeouts = 0;
        self.probes = 0;
        self.loss_time = None;
        self.drop_settled();
    }

    fn probe_timeout(&self) -> Duration {
        let interval = self.rtt.probe_interval();
        let factor = 1u32.checked_shl(self.probe_timeouts.min(16)).unwrap_or(u32::MAX);
        interval.saturating_mul(factor).min(MAX_PROBE_INTERVAL.max(interval))
    }

    /// Marks a packet as arrived; returns when it was sent and its size if that is news.
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
        // The first and the last of the present run of losses with nothing arrived between them.
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
            let counts = number >= self.path_start && self.has_payload(index);
            self.path_results.1 = self.path_results.1.saturating_add(u32::from(counts));
            self.in_flight_bytes = self.in_flight_bytes.saturating_sub(u64::from(bytes));
            self.in_flight_packets = self.in_flight_packets.saturating_sub(1);
            if state == PacketState::InFlight {
                self.each_piece(index, &mut lost);
            }
            self.congestion.on_loss(now, at);
            let start = run.map_or(at, |run| run.0);
            run = Some((start, at));
            let persistent = self.rtt.probe_interval().saturating_mul(PERSISTENT_INTERVALS);
            if self.rtt.smoothed().is_some() && at.since(start) > persistent {
                self.congestion.on_persistent_congestion();
            }
        }
    }

    /// Whether a packet carried more than the wish for an answer, which may get through where nothing else does.
    fn has_payload(&self, index: usize) -> bool {
        let mut any = false;
        self.each_piece(index, &mut |piece| any |= piece != Piece::Ping);
        any
    }

    /// When the packet with this number left, if that is remembered.
    fn sent_at(&self, number: u64) -> Option<Time> {
        let last_ack_only =
            self.last_ack_only.filter(|(last_ack_only, _)| *last_ack_only == number).map(|(_, at)| at);
        let index = self.packets.binary_search_by_key(&number, |sent| sent.number).ok();
        last_ack_only.or_else(|| index.and_then(|index| self.packets.get(index)).map(|sent| sent.at))
    }

    /// Tells the pieces of the packet at `index`.
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
        match self.packets.get(index.saturating_add(1)) {
            Some(next) => next.pieces,
            None => self.first_piece.saturating_add(as_u64(self.pieces.len())),
        }
    }

    /// Drops the records of the oldest packets whose fate is known.
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

fn as_u64(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

pub(super) fn after(time: Time, duration: Duration) -> Time {
    std::ops::Add::add(time, duration)
}
