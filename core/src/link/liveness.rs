//! Whether the neighbour is still there.
//!
//! Each side says hello once a second, and answers within [`ANSWER_DELAY`] what it got if it has nothing else to
//! send. The neighbour is in doubt when a packet stays unanswered for too long, or when two hellos in a row
//! stay out, or when the medium refuses to send it something. Then it is probed; if [`MAX_PROBES`] probes stay unanswered it is suspect, and after another
//! [`DOWN_AFTER`] of silence it is gone. Anything that it sealed ends the doubt.
//!
//! What the medium itself says to be cut is out of service after [`CUT_TIMEOUT`], but its session is kept for [`AWAY_LIFE`]: a
//! plug that is put back, or an interface that comes and goes, goes on where it stopped.
//!
//! A timer that fires late is a sign that this machine was busy, not that the neighbour is gone: its answers may
//! be waiting to be read. The time slept does not count, a few times in a row.

use std::time::Duration;

use crate::time::Time;

/// The mean time between two hellos.
pub(super) const HELLO_INTERVAL: Duration = Duration::from_secs(1);
/// The same while a lossy link has carried too little to tell how lossy.
pub(super) const HELLO_INTERVAL_UNCERTAIN: Duration = Duration::from_millis(500);
/// Until the neighbour is first heard, an answer may take as many round trips as the handshake has found.
const FIRST_ANSWER_TRIPS: u32 = 3;
/// A receiver that was silent for this long after a packet answers it.
pub(super) const ANSWER_DELAY: Duration = Duration::from_millis(20);
/// Answers to probes are at least this far apart.
pub(super) const ANSWER_GAP: Duration = Duration::from_millis(5);
/// The least time that an answer may take before the neighbour is in doubt.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_millis(50);
/// The same while no round trip was measured: the neighbour may be far away, or still lack the finish.
pub(super) const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// The neighbour is in doubt when nothing came for this long: two hellos, each an eighth late, and a bit.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_millis(2400);
/// The least time between probes.
pub(super) const PROBE_GAP: Duration = Duration::from_millis(50);
/// The same once the neighbour is suspect.
pub(super) const SUSPECT_PROBE_GAP: Duration = Duration::from_millis(100);
/// Unanswered probes that make a neighbour suspect; twice as many where frames are known to get lost.
pub(super) const MAX_PROBES: u32 = 3;
/// A suspect that stays silent for this long is gone; for a round trip where that takes longer, for its answer is on the way so
/// long.
pub(super) const DOWN_AFTER: Duration = Duration::from_secs(1);
/// A suspect that stays silent for this long is out of service, when the medium says that it is cut off. A plug that only
/// wobbles is back by then.
pub(super) const CUT_TIMEOUT: Duration = Duration::from_millis(250);
/// And gone when it stays silent for this long from then on. A router forgets nothing that its neighbours rely on within five
/// seconds after it has told them so: who is back by then hears of it in time.
pub(super) const AWAY_LIFE: Duration = Duration::from_secs(4);
/// Where the medium says that nothing gets through it is asked seldom: probes are first this far apart, then twice as far each
/// time, up to [`HELLO_INTERVAL`].
pub(super) const CUT_PROBE_GAP: Duration = Duration::from_millis(125);
/// A timer that fires this late shows that the machine is busy.
pub(super) const LATE_TIMER: Duration = Duration::from_millis(25);
/// How often in a row that is an excuse.
pub(super) const MAX_EXCUSES: u32 = 5;

/// What the neighbour is to be told, as soon as there is room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum VitalsKind {
    /// We are here.
    Hello,
    /// We got what you sent.
    Answer,
    /// Are you there?
    Probe,
}

/// What has become of the neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LivenessVerdict {
    /// Suspect.
    Suspect,
    /// Out of service for now.
    Away,
    /// Gone.
    Gone,
    /// Gone, as the medium has foretold.
    Cut,
}

/// The neighbour is in doubt.
#[derive(Clone, Copy, Debug)]
struct Suspicion {
    probes: u32,
    next_probe: Time,
    /// When it is gone, if it is suspect already.
    gone: Option<Time>,
    excuses: u32,
    /// Where the medium says that it is cut off.
    cut: Option<MediumCut>,
}

/// What else there is to know of a neighbour that is cut off.
#[derive(Clone, Copy, Debug)]
struct MediumCut {
    /// Until the next probe but one.
    gap: Duration,
    /// It is out of service already.
    out: bool,
}

