//! Measurement of a link: the vitals of both sides, the round trip and the cost.

use super::*;

impl Link {
    pub(super) fn on_vitals(&mut self, now: Time, body: &[u8]) -> Result<(), DropCause> {
        let vitals = whole::<Vitals>(body)?;
        self.inbound.update(self.opener.expected(), self.opener.received());
        self.count_outbound(&vitals);
        if vitals.held != Vitals::NO_ECHO {
            let rtt = self.clock(now).wrapping_sub(vitals.echo).wrapping_sub(vitals.held);
            self.rtt.sample(now, Duration::from_micros(rtt.into()));
        }
        // One that was overtaken is not echoed.
        let newer = self.echo.is_none_or(|(sent, _)| vitals.sent.wrapping_sub(sent) < 1 << 31);
        if newer {
            self.echo = Some((vitals.sent, now));
        }
        self.report_cost();
        Ok(())
    }

    /// Our clock in microseconds, as the neighbour gets to see it.
    pub(super) fn clock(&self, now: Time) -> u32 {
        (now.as_micros() as u32).wrapping_add(self.epoch)
    }

    pub(super) fn vitals(&self, now: Time, sign: VitalsKind) -> Vec<u8> {
        let echo = self.echo.map(|(sent, at)| (sent, now.since(at))).filter(|(_, held)| *held < ECHO_LIFE);
        let (echo, held) = echo.map_or((0, Vitals::NO_ECHO), |(sent, held)| (sent, held.as_micros() as u32));
        let kind = match sign {
            VitalsKind::Hello => KIND_HELLO,
            VitalsKind::Answer => KIND_ANSWER,
            VitalsKind::Probe => KIND_PROBE,
        };
        let vitals = Vitals {
            sent: self.clock(now),
            echo,
            held,
            expected: self.opener.expected(),
            received: self.opener.received(),
        };
        plaintext(kind, &vitals)
    }

    pub(super) fn cost(&self) -> u16 {
        quality::cost(&self.outbound, &self.inbound, self.rtt.smallest())
    }

    /// Tells the cost when it has changed by more than an eighth, and once it is known at all.
    fn report_cost(&mut self) {
        let cost = self.cost();
        let tell = match self.reported_cost {
            Some(told) => cost.abs_diff(told).saturating_mul(8) > told,
            None => self.rtt.smoothed().is_some(),
        };
        if tell {
            self.reported_cost = Some(cost);
            self.output.push_back(LinkOutput::CostChanged(cost));
        }
    }

    pub(super) fn is_lossy(&self) -> bool {
        self.inbound.share().min(self.outbound.share()) < FULL_SHARE / 16 * 15
    }

    pub(super) fn is_loss_uncertain(&self) -> bool {
        self.is_lossy() && (self.inbound.has_few_samples() || self.outbound.has_few_samples())
    }
}
