//! One established link: it opens frames, watches the neighbour, and carries the control channel.
//!
//! Sealing is not part of it, since the egress seals frames where it queues them.

mod maintenance;
#[cfg(test)]
mod tests;
mod vitals;

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

use super::control::{ControlFull, ControlReceiver, ControlSender};
use super::keys::Opener;
use super::liveness::{Liveness, LivenessVerdict};
use super::mtu::PathMtu;
use super::output::{DownReason, FrameContent, LinkMetrics, LinkOutput, LinkState};
use super::path_validation::PathValidation;
use super::quality::{self, DeliveryRatio, RttEstimator};
use super::rekey::Renewal;
use crate::address::Address;
use crate::endpoint::Endpoint;
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::codec;
use crate::wire::link::{
    Acknowledged, KIND_ACK, KIND_ANSWER, KIND_CHALLENGE, KIND_CONTROL, KIND_GOODBYE, KIND_HELLO,
    KIND_MTU_ANSWER, KIND_MTU_PROBE, KIND_PACKET, KIND_PROBE, KIND_REKEY, KIND_REKEYED, KIND_RESPONSE,
    KIND_REST, Segment, plaintext, split,
};

/// The maximum age of vitals that are echoed. The round trip is the difference of two clocks, and over a longer time
/// their drift would distort it.
pub(super) const ECHO_LIFE: Duration = Duration::from_secs(10);

/// One established link. It owns the receiving key, the liveness of the neighbour, the measurements, the control
/// channel, the renewal of keys, the discovery of the path MTU and the validation of a new path; see the modules of
/// these names.
pub struct Link {
    peer: Address,
    opener: Opener,
    state: LinkState,
    liveness: Liveness,
    rtt: RttEstimator,
    /// The share of the neighbour's frames that arrive here.
    inbound: DeliveryRatio,
    /// The share of our frames that arrive at the neighbour, by its vitals.
    outbound: DeliveryRatio,
    /// The cost that was last reported to the router.
    reported_cost: Option<u16>,
    /// The neighbour's clock in its last vitals, and the time of their arrival.
    echo: Option<(u32, Time)>,
    /// The origin of our clock in vitals. It is random, so that the clock does not reveal the uptime of the node.
    epoch: u32,
    /// The sending half of the control channel.
    outgoing: ControlSender,
    /// The receiving half of the control channel.
    incoming: ControlReceiver,
    /// The renewal of the keys; `None` for a link that keeps its first keys.
    renewal: Option<Renewal>,
    mtu: PathMtu,
    path_validation: PathValidation,
    /// Our clock in vitals when the link left [`LinkState::Away`], until the neighbour echoes something that was sent
    /// since. Until then its counts include frames that were sent while nothing got through.
    resumed_at: Option<u32>,
    /// Whether the frame that is being handled has completed a path validation.
    moved: bool,
    rng: ChaCha20Rng,
    output: VecDeque<LinkOutput>,
    frames_in: u64,
    bytes_in: u64,
    frames_out: u64,
    bytes_out: u64,
}

