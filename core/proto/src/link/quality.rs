//! Quality of a link: its round trip, its loss in each direction, and the cost that follows for the routing metric.
//!
//! Everything is computed in integers, so that two machines with the same inputs obtain the same cost: both ends of a
//! link must agree on it, or else a route would have another metric in each direction.

use std::time::Duration;

use crate::time::Time;

/// The minimum cost of a link, in the unit of the routing metric: that of a perfect cable. It is well above one, so
/// that small differences in quality can be expressed.
pub(super) const MIN_COST: u16 = 32;
/// The maximum cost of a link. It is finite, so that a very bad link is still used where there is no other.
pub(super) const MAX_COST: u16 = 1000;
/// The round trip, in microseconds, that adds one to the cost of a link without loss.
pub(super) const US_PER_COST: u64 = 500;

/// The smallest round trip is that of the last one to two spans of this length. Old minima expire, because a route
/// below the link may become longer.
pub(super) const MIN_RTT_SPAN: Duration = Duration::from_secs(30);
/// The maximum of a sample. A longer one is wrong, since a handshake gives up after 8 s.
pub(super) const MAX_RTT: Duration = Duration::from_secs(60);

/// Estimator of the round trip: smoothed value and variation as in RFC 6298, section 2, and a windowed minimum.
///
/// The cost uses the minimum, since queues inflate the smoothed value: a metric that follows load makes routes
/// oscillate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RttEstimator {
    /// The smoothed round trip (SRTT), in nanoseconds like all fields below.
    smoothed: Option<u64>,
    /// The variation of the round trip (RTTVAR).
    variation: u64,
    /// The minimum of the present span.
    smallest: Option<u64>,
    /// The minimum of the span before.
    smallest_before: Option<u64>,
    /// The begin of the present span.
    span: Time,
}

impl RttEstimator {
    /// Takes one sample.
    pub(super) fn sample(&mut self, now: Time, rtt: Duration) {
        if rtt > MAX_RTT {
            return;
        }
        let rtt = u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX);
        match self.smoothed {
            None => {
                self.smoothed = Some(rtt);
                self.variation = rtt / 2;
                self.span = now;
            }
            Some(smoothed) => {
                let apart = smoothed.abs_diff(rtt);
                self.variation = self.variation.saturating_mul(3).saturating_add(apart) / 4;
                self.smoothed = Some(smoothed.saturating_mul(7).saturating_add(rtt) / 8);
            }
        }
        if now.since(self.span) >= MIN_RTT_SPAN {
            self.smallest_before = self.smallest.take();
            self.span = now;
        }
        self.smallest = Some(self.smallest.map_or(rtt, |smallest| smallest.min(rtt)));
    }

    /// The smoothed round trip; `None` before the first sample.
    pub(super) fn smoothed(&self) -> Option<Duration> {
        self.smoothed.map(Duration::from_nanos)
    }

    /// The variation of the round trip.
    pub(super) fn variation(&self) -> Duration {
        Duration::from_nanos(self.variation)
    }

    /// The smallest round trip of the last one to two spans.
    pub(super) fn smallest(&self) -> Option<Duration> {
        self.smallest.into_iter().chain(self.smallest_before).min().map(Duration::from_nanos)
    }
}

/// Frames are counted in 256ths, so that ageing the counts loses nothing by rounding.
pub(super) const SCALE: u64 = 256;
/// The number of frames below which counts are not aged. A link that carries little keeps them all, because fewer
/// samples would make its loss, and so its cost, fluctuate.
pub(super) const MEMORY_FRAMES: u64 = 256 * SCALE;
/// A new link begins with this many frames that arrived, so that one lost frame does not give it the maximum cost.
pub(super) const INITIAL_CREDIT: u64 = 4 * SCALE;
/// The share of a link without loss.
pub(super) const FULL_SHARE: u64 = 1 << 16;

/// The delivery ratio of one direction: the share of frames that arrive.
///
/// It covers at least the last 256 frames, and on a link with traffic about the last eight updates, so that it follows
/// a link that becomes better or worse within seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeliveryRatio {
    /// The frames sent, aged, in 256ths.
    expected: u64,
    /// The frames that arrived, aged, in 256ths.
    received: u64,
    /// The cumulative counts of the last update: frames sent, and frames that arrived.
    last: (u64, u64),
}

