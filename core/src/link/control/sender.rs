//! The sending half of the control channel.
//!
//! A segment is lost when three that were sent after it are acknowledged (RFC 9002, section 6.1.1), or when the timer
//! runs out on it. The window opens by one for each segment acknowledged and is halved by loss.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{ControlFull, MAX_BODY, MAX_MESSAGE, QUEUE, WINDOW};
use crate::link::keys::Sealer;
use crate::link::quality::RttEstimator;
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::link::{Acknowledged, KIND_CONTROL, SEGMENT_OVERHEAD, Segment, plaintext};

/// The least time before a segment is sent again.
pub(in crate::link) const MIN_TIMEOUT: Duration = Duration::from_millis(10);
/// The same while no round trip was measured.
pub(in crate::link) const FIRST_TIMEOUT: Duration = Duration::from_millis(250);
/// The most that repeated time-outs make of it.
pub(in crate::link) const MAX_TIMEOUT: Duration = Duration::from_secs(1);
/// And the longest at all, whatever round trips were measured: a line that held frames back for a while says nothing of how long
/// the next ones take, and a link that is silent for so long is gone.
pub(in crate::link) const TIMEOUT_CEILING: Duration = Duration::from_secs(3);
/// How much later than a segment others have to be sent, and acknowledged, for it to be lost.
pub(in crate::link) const PACKET_THRESHOLD: u64 = 3;
/// A segment that is not acknowledged for so long, while so many time-outs passed without any progress, never will be.
pub(in crate::link) const GIVE_UP_AFTER: Duration = Duration::from_secs(30);
pub(in crate::link) const GIVE_UP_TIMEOUTS: u32 = 16;
/// The window at first, and the least that loss makes of it, in segments.
pub(in crate::link) const INITIAL_WINDOW: usize = 16;
pub(in crate::link) const MIN_WINDOW: usize = 4;

/// See the [module's page](self).
#[derive(Debug)]
pub(in crate::link) struct ControlSender {
    /// What was not cut into segments yet.
    stream: BytesMut,
    /// Bytes in `segments`.
    bytes_in_flight: usize,
    /// The longest part of the stream in a segment: that the link may take, and that it takes for certain.
    link_max_body: usize,
    max_body: usize,
    segments: VecDeque<SentSegment>,
    /// The number of the first of them.
    first: u32,
    window: usize,
    /// Counts transmissions.
    order: u64,
    /// The latest transmission known to have arrived.
    arrived: u64,
    /// Losses of transmissions before this one are one event.
    recovery: u64,
    timeouts: u32,
    repeated: u64,
}

#[derive(Debug)]
struct SentSegment {
    body: Bytes,
    /// When it was sent first, and last.
    since: Time,
    at: Time,
    order: u64,
    repeated: bool,
    state: SegmentState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SegmentState {
    InFlight,
    Lost,
    Acknowledged,
}

/// The part of the stream that a frame of `frame` bytes has room for.
fn body_of(frame: usize) -> usize {
    frame.saturating_sub(Sealer::OVERHEAD.saturating_add(SEGMENT_OVERHEAD)).clamp(1, MAX_BODY)
}

impl ControlSender {
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

    /// Segments are cut so that no frame is longer than `frame` bytes. Whether longer ones would be of use.
    pub(in crate::link) fn set_frame(&mut self, frame: usize) -> bool {
        self.max_body = body_of(frame).min(self.link_max_body);
        self.max_body < self.link_max_body && self.stream.len() > self.max_body
    }

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

    /// As if that many segments had been sent before.
    #[cfg(test)]
    pub(super) fn start_at(&mut self, first: u32) {
        self.first = first;
    }

    /// Bytes that are not acknowledged yet.
    pub(in crate::link) fn queued(&self) -> usize {
        self.stream.len().saturating_add(self.bytes_in_flight)
    }

    /// Segments sent more than once.
    pub(in crate::link) fn repeated(&self) -> u64 {
        self.repeated
    }

    /// The next segment to send, as a plaintext.
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

    fn cut(&mut self, now: Time) -> Option<usize> {
        if self.stream.is_empty() || self.segments.len() >= WINDOW {
            return None;
        }
        let body = self.stream.split_to(self.stream.len().min(self.max_body)).freeze();
        if self.stream.is_empty() {
            // Lets go of the memory when the last segment is acknowledged.
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

    /// Takes an acknowledgement from the other side. One that a later one has overtaken changes nothing.
    ///
    /// # Errors
    /// When it names a segment that was never sent: nothing of it is taken.
    pub(in crate::link) fn acknowledge(&mut self, acknowledged: Acknowledged) -> Result<(), DropCause> {
        let done = acknowledged.ack.wrapping_sub(self.first);
        if done > u32::MAX / 2 {
            return Ok(());
        }
        let done = done as usize;
        let selected = u64::BITS.saturating_sub(acknowledged.sack.leading_zeros()) as usize;
        // Segment `ack` itself has not come. With a bit set it was sent nevertheless.
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
            if let Some(place) = self.segments.get_mut(offset) {
                *place = sent;
            }
        }
        if progress > 0 {
            self.timeouts = 0;
            self.window = self.window.saturating_add(progress).min(WINDOW);
        }
        self.find_lost();
        Ok(())
    }

    /// Takes note of a segment that has come; whether that is new.
    fn record_arrival(&mut self, sent: &SentSegment) -> bool {
        if sent.state == SegmentState::Acknowledged {
            return false;
        }
        // Of one that was repeated nobody can tell which copy came.
        if !sent.repeated {
            self.arrived = self.arrived.max(sent.order);
        }
        true
    }

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

    fn timeout(&self, rtt: &RttEstimator) -> Duration {
        let first = match rtt.smoothed() {
            // Five milliseconds for the other side, which may wait that long before it acknowledges.
            Some(smoothed) => smoothed
                .saturating_add(rtt.variation().saturating_mul(4))
                .saturating_add(super::receiver::ACK_DELAY)
                .max(MIN_TIMEOUT),
            None => FIRST_TIMEOUT,
        };
        // The smallest round trip is no delay that will pass.
        let longest = TIMEOUT_CEILING.max(rtt.smallest().unwrap_or_default().saturating_mul(2));
        first.saturating_mul(1 << self.timeouts.min(10)).min(MAX_TIMEOUT.max(first)).min(longest)
    }

    /// When [`ControlSender::handle_timeout`] is due.
    pub(in crate::link) fn deadline(&self, rtt: &RttEstimator) -> Option<Time> {
        let bytes_in_flight = self.segments.iter().filter(|sent| sent.state == SegmentState::InFlight);
        Some(bytes_in_flight.map(|sent| sent.at).min()? + self.timeout(rtt))
    }

    /// Time has passed.
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
    /// Whether the other side has had time and repetitions enough to acknowledge, and has not: what waits for such a
    /// neighbour would only grow.
    pub(in crate::link) fn is_unresponsive(&self, now: Time) -> bool {
        // Not by the time alone: this side may have slept.
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
