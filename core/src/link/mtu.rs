//! How long a frame the way to the neighbour takes, found out by trying.
//!
//! A link begins with the length that every way takes. Once it has carried some traffic and is asked to send frames as long as
//! it may, a padded probe of the next length goes out; answered, it is the new limit, and the next one is tried. Lost
//! [`TRIES`] times, it is left alone for [`RETRY`].
//!
//! A way may change and swallow long frames without a word. So while frames above the base go out, a probe of the
//! present length follows every [`CONFIRM`]; when [`TRIES`] of those stay unanswered while the neighbour is heard, the link is back
//! at the base at once, and tries again after [`HOLE`], twice as long each time. An idle link probes nothing.

use std::time::Duration;

use super::keys::Sealer;
use crate::time::Time;
use crate::wire::link::{KIND_MTU_PROBE, MtuAnswer};

/// What is tried besides the longest that both netmods take, in bytes: what most tunnels leave of an Ethernet frame, and all
/// that IPv6 leaves of one (1500 less 40 and 8).
pub(super) const STEPS: [usize; 2] = [1400, 1452];
/// Nothing is tried before so many frames have gone out, so that the probes lost do not make the link look lossy.
pub(super) const WARM: u64 = 256;
/// How often a probe is sent before it counts as swallowed; twice as often where frames are known to get lost.
pub(super) const TRIES: u32 = 3;
/// The least time that an answer is waited for.
pub(super) const PATIENCE: Duration = Duration::from_millis(200);
/// How often the present length is confirmed while long frames are sent.
pub(super) const CONFIRM: Duration = Duration::from_secs(1);
/// When a length that did not get through is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(600);
/// The same after long frames were swallowed; it doubles up to [`RETRY`].
pub(super) const HOLE: Duration = Duration::from_secs(60);

/// See the [module's page](self).
#[derive(Debug)]
pub(super) struct PathMtu {
    base: usize,
    most: usize,
    present: usize,
    /// Frames sent, up to [`WARM`].
    carried: u64,
    /// Whether frames near the present limit were sent since the last try, and frames above the base since the last confirmation.
    wanted: bool,
    long: bool,
    probe: Option<Probe>,
    next_id: u32,
    /// Before this nothing longer is tried.
    try_at: Time,
    confirm_at: Time,
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
    /// `base` is what the way takes for certain, `most` what both ends take, in bytes.
    pub(super) fn new(base: usize, most: usize) -> Self {
        PathMtu {
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
            hole: HOLE,
            fell: None,
        }
    }

    /// The longest frame that may be sent now, in bytes.
    pub(super) fn present(&self) -> usize {
        self.present
    }

    /// Frames have gone out, the longest of them `longest` bytes long.
    pub(super) fn sent(&mut self, now: Time, frames: u32, longest: usize) {
        self.carried = self.carried.saturating_add(u64::from(frames)).min(WARM);
        self.wanted |= longest.saturating_mul(8) >= self.present.saturating_mul(7);
        self.long |= longest > self.base;
        if self.probe.is_some() {
            return;
        }
        if self.long && self.present > self.base && self.confirm_at <= now {
            self.long = false;
            self.begin(now, self.present);
        } else if self.wanted && self.carried >= WARM && self.try_at <= now {
            self.try_next(now);
        }
    }

    fn try_next(&mut self, now: Time) {
        self.wanted = false;
        if let Some(next) = self.next() {
            self.begin(now, next);
        }
    }

    /// The next length to try.
    fn next(&self) -> Option<usize> {
        STEPS.into_iter().chain([self.most]).find(|step| *step > self.present && *step <= self.most)
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
        if probe.sent >= if lossy { TRIES.saturating_mul(2) } else { TRIES } {
            let (length, first) = (probe.length, probe.first);
            self.probe = None;
            self.lost(now, length, heard > first);
            return None;
        }
        probe.sent = probe.sent.saturating_add(1);
        probe.next = now + PATIENCE.max(rtt.unwrap_or_default().saturating_mul(3));
        let mut content = Vec::with_capacity(probe.length);
        content.push(KIND_MTU_PROBE);
        content.extend_from_slice(&probe.id.to_le_bytes());
        content.resize(probe.length.saturating_sub(Sealer::OVERHEAD), 0);
        Some(content)
    }

    /// A probe of this length has stayed unanswered. `alive`: although the neighbour was heard meanwhile.
    fn lost(&mut self, now: Time, length: usize, alive: bool) {
        if length > self.present {
            self.try_at = now + RETRY;
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
        self.present = self.base;
        self.try_at = now + self.hole;
        self.hole = self.hole.saturating_mul(2).min(RETRY);
        self.fell = Some(now);
    }

    /// A probe has come through.
    pub(super) fn answered(&mut self, now: Time, answer: MtuAnswer) {
        let of = |probe: &&Probe| probe.id == answer.id && probe.length == usize::from(answer.length);
        let Some(probe) = self.probe.as_ref().filter(of) else { return };
        let length = probe.length;
        self.probe = None;
        self.confirm_at = now + CONFIRM;
        if length > self.present {
            self.present = length;
            self.try_next(now);
        }
    }

    /// The medium has refused a frame as too long.
    pub(super) fn refused(&mut self, now: Time) {
        match self.probe.take() {
            Some(probe) if probe.length > self.present => self.try_at = now + RETRY,
            _ if self.present > self.base => self.fall(now),
            _ => {}
        }
    }

    /// The way is another one from now on.
    pub(super) fn restart(&mut self, now: Time) {
        *self = PathMtu {
            next_id: self.next_id,
            carried: self.carried,
            try_at: now,
            ..Self::new(self.base, self.most)
        };
    }
}
