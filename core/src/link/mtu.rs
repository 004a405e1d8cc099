//! How long a frame the way to the neighbour takes, found out by trying.
//!
//! A link begins with the base, the length that nearly every way takes. Once it has carried some traffic and is asked to send frames as long as
//! it may, a padded probe of the next length goes out; answered, it is the new limit, and the next one is tried. Lost
//! [`TRIES`] times, it is left alone for [`RETRY`].
//!
//! A way may swallow long frames without a word, from the start or after it has changed. So while frames above the floor,
//! which every way takes for certain, go out, a probe of the present length follows every [`CONFIRM`]. When [`DOUBT_TRIES`] of those
//! stay unanswered while the neighbour is heard, the link falls: from above the base to the base, where it tries again after
//! [`HOLE`], twice as long each time; from the base to the floor, where it feels its way up again at once, until a length
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
pub(super) const WARM: u64 = 256;
/// How often a probe is sent before it counts as swallowed; twice as often where frames are known to get lost.
pub(super) const TRIES: u32 = 3;
/// The same for a probe of the present length, where frames are not known to get lost, though they may by now.
pub(super) const DOUBT_TRIES: u32 = 4;
/// The least time that an answer is waited for.
pub(super) const PATIENCE: Duration = Duration::from_millis(200);
/// The same where the present length is in doubt: a way that swallows frames makes the link look lossy, and twice as many are tried.
pub(super) const DOUBT_PATIENCE: Duration = Duration::from_millis(100);
/// The same while no round trip was measured.
pub(super) const NO_RTT_PATIENCE: Duration = Duration::from_millis(250);
/// How often the present length is confirmed while long frames are sent.
pub(super) const CONFIRM: Duration = Duration::from_secs(1);
/// When a length that did not get through is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(600);
/// The same after long frames were swallowed; it doubles up to [`RETRY`].
pub(super) const HOLE: Duration = Duration::from_secs(60);

/// See the [module's page](self).
#[derive(Debug)]
pub(super) struct PathMtu {
    floor: usize,
    base: usize,
    most: usize,
    present: usize,
    /// Frames sent, up to [`WARM`].
    carried: u64,
    /// Whether frames near the present limit were sent since the last try, and frames above the floor since the last confirmation.
    wanted: bool,
    long: bool,
    probe: Option<Probe>,
    next_id: u32,
    /// Before this nothing longer is tried.
    try_at: Time,
    confirm_at: Time,
    /// When the present length was last seen to get through.
    confirmed: Option<Time>,
    hole: Duration,
    /// When long frames were swallowed last.
    fell: Option<Time>,
}

#[derive(Debug)]
struct Probe {
    id: u32,
    length: usize,
    sent: u32,
    first: Time,
    next: Time,
}

impl PathMtu {
    /// `floor` is what every way takes for certain, `base` what is believed to begin with, `most` what both ends take, in bytes.
    pub(super) fn new(floor: usize, base: usize, most: usize) -> Self {
        PathMtu {
            floor: floor.min(base),
            base,
            most,
            present: base,
            carried: 0,
            wanted: false,
            long: false,
            probe: None,
            next_id: 0,
            try_at: Time::ZERO,
            confirm_at: Time::ZERO,
            confirmed: None,
            hole: HOLE,
            fell: None,
        }
    }

    /// The longest frame that may be sent now, in bytes.
    pub(super) fn present(&self) -> usize {
        self.present
    }

    /// The longest frame that gets through for certain, in bytes: the present length, if that was confirmed a moment ago.
    pub(super) fn certain(&self, now: Time) -> usize {
        let fresh = self.confirmed.is_some_and(|at| now.since(at) < CONFIRM);
        if fresh { self.present } else { self.floor }
    }

    /// A long frame waits that must not get lost: the present length is to be confirmed.
    pub(super) fn ask(&mut self, now: Time) {
        self.long = true;
        self.go_on(now);
    }

    /// Frames have gone out, the longest of them `longest` bytes long.
    pub(super) fn sent(&mut self, now: Time, frames: u32, longest: usize) {
        self.carried = self.carried.saturating_add(u64::from(frames)).min(WARM);
        self.wanted |= longest.saturating_mul(8) >= self.present.saturating_mul(7);
        self.long |= longest > self.floor;
        self.go_on(now);
    }

