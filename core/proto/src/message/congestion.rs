//! Congestion control: NewReno (RFC 9002, section 7) with pacing (section 7.7).

use std::time::Duration;

use crate::time::Time;

/// The initial window in packets (RFC 9002, section 7.2).
const INITIAL_PACKETS: u64 = 10;
/// The minimum window in packets (RFC 9002, section 7.2).
const MINIMUM_PACKETS: u64 = 2;
/// The time of sending that may be sent at once, since timers are too coarse to send each packet at its own time.
const PACING_BURST: Duration = Duration::from_millis(2);

/// The congestion window and the pacer.
#[derive(Debug)]
pub(super) struct Congestion {
    /// The size of a full packet, in bytes.
    max_packet: u64,
    window: u64,
    /// The window below which it doubles in a round trip: slow start (RFC 9002, section 7.3.1).
    threshold: u64,
    /// The start of the last recovery period. Losses of packets sent before it belong to the same congestion event, so
    /// they reduce the window only once.
    recovery_start: Option<Time>,
    /// The bytes acknowledged since the window last grew, in congestion avoidance.
    acked: u64,
    /// Whether the window is still the initial one, which therefore follows the size of a packet.
    is_initial: bool,
    /// Whether sending is limited by the application and not by the window. An unused window must not grow, since it
    /// was not tested (RFC 9002, section 7.8).
    pub app_limited: bool,
    /// The bytes that the pacer permits now, and the time up to which it has added to them.
    tokens: u64,
    refilled: Time,
}

impl Congestion {
    pub(super) fn new() -> Self {
        Congestion {
            max_packet: 0,
            window: 0,
            threshold: u64::MAX,
            recovery_start: None,
            acked: 0,
            is_initial: true,
            app_limited: true,
            tokens: u64::MAX,
            refilled: Time::ZERO,
        }
    }

    /// Sets the size of a full packet on the present route. The window stays, unless it is still the initial one.
    pub(super) fn set_packet(&mut self, bytes: usize) {
        let max_packet = u64::try_from(bytes).unwrap_or(u64::MAX).clamp(1, 1 << 16);
        if max_packet == self.max_packet {
            return;
        }
        self.max_packet = max_packet;
        self.window = match self.is_initial {
            true => max_packet.saturating_mul(INITIAL_PACKETS),
            false => self.window.max(self.minimum()),
        };
    }

    #[cfg(test)]
    pub(super) fn window(&self) -> u64 {
        self.window
    }

    /// Whether a packet fits the window beside the bytes in flight.
    pub(super) fn has_room(&self, in_flight: u64) -> bool {
        in_flight < self.window
    }

    /// Bytes that were sent at `sent` are acknowledged.
    pub(super) fn on_ack(&mut self, sent: Time, bytes: u64) {
        // An ack of a packet from before the recovery period shows nothing about the reduced window, so it does not
        // grow.
        if self.app_limited || self.recovery_start.is_some_and(|start| sent <= start) {
            return;
        }
        self.is_initial = false;
        if self.window < self.threshold {
            self.window = self.window.saturating_add(bytes);
            return;
        }
        self.acked = self.acked.saturating_add(bytes);
        if self.acked >= self.window {
            self.acked = self.acked.saturating_sub(self.window);
            self.window = self.window.saturating_add(self.max_packet);
        }
    }

    /// A packet sent at `sent` is lost; returns whether it is the first that is lost of its round trip.
    pub(super) fn on_loss(&mut self, now: Time, sent: Time) -> bool {
        if self.recovery_start.is_some_and(|start| sent <= start) {
            return false;
        }
        self.is_initial = false;
        self.recovery_start = Some(now);
        self.threshold = (self.window / 2).max(self.minimum());
        self.window = self.threshold;
        self.acked = 0;
        true
    }

    /// No packet arrived for so long that the capacity of the path must be probed again (RFC 9002, section 7.6).
    pub(super) fn on_persistent_congestion(&mut self) {
        self.is_initial = false;
        self.recovery_start = None;
        self.window = self.minimum();
        self.acked = 0;
    }

