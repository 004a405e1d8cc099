//! Maintenance of a link: renewal of its keys, discovery of the path MTU, and a neighbour that moves.

use std::time::Duration;

use super::Link;
use crate::endpoint::Endpoint;
use crate::link::mtu::PathMtu;
use crate::link::output::{FrameContent, LinkOutput, LinkState};
use crate::link::quality::RttEstimator;
use crate::link::rekey::Renewal;
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::link::{
    CAPABILITY_REST, ChallengeToken, KIND_MTU_ANSWER, KIND_REKEY, KIND_RESPONSE, MtuAnswer, Rekey, Vitals,
    plaintext,
};

/// The minimum length of an MTU probe after its kind, in bytes: the length of the answer, so that no answer is longer
/// than the probe that caused it.
const MIN_PROBE_BODY: usize = 6;

impl Link {
    /// Enables the renewal of the session's keys.
    pub fn with_renewal(mut self, now: Time, mut renewal: Renewal) -> Self {
        renewal.start_key_life(now, &mut self.rng);
        self.renewal = Some(renewal);
        self
    }

    /// Enables what the neighbour can do, as its introduction has announced it.
    pub fn with_capabilities(mut self, capabilities: u32) -> Self {
        if capabilities & CAPABILITY_REST != 0 {
            self.liveness.enable_rest();
        }
        self
    }

    /// Sets the upper bound of the round trip that the handshake has found. Silence is judged by it until vitals have
    /// measured one, because a fixed time-out would end links to very distant neighbours before their first answer.
    pub fn with_handshake_rtt(mut self, rtt: Duration) -> Self {
        self.liveness.set_handshake_rtt(rtt);
        self
    }

    /// Enables the discovery of the path MTU: the path carries `floor` bytes with certainty, `base` most likely, and
    /// `most` at best.
    pub fn with_path_mtu(mut self, floor: usize, base: usize, most: usize) -> Self {
        self.mtu = PathMtu::new(floor, base, most);
        self
    }

    /// Stops or resumes the delivery of control messages. While `held`, they stay in the link, which soon accepts no
    /// more segments, so that the neighbour waits (backpressure). Packets and vitals are not affected, because they
    /// keep the link alive.
    pub fn hold_control(&mut self, held: bool) {
        self.incoming.hold(held);
    }

    /// Requests new keys, since those of the sealer [are worn](crate::link::Sealer::is_worn).
    pub fn on_key_worn(&mut self, now: Time) {
        if let Some(renewal) = &mut self.renewal {
            renewal.hasten(now);
        }
    }

    /// Records that the `frames` just reported to [`Link::note_sent`] were at most `longest` bytes long.
    pub fn note_longest(&mut self, now: Time, frames: u32, longest: usize) {
        self.mtu.on_sent(now, frames, longest);
    }

    /// Lowers the MTU, because the medium has refused a frame of `length` bytes as too long.
    pub fn on_frame_too_long(&mut self, now: Time, length: usize) {
        self.with_mtu(|mtu| mtu.on_refused(now, length));
    }

    /// Limits control segments to the length that the path carries with certainty. A segment keeps its length when it
    /// is retransmitted, so one that is too long would never arrive and would block the stream.
    pub(super) fn limit_segments(&mut self, now: Time) {
        let certain = self.mtu.confirmed_length(now);
        if self.outgoing.set_frame(certain) {
            self.mtu.request_confirmation(now);
        }
    }

    /// Makes the neighbour suspect at once and away soon, because the medium reports that nothing arrives there. Any
    /// authentic frame of the neighbour ends the suspicion.
    pub fn on_medium_cut(&mut self, now: Time) {
        if matches!(self.state, LinkState::Up | LinkState::Suspect) {
            self.liveness.on_medium_cut(now);
            self.enter(LinkState::Suspect);
        }
    }

    /// Probes a neighbour that was cut off at once, because the medium reports that frames may arrive there again.
    pub fn on_medium_restored(&mut self, now: Time) {
        if matches!(self.state, LinkState::Suspect | LinkState::Away) {
            self.liveness.on_medium_restored(now);
        }
    }

    /// Probes the neighbour at once, because the medium has refused to send a frame to it.
    pub fn on_send_refused(&mut self, now: Time) {
        if self.state == LinkState::Up {
            self.liveness.on_send_refused(now, self.rtt.smoothed());
        }
    }

