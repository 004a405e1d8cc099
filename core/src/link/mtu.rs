//! How long a frame the way to the neighbour takes, found out by trying.
//!
//! A link begins with the base, the length that nearly every way takes. Once it has carried some traffic and is asked to send frames as long as
//! it may, a padded probe of the next length goes out; answered, it is the new limit, and the next one is tried. Lost
//! [`MAX_PROBES`] times, it is left alone for [`RAISE_INTERVAL`].
//!
//! A way may swallow long frames without a word, from the start or after it has changed. So while frames above the floor,
//! which every way takes for certain, go out, a probe of the present length follows every [`CONFIRM_INTERVAL`]. When [`CONFIRM_TRIES`] of those
//! stay unanswered while the neighbour is heard, the link falls: from above the base to the base, where it tries again after
//! [`BLACK_HOLE_RETRY`], twice as long each time; from the base to the floor, where it feels its way up again at once, until a length
//! does not get through. A frame that the medium refuses has the same effect. An idle link probes nothing.

use std::time::Duration;

use super::keys::Sealer;
use crate::time::Time;
use crate::wire::link::{KIND_MTU_PROBE, MtuAnswer};

/// What is tried besides the base and the longest that both netmods take, in bytes: below the base to find a narrow place within
/// a fifth; 950 fits a packet of 1000 bytes; above it what most tunnels leave of an Ethernet frame, and all that IPv6 leaves of
/// one (1500 less 40 and 8).
pub(super) const STEPS: [usize; 6] = [640, 768, 950, 1080, 1400, 1452];
/// Nothing is tried before so many frames have gone out, so that the probes lost do not make the link look lossy.
pub(super) const WARM_UP_FRAMES: u64 = 256;
/// How often a probe is sent before it counts as swallowed; twice as often where frames are known to get lost.
pub(super) const MAX_PROBES: u32 = 3;
/// The same for a probe of the present length, where frames are not known to get lost, though they may by now.
pub(super) const CONFIRM_TRIES: u32 = 4;
/// The least time that an answer is waited for.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_millis(200);
/// The same where the present length is in doubt: a way that swallows frames makes the link look lossy, and twice as many are tried.
pub(super) const CONFIRM_TIMEOUT: Duration = Duration::from_millis(100);
/// The same while no round trip was measured.
pub(super) const FIRST_PROBE_TIMEOUT: Duration = Duration::from_millis(250);
/// How often the present length is confirmed while long frames are sent.
pub(super) const CONFIRM_INTERVAL: Duration = Duration::from_secs(1);
/// When a length that did not get through is tried again.
pub(super) const RAISE_INTERVAL: Duration = Duration::from_secs(600);
/// The same after long frames were swallowed; it doubles up to [`RAISE_INTERVAL`].
pub(super) const BLACK_HOLE_RETRY: Duration = Duration::from_secs(60);

/// See the [module's page](self).
#[derive(Debug)]
pub(super) struct PathMtu {
    floor: usize,
    base: usize,
    max: usize,
    current: usize,
    /// Frames sent, up to [`WARM_UP_FRAMES`].
    carried: u64,
    /// Whether frames near the present limit were sent since the last try, and frames above the floor since the last confirmation.
    wants_longer: bool,
    wants_confirmation: bool,
    probe: Option<LengthProbe>,
    next_id: u32,
    /// Before this nothing longer is tried.
    try_at: Time,
    confirm_at: Time,
    /// When the present length was last seen to get through.
    confirmed: Option<Time>,
    retry_delay: Duration,
    /// When long frames were swallowed last.
    black_hole_at: Option<Time>,
}

#[derive(Debug)]
struct LengthProbe {
    id: u32,
    length: usize,
    sent: u32,
    first: Time,
    next: Time,
}

impl PathMtu {
    /// `floor` is what every way takes for certain, `base` what is believed to begin with, `most` what both ends take, in bytes.
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

    /// The longest frame that may be sent now, in bytes.
    pub(super) fn current(&self) -> usize {
        self.current
    }

    /// The longest frame that gets through for certain, in bytes: the present length, if that was confirmed a moment ago.
    pub(super) fn confirmed_length(&self, now: Time) -> usize {
        let fresh = self.confirmed.is_some_and(|at| now.since(at) < CONFIRM_INTERVAL);
        if fresh { self.current } else { self.floor }
    }

    /// A long frame waits that must not get lost: the present length is to be confirmed.
    pub(super) fn request_confirmation(&mut self, now: Time) {
        self.wants_confirmation = true;
        self.start_due_probe(now);
    }

    /// Frames have gone out, the longest of them `longest` bytes long.
    pub(super) fn on_sent(&mut self, now: Time, frames: u32, longest: usize) {
        self.carried = self.carried.saturating_add(u64::from(frames)).min(WARM_UP_FRAMES);
        self.wants_longer |= longest.saturating_mul(8) >= self.current.saturating_mul(7);
        self.wants_confirmation |= longest > self.floor;
        self.start_due_probe(now);
    }

    /// Begins the probe that is due, if there is one.
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

    /// Whether the way takes less than was believed to begin with.
    fn is_narrow(&self) -> bool {
        self.current < self.base
    }

    fn try_next(&mut self, now: Time) {
        self.wants_longer = false;
        if let Some(next) = self.next() {
            self.begin(now, next);
        }
    }

    /// The next length to try.
    fn next(&self) -> Option<usize> {
        let steps = STEPS.into_iter().chain([self.base, self.max]);
        steps.filter(|step| *step > self.current && *step <= self.max).min()
    }

    fn begin(&mut self, now: Time, length: usize) {
        self.next_id = self.next_id.wrapping_add(1);
        self.probe = Some(LengthProbe { id: self.next_id, length, sent: 0, first: now, next: now });
    }

    /// When [`PathMtu::poll`] is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.probe.as_ref().map(|probe| probe.next)
    }

    /// Time has passed. Returns a probe to be sent; [`PathMtu::present`] may have changed. `heard` is when the neighbour was
    /// heard last, `lossy` says that frames are known to get lost.
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

    /// Whether the present length is in doubt: then it matters whether anything else gets through.
    pub(super) fn is_confirmation_unanswered(&self) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.length <= self.current && probe.sent > 1)
    }

    /// A probe of this length has stayed unanswered. `alive`: although the neighbour was heard meanwhile.
    fn on_probe_lost(&mut self, now: Time, length: usize, alive: bool) {
        if length > self.current {
            self.postpone_raise(now);
        } else if alive {
            self.on_black_hole(now);
        } else {
            // Nothing gets through at all: that is for others to judge.
            self.wants_confirmation = true;
            self.confirm_at = now + CONFIRM_INTERVAL;
        }
    }

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

    /// The next length does not get through: it is left alone for a while.
    fn postpone_raise(&mut self, now: Time) {
        self.try_at = now + if self.is_narrow() { self.next_retry_delay() } else { RAISE_INTERVAL };
    }

    fn next_retry_delay(&mut self) -> Duration {
        let wait = self.retry_delay;
        self.retry_delay = wait.saturating_mul(2).min(RAISE_INTERVAL);
        wait
    }

    /// A probe has come through.
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
            // A probe; or a packet that was on its way when the limit fell, which is no news.
            if of_probe.is_some() {
                self.postpone_raise(now);
            }
        } else if self.current > self.floor {
            self.probe = None;
            self.on_black_hole(now);
        }
    }

    /// The way is another one from now on.
    pub(super) fn restart(&mut self, now: Time) {
        *self = PathMtu {
            next_id: self.next_id,
            carried: self.carried,
            try_at: now,
            ..Self::new(self.floor, self.base, self.max)
        };
    }
}
