//! What a link does for its own upkeep: new keys, longer frames, a neighbour that moves.

use super::*;
use crate::netmod::Endpoint;
use crate::wire::link::{KIND_MTU_ANSWER, KIND_RESPONSE, MtuAnswer, Rekey, Token};

/// A probe has at least so many bytes after its kind, so that no answer is longer than what it answers.
const MIN_PROBE_BODY: usize = 6;

impl Link {
    /// Gives the session fresh keys now and then.
    pub fn with_renewal(mut self, now: Time, mut renewal: Renewal) -> Self {
        renewal.start_key_life(now, &mut self.rng);
        self.renewal = Some(renewal);
        self
    }

    /// The handshake says that a round trip takes `rtt`, or less: until one was measured, silence is judged by that.
    pub fn with_handshake_rtt(mut self, rtt: Duration) -> Self {
        self.liveness.set_handshake_rtt(rtt);
        self
    }

    /// Tries how long a frame the way takes: `floor` bytes for certain, `base` as far as is known, `most` perhaps.
    pub fn with_path_mtu(mut self, floor: usize, base: usize, most: usize) -> Self {
        self.mtu = PathMtu::new(floor, base, most);
        self
    }

    /// While `held`, what the neighbour's router says stays in the link, which soon takes no more of it. Packets and signs of
    /// life are not held up.
    pub fn hold_control(&mut self, held: bool) {
        self.incoming.hold(held);
    }

    /// The keys that the egress seals with [are worn](crate::link::Sealer::is_worn).
    pub fn on_key_worn(&mut self, now: Time) {
        if let Some(renewal) = &mut self.renewal {
            renewal.hasten(now);
        }
    }

    /// Of the packets that were told to [`Link::note_sent`] just now, `frames` of them, this was the longest frame, in bytes.
    pub fn note_longest(&mut self, now: Time, frames: u32, longest: usize) {
        self.mtu.on_sent(now, frames, longest);
    }

    /// The medium has refused a frame of `length` bytes as too long.
    pub fn on_frame_too_long(&mut self, now: Time, length: usize) {
        self.with_mtu(|mtu| mtu.on_refused(now, length));
    }

    /// Cuts the control stream so that no segment can be too long for the way: a segment that was sent once stays as it is.
    pub(super) fn limit_segments(&mut self, now: Time) {
        let certain = self.mtu.confirmed_length(now);
        if self.outgoing.set_frame(certain) {
            self.mtu.request_confirmation(now);
        }
    }

    /// The medium says that nothing arrives at the neighbour any more: it is suspect at once, and soon away. Anything that is
    /// heard of it ends the doubt.
    pub fn on_medium_cut(&mut self, now: Time) {
        if matches!(self.state, LinkState::Up | LinkState::Suspect) {
            self.liveness.on_medium_cut(now);
            self.enter(LinkState::Suspect);
        }
    }

    /// The medium has refused to send a frame to the neighbour: it is asked at once whether it is still there.
    pub fn on_send_refused(&mut self, now: Time) {
        if self.state == LinkState::Up {
            self.liveness.on_send_refused(now, self.rtt.smoothed());
        }
    }

    /// Opens a data frame that came from an `endpoint` which is not the link's own: from a neighbour that has moved, or from
    /// somebody who overheard it. What is in it is taken; where it came from is not believed until it is proved.
    ///
    /// # Errors
    /// Why it was dropped, to be counted.
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

    /// The neighbour is heard again. What was lost while the medium knew that nothing gets through says nothing of how the link is
    /// when it is up.
    pub(super) fn resume(&mut self, now: Time) {
        if self.state == LinkState::Away {
            self.inbound.skip_to(self.opener.expected(), self.opener.received());
            self.resumed_at = Some(self.clock(now));
        }
    }