/// See the [module's page](self).
#[derive(Debug)]
pub(super) struct Liveness {
    heard: Time,
    /// The round trip by the handshake, which may be longer than the real one; used until one was measured.
    handshake_rtt: Duration,
    /// Whether anything has come.
    has_received: bool,
    next_hello: Time,
    /// Since when something that we sent has stayed without an answer.
    unanswered: Option<Time>,
    /// When we owe a packet an answer: anything that is sent until then is one.
    answer_due: Option<Time>,
    /// When we owe a probe an answer: only vitals are one, since its sender measures the round trip by them.
    vitals_due: Option<Time>,
    last_answer: Option<Time>,
    suspicion: Option<Suspicion>,
    pending: Option<VitalsKind>,
}

impl Liveness {
    /// The link is new: a probe goes out at once, which also measures the first round trip.
    pub(super) fn new(now: Time) -> Self {
        Liveness {
            heard: now,
            handshake_rtt: Duration::ZERO,
            has_received: false,
            next_hello: now + HELLO_INTERVAL,
            unanswered: Some(now),
            answer_due: None,
            vitals_due: None,
            last_answer: None,
            suspicion: None,
            pending: Some(VitalsKind::Probe),
        }
    }

    /// The handshake says that a round trip takes so long, or less.
    pub(super) fn set_handshake_rtt(&mut self, rtt: Duration) {
        self.handshake_rtt = rtt;
    }

    /// When the neighbour was last heard.
    pub(super) fn last_heard(&self) -> Time {
        self.heard
    }

    /// An authentic frame has come. Whether the neighbour was suspect.
    pub(super) fn on_frame(&mut self, now: Time) -> bool {
        self.heard = now;
        self.has_received = true;
        self.unanswered = None;
        self.suspicion.take().is_some_and(|suspicion| suspicion.gone.is_some())
    }

    /// It was a packet: it deserves an answer, if nothing else is sent anyway.
    pub(super) fn answer_later(&mut self, now: Time) {
        self.answer_due.get_or_insert(now + ANSWER_DELAY);
    }

    /// It was a probe: it deserves an answer at once.
    pub(super) fn answer_now(&mut self, now: Time) {
        match self.last_answer.map(|answered| answered + ANSWER_GAP).filter(|soon| *soon > now) {
            Some(soon) => self.vitals_due = Some(soon),
            None => self.request(VitalsKind::Answer),
        }
    }

    /// Something was sent that the neighbour will answer.
    pub(super) fn on_sent(&mut self, now: Time) {
        self.unanswered.get_or_insert(now);
        self.answer_due = None;
    }

    /// The medium says that nothing gets through: the neighbour is suspect, without being asked first.
    pub(super) fn on_medium_cut(&mut self, now: Time) {
        if self.suspicion.is_some_and(|suspicion| suspicion.cut.is_some()) {
            return;
        }
        let before = self.suspicion.and_then(|suspicion| suspicion.gone);
        let gone = now + CUT_TIMEOUT;
        self.suspicion = Some(Suspicion {
            probes: MAX_PROBES,
            next_probe: now + CUT_PROBE_GAP,
            gone: Some(before.map_or(gone, |before| before.min(gone))),
            excuses: 0,
            cut: Some(MediumCut { gap: CUT_PROBE_GAP, out: false }),
        });
        self.request(VitalsKind::Probe);
    }

    /// The medium has refused to send something there. It may be wrong for a moment, or another host may make it say so: the
    /// neighbour is asked at once, and need not be waited for as when a frame was lost on the way.
    pub(super) fn on_send_refused(&mut self, now: Time, rtt: Option<Duration>) {
        if self.suspicion.is_none() {
            self.begin_suspicion(now, probe_gap(rtt.unwrap_or(self.handshake_rtt)));
        }
    }

    fn begin_suspicion(&mut self, now: Time, gap: Duration) {
        self.suspicion =
            Some(Suspicion { probes: 1, next_probe: now + gap, gone: None, excuses: 0, cut: None });
        self.request(VitalsKind::Probe);
    }

    /// The neighbour is asked for an answer at once.
    pub(super) fn request_probe(&mut self) {
        self.request(VitalsKind::Probe);
    }

    /// The neighbour is to hear of us at once.
    pub(super) fn request_hello(&mut self) {
        self.request(VitalsKind::Hello);
    }

