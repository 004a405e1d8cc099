//! Path MTU discovery by probes, as RFC 8899 describes it for datagram protocols.
//!
//! No ICMP message is used, because many paths drop those, and any host can forge them. A link begins with the base,
//! the length that nearly every path carries. Once it has carried some traffic and is asked to send frames of the
//! maximum length, it sends a padded probe of the next length. An answer makes that length the new maximum, and the
//! next one is tried. A length that loses its probe [`MAX_PROBES`] times is not tried again for [`RAISE_INTERVAL`].
//!
//! A path may drop long frames silently (a black hole, RFC 8899 section 4.3), from the start or after a change of
//! route. So while frames above the floor are sent, a probe of the current length follows every [`CONFIRM_INTERVAL`].
//! When [`CONFIRM_TRIES`] of those are lost although the neighbour is heard, the length falls: from above the base to
//! the base, from which it rises again after [`BLACK_HOLE_RETRY`], doubling each time; from the base to the floor, from
//! which it rises again at once until a length is lost. A frame that the medium refuses has the same effect. An idle
//! link sends no probe.

use std::time::Duration;

use super::keys::Sealer;
use crate::time::Time;
use crate::wire::link::{KIND_MTU_PROBE, MtuAnswer};

/// The lengths that are tried besides the base and the maximum of both netmods, in bytes. Steps below the base are
/// about a fifth apart, so that a narrow path is used well after few probes; 950 fits a packet of 1000 bytes with the
/// headers of IPv6 and UDP. Above the base, 1400 is left of an Ethernet frame by most tunnels, and 1452 by IPv6 and UDP
/// (1500 less 40 and 8).
pub(super) const STEPS: [usize; 6] = [640, 768, 950, 1080, 1400, 1452];
/// The number of frames that are sent before a longer length is tried, because the lost probes of a new link would
/// raise its measured loss, and with it the cost.
pub(super) const WARM_UP_FRAMES: u64 = 256;
/// The number of probes that must be lost before a length counts as too long (MAX_PROBES of RFC 8899, section 5.1.2).
/// Twice as many are sent over a lossy link, since there a probe is lost by chance more often.
pub(super) const MAX_PROBES: u32 = 3;
/// The number of probes of the current length that must be lost before it counts as a black hole. It is one more than
/// [`MAX_PROBES`], because the link may have become lossy since the last measurement, and a wrong fall costs
/// throughput.
pub(super) const CONFIRM_TRIES: u32 = 4;
/// The minimum time for an answer to a probe of a longer length.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_millis(200);
/// The minimum time for an answer to a probe of the current length. It is shorter, since every frame of the current
/// length may be lost meanwhile; and those losses make the link look lossy, so that twice as many probes are needed.
pub(super) const CONFIRM_TIMEOUT: Duration = Duration::from_millis(100);
/// The time for an answer while no round trip was measured.
pub(super) const FIRST_PROBE_TIMEOUT: Duration = Duration::from_millis(250);
/// The interval between confirmations of the current length, while frames above the floor are sent.
pub(super) const CONFIRM_INTERVAL: Duration = Duration::from_secs(1);
/// The time after which a length that was lost is tried again (PMTU_RAISE_TIMER of RFC 8899, section 5.1.1).
pub(super) const RAISE_INTERVAL: Duration = Duration::from_secs(600);
/// The time after which longer frames are tried again after a black hole. It doubles up to [`RAISE_INTERVAL`], so that
/// a path that keeps dropping long frames loses ever fewer of them.
pub(super) const BLACK_HOLE_RETRY: Duration = Duration::from_secs(60);

/// The state of path MTU discovery for one link. See the [module documentation](self).
///
/// All lengths are those of whole frames, in bytes.
#[derive(Debug)]
pub(super) struct PathMtu {
    /// The length that the path carries with certainty.
    floor: usize,
    /// The length that the path is assumed to carry at first.
    base: usize,
    /// The maximum that both ends accept.
    max: usize,
    /// The maximum length of frames at present.
    current: usize,
    /// The number of frames sent, counted up to [`WARM_UP_FRAMES`].
    carried: u64,
    /// Whether frames near the current maximum were sent since a longer length was last tried.
    wants_longer: bool,
    /// Whether frames above the floor were sent since the last confirmation.
    wants_confirmation: bool,
    /// The probe that waits for its answer.
    probe: Option<LengthProbe>,
    /// The number of the last probe, by which late answers to former ones are recognized.
    next_id: u32,
    /// The earliest time to try a longer length.
    try_at: Time,
    /// The earliest time to confirm the current length.
    confirm_at: Time,
    /// The time of the last answer to a probe of the current length.
    confirmed: Option<Time>,
    /// The time to the next try after a black hole.
    retry_delay: Duration,
    /// The time of the last black hole.
    black_hole_at: Option<Time>,
}

