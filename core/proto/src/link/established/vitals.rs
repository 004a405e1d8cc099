//! Measurement of a link: the vitals of both sides, the round trip and the cost.
//!
//! Hello, probe and answer all carry vitals. The frame counters in them describe every frame and not only one a second,
//! so that a link with traffic learns its loss within seconds.

use std::time::Duration;

use super::{ECHO_LIFE, Link, whole};
use crate::link::liveness::VitalsKind;
use crate::link::output::LinkOutput;
use crate::link::quality::{self, FULL_SHARE};
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::link::{KIND_ANSWER, KIND_HELLO, KIND_PROBE, KIND_REST, RestHello, Vitals, plaintext};

impl Link {
    /// Takes one of the four kinds of content that carry vitals.
    pub(super) fn on_vitals_content(&mut self, now: Time, kind: u8, body: &[u8]) -> Result<(), DropCause> {
        let (vitals, stated) = match kind {
            KIND_REST => {
                let hello = whole::<RestHello>(body)?;
                (hello.vitals, Duration::from_millis(hello.next_ms.into()))
            }
            _ => (whole::<Vitals>(body)?, Duration::ZERO),
        };
        self.on_vitals(now, &vitals);
        match kind {
            KIND_HELLO | KIND_REST => self.liveness.on_hello(stated),
            KIND_PROBE => self.liveness.answer_now(now),
            _ => {}
        }
        Ok(())
    }

    /// Takes the vitals of the neighbour: the counts of its frames and ours, and a sample of the round trip.
    fn on_vitals(&mut self, now: Time, vitals: &Vitals) {
        self.inbound.update(self.opener.expected(), self.opener.received());
        self.count_outbound(vitals);
        if vitals.held != Vitals::NO_ECHO {
            let rtt = self.clock(now).wrapping_sub(vitals.echo).wrapping_sub(vitals.held);
            self.rtt.sample(now, Duration::from_micros(rtt.into()));
        }
        // Vitals that were overtaken are not echoed, because the newer ones give the neighbour a newer sample.
        let newer = self.echo.is_none_or(|(sent, _)| vitals.sent.wrapping_sub(sent) < 1 << 31);
        if newer {
            self.echo = Some((vitals.sent, now));
        }
        if self.is_lossy() {
            // Loss is measured by the frames that pass.
            self.liveness.on_activity(now);
        }
        self.report_cost();
    }

    /// Our clock in microseconds from the random origin, modulo 2³², as vitals carry it.
    pub(super) fn clock(&self, now: Time) -> u32 {
        (now.as_micros() as u32).wrapping_add(self.epoch)
    }

    /// The plaintext of our vitals, of this kind.
    pub(super) fn vitals(&self, now: Time, kind: VitalsKind) -> Vec<u8> {
        let echo = self.echo.map(|(sent, at)| (sent, now.since(at))).filter(|(_, held)| *held < ECHO_LIFE);
        let (echo, held) = echo.map_or((0, Vitals::NO_ECHO), |(sent, held)| (sent, held.as_micros() as u32));
        let vitals = Vitals {
            sent: self.clock(now),
            echo,
            held,
            expected: self.opener.expected(),
            received: self.opener.received(),
        };
        match (kind, self.liveness.statement()) {
            (VitalsKind::Hello, Some(next)) => {
                let next_ms = u16::try_from(next.as_millis()).unwrap_or(u16::MAX);
                plaintext(KIND_REST, &RestHello { vitals, next_ms })
            }
            (VitalsKind::Hello, None) => plaintext(KIND_HELLO, &vitals),
            (VitalsKind::Answer, _) => plaintext(KIND_ANSWER, &vitals),
            (VitalsKind::Probe, _) => plaintext(KIND_PROBE, &vitals),
        }
    }

    /// The present cost of the link.
    pub(super) fn cost(&self) -> u16 {
        quality::cost(&self.outbound, &self.inbound, self.rtt.smallest())
    }

    /// Reports the cost when it has changed by more than an eighth, and once after the first round trip was measured.
    /// Smaller changes are noise of the measurement, and each report would cause an update of the routes.
    fn report_cost(&mut self) {
        let cost = self.cost();
        let is_news = match self.reported_cost {
            Some(reported) => cost.abs_diff(reported).saturating_mul(8) > reported,
            None => self.rtt.smoothed().is_some(),
        };
        if is_news {
            self.reported_cost = Some(cost);
            self.output.push_back(LinkOutput::CostChanged(cost));
        }
    }

    /// Whether more than a sixteenth of the frames is lost in either direction. Then one lost probe is weak evidence.
    pub(super) fn is_lossy(&self) -> bool {
        self.inbound.share().min(self.outbound.share()) < FULL_SHARE / 16 * 15
    }

    /// Whether the link seems lossy after few frames only, so that more hellos would improve the measurement.
    pub(super) fn is_loss_uncertain(&self) -> bool {
        self.is_lossy() && (self.inbound.has_few_samples() || self.outbound.has_few_samples())
    }
}