impl Default for DeliveryRatio {
    fn default() -> Self {
        DeliveryRatio { expected: INITIAL_CREDIT, received: INITIAL_CREDIT, last: (0, 0) }
    }
}

impl DeliveryRatio {
    /// Takes the cumulative counts: `expected` frames were sent and `received` arrived. Counts that decrease are
    /// ignored, because vitals may overtake each other.
    pub(super) fn update(&mut self, expected: u64, received: u64) {
        let (Some(sent), Some(arrived)) =
            (expected.checked_sub(self.last.0), received.checked_sub(self.last.1))
        else {
            return;
        };
        if sent == 0 {
            return;
        }
        self.last = (expected, received);
        // Late frames that were sent before the last update can make this more than were sent since.
        let arrived = arrived.min(sent);
        let aged = |count: u64| (count / 8).saturating_mul(7);
        if aged(self.expected) >= MEMORY_FRAMES {
            self.expected = aged(self.expected);
            self.received = aged(self.received);
        }
        self.expected = self.expected.saturating_add(sent.saturating_mul(SCALE));
        self.received = self.received.saturating_add(arrived.saturating_mul(SCALE));
    }

    /// Excludes the frames that were sent up to now, because they were sent while the medium was cut.
    pub(super) fn skip_to(&mut self, expected: u64, received: u64) {
        if expected >= self.last.0 && received >= self.last.1 {
            self.last = (expected, received);
        }
    }

    /// Begins again, because the frames to come take another path. The cumulative counts continue.
    pub(super) fn restart(&mut self) {
        *self = DeliveryRatio { last: self.last, ..DeliveryRatio::default() };
    }

    /// The share of frames that arrive, in 65536ths.
    pub(super) fn share(&self) -> u64 {
        let received = u128::from(self.received.min(self.expected));
        let share = received.saturating_mul(u128::from(FULL_SHARE)).checked_div(u128::from(self.expected));
        share.and_then(|share| u64::try_from(share).ok()).unwrap_or(FULL_SHARE)
    }

    /// Whether the share rests on few frames yet.
    pub(super) fn has_few_samples(&self) -> bool {
        self.expected < MEMORY_FRAMES
    }
}

/// The cost of a link: 32 and two for each millisecond of the smallest round trip, times the square of the expected
/// number of transmissions (ETX, De Couto et al. 2003: one over the product of both directions' shares).
///
/// ETX is squared because links do not retransmit packets: the sender does, from end to end, and takes the loss for
/// congestion as well. So a lost frame costs more than a second transmission over this link. With 40 % loss in one
/// direction the cost is 2.8 times as high, and a detour of up to that cost is preferred.
pub(super) fn cost(out: &DeliveryRatio, inward: &DeliveryRatio, rtt: Option<Duration>) -> u16 {
    cost_of(out.share(), inward.share(), rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)))
}

/// The cost for shares in [65536ths](FULL_SHARE) and a round trip in microseconds, as the specification gives the
/// formula.
pub(crate) fn cost_of(out: u64, inward: u64, rtt_us: Option<u64>) -> u16 {
    let base =
        u128::from(u64::from(MIN_COST).saturating_mul(US_PER_COST).saturating_add(rtt_us.unwrap_or(0)));
    // ETX in 65536ths. It is bounded by 2⁴⁰ to avoid overflow of its square; the cost is the maximum long before.
    let whole = u128::from(FULL_SHARE).saturating_mul(u128::from(FULL_SHARE)) << 16;
    let etx =
        whole.checked_div(u128::from(out).saturating_mul(inward.into())).unwrap_or(u128::MAX).min(1 << 40);
    let cost = (base.saturating_mul(etx.saturating_mul(etx)) >> 32).checked_div(u128::from(US_PER_COST));
    let cost = cost.and_then(|cost| u16::try_from(cost).ok()).unwrap_or(MAX_COST);
    cost.clamp(MIN_COST, MAX_COST)
}