/// A probe that waits for its answer.
#[derive(Debug)]
struct LengthProbe {
    id: u32,
    length: usize,
    sent: u32,
    first: Time,
    next: Time,
}

impl PathMtu {
    /// Begins at `base`. Every path carries `floor`; both ends accept `max`.
    pub(super) fn new(floor: usize, base: usize, max: usize) -> Self {
        PathMtu {
            floor: floor.min(base),
            base,
            max,
            current: base,
            carried: 0,
            wants_longer: false,
            wants_confirmation: false,
            probe: None,
            next_id: 0,
            try_at: Time::ZERO,
            confirm_at: Time::ZERO,
            confirmed: None,
            retry_delay: BLACK_HOLE_RETRY,
            black_hole_at: None,
        }
    }

    /// The maximum length of a frame at present.
    pub(super) fn current(&self) -> usize {
        self.current
    }

    /// The length that gets through with certainty: the current one if it was just confirmed, otherwise the floor.
    pub(super) fn confirmed_length(&self, now: Time) -> usize {
        let fresh = self.confirmed.is_some_and(|at| now.since(at) < CONFIRM_INTERVAL);
        if fresh { self.current } else { self.floor }
    }

    /// Requests a confirmation of the current length, because a long frame waits that must not be lost.
    pub(super) fn request_confirmation(&mut self, now: Time) {
        self.wants_confirmation = true;
        self.start_due_probe(now);
    }

    /// Records that frames were sent, the longest of them `longest` bytes long.
    pub(super) fn on_sent(&mut self, now: Time, frames: u32, longest: usize) {
        self.carried = self.carried.saturating_add(u64::from(frames)).min(WARM_UP_FRAMES);
        self.wants_longer |= longest.saturating_mul(8) >= self.current.saturating_mul(7);
        self.wants_confirmation |= longest > self.floor;
        self.start_due_probe(now);
    }

    /// Starts the probe that is due. There is one at a time, so that each loss has one meaning.
    fn start_due_probe(&mut self, now: Time) {
        if self.probe.is_some() {
            return;
        }
        if self.wants_confirmation && self.current > self.floor && self.confirm_at <= now {
            self.wants_confirmation = false;
            self.begin(now, self.current);
        } else if self.wants_longer
            && (self.carried >= WARM_UP_FRAMES || self.is_narrow())
            && self.try_at <= now
        {
            self.try_next(now);
        }
    }

    /// Whether the path carries less than the base.
    fn is_narrow(&self) -> bool {
        self.current < self.base
    }

    /// Starts a probe of the next length, if there is one.
    fn try_next(&mut self, now: Time) {
        self.wants_longer = false;
        if let Some(next) = self.next() {
            self.begin(now, next);
        }
    }

    /// The next longer length to try.
    fn next(&self) -> Option<usize> {
        let steps = STEPS.into_iter().chain([self.base, self.max]);
        steps.filter(|step| *step > self.current && *step <= self.max).min()
    }

    fn begin(&mut self, now: Time, length: usize) {
        self.next_id = self.next_id.wrapping_add(1);
        self.probe = Some(LengthProbe { id: self.next_id, length, sent: 0, first: now, next: now });
    }

