//! The sending half of the control channel.
//!
//! A segment is lost when three that were sent after it are acknowledged (RFC 9002, section 6.1.1), or when its timer
//! expires. The congestion window grows by one for each segment acknowledged and is halved by loss, because a burst of
//! updates must not fill the queue of a slow link.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{ControlFull, MAX_BODY, MAX_MESSAGE, QUEUE, WINDOW};
use crate::link::keys::Sealer;
use crate::link::quality::RttEstimator;
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::link::{Acknowledged, KIND_CONTROL, SEGMENT_OVERHEAD, Segment, plaintext};

/// The minimum retransmission time-out, which covers the jitter of timers on both sides.
pub(in crate::link) const MIN_TIMEOUT: Duration = Duration::from_millis(10);
/// The retransmission time-out while no round trip was measured.
pub(in crate::link) const FIRST_TIMEOUT: Duration = Duration::from_millis(250);
/// The maximum that doubling makes of the time-out.
pub(in crate::link) const MAX_TIMEOUT: Duration = Duration::from_secs(1);
/// The maximum of the time-out for whatever round trips were measured, unless the smallest one is longer than half of
/// it. Frames that were queued for seconds inflate the estimate without predicting the next round trip, and a link that
/// is silent for so long is down anyway.
pub(in crate::link) const TIMEOUT_CEILING: Duration = Duration::from_secs(3);
/// The number of newer transmissions that must be acknowledged for a segment to be lost (kPacketThreshold of RFC 9002,
/// section 6.1.1). It is not one, because paths reorder frames.
pub(in crate::link) const PACKET_THRESHOLD: u64 = 3;
/// The age of the oldest segment from which on the link is given up, if [`GIVE_UP_TIMEOUTS`] have passed as well. A
/// neighbour that answers probes but acknowledges nothing is faulty or hostile.
pub(in crate::link) const GIVE_UP_AFTER: Duration = Duration::from_secs(30);
/// The number of time-outs without progress that must have passed too, because the age alone may be time that this side
/// slept.
pub(in crate::link) const GIVE_UP_TIMEOUTS: u32 = 16;
/// The initial congestion window, in segments.
pub(in crate::link) const INITIAL_WINDOW: usize = 16;
/// The minimum congestion window, in segments. It exceeds [`PACKET_THRESHOLD`], so that loss can still be detected
/// without a timer.
pub(in crate::link) const MIN_WINDOW: usize = 4;

/// The sender of the control stream of one link. See the [module documentation](self).
#[derive(Debug)]
pub(in crate::link) struct ControlSender {
    /// The bytes that are not yet cut into segments.
    stream: BytesMut,
    /// The number of bytes in `segments`.
    bytes_in_flight: usize,
    /// The maximum part of the stream in a segment that the MTU of the link allows.
    link_max_body: usize,
    /// The maximum part that the path carries with certainty.
    max_body: usize,
    /// The segments that were sent and not all acknowledged, in order.
    segments: VecDeque<SentSegment>,
    /// The number of the first segment.
    first: u32,
    /// The congestion window, in segments.
    window: usize,
    /// The number of transmissions so far. Loss is detected by the order of transmissions and not of segments, because
    /// a retransmission is later than segments with higher numbers (RFC 9002, section 4.2).
    order: u64,
    /// The latest transmission that is known to have arrived.
    arrived: u64,
    /// The last transmission before the window was reduced. Losses up to it belong to one event and reduce the window
    /// once.
    recovery: u64,
    /// The number of time-outs without progress, by which the time-out is doubled.
    timeouts: u32,
    /// The number of retransmissions.
    repeated: u64,
}

/// A segment that was sent.
#[derive(Debug)]
struct SentSegment {
    body: Bytes,
    /// The time of its first transmission.
    since: Time,
    /// The time of its last transmission.
    at: Time,
    order: u64,
    repeated: bool,
    state: SegmentState,
}

/// The state of a segment that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SegmentState {
    /// It was sent, and neither acknowledged nor lost.
    InFlight,
    /// It is lost and waits for its retransmission.
    Lost,
    /// It has arrived, but one before it has not.
    Acknowledged,
}

/// The maximum part of the stream in a frame of `frame` bytes.
fn body_of(frame: usize) -> usize {
    frame.saturating_sub(Sealer::OVERHEAD.saturating_add(SEGMENT_OVERHEAD)).clamp(1, MAX_BODY)
}