    /// Opens a data frame that came from an `endpoint` which is not the link's own: from a neighbour that has moved, or
    /// from a node that overheard the frame. The content is handled, since the seal proves its author. The endpoint is
    /// challenged, because nothing proves it yet.
    ///
    /// # Errors
    /// The cause of the drop, to be counted.
    pub fn handle_frame_from<'a>(
        &mut self,
        now: Time,
        endpoint: Endpoint,
        frame: &'a mut [u8],
    ) -> Result<FrameContent<'a>, DropCause> {
        let length = frame.len();
        let before = self.opener.expected();
        let inner = self.open_frame(now, frame, Some(endpoint))?;
        let newest = self.opener.expected() > before;
        if newest && !self.is_down() && !std::mem::take(&mut self.moved) {
            let challenge = self.path_validation.challenge(now, endpoint, length, &mut self.rng);
            self.output.extend(challenge.map(|challenge| LinkOutput::TransmitTo(endpoint, challenge)));
        }
        Ok(inner)
    }

    /// Excludes the frames of an interruption from the loss, when the neighbour is heard again after the link was away.
    /// The medium had reported the interruption, so they do not describe the quality of the link.
    pub(super) fn resume(&mut self, now: Time) {
        if self.state == LinkState::Away {
            self.inbound.skip_to(self.opener.expected(), self.opener.received());
            self.resumed_at = Some(self.clock(now));
        }
    }

    /// Counts our frames that arrived at the neighbour, by its vitals.
    pub(super) fn count_outbound(&mut self, vitals: &Vitals) {
        let Some(back) = self.resumed_at else {
            return self.outbound.update(vitals.expected, vitals.received);
        };
        self.outbound.skip_to(vitals.expected, vitals.received);
        // An echo of something sent since then shows that the neighbour has counted the frames of the interruption.
        let answered = vitals.held != Vitals::NO_ECHO && vitals.echo.wrapping_sub(back) < 1 << 31;
        self.resumed_at = self.resumed_at.filter(|_| !answered);
    }

    /// Completes a path validation, if the response is the newest frame and came from the endpoint that was challenged.
    pub(super) fn on_response(
        &mut self,
        now: Time,
        token: ChallengeToken,
        from: Option<Endpoint>,
        newest: bool,
    ) -> Result<(), DropCause> {
        // A response from the known endpoint is late, since the challenge was sent to another one.
        let Some(endpoint) = from else { return Ok(()) };
        if !newest || !self.path_validation.on_response(now, &endpoint, token) {
            return Err(DropCause::Stranger);
        }
        self.moved = true;
        self.output.push_back(LinkOutput::Moved(endpoint));
        // The measurements belong to the former path (RFC 9000, section 9.4, resets them for the same reason).
        self.rtt = RttEstimator::default();
        self.inbound.restart();
        self.outbound.restart();
        self.echo = None;
        self.with_mtu(|mtu| mtu.restart(now));
        self.liveness.request_probe();
        Ok(())
    }

    /// Answers a challenge, but only from the known endpoint: otherwise an attacker could forward it from elsewhere.
    pub(super) fn on_challenge(
        &mut self,
        token: ChallengeToken,
        from: Option<Endpoint>,
    ) -> Result<(), DropCause> {
        if from.is_some() {
            return Err(DropCause::Stranger);
        }
        self.output.push_back(LinkOutput::Transmit(plaintext(KIND_RESPONSE, &token)));
        Ok(())
    }

    /// Answers a probe of the path MTU with the length of the frame that arrived.
    pub(super) fn on_mtu_probe(&mut self, body: &[u8], length: usize) -> Result<(), DropCause> {
        let id =
            body.first_chunk().filter(|_| body.len() >= MIN_PROBE_BODY).ok_or(DropCause::MalformedPacket)?;
        let answer = MtuAnswer {
            id: u32::from_le_bytes(*id),
            length: u16::try_from(length).map_err(|_| DropCause::MalformedPacket)?,
        };
        self.output.push_back(LinkOutput::Transmit(plaintext(KIND_MTU_ANSWER, &answer)));
        Ok(())
    }

    /// Takes the answer to a probe of ours.
    pub(super) fn on_mtu_answer(&mut self, now: Time, answer: MtuAnswer) {
        self.with_mtu(|mtu| mtu.on_answer(now, answer));
    }

    /// Handles both messages of a rekeying.
    pub(super) fn on_rekey(&mut self, now: Time, kind: u8, rekey: Rekey) -> Result<(), DropCause> {
        let renewal = self.renewal.as_mut().ok_or(DropCause::MalformedPacket)?;
        if kind == KIND_REKEY {
            let answer = renewal.on_rekey(now, rekey, &mut self.opener, &mut self.rng)?;
            self.output.extend(answer.map(LinkOutput::Transmit));
        } else if let Some(key) = renewal.on_rekeyed(now, rekey, &mut self.opener, &mut self.rng)? {
            self.output.push_back(LinkOutput::Rekeyed(Box::new(key)));
            // The responder keeps sealing under the old key until a frame under the new one arrives, so a hello is sent
            // at once.
            self.liveness.request_hello();
        }
        Ok(())
    }

    /// The time at which [`Link::maintain`] is due.
    pub(super) fn maintenance_deadline(&self) -> Option<Time> {
        let renewal = self.renewal.as_ref().and_then(Renewal::deadline);
        let challenge = self.path_validation.deadline(self.rtt.smoothed());
        renewal.into_iter().chain(self.mtu.deadline()).chain(challenge).min()
    }

    /// Handles the timers of the keys, of the challenges and of the path MTU.
    pub(super) fn maintain(&mut self, now: Time) {
        let (rtt, heard, lossy) = (self.rtt.smoothed(), self.liveness.last_heard(), self.is_lossy());
        if let Some(renewal) = &mut self.renewal {
            if self.opener.is_worn() {
                renewal.hasten(now);
            }
            let rekey = renewal.timeout(now, rtt, &mut self.opener, &mut self.rng);
            self.output.extend(rekey.map(LinkOutput::Transmit));
        }
        let challenges = self.path_validation.repeat(now, rtt);
        self.output.extend(challenges.map(|(endpoint, content)| LinkOutput::TransmitTo(endpoint, content)));
        let probe = self.with_mtu(|mtu| mtu.poll(now, rtt, heard, lossy));
        // A short probe beside a long one shows whether the path drops long frames only, or everything.
        if probe.is_some() && self.mtu.is_confirmation_unanswered() {
            self.liveness.request_probe();
        }
        self.output.extend(probe.map(LinkOutput::Transmit));
    }

    /// Applies `work` to the path MTU, and reports a change of the maximum length.
    fn with_mtu<T>(&mut self, work: impl FnOnce(&mut PathMtu) -> T) -> T {
        let before = self.mtu.current();
        let result = work(&mut self.mtu);
        if self.mtu.current() != before {
            self.output.push_back(LinkOutput::MtuChanged(self.mtu.current()));
        }
        result
    }
}