    /// Begins the probe that is due, if there is one.
    fn go_on(&mut self, now: Time) {
        if self.probe.is_some() {
            return;
        }
        if self.long && self.present > self.floor && self.confirm_at <= now {
            self.long = false;
            self.begin(now, self.present);
        } else if self.wanted && (self.carried >= WARM || self.is_narrow()) && self.try_at <= now {
            self.try_next(now);
        }
    }

    /// Whether the way takes less than was believed to begin with.
    fn is_narrow(&self) -> bool {
        self.present < self.base
    }

    fn try_next(&mut self, now: Time) {
        self.wanted = false;
        if let Some(next) = self.next() {
            self.begin(now, next);
        }
    }

    /// The next length to try.
    fn next(&self) -> Option<usize> {
        let steps = STEPS.into_iter().chain([self.base, self.most]);
        steps.filter(|step| *step > self.present && *step <= self.most).min()
    }

    fn begin(&mut self, now: Time, length: usize) {
        self.next_id = self.next_id.wrapping_add(1);
        self.probe = Some(Probe { id: self.next_id, length, sent: 0, first: now, next: now });
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
            true => TRIES.saturating_mul(2),
            false if probe.length > self.present => TRIES,
            false => DOUBT_TRIES,
        };
        if probe.sent >= tries {
            let (length, first) = (probe.length, probe.first);
            self.probe = None;
            self.lost(now, length, heard > first);
            return None;
        }
        probe.sent = probe.sent.saturating_add(1);
        let least = if probe.length > self.present { PATIENCE } else { DOUBT_PATIENCE };
        probe.next = now + rtt.map_or(NO_RTT_PATIENCE, |rtt| least.max(rtt.saturating_mul(3)));
        let mut content = Vec::with_capacity(probe.length);
        content.push(KIND_MTU_PROBE);
        content.extend_from_slice(&probe.id.to_le_bytes());
        content.resize(probe.length.saturating_sub(Sealer::OVERHEAD), 0);
        Some(content)
    }

    /// Whether the present length is in doubt: then it matters whether anything else gets through.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.length <= self.present && probe.sent > 1)
    }

    /// A probe of this length has stayed unanswered. `alive`: although the neighbour was heard meanwhile.
    fn lost(&mut self, now: Time, length: usize, alive: bool) {
        if length > self.present {
            self.rest(now);
        } else if alive {
            self.fall(now);
        } else {
            // Nothing gets through at all: that is for others to judge.
            self.long = true;
            self.confirm_at = now + CONFIRM;
        }
    }

    fn fall(&mut self, now: Time) {
        if self.fell.is_none_or(|fell| now.since(fell) > RETRY.saturating_mul(2)) {
            self.hole = HOLE;
        }
        self.fell = Some(now);
        self.confirmed = None;
        self.confirm_at = now;
        if self.present > self.base {
            self.present = self.base;
            self.try_at = now + self.wait();
        } else {
            self.present = self.floor;
            self.try_next(now);
        }
    }

    /// The next length does not get through: it is left alone for a while.
    fn rest(&mut self, now: Time) {
        self.try_at = now + if self.is_narrow() { self.wait() } else { RETRY };
    }

    fn wait(&mut self) -> Duration {
        let wait = self.hole;
        self.hole = wait.saturating_mul(2).min(RETRY);
        wait
    }

    /// A probe has come through.
    pub(super) fn answered(&mut self, now: Time, answer: MtuAnswer) {
        let of = |probe: &&Probe| probe.id == answer.id && probe.length == usize::from(answer.length);
        let Some(probe) = self.probe.as_ref().filter(of) else { return };
        let length = probe.length;
        self.probe = None;
        self.confirm_at = now + CONFIRM;
        self.confirmed = Some(now);
        if length > self.present {
            self.present = length;
            if self.is_narrow() || self.carried >= WARM {
                self.try_next(now);
            }
        }
    }

    /// The medium has refused a frame of `length` bytes as too long.
    pub(super) fn refused(&mut self, now: Time, length: usize) {
        let of_probe = self.probe.take_if(|probe| probe.length >= length);
        if length > self.present {
            // A probe; or a packet that was on its way when the limit fell, which is no news.
            if of_probe.is_some() {
                self.rest(now);
            }
        } else if self.present > self.floor {
            self.probe = None;
            self.fall(now);
        }
    }

    /// The way is another one from now on.
    pub(super) fn restart(&mut self, now: Time) {
        *self = PathMtu {
            next_id: self.next_id,
            carried: self.carried,
            try_at: now,
            ..Self::new(self.floor, self.base, self.most)
        };
    }
}
