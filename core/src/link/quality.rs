//! How good a link is: its round trip, how much it loses each way, and what the routes make of it.
//!
//! All in integers, so that two machines with the same inputs come to the same cost.

use std::time::Duration;

use crate::time::Time;

/// The least and the most that a link costs, in the unit of the routing metric: a perfect cable costs 32.
pub(crate) const MIN_COST: u16 = 32;
/// See [`MIN_COST`].
pub(crate) const MAX_COST: u16 = 1000;
/// This much of round trip adds one to the cost of a link without loss, in microseconds.
pub(super) const US_PER_COST: u64 = 500;

/// The smallest round trip is that of the last two spans of this length.
pub(super) const MIN_RTT_SPAN: Duration = Duration::from_secs(30);
/// A round trip longer than this is a mistake, or a lie.
pub(super) const MAX_RTT: Duration = Duration::from_secs(60);

/// Round-trip times: smoothed as in RFC 6298, section 2, and the smallest of the last while.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RttEstimator {
    /// In nanoseconds, as are all below.
    smoothed: Option<u64>,
    variation: u64,
    smallest: Option<u64>,
    smallest_before: Option<u64>,
    span: Time,
}

impl RttEstimator {
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

    pub(super) fn smoothed(&self) -> Option<Duration> {
        self.smoothed.map(Duration::from_nanos)
    }

    pub(super) fn variation(&self) -> Duration {
        Duration::from_nanos(self.variation)
    }

    pub(super) fn smallest(&self) -> Option<Duration> {
        self.smallest.into_iter().chain(self.smallest_before).min().map(Duration::from_nanos)
    }
}

/// Frames counted in 256ths, so that ageing them rounds nothing away.
pub(super) const SCALE: u64 = 256;
/// The memory of a link that carries little, in frames.
pub(super) const MEMORY_FRAMES: u64 = 256 * SCALE;
/// A new link is given this many good frames in advance, so that one lost frame does not condemn it.
pub(super) const INITIAL_CREDIT: u64 = 4 * SCALE;
/// All frames arrive.
pub(super) const FULL_SHARE: u64 = 1 << 16;

/// The share of frames that arrive in one direction.
///
/// It remembers at least the last 256 frames; of a link with traffic, about the last eight hellos' worth.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeliveryRatio {
    expected: u64,
    received: u64,
    /// What was counted so far, as cumulative numbers.
    last: (u64, u64),
}

impl Default for DeliveryRatio {
    fn default() -> Self {
        DeliveryRatio { expected: INITIAL_CREDIT, received: INITIAL_CREDIT, last: (0, 0) }
    }
}

impl DeliveryRatio {
    /// So far `expected` frames were sent and `received` came. Numbers that go back are passed over.
    pub(super) fn update(&mut self, expected: u64, received: u64) {
        let (Some(sent), Some(came)) = (expected.checked_sub(self.last.0), received.checked_sub(self.last.1))
        else {
            return;
        };
        if sent == 0 {
            return;
        }
        self.last = (expected, received);
        // Late frames of the time before may make it more than were sent since.
        let came = came.min(sent);
        let aged = |count: u64| (count / 8).saturating_mul(7);
        if aged(self.expected) >= MEMORY_FRAMES {
            self.expected = aged(self.expected);
            self.received = aged(self.received);
        }
        self.expected = self.expected.saturating_add(sent.saturating_mul(SCALE));
        self.received = self.received.saturating_add(came.saturating_mul(SCALE));
    }

    /// What was sent up to now is not counted: it went where nothing gets through.
    pub(super) fn skip_to(&mut self, expected: u64, received: u64) {
        if expected >= self.last.0 && received >= self.last.1 {
            self.last = (expected, received);
        }
    }

    /// The frames to come take another way.
    pub(super) fn restart(&mut self) {
        *self = DeliveryRatio { last: self.last, ..DeliveryRatio::default() };
    }