    /// Whether the pacer permits a packet now; the error is the time at which it will. `srtt` is `None` before the
    /// first sample, and then nothing is paced, because the rate is unknown.
    pub(super) fn pace(&mut self, now: Time, srtt: Option<Duration>) -> Result<(), Time> {
        let Some(srtt) = srtt else {
            (self.tokens, self.refilled) = (u64::MAX, Time::ZERO);
            return Ok(());
        };
        // Most packets leave in a burst, at the time of the one before, and nothing is gained between them.
        if now == self.refilled && self.tokens >= self.max_packet {
            return Ok(());
        }
        let rate = self.rate(srtt);
        // A burst is at least the initial window, so that short messages are never paced.
        let burst = scaled(rate, PACING_BURST).max(self.max_packet.saturating_mul(INITIAL_PACKETS));
        let gained = scaled(rate, now.since(self.refilled));
        if gained > 0 {
            self.refilled = now;
        }
        self.tokens = self.tokens.saturating_add(gained).min(burst);
        if self.tokens >= self.max_packet {
            return Ok(());
        }
        // A timer for every packet would cost more than it smooths, so wait for half a burst.
        let missing = (burst / 2).max(self.max_packet).saturating_sub(self.tokens);
        let wait =
            u128::from(missing).saturating_mul(1_000_000_000).checked_div(u128::from(rate)).unwrap_or(0);
        Err(Time::from_nanos(
            now.as_nanos().saturating_add(u64::try_from(wait).unwrap_or(u64::MAX)).saturating_add(1),
        ))
    }

    pub(super) fn on_sent(&mut self, bytes: u64) {
        self.tokens = self.tokens.saturating_sub(bytes);
    }

    /// The pacing rate in bytes per second: a quarter more than a window per round trip, so that pacing does not limit
    /// the window, and twice the window in slow start.
    fn rate(&self, srtt: Duration) -> u64 {
        let nanos = srtt.as_nanos().max(1_000);
        let gain = if self.window < self.threshold { 200 } else { 125 };
        let rate = u128::from(self.window).saturating_mul(10_000_000).saturating_mul(gain).checked_div(nanos);
        let rate = rate.unwrap_or(u128::MAX);
        u64::try_from(rate).unwrap_or(u64::MAX).max(1)
    }

    fn minimum(&self) -> u64 {
        self.max_packet.saturating_mul(MINIMUM_PACKETS)
    }
}

/// Bytes at `rate` bytes per second over `time`.
fn scaled(rate: u64, time: Duration) -> u64 {
    let bytes = u128::from(rate).saturating_mul(time.as_nanos()) / 1_000_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn congestion() -> Congestion {
        let mut congestion = Congestion::new();
        congestion.set_packet(1000);
        congestion.app_limited = false;
        congestion
    }

    #[test]
    fn slow_start_doubles_and_avoidance_adds_one_packet_per_window() {
        let mut congestion = congestion();
        assert_eq!(congestion.window(), 10_000);
        congestion.on_ack(Time::from_millis(1), 10_000);
        assert_eq!(congestion.window(), 20_000);
        congestion.on_loss(Time::from_millis(5), Time::from_millis(2));
        assert_eq!(congestion.window(), 10_000);
        congestion.on_loss(Time::from_millis(6), Time::from_millis(3));
        assert_eq!(congestion.window(), 10_000, "one answer per round trip");
        congestion.on_ack(Time::from_millis(4), 10_000);
        assert_eq!(congestion.window(), 10_000, "sent before the loss was known");
        congestion.on_ack(Time::from_millis(6), 10_000);
        assert_eq!(congestion.window(), 11_000);
        congestion.on_persistent_congestion();
        assert_eq!(congestion.window(), 2_000);
    }

    #[test]
    fn a_window_that_was_not_used_does_not_grow() {
        let mut congestion = congestion();
        congestion.app_limited = true;
        congestion.on_ack(Time::from_millis(1), 10_000);
        assert_eq!(congestion.window(), 10_000);
    }

    #[test]
    fn the_pacer_spreads_a_window_over_the_round_trip() {
        let mut congestion = congestion();
        congestion.on_ack(Time::from_millis(1), 90_000);
        let rtt = Some(Duration::from_millis(100));
        let (mut now, mut sent, mut waits) = (Time::ZERO, 0, 0);
        congestion.tokens = 0;
        while now < Time::from_millis(100) {
            match congestion.pace(now, rtt) {
                Ok(()) => {
                    congestion.on_sent(1000);
                    sent += 1;
                }
                Err(until) => {
                    assert!(until > now);
                    now = until;
                    waits += 1;
                }
            }
        }
        assert!((190..=210).contains(&sent), "twice the window in slow start: {sent}");
        assert!(waits > 20, "and not in one burst: {waits}");
    }
}