impl ControlSender {
    /// Makes the sender of a link that carries frames of at most `mtu` bytes.
    pub(in crate::link) fn new(mtu: usize) -> Self {
        let body = body_of(mtu);
        ControlSender {
            stream: BytesMut::new(),
            bytes_in_flight: 0,
            link_max_body: body,
            max_body: body,
            segments: VecDeque::new(),
            first: 0,
            window: INITIAL_WINDOW,
            order: 0,
            arrived: 0,
            recovery: 0,
            timeouts: 0,
            repeated: 0,
        }
    }

    /// Limits new segments to frames of `frame` bytes. Returns whether longer ones would be used, because enough bytes
    /// wait.
    pub(in crate::link) fn set_frame(&mut self, frame: usize) -> bool {
        self.max_body = body_of(frame).min(self.link_max_body);
        self.max_body < self.link_max_body && self.stream.len() > self.max_body
    }

    /// Appends a message to the stream, preceded by its length.
    pub(in crate::link) fn push(&mut self, message: &[u8]) -> Result<(), ControlFull> {
        let length = u16::try_from(message.len()).map_err(|_| ControlFull)?;
        let more = message.len().saturating_add(2);
        if message.is_empty() || message.len() > MAX_MESSAGE || self.queued().saturating_add(more) > QUEUE {
            return Err(ControlFull);
        }
        self.stream.extend_from_slice(&length.to_le_bytes());
        self.stream.extend_from_slice(message);
        Ok(())
    }

    /// Sets the number of the next segment, as if the ones before had been acknowledged.
    #[cfg(test)]
    pub(super) fn start_at(&mut self, first: u32) {
        self.first = first;
    }

    /// The number of bytes that are not acknowledged.
    pub(in crate::link) fn queued(&self) -> usize {
        self.stream.len().saturating_add(self.bytes_in_flight)
    }

    /// The number of retransmissions.
    pub(in crate::link) fn repeated(&self) -> u64 {
        self.repeated
    }

    /// The next segment to send, as a plaintext. Lost segments precede new ones, because the receiver waits for them.
    pub(in crate::link) fn poll(&mut self, now: Time, acknowledged: Acknowledged) -> Option<Vec<u8>> {
        let out = self.segments.iter().filter(|sent| sent.state == SegmentState::InFlight).count();
        if out >= self.window {
            return None;
        }
        let offset = match self.segments.iter().position(|sent| sent.state == SegmentState::Lost) {
            Some(offset) => {
                self.repeated = self.repeated.saturating_add(1);
                offset
            }
            None => self.cut(now)?,
        };
        self.order = self.order.saturating_add(1);
        let sequence = self.first.wrapping_add(u32::try_from(offset).ok()?);
        let sent = self.segments.get_mut(offset)?;
        sent.repeated = sent.state == SegmentState::Lost;
        sent.state = SegmentState::InFlight;
        sent.at = now;
        sent.order = self.order;
        let mut segment = plaintext(KIND_CONTROL, &Segment { acknowledged, sequence });
        segment.extend_from_slice(&sent.body);
        Some(segment)
    }

    /// Cuts a new segment from the stream and returns its offset in `segments`.
    fn cut(&mut self, now: Time) -> Option<usize> {
        if self.stream.is_empty() || self.segments.len() >= WINDOW {
            return None;
        }
        let body = self.stream.split_to(self.stream.len().min(self.max_body)).freeze();
        if self.stream.is_empty() {
            // A new buffer, so that the memory of the old one is freed when its last segment is acknowledged.
            self.stream = BytesMut::new();
        }
        self.bytes_in_flight = self.bytes_in_flight.saturating_add(body.len());
        self.segments.push_back(SentSegment {
            body,
            since: now,
            at: now,
            order: 0,
            repeated: false,
            state: SegmentState::InFlight,
        });
        Some(self.segments.len().saturating_sub(1))
    }

    /// Takes an acknowledgement of the neighbour. One that was overtaken by a later one changes nothing.
    ///
    /// # Errors
    /// [`DropCause::MalformedPacket`] when it covers a segment that was never sent. It is then ignored as a whole, so
    /// that a hostile neighbour cannot make the sender skip segments.
    pub(in crate::link) fn acknowledge(&mut self, acknowledged: Acknowledged) -> Result<(), DropCause> {
        let done = acknowledged.ack.wrapping_sub(self.first);
        if done > u32::MAX / 2 {
            return Ok(());
        }
        let done = done as usize;
        let selected = u64::BITS.saturating_sub(acknowledged.sack.leading_zeros()) as usize;
        // Segment `ack` has not arrived, but if a bit is set it must have been sent, because bits are for later
        // segments.
        let beyond = done.saturating_add(selected).saturating_add(usize::from(selected > 0));
        if beyond > self.segments.len() {
            return Err(DropCause::MalformedPacket);
        }
        let mut progress = 0usize;
        for _ in 0..done {
            let Some(sent) = self.segments.pop_front() else { break };
            self.bytes_in_flight = self.bytes_in_flight.saturating_sub(sent.body.len());
            progress = progress.saturating_add(usize::from(self.record_arrival(&sent)));
        }
        self.first = acknowledged.ack;
        for bit in 0..u64::BITS.min(WINDOW as u32) {
            if acknowledged.sack & (1u64 << bit) == 0 {
                continue;
            }
            let offset = (bit as usize).saturating_add(1);
            let Some(mut sent) = self.segments.get_mut(offset).map(std::mem::take) else { break };
            progress = progress.saturating_add(usize::from(self.record_arrival(&sent)));
            sent.state = SegmentState::Acknowledged;
            if let Some(entry) = self.segments.get_mut(offset) {
                *entry = sent;
            }
        }
        if progress > 0 {
            self.timeouts = 0;
            self.window = self.window.saturating_add(progress).min(WINDOW);
        }
        self.find_lost();
        Ok(())
    }

