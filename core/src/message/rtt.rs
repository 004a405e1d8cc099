//! The round trip, as RFC 9002 section 5 estimates it.

use std::time::Duration;

/// A recipient may keep an ack back for so long, to say more with it.
pub(super) const MAX_ACK_DELAY: Duration = Duration::from_millis(25);
/// Timers are no finer than this (RFC 9002 section 6.1.2).
pub(super) const GRANULARITY: Duration = Duration::from_millis(1);
/// Taken for the round trip before one was measured. RFC 9002 has 333 ms; a mesh is closer together.
pub(super) const INITIAL: Duration = Duration::from_millis(100);

/// Smoothed round trip and its variation.
#[derive(Debug)]
pub(super) struct Rtt {
    smoothed: Option<Duration>,
    variation: Duration,
    latest: Duration,
    minimum: Duration,
}

impl Rtt {
    pub fn new() -> Self {
        Rtt { smoothed: None, variation: share(INITIAL, 2), latest: INITIAL, minimum: Duration::MAX }
    }

    /// A packet was acknowledged `sample` after it was sent; the recipient says that `ack_delay` of it was its own.
    pub fn sample(&mut self, sample: Duration, ack_delay: Duration) {
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

    pub fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// Silence for so long after the last packet asks for a probe (RFC 9002 section 6.2.1).
    pub fn probe_interval(&self) -> Duration {
        let spread = self.variation.saturating_mul(4).max(GRANULARITY);
        self.smoothed.unwrap_or(INITIAL).saturating_add(spread).saturating_add(MAX_ACK_DELAY)
    }

    /// A packet older than this, when a later one has arrived, is lost (RFC 9002 section 6.1.2).
    pub fn loss_delay(&self) -> Duration {
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