/// The share of frames that would be lost on a round trip, 0 to 1.
pub(super) fn loss(out: &DeliveryRatio, inward: &DeliveryRatio) -> f64 {
    let share = |arrivals: &DeliveryRatio| arrivals.share() as f64 / FULL_SHARE as f64;
    1.0 - share(out) * share(inward)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::{RngCore, SeedableRng};

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_cost_follows_the_formula() {
        let good = DeliveryRatio::default();
        let half = DeliveryRatio { expected: 200, received: 100, last: (0, 0) };
        let dead = DeliveryRatio { expected: 200, received: 0, last: (0, 0) };
        assert_eq!(cost(&good, &good, None), 32);
        assert_eq!(cost(&good, &good, Some(ms(10))), 52);
        assert_eq!(cost(&half, &good, Some(ms(10))), 208);
        assert_eq!(cost(&half, &half, Some(ms(10))), 832);
        assert_eq!(cost(&half, &half, Some(ms(1000))), 1000);
        assert_eq!(cost(&dead, &good, None), 1000);
    }

    #[test]
    fn loss_is_found_within_a_seventh_idle_or_busy() {
        // The ETX must be within 15 %. A link carries one frame a second (idle) or a hundred (busy), and loses 40 % of
        // them.
        for (seconds, frames) in [(240, 1), (20, 100), (600, 1)] {
            let mut far = 0;
            for seed in 0..100 {
                let mut rng = ChaCha20Rng::from_seed([seed; 32]);
                let mut arrivals = DeliveryRatio::default();
                let (mut sent, mut arrived) = (0, 0);
                for _ in 0..seconds {
                    for _ in 0..frames {
                        sent += 1;
                        arrived += u64::from(rng.next_u32() % 10 >= 4);
                    }
                    arrivals.update(sent, arrived);
                }
                let etx = FULL_SHARE as f64 / arrivals.share() as f64;
                far += u32::from((etx - 1.0 / 0.6).abs() > 0.15 / 0.6);
            }
            assert!(
                far <= 4,
                "{far} of 100 runs of {seconds} s with {frames} frames/s were off by more than 15 %"
            );
        }
    }

    #[test]
    fn the_share_rises_within_twenty_updates_after_the_loss_has_ended() {
        let mut arrivals = DeliveryRatio::default();
        arrivals.update(5_000, 2_500);
        assert!(arrivals.share() < FULL_SHARE * 51 / 100);
        for second in 1..=20 {
            arrivals.update(5_000 + second * 1_000, 2_500 + second * 1_000);
        }
        assert!(arrivals.share() > FULL_SHARE * 95 / 100, "{}", arrivals.share());
    }

    #[test]
    fn impossible_counts_do_no_harm() {
        let mut arrivals = DeliveryRatio::default();
        arrivals.update(10, 20);
        assert_eq!(arrivals.share(), FULL_SHARE);
        arrivals.update(5, 5);
        arrivals.update(u64::MAX, u64::MAX);
        assert_eq!(arrivals.share(), FULL_SHARE);
        arrivals.update(u64::MAX, 0);
        assert!(cost(&arrivals, &arrivals, Some(Duration::MAX)) <= MAX_COST);
    }

    #[test]
    fn the_round_trip_is_smoothed_and_its_minimum_expires_after_a_minute() {
        let mut rtt = RttEstimator::default();
        rtt.sample(Time::ZERO, ms(80));
        assert_eq!((rtt.smoothed(), rtt.variation()), (Some(ms(80)), ms(40)));
        rtt.sample(Time::from_millis(1000), ms(40));
        assert_eq!((rtt.smoothed(), rtt.variation()), (Some(ms(75)), ms(40)));
        for second in 2..=100 {
            rtt.sample(Time::from_millis(second * 1000), ms(60));
            let smallest = if second < 60 { ms(40) } else { ms(60) };
            assert_eq!(rtt.smallest(), Some(smallest), "after {second} s");
        }
        rtt.sample(Time::from_millis(101_000), Duration::from_secs(4000));
        assert!(rtt.smoothed() < Some(ms(62)), "an impossible sample is ignored");
    }

    #[test]
    fn jitter_raises_the_smoothed_round_trip_but_not_the_minimum() {
        let mut rng = ChaCha20Rng::from_seed([4; 32]);
        let mut rtt = RttEstimator::default();
        for second in 0..50 {
            let jitter = u64::from(rng.next_u32() % 20);
            rtt.sample(Time::from_millis(second * 1000), ms(10 + jitter));
        }
        assert!(rtt.smallest() <= Some(ms(12)));
        assert!(rtt.smoothed() >= Some(ms(14)) && rtt.smoothed() <= Some(ms(26)));
        assert!(rtt.variation() >= ms(2));
    }
}