    /// The share that arrives, in 65536ths.
    pub(super) fn share(&self) -> u64 {
        let received = u128::from(self.received.min(self.expected));
        let share = received.saturating_mul(u128::from(FULL_SHARE)).checked_div(u128::from(self.expected));
        share.and_then(|share| u64::try_from(share).ok()).unwrap_or(FULL_SHARE)
    }

    /// Whether it rests on few frames yet.
    pub(super) fn has_few_samples(&self) -> bool {
        self.expected < MEMORY_FRAMES
    }
}

/// The cost of a link: 32 and two for each millisecond of the smallest round trip, times the square of the expected number of
/// transmissions (ETX, De Couto et al. 2003: one over the product of both directions' shares). The square, because nothing
/// repeats a packet here but its sender, from one end to the other, who takes a loss for congestion besides: what a link
/// loses costs more than sending it twice. So 40 % of loss one way costs 2.8 times as much, and a way that costs twice
/// as much as the link did is taken instead.
pub(super) fn cost(out: &DeliveryRatio, inward: &DeliveryRatio, rtt: Option<Duration>) -> u16 {
    cost_of(out.share(), inward.share(), rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)))
}

/// The same of the shares in [65536ths](FULL_SHARE) and the round trip in microseconds.
pub(crate) fn cost_of(out: u64, inward: u64, rtt_us: Option<u64>) -> u16 {
    let base =
        u128::from(u64::from(MIN_COST).saturating_mul(US_PER_COST).saturating_add(rtt_us.unwrap_or(0)));
    // In 2¹⁶ths. At most 2⁴⁰ or so, since beyond 1000 times 2⁸ the cost is the highest anyhow.
    let whole = u128::from(FULL_SHARE).saturating_mul(u128::from(FULL_SHARE)) << 16;
    let etx =
        whole.checked_div(u128::from(out).saturating_mul(inward.into())).unwrap_or(u128::MAX).min(1 << 40);
    let cost = (base.saturating_mul(etx.saturating_mul(etx)) >> 32).checked_div(u128::from(US_PER_COST));
    let cost = cost.and_then(|cost| u16::try_from(cost).ok()).unwrap_or(MAX_COST);
    cost.clamp(MIN_COST, MAX_COST)
}

/// The share of frames that do not survive the way there and back, 0 to 1.
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
    fn the_cost_is_that_of_the_formula() {
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
        // The bar is 15 % of the ETX. Per second of one frame (idle) or a hundred (busy), 40 % lost.
        for (seconds, frames) in [(240, 1), (20, 100), (600, 1)] {
            let mut far = 0;
            for seed in 0..100 {
                let mut rng = ChaCha20Rng::from_seed([seed; 32]);
                let mut arrivals = DeliveryRatio::default();
                let (mut sent, mut came) = (0, 0);
                for _ in 0..seconds {
                    for _ in 0..frames {
                        sent += 1;
                        came += u64::from(rng.next_u32() % 10 >= 4);
                    }
                    arrivals.update(sent, came);
                }
                let etx = FULL_SHARE as f64 / arrivals.share() as f64;
                far += u32::from((etx - 1.0 / 0.6).abs() > 0.15 / 0.6);
            }
            assert!(far <= 4, "{far} of 100 runs of {seconds} s with {frames} frames/s were further off");
        }
    }

    #[test]
    fn a_link_that_got_better_is_soon_seen_to_be() {
        let mut arrivals = DeliveryRatio::default();
        arrivals.update(5_000, 2_500);
        assert!(arrivals.share() < FULL_SHARE * 51 / 100);
        for second in 1..=20 {
            arrivals.update(5_000 + second * 1_000, 2_500 + second * 1_000);
        }
        assert!(arrivals.share() > FULL_SHARE * 95 / 100, "{}", arrivals.share());
    }

    #[test]
    fn numbers_that_make_no_sense_do_no_harm() {
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
    fn the_round_trip_is_smoothed_and_its_least_forgotten_after_a_minute() {
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
        assert!(rtt.smoothed() < Some(ms(62)), "an absurd sample is passed over");
    }

    #[test]
    fn jitter_raises_the_smoothed_round_trip_but_not_the_least() {
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
