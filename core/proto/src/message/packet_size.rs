//! The packet size of a route, which is reduced while larger packets seem to vanish (RFC 8899).

use std::time::Duration;

use crate::time::Time;
use crate::wire::session::SEAL;

/// The packet sizes tried when larger packets seem to vanish, in bytes and without the seal: what nearly every route
/// carries, and what each link carries for certain (its frames of 512 bytes, less 66 bytes of headers).
pub(super) const SMALLER_PACKETS: [usize; 2] = [1200 - SEAL, 446 - SEAL];
/// The number of consecutive probe timeouts after which larger packets are suspected to vanish (RFC 8899, section 4.3).
pub(super) const BLACK_HOLE: u32 = 2;
/// The first pause before a larger packet is tried again. It doubles each time, since each attempt may be lost.
pub(super) const FIRST_RAISE: Duration = Duration::from_millis(250);
/// The longest pause before a larger packet is tried again (RFC 8899, section 5.1.1).
pub(super) const LAST_RAISE: Duration = Duration::from_secs(600);

/// The packet size that the route was last reported to carry, and the smaller one in use if larger packets vanish.
#[derive(Debug, Default)]
pub(super) struct PacketSize {
    offered: usize,
    reduced: Option<ReducedPacketSize>,
}

/// The packet size in use while packets longer than `most` bytes seem to vanish.
#[derive(Clone, Copy, Debug)]
struct ReducedPacketSize {
    most: usize,
    /// The time at which a longer packet is tried again, and the pause after that attempt.
    raise_at: Time,
    pause: Duration,
}

impl PacketSize {
    /// The length of the next packet: `offered`, unless longer packets seem to vanish on this route. Then every second
    /// probe is long, so that a mere outage does not limit the packet size for long.
    pub(super) fn next(&mut self, now: Time, offered: usize, probes: u8) -> usize {
        if offered != self.offered {
            self.reduced = None;
        }
        self.offered = offered;
        match self.reduced {
            Some(reduced) if probes != 1 && now < reduced.raise_at => offered.min(reduced.most),
            _ => offered,
        }
    }

    /// A packet of this length was sent. If it was longer than the reduced size, the next attempt is due after a longer
    /// pause.
    pub(super) fn on_sent(&mut self, now: Time, bytes: usize) {
        if let Some(reduced) = self.reduced.as_mut().filter(|reduced| bytes > reduced.most) {
            reduced.raise_at = now + reduced.pause;
            reduced.pause = reduced.pause.saturating_mul(2).min(LAST_RAISE);
        }
    }

    /// A packet of this length has arrived, so longer ones than the reduced size do not vanish.
    pub(super) fn on_arrival(&mut self, bytes: usize) {
        if self.reduced.is_some_and(|reduced| bytes > reduced.most) {
            self.reduced = None;
        }
    }

    /// Reduces the packet size, since packets of the present size seem to vanish.
    pub(super) fn reduce(&mut self, now: Time) {
        let present = self.reduced.map_or(self.offered, |reduced| reduced.most.min(self.offered));
        if let Some(most) = SMALLER_PACKETS.into_iter().find(|most| *most < present) {
            self.reduced = Some(ReducedPacketSize { most, raise_at: now + FIRST_RAISE, pause: FIRST_RAISE });
        }
    }
}
