//! The estimation of the round-trip time, after RFC 9002, section 5.

use std::time::Duration;

/// The longest delay of an ack, which the recipient uses in order to acknowledge several packets at once.
pub(super) const MAX_ACK_DELAY: Duration = Duration::from_millis(25);
/// The granularity of timers (RFC 9002, section 6.1.2).
pub(super) const GRANULARITY: Duration = Duration::from_millis(1);
/// The round-trip time assumed before the first sample. RFC 9002 has 333 ms; the nodes of a mesh are closer together,
/// so a longer value would only delay the repair of a first loss.
pub(super) const INITIAL: Duration = Duration::from_millis(100);

/// The smoothed round-trip time and its variation.
#[derive(Debug)]
pub(super) struct Rtt {
    smoothed: Option<Duration>,
    variation: Duration,
    latest: Duration,
    /// The shortest sample. The reported ack delay is only subtracted down to it, since no path is faster than itself.
    minimum: Duration,
}

impl Rtt {
    pub(super) fn new() -> Self {
        Rtt { smoothed: None, variation: share(INITIAL, 2), latest: INITIAL, minimum: Duration::MAX }
    }

    /// Records that a packet was acknowledged `sample` after it was sent, of which the recipient reports `ack_delay` as
    /// its own. At most [`MAX_ACK_DELAY`] of it is subtracted, so that a wrong report cannot hide a slow path.
    pub(super) fn sample(&mut self, sample: Duration, ack_delay: Duration) {
        self.latest = sample;
        self.minimum = self.minimum.min(sample);
        let Some(smoothed) = self.smoothed else {
            self.smoothed = Some(sample);
            self.variation = share(sample, 2);
            return;
        };
        let delay = ack_delay.min(MAX_ACK_DELAY);
        let adjusted = match sample.checked_sub(delay) {
            Some(adjusted) if adjusted >= self.minimum => adjusted,
            _ => sample,
        };
        let deviation = smoothed.abs_diff(adjusted);
        self.variation = share(self.variation.saturating_mul(3).saturating_add(deviation), 4);
        self.smoothed = Some(share(smoothed.saturating_mul(7).saturating_add(adjusted), 8));
    }

    pub(super) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// The silence after the last packet that requests a probe: the PTO of RFC 9002, section 6.2.1.
    pub(super) fn probe_interval(&self) -> Duration {
        let spread = self.variation.saturating_mul(4).max(GRANULARITY);
        self.smoothed.unwrap_or(INITIAL).saturating_add(spread).saturating_add(MAX_ACK_DELAY)
    }

    /// The age beyond which a packet is lost once a later one has arrived (RFC 9002, section 6.1.2).
    pub(super) fn loss_delay(&self) -> Duration {
        let round_trip = self.smoothed.unwrap_or(INITIAL).max(self.latest);
        share(round_trip.saturating_mul(9), 8).max(GRANULARITY)
    }
}

fn share(duration: Duration, parts: u32) -> Duration {
    duration.checked_div(parts).unwrap_or(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_recipients_own_delay_does_not_count() {
        let mut rtt = Rtt::new();
        rtt.sample(ms(10), Duration::ZERO);
        for _ in 0..100 {
            rtt.sample(ms(30), ms(20));
        }
        assert!(rtt.smoothed().unwrap().abs_diff(ms(10)) < ms(1));
        rtt.sample(ms(30), ms(2000));
        assert!(rtt.smoothed().unwrap() > ms(11), "more than the agreed delay is not believed");
    }

    #[test]
    fn a_delay_never_brings_a_sample_below_the_least() {
        let mut rtt = Rtt::new();
        rtt.sample(ms(10), Duration::ZERO);
        rtt.sample(ms(12), ms(25));
        assert!(rtt.smoothed().unwrap() > ms(10));
    }
}
