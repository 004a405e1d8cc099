//! What happens inside one established link, except for the sealing, which is the egress's.

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
use super::liveness::{Liveness, LivenessVerdict, VitalsKind};
use super::mtu::PathMtu;
use super::output::{DownReason, FrameContent, LinkMetrics, LinkOutput, LinkState};
use super::path_validation::PathValidation;
use super::quality::{self, DeliveryRatio, FULL_SHARE, RttEstimator};
use super::rekey::Renewal;
use crate::address::Address;
use crate::netmod::Endpoint;
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::codec;
use crate::wire::link::{
    Acknowledged, KIND_ACK, KIND_ANSWER, KIND_CHALLENGE, KIND_CONTROL, KIND_GOODBYE, KIND_HELLO,
    KIND_MTU_ANSWER, KIND_MTU_PROBE, KIND_PACKET, KIND_PROBE, KIND_REKEY, KIND_REKEYED, KIND_RESPONSE,
    Segment, Vitals, plaintext, split,
};

/// An echo older than this says nothing of the round trip.
pub(super) const ECHO_LIFE: Duration = Duration::from_secs(10);

/// One established link: opens its frames, keeps watch over the neighbour, carries the control channel.
pub(crate) struct Link {
    peer: Address,
    opener: Opener,
    state: LinkState,
    liveness: Liveness,
    rtt: RttEstimator,
    inbound: DeliveryRatio,
    outbound: DeliveryRatio,
    /// The cost that was last told.
    reported_cost: Option<u16>,
    /// The neighbour's clock in its last vitals, and when they came.
    echo: Option<(u32, Time)>,
    /// Where our clock in the vitals begins, so that it does not tell how long we run.
    epoch: u32,
    outgoing: ControlSender,
    incoming: ControlReceiver,
    /// How it comes to its next keys, if it does.
    renewal: Option<Renewal>,
    mtu: PathMtu,
    path_validation: PathValidation,
    /// Our clock in the vitals when the link was in service again, until the neighbour has answered something sent since.
    resumed_at: Option<u32>,
    /// The frame at hand has shown that the neighbour has moved.
    moved: bool,
    rng: ChaCha20Rng,
    output: VecDeque<LinkOutput>,
    frames_in: u64,
    bytes_in: u64,
    frames_out: u64,
    bytes_out: u64,
}

impl Link {
    /// The link of a session that has just begun: its `peer`, `opener` and `mtu` (bytes). All randomness comes from
    /// `seed`, that of new keys too: it must never be used twice.
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

    /// Where the link stands.
    #[cfg(test)]
    pub fn state(&self) -> LinkState {
        self.state
    }

    /// Opens a data frame, and does what it says unless it is a packet.
    ///
    /// # Errors
    /// Why it was dropped, to be counted.
    pub fn handle_frame<'a>(
        &mut self,
        now: Time,
        frame: &'a mut [u8],
    ) -> Result<FrameContent<'a>, DropCause> {
        self.open_frame(now, frame, None)
    }

    /// The same; `from` is where it came from if that is not the link's own endpoint.
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
                self.liveness.answer_later(now);
                return Ok(FrameContent::Packet(body));
            }
            KIND_CONTROL => self.on_segment(now, body)?,
            KIND_ACK => self.outgoing.acknowledge(whole::<Acknowledged>(body)?)?,
            KIND_HELLO | KIND_ANSWER => self.on_vitals(now, body)?,
            KIND_PROBE => {
                self.on_vitals(now, body)?;
                self.liveness.answer_now(now);
            }
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

    /// Sends a message of 1 to 4096 bytes to the neighbour's router: exactly once and in order, as long as the link lives.
    ///
    /// # Errors
    /// When the queue (1 MiB) is full, the message has a wrong length, or the link is down.
    pub fn send_control(&mut self, message: &[u8]) -> Result<(), ControlFull> {
        if self.is_down() {
            return Err(ControlFull);
        }
        self.outgoing.push(message)
    }

    /// The egress has sealed and sent packets: `bytes` in `frames`. (Not for what came from [`LinkOutput::Transmit`].)
    pub fn note_sent(&mut self, now: Time, frames: u32, bytes: usize) {
        if frames == 0 {
            return;
        }
        self.frames_out = self.frames_out.saturating_add(u64::from(frames));
        self.bytes_out = self.bytes_out.saturating_add(bytes as u64);
        self.liveness.on_sent(now);
    }

    /// What is to be done next.
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
        if let Some(sign) = self.liveness.take_vitals(now, spread, often) {
            return Some(LinkOutput::Transmit(self.vitals(now, sign)));
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

    /// When [`Link::handle_timeout`] is due. An idle link has about one deadline a second.
    pub fn next_deadline(&self) -> Option<Time> {
        if self.is_down() {
            return None;
        }
        let outgoing = self.outgoing.deadline(&self.rtt).filter(|_| self.state != LinkState::Away);
        let control = outgoing.into_iter().chain(self.incoming.due()).min();
        let watch = self.liveness.deadline(self.rtt.smoothed());
        control.into_iter().chain(self.maintenance_deadline()).chain([watch]).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.is_down() {
            return;
        }
        // What is not sent does not get lost either.
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

    /// Ends the link in good order. The plaintext returned is the last one to be sealed and sent.
    pub fn goodbye(&mut self) -> Vec<u8> {
        self.state = LinkState::Down(DownReason::Closed);
        self.output.clear();
        DownReason::Closed.goodbye()
    }

    /// The sealer is [exhausted](super::Exhausted): the link is over, without a word.
    pub fn on_key_exhausted(&mut self) {
        self.enter(LinkState::Down(DownReason::Exhausted));
    }

    /// How the link is doing.
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

    fn enter(&mut self, state: LinkState) {
        if self.state != state && !self.is_down() {
            self.state = state;
            self.output.push_back(LinkOutput::StateChanged(state));
        }
    }

    /// Ends the link and says so.
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

/// The value that fills `body`.
fn whole<T: for<'a> codec::BorrowDecode<'a, ()>>(body: &[u8]) -> Result<T, DropCause> {
    codec::decode(body).map_err(|_| DropCause::MalformedPacket)
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("peer", &self.peer).field("metrics", &self.metrics()).finish()
    }
}