    /// Counts what arrived at the neighbour, by its vitals.
    pub(super) fn count_outbound(&mut self, vitals: &Vitals) {
        let Some(back) = self.resumed_at else {
            return self.outbound.update(vitals.expected, vitals.received);
        };
        self.outbound.skip_to(vitals.expected, vitals.received);
        // From then on all that it counts was sent since.
        let answered = vitals.held != Vitals::NO_ECHO && vitals.echo.wrapping_sub(back) < 1 << 31;
        self.resumed_at = self.resumed_at.filter(|_| !answered);
    }

    pub(super) fn on_response(
        &mut self,
        now: Time,
        token: Token,
        from: Option<Endpoint>,
        newest: bool,
    ) -> Result<(), DropCause> {
        // From the endpoint that is known it is late, and says nothing.
        let Some(endpoint) = from else { return Ok(()) };
        if !newest || !self.path_validation.on_response(now, &endpoint, token) {
            return Err(DropCause::Stranger);
        }
        self.moved = true;
        self.output.push_back(LinkOutput::Moved(endpoint));
        // What was measured was another way.
        self.rtt = RttEstimator::default();
        self.inbound.restart();
        self.outbound.restart();
        self.echo = None;
        self.with_mtu(|mtu| mtu.restart(now));
        self.liveness.request_probe();
        Ok(())
    }

    pub(super) fn on_challenge(&mut self, token: Token, from: Option<Endpoint>) -> Result<(), DropCause> {
        if from.is_some() {
            return Err(DropCause::Stranger);
        }
        self.output.push_back(LinkOutput::Transmit(plaintext(KIND_RESPONSE, &token)));
        Ok(())
    }

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

    pub(super) fn on_mtu_answer(&mut self, now: Time, answer: MtuAnswer) {
        self.with_mtu(|mtu| mtu.on_answer(now, answer));
    }

    pub(super) fn on_rekey(&mut self, now: Time, kind: u8, rekey: Rekey) -> Result<(), DropCause> {
        let renewal = self.renewal.as_mut().ok_or(DropCause::MalformedPacket)?;
        if kind == KIND_REKEY {
            let answer = renewal.on_rekey(now, rekey, &mut self.opener, &mut self.rng)?;
            self.output.extend(answer.map(LinkOutput::Transmit));
        } else if let Some(key) = renewal.on_rekeyed(now, rekey, &mut self.opener, &mut self.rng)? {
            self.output.push_back(LinkOutput::Rekeyed(Box::new(key)));
            // The first frame under the new key, by which the other side turns to it as well.
            self.liveness.request_hello();
        }
        Ok(())
    }

    /// When [`Link::upkeep`] is due.
    pub(super) fn maintenance_deadline(&self) -> Option<Time> {
        let renewal = self.renewal.as_ref().and_then(Renewal::deadline);
        renewal.into_iter().chain(self.mtu.deadline()).min()
    }

    pub(super) fn maintain(&mut self, now: Time) {
        let (rtt, heard, lossy) = (self.rtt.smoothed(), self.liveness.last_heard(), self.is_lossy());
        if let Some(renewal) = &mut self.renewal {
            if self.opener.is_worn() {
                renewal.hasten(now);
            }
            let rekey = renewal.timeout(now, rtt, &mut self.opener, &mut self.rng);
            self.output.extend(rekey.map(LinkOutput::Transmit));
        }
        let probe = self.with_mtu(|mtu| mtu.poll(now, rtt, heard, lossy));
        if probe.is_some() && self.mtu.is_confirmation_unanswered() {
            self.liveness.request_probe();
        }
        self.output.extend(probe.map(LinkOutput::Transmit));
    }

    /// Does something with the MTU, and tells when it has changed.
    fn with_mtu<T>(&mut self, work: impl FnOnce(&mut PathMtu) -> T) -> T {
        let before = self.mtu.current();
        let result = work(&mut self.mtu);
        if self.mtu.current() != before {
            self.output.push_back(LinkOutput::MtuChanged(self.mtu.current()));
        }
        result
    }
}