    /// Records the arrival of a segment. Returns whether it was not known before.
    fn record_arrival(&mut self, sent: &SentSegment) -> bool {
        if sent.state == SegmentState::Acknowledged {
            return false;
        }
        // It is unknown which copy of a repeated segment has arrived (Karn's algorithm), so its order is no evidence of
        // loss.
        if !sent.repeated {
            self.arrived = self.arrived.max(sent.order);
        }
        true
    }

    /// Marks the segments as lost that [`PACKET_THRESHOLD`] later transmissions have overtaken.
    fn find_lost(&mut self) {
        let (arrived, recovery) = (self.arrived, self.recovery);
        let mut halve = false;
        for sent in self.segments.iter_mut().filter(|sent| sent.state == SegmentState::InFlight) {
            if sent.order.saturating_add(PACKET_THRESHOLD) <= arrived {
                sent.state = SegmentState::Lost;
                halve |= sent.order > recovery;
            }
        }
        if halve {
            self.window = (self.window / 2).max(MIN_WINDOW);
            self.recovery = self.order;
        }
    }

    /// The present retransmission time-out (RFC 6298, section 2).
    fn timeout(&self, rtt: &RttEstimator) -> Duration {
        let first = match rtt.smoothed() {
            // The receiver may delay its acknowledgement by this much, which the measured round trip does not include.
            Some(smoothed) => smoothed
                .saturating_add(rtt.variation().saturating_mul(4))
                .saturating_add(super::receiver::ACK_DELAY)
                .max(MIN_TIMEOUT),
            None => FIRST_TIMEOUT,
        };
        // The smallest round trip is a property of the path, so the time-out must not fall below it.
        let longest = TIMEOUT_CEILING.max(rtt.smallest().unwrap_or_default().saturating_mul(2));
        first.saturating_mul(1 << self.timeouts.min(10)).min(MAX_TIMEOUT.max(first)).min(longest)
    }

    /// The time at which [`ControlSender::handle_timeout`] is due.
    pub(in crate::link) fn deadline(&self, rtt: &RttEstimator) -> Option<Time> {
        let bytes_in_flight = self.segments.iter().filter(|sent| sent.state == SegmentState::InFlight);
        Some(bytes_in_flight.map(|sent| sent.at).min()? + self.timeout(rtt))
    }

    /// Marks each segment as lost that is not acknowledged within the time-out.
    pub(in crate::link) fn handle_timeout(&mut self, now: Time, rtt: &RttEstimator) {
        let timeout = self.timeout(rtt);
        let mut lost = false;
        for sent in self.segments.iter_mut() {
            if sent.state == SegmentState::InFlight && sent.at + timeout <= now {
                sent.state = SegmentState::Lost;
                lost = true;
            }
        }
        if lost {
            self.timeouts = self.timeouts.saturating_add(1);
            self.window = MIN_WINDOW;
            self.recovery = self.order;
        }
    }
}

impl ControlSender {
    /// Whether the neighbour had enough time and repetitions to acknowledge, and has not. The link ends then, because
    /// the queue for such a neighbour would only grow.
    pub(in crate::link) fn is_unresponsive(&self, now: Time) -> bool {
        // The age alone is no evidence, because this machine may have been suspended.
        let old = self.segments.front().is_some_and(|sent| now.since(sent.since) >= GIVE_UP_AFTER);
        old && self.timeouts >= GIVE_UP_TIMEOUTS
    }
}

impl Default for SentSegment {
    fn default() -> Self {
        SentSegment {
            body: Bytes::new(),
            since: Time::ZERO,
            at: Time::ZERO,
            order: 0,
            repeated: false,
            state: SegmentState::Acknowledged,
        }
    }
}