    /// The time at which [`PathMtu::poll`] is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.probe.as_ref().map(|probe| probe.next)
    }

    /// Handles the timer of the probe. Returns the plaintext of a probe to be sent; [`PathMtu::current`] may have
    /// changed. `heard` is the time of the last frame of the neighbour, and `lossy` is true for a link that loses
    /// frames of any length.
    pub(super) fn poll(
        &mut self,
        now: Time,
        rtt: Option<Duration>,
        heard: Time,
        lossy: bool,
    ) -> Option<Vec<u8>> {
        let probe = self.probe.as_mut().filter(|probe| probe.next <= now)?;
        let tries = match lossy {
            true => MAX_PROBES.saturating_mul(2),
            false if probe.length > self.current => MAX_PROBES,
            false => CONFIRM_TRIES,
        };
        if probe.sent >= tries {
            let (length, first) = (probe.length, probe.first);
            self.probe = None;
            self.on_probe_lost(now, length, heard > first);
            return None;
        }
        probe.sent = probe.sent.saturating_add(1);
        let least = if probe.length > self.current { PROBE_TIMEOUT } else { CONFIRM_TIMEOUT };
        probe.next = now + rtt.map_or(FIRST_PROBE_TIMEOUT, |rtt| least.max(rtt.saturating_mul(3)));
        let mut content = Vec::with_capacity(probe.length);
        content.push(KIND_MTU_PROBE);
        content.extend_from_slice(&probe.id.to_le_bytes());
        content.resize(probe.length.saturating_sub(Sealer::OVERHEAD), 0);
        Some(content)
    }

    /// Whether a probe of the current length is unanswered. Then a short frame of the neighbour must decide whether the
    /// path drops long frames only, or everything.
    pub(super) fn is_confirmation_unanswered(&self) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.length <= self.current && probe.sent > 1)
    }

    /// Handles the loss of all probes of one length. `alive` is true when the neighbour was heard meanwhile.
    fn on_probe_lost(&mut self, now: Time, length: usize, alive: bool) {
        if length > self.current {
            self.postpone_raise(now);
        } else if alive {
            self.on_black_hole(now);
        } else {
            // Nothing arrives at all, which is the concern of the liveness and no evidence about the length.
            self.wants_confirmation = true;
            self.confirm_at = now + CONFIRM_INTERVAL;
        }
    }

    /// Lowers the current length, because frames of that length are dropped.
    fn on_black_hole(&mut self, now: Time) {
        if self.black_hole_at.is_none_or(|fell| now.since(fell) > RAISE_INTERVAL.saturating_mul(2)) {
            self.retry_delay = BLACK_HOLE_RETRY;
        }
        self.black_hole_at = Some(now);
        self.confirmed = None;
        self.confirm_at = now;
        if self.current > self.base {
            self.current = self.base;
            self.try_at = now + self.next_retry_delay();
        } else {
            self.current = self.floor;
            self.try_next(now);
        }
    }

    /// Postpones the next length, which does not get through.
    fn postpone_raise(&mut self, now: Time) {
        self.try_at = now + if self.is_narrow() { self.next_retry_delay() } else { RAISE_INTERVAL };
    }

    /// Returns the delay of the next try and doubles it, so that a lasting black hole causes few losses.
    fn next_retry_delay(&mut self) -> Duration {
        let wait = self.retry_delay;
        self.retry_delay = wait.saturating_mul(2).min(RAISE_INTERVAL);
        wait
    }

    /// Takes the answer to a probe. One with another number or length is ignored, since it is late or forged.
    pub(super) fn on_answer(&mut self, now: Time, answer: MtuAnswer) {
        let of = |probe: &&LengthProbe| probe.id == answer.id && probe.length == usize::from(answer.length);
        let Some(probe) = self.probe.as_ref().filter(of) else { return };
        let length = probe.length;
        self.probe = None;
        self.confirm_at = now + CONFIRM_INTERVAL;
        self.confirmed = Some(now);
        if length > self.current {
            self.current = length;
            if self.is_narrow() || self.carried >= WARM_UP_FRAMES {
                self.try_next(now);
            }
        }
    }

    /// The medium has refused a frame of `length` bytes as too long.
    pub(super) fn on_refused(&mut self, now: Time, length: usize) {
        let of_probe = self.probe.take_if(|probe| probe.length >= length);
        if length > self.current {
            // It was a probe; or a packet that was queued before the length fell, which is no new evidence.
            if of_probe.is_some() {
                self.postpone_raise(now);
            }
        } else if self.current > self.floor {
            self.probe = None;
            self.on_black_hole(now);
        }
    }

    /// Begins again at the base, because the link uses another path from now on.
    pub(super) fn restart(&mut self, now: Time) {
        *self = PathMtu {
            next_id: self.next_id,
            carried: self.carried,
            try_at: now,
            ..Self::new(self.floor, self.base, self.max)
        };
    }
}
