//! How much may be on its way, and how fast it may leave: NewReno (RFC 9002 section 7) with pacing (7.7).

use std::time::Duration;

use crate::time::Time;

/// Packets that may leave before anything is known of the path (RFC 9002 section 7.2).
const INITIAL_PACKETS: u64 = 10;
/// The window never closes below so many packets (RFC 9002 section 7.2).
const MINIMUM_PACKETS: u64 = 2;
/// Timers are coarse: so much time's worth may leave at once.
const PACING_BURST: Duration = Duration::from_millis(2);

/// The congestion window and the pacer.
#[derive(Debug)]
pub(super) struct Congestion {
    /// Bytes of a full packet.
    max_packet: u64,
    window: u64,
    threshold: u64,
    /// Loss of what was sent before this moment has been answered already.
    recovery_start: Option<Time>,
    /// Bytes acknowledged since the window last grew, in congestion avoidance.
    acked: u64,
    is_initial: bool,
    /// Whether what is sent is limited by something other than the window.
    pub app_limited: bool,
    tokens: u64,
    refilled: Time,
}

impl Congestion {
    pub fn new() -> Self {
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

    /// Bytes of a full packet on the present route. A change keeps the window.
    pub fn set_packet(&mut self, bytes: usize) {
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
    pub fn window(&self) -> u64 {
        self.window
    }

    /// Whether a packet fits the window beside the bytes in flight.
    pub fn has_room(&self, in_flight: u64) -> bool {
        in_flight < self.window
    }

    /// Bytes sent at `sent` have arrived.
    pub fn on_ack(&mut self, sent: Time, bytes: u64) {
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

    /// A packet sent at `sent` is lost.
    pub fn on_loss(&mut self, now: Time, sent: Time) {
        if self.recovery_start.is_some_and(|start| sent <= start) {
            return;
        }
        self.is_initial = false;
        self.recovery_start = Some(now);
        self.threshold = (self.window / 2).max(self.minimum());
        self.window = self.threshold;
        self.acked = 0;
    }

    /// Nothing came through for so long that the path must be explored anew (RFC 9002 section 7.6).
    pub fn on_persistent_congestion(&mut self) {
        self.is_initial = false;
        self.recovery_start = None;
        self.window = self.minimum();
        self.acked = 0;
    }

    /// Whether the pacer lets a packet go now; else when. `srtt` is `None` before anything is known, and then
    /// nothing is paced.
    pub fn pace(&mut self, now: Time, srtt: Option<Duration>) -> Result<(), Time> {
        let Some(rate) = srtt.map(|srtt| self.rate(srtt)) else {
            (self.tokens, self.refilled) = (u64::MAX, now);
            return Ok(());
        };
        let burst = scaled(rate, PACING_BURST).max(self.max_packet.saturating_mul(INITIAL_PACKETS));
        let gained = scaled(rate, now.since(self.refilled));
        if gained > 0 {
            self.refilled = now;
        }
        self.tokens = self.tokens.saturating_add(gained).min(burst);
        if self.tokens >= self.max_packet {
            return Ok(());
        }
        // Waking for every packet costs more than it smooths: wait for half a burst.
        let missing = (burst / 2).max(self.max_packet).saturating_sub(self.tokens);
        let wait =
            u128::from(missing).saturating_mul(1_000_000_000).checked_div(u128::from(rate)).unwrap_or(0);
        Err(Time::from_nanos(
            now.as_nanos().saturating_add(u64::try_from(wait).unwrap_or(u64::MAX)).saturating_add(1),
        ))
    }

    pub fn on_sent(&mut self, bytes: u64) {
        self.tokens = self.tokens.saturating_sub(bytes);
    }

    /// Bytes per second: a quarter more than the window per round trip, in slow start twice the window.
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