impl Link {
    /// Makes the link of a session that has just begun. `mtu` is the maximum length of a frame in bytes.
    ///
    /// All randomness comes from `seed`, that of all keys included, so a seed must never be used twice: otherwise two
    /// sessions would share ephemeral keys.
    pub fn new(now: Time, peer: Address, opener: Opener, mtu: usize, seed: [u8; 32]) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        Link {
            peer,
            opener,
            state: LinkState::Up,
            liveness: Liveness::new(now),
            rtt: RttEstimator::default(),
            inbound: DeliveryRatio::default(),
            outbound: DeliveryRatio::default(),
            reported_cost: None,
            echo: None,
            epoch: rng.next_u32(),
            outgoing: ControlSender::new(mtu),
            incoming: ControlReceiver::default(),
            renewal: None,
            mtu: PathMtu::new(mtu, mtu, mtu),
            path_validation: PathValidation::default(),
            resumed_at: None,
            moved: false,
            rng,
            output: VecDeque::new(),
            frames_in: 0,
            bytes_in: 0,
            frames_out: 0,
            bytes_out: 0,
        }
    }

    /// The state of the link.
    #[cfg(test)]
    pub fn state(&self) -> LinkState {
        self.state
    }

    /// Opens a data frame that came from the link's own endpoint, and handles its content unless that is a packet.
    ///
    /// # Errors
    /// The cause of the drop, to be counted.
    pub fn handle_frame<'a>(
        &mut self,
        now: Time,
        frame: &'a mut [u8],
    ) -> Result<FrameContent<'a>, DropCause> {
        self.open_frame(now, frame, None)
    }

    /// Opens and handles a data frame. `from` is its endpoint if that is not the link's own.
    fn open_frame<'a>(
        &mut self,
        now: Time,
        frame: &'a mut [u8],
        from: Option<Endpoint>,
    ) -> Result<FrameContent<'a>, DropCause> {
        if self.is_down() {
            return Err(DropCause::UnknownSession);
        }
        let length = frame.len();
        let (generation, before) = (self.opener.generation(), self.opener.expected());
        let plaintext = self.opener.open(frame)?;
        if self.opener.generation() != generation
            && let Some(key) =
                self.renewal.as_mut().and_then(|renewal| renewal.on_switched(now, &self.opener))
        {
            self.output.push_back(LinkOutput::Rekeyed(Box::new(key)));
        }
        self.frames_in = self.frames_in.saturating_add(1);
        self.bytes_in = self.bytes_in.saturating_add(length as u64);
        let newest = self.opener.expected() > before;
        if newest && from.is_none() && !self.path_validation.is_idle() {
            self.path_validation.cancel();
        }
        if self.liveness.on_frame(now) {
            self.resume(now);
            self.enter(LinkState::Up);
        }
        let (kind, body) = plaintext.split_first_mut().ok_or(DropCause::MalformedPacket)?;
        match *kind {
            KIND_PACKET => {
                self.liveness.on_activity(now);
                self.liveness.answer_later(now);
                return Ok(FrameContent::Packet(body));
            }
            KIND_CONTROL => self.on_segment(now, body)?,
            KIND_ACK => self.outgoing.acknowledge(whole::<Acknowledged>(body)?)?,
            KIND_HELLO | KIND_REST | KIND_ANSWER | KIND_PROBE => self.on_vitals_content(now, *kind, body)?,
            KIND_GOODBYE => {
                let [code] = *body else { return Err(DropCause::MalformedPacket) };
                self.enter(LinkState::Down(DownReason::from_code(code)));
            }
            KIND_REKEY | KIND_REKEYED => {
                let kind = *kind;
                self.on_rekey(now, kind, whole(body)?)?;
            }
            KIND_MTU_PROBE => self.on_mtu_probe(body, length)?,
            KIND_MTU_ANSWER => self.on_mtu_answer(now, whole(body)?),
            KIND_CHALLENGE => self.on_challenge(whole(body)?, from)?,
            KIND_RESPONSE => self.on_response(now, whole(body)?, from, newest)?,
            _ => return Err(DropCause::MalformedPacket),
        }
        Ok(FrameContent::Consumed)
    }

    /// Queues a message of 1 to 4096 bytes for the neighbour's router. Messages arrive exactly once and in order as
    /// long as the link lives.
    ///
    /// # Errors
    /// When the queue (1 MiB) is full, the length is out of range, or the link is down.
    pub fn send_control(&mut self, message: &[u8]) -> Result<(), ControlFull> {
        if self.is_down() {
            return Err(ControlFull);
        }
        self.outgoing.push(message)
    }

    /// Records that the egress has sealed and sent packets: `bytes` in `frames`. Plaintexts of [`LinkOutput::Transmit`]
    /// are not reported, since the link has counted them as it returned them.
    pub fn note_sent(&mut self, now: Time, frames: u32, bytes: usize) {
        if frames == 0 {
            return;
        }
        self.frames_out = self.frames_out.saturating_add(u64::from(frames));
        self.bytes_out = self.bytes_out.saturating_add(bytes as u64);
        self.liveness.on_activity(now);
        self.liveness.on_sent(now);
    }

    /// Returns the next action or event; `None` when there is none.
    ///
    /// Vitals precede control segments, because a probe that waits behind them would make a neighbour suspect that
    /// answers in time. A lone acknowledgement comes last, since any segment carries it for free.
    pub fn poll_output(&mut self, now: Time) -> Option<LinkOutput> {
        if let Some(output) = self.output.pop_front() {
            return Some(output);
        }
        if self.is_down() {
            return None;
        }
        match self.incoming.message() {
            Ok(Some(message)) => return Some(LinkOutput::Control(message)),
            Ok(None) => {}
            Err(_) => {
                self.end(DownReason::Violation);
                return self.output.pop_front();
            }
        }
        let spread = self.rng.next_u32();
        let often = self.is_loss_uncertain();
        if let Some(kind) = self.liveness.take_vitals(now, spread, often) {
            return Some(LinkOutput::Transmit(self.vitals(now, kind)));
        }
        self.limit_segments(now);
        if self.state != LinkState::Away
            && let Some(segment) = self.outgoing.poll(now, self.incoming.acknowledged())
        {
            self.incoming.acknowledgement_sent();
            self.liveness.on_sent(now);
            return Some(LinkOutput::Transmit(segment));
        }
        if self.incoming.due().is_some_and(|due| due <= now) {
            self.incoming.acknowledgement_sent();
            return Some(LinkOutput::Transmit(plaintext(KIND_ACK, &self.incoming.acknowledged())));
        }
        None
    }

    /// The time at which [`Link::handle_timeout`] is due. An idle link has about one deadline a second.
    pub fn next_deadline(&self) -> Option<Time> {
        if self.is_down() {
            return None;
        }
        let outgoing = self.outgoing.deadline(&self.rtt).filter(|_| self.state != LinkState::Away);
        let control = outgoing.into_iter().chain(self.incoming.due()).min();
        let watch = self.liveness.deadline(self.rtt.smoothed());
        control.into_iter().chain(self.maintenance_deadline()).chain([watch]).min()
    }

    /// Handles all timers that are due.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.is_down() {
            return;
        }
        // Segments wait while the link is away, so their timers must not run: a time-out would halve the window for
        // nothing.
        if self.state != LinkState::Away {
            self.outgoing.handle_timeout(now, &self.rtt);
            if self.outgoing.is_unresponsive(now) {
                return self.end(DownReason::Unheard);
            }
        }
        self.maintain(now);
        match self.liveness.timeout(now, self.rtt.smoothed(), self.is_lossy()) {
            None => {}
            Some(LivenessVerdict::Suspect) => self.enter(LinkState::Suspect),
            Some(LivenessVerdict::Away) => self.enter(LinkState::Away),
            Some(LivenessVerdict::Gone) => self.end(DownReason::Silent),
            Some(LivenessVerdict::Cut) => self.end(DownReason::Cut),
        }
    }

    /// Ends the link in order. The plaintext returned is the last one to be sealed and sent; other outputs are
    /// discarded, since the neighbour handles nothing after a goodbye.
    pub fn goodbye(&mut self) -> Vec<u8> {
        self.state = LinkState::Down(DownReason::Closed);
        self.output.clear();
        DownReason::Closed.goodbye()
    }

    /// Ends the link because the sealer is [exhausted](super::keys::Exhausted). There is no goodbye, since it could not
    /// be sealed.
    pub fn on_key_exhausted(&mut self) {
        self.enter(LinkState::Down(DownReason::Exhausted));
    }

    /// The present measurements of the link.
    pub fn metrics(&self) -> LinkMetrics {
        LinkMetrics {
            state: self.state,
            rtt: self.rtt.smoothed(),
            rtt_min: self.rtt.smallest(),
            loss: quality::loss(&self.outbound, &self.inbound),
            cost: self.cost(),
            heard: self.liveness.last_heard(),
            frames_in: self.frames_in,
            bytes_in: self.bytes_in,
            frames_out: self.frames_out,
            bytes_out: self.bytes_out,
            control_queued: self.outgoing.queued(),
            control_repeated: self.outgoing.repeated(),
        }
    }

    fn is_down(&self) -> bool {
        matches!(self.state, LinkState::Down(_))
    }

    /// Changes the state and reports it. A link that is down stays down, so that its owner sees one end only.
    fn enter(&mut self, state: LinkState) {
        if self.state != state && !self.is_down() {
            self.state = state;
            self.output.push_back(LinkOutput::StateChanged(state));
        }
    }

    /// Ends the link with a goodbye that carries the reason.
    fn end(&mut self, reason: DownReason) {
        self.output.push_back(LinkOutput::Transmit(reason.goodbye()));
        self.enter(LinkState::Down(reason));
    }

    fn on_segment(&mut self, now: Time, body: &[u8]) -> Result<(), DropCause> {
        let (segment, body) = split::<Segment>(body).map_err(|_| DropCause::MalformedPacket)?;
        self.outgoing.acknowledge(segment.acknowledged)?;
        self.incoming.segment(now, segment.sequence, body)
    }
}

/// Decodes a value that must fill `body` exactly, because kinds of content have a fixed length.
fn whole<T: for<'a> codec::BorrowDecode<'a, ()>>(body: &[u8]) -> Result<T, DropCause> {
    codec::decode(body).map_err(|_| DropCause::MalformedPacket)
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("peer", &self.peer).field("metrics", &self.metrics()).finish()
    }
}