    /// The sign that is to be sent now, if there is one. `spread` is random; `often` says that hellos should come twice as
    /// often.
    pub(super) fn take_vitals(&mut self, now: Time, spread: u32, often: bool) -> Option<VitalsKind> {
        let kind = self.pending.take()?;
        let mean = if often { HELLO_INTERVAL_UNCERTAIN } else { HELLO_INTERVAL };
        // From an eighth less to an eighth more.
        let eighths = f64::from(spread) / f64::from(u32::MAX) / 4.0 + 0.875;
        self.next_hello = now + mean.mul_f64(eighths);
        // All signs carry vitals.
        (self.answer_due, self.vitals_due) = (None, None);
        if kind == VitalsKind::Answer {
            self.last_answer = Some(now);
        }
        Some(kind)
    }

    /// When [`Liveness::timeout`] is due.
    pub(super) fn deadline(&self, rtt: Option<Duration>) -> Time {
        let suspicion = match &self.suspicion {
            Some(suspicion) => suspicion.next_probe,
            None => self.suspicion_at(rtt),
        };
        self.answer_due.into_iter().chain(self.vitals_due).fold(self.next_hello.min(suspicion), Time::min)
    }

    fn suspicion_at(&self, rtt: Option<Duration>) -> Time {
        let first = self.handshake_rtt.saturating_mul(FIRST_ANSWER_TRIPS);
        let idle = self.heard + if self.has_received { IDLE_TIMEOUT } else { IDLE_TIMEOUT.max(first) };
        let patience = match rtt {
            Some(rtt) => rtt.saturating_mul(3).max(ANSWER_TIMEOUT),
            None => FIRST_ANSWER_TIMEOUT.max(first),
        };
        self.unanswered.map_or(idle, |since| idle.min(since + patience))
    }

    /// Time has passed. `rtt` is the smoothed round trip; `lossy` says that frames are known to get lost.
    pub(super) fn timeout(
        &mut self,
        now: Time,
        rtt: Option<Duration>,
        lossy: bool,
    ) -> Option<LivenessVerdict> {
        if self.answer_due.into_iter().chain(self.vitals_due).any(|due| due <= now) {
            self.request(VitalsKind::Answer);
        }
        if self.next_hello <= now {
            self.request(VitalsKind::Hello);
        }
        let trip = rtt.unwrap_or(self.handshake_rtt);
        let gap = probe_gap(trip);
        let Some(suspicion) = &mut self.suspicion else {
            if self.suspicion_at(rtt) <= now {
                self.begin_suspicion(now, gap);
            }
            return None;
        };
        if suspicion.next_probe > now {
            return None;
        }
        let late = now.since(suspicion.next_probe);
        let excused = late > LATE_TIMER && suspicion.excuses < MAX_EXCUSES;
        let verdict = match &mut suspicion.gone {
            gone if excused => {
                suspicion.excuses = suspicion.excuses.saturating_add(1);
                *gone = gone.map(|gone| gone + late);
                None
            }
            Some(gone) if *gone <= now => match &mut suspicion.cut {
                None => return Some(LivenessVerdict::Gone),
                Some(cut) if cut.out => return Some(LivenessVerdict::Cut),
                Some(cut) => {
                    cut.out = true;
                    *gone = now + AWAY_LIFE;
                    Some(LivenessVerdict::Away)
                }
            },
            Some(_) => None,
            gone if suspicion.probes >= if lossy { MAX_PROBES.saturating_mul(2) } else { MAX_PROBES } => {
                *gone = Some(now + DOWN_AFTER.max(trip));
                Some(LivenessVerdict::Suspect)
            }
            None => {
                suspicion.probes = suspicion.probes.saturating_add(1);
                None
            }
        };
        let gap = match &mut suspicion.cut {
            Some(cut) => {
                cut.gap = cut.gap.saturating_mul(if cut.out { 2 } else { 1 }).min(HELLO_INTERVAL);
                cut.gap
            }
            None if suspicion.gone.is_some() => gap.max(SUSPECT_PROBE_GAP),
            None => gap,
        };
        suspicion.next_probe = suspicion.gone.map_or(now + gap, |gone| gone.min(now + gap));
        self.request(VitalsKind::Probe);
        verdict
    }

    fn request(&mut self, kind: VitalsKind) {
        self.pending = self.pending.max(Some(kind));
        match kind {
            VitalsKind::Hello => {}
            VitalsKind::Answer | VitalsKind::Probe => (self.answer_due, self.vitals_due) = (None, None),
        }
    }
}

/// The time between two probes of a neighbour that is in doubt.
fn probe_gap(trip: Duration) -> Duration {
    PROBE_GAP.max(trip.checked_div(2).unwrap_or_default())
}

#[cfg(test)]
mod tests;
