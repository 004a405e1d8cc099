//! Whether the neighbour is still there.
//!
//! Each side says hello once a second, and answers within [`ANSWER_AFTER`] what it got if it has nothing else to
//! send. The neighbour is in doubt when a packet stays unanswered for too long, or when two hellos in a row
//! stay out, or when the medium refuses to send it something. Then it is probed; if [`PROBES`] probes stay unanswered it is suspect, and after another
//! [`DOWN_AFTER`] of silence it is gone. Anything that it sealed ends the doubt.
//!
//! What the medium itself says to be cut is out of service after [`CUT_OUT_AFTER`], but its session is kept for [`KEPT`]: a
//! plug that is put back, or an interface that comes and goes, goes on where it stopped.
//!
//! A timer that fires late is a sign that this machine was busy, not that the neighbour is gone: its answers may
//! be waiting to be read. The time slept does not count, a few times in a row.

use std::time::Duration;

use crate::time::Time;

/// The mean time between two hellos.
pub(super) const HELLO: Duration = Duration::from_secs(1);
/// The same while a lossy link has carried too little to tell how lossy.
pub(super) const HELLO_OFTEN: Duration = Duration::from_millis(500);
/// Until the neighbour is first heard, an answer may take as many round trips as the handshake has found.
const FIRST_TRIPS: u32 = 3;
/// A receiver that was silent for this long after a packet answers it.
pub(super) const ANSWER_AFTER: Duration = Duration::from_millis(20);
/// Answers to probes are at least this far apart.
pub(super) const ANSWER_GAP: Duration = Duration::from_millis(5);
/// The least time that an answer may take before the neighbour is in doubt.
pub(super) const PATIENCE: Duration = Duration::from_millis(50);
/// The same while no round trip was measured: the neighbour may be far away, or still lack the finish.
pub(super) const FIRST_PATIENCE: Duration = Duration::from_secs(1);
/// The neighbour is in doubt when nothing came for this long: two hellos, each an eighth late, and a bit.
pub(super) const IDLE_DOUBT: Duration = Duration::from_millis(2400);
/// The least time between probes.
pub(super) const PROBE_GAP: Duration = Duration::from_millis(50);
/// The same once the neighbour is suspect.
pub(super) const SUSPECT_GAP: Duration = Duration::from_millis(100);
/// Unanswered probes that make a neighbour suspect; twice as many where frames are known to get lost.
pub(super) const PROBES: u32 = 3;
/// A suspect that stays silent for this long is gone; for a round trip where that takes longer, for its answer is on the way so
/// long.
pub(super) const DOWN_AFTER: Duration = Duration::from_secs(1);
/// A suspect that stays silent for this long is out of service, when the medium says that it is cut off. A plug that only
/// wobbles is back by then.
pub(super) const CUT_OUT_AFTER: Duration = Duration::from_millis(250);
/// And gone when it stays silent for this long from then on. A router forgets nothing that its neighbours rely on within five
/// seconds after it has told them so: who is back by then hears of it in time.
pub(super) const KEPT: Duration = Duration::from_secs(4);
/// Where the medium says that nothing gets through it is asked seldom: probes are first this far apart, then twice as far each
/// time, up to [`HELLO`].
pub(super) const CUT_GAP: Duration = Duration::from_millis(125);
/// A timer that fires this late shows that the machine is busy.
pub(super) const LATE: Duration = Duration::from_millis(25);
/// How often in a row that is an excuse.
pub(super) const MAX_EXCUSES: u32 = 5;

/// What the neighbour is to be told, as soon as there is room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sign {
    /// We are here.
    Hello,
    /// We got what you sent.
    Answer,
    /// Are you there?
    Probe,
}

/// What has become of the neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
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
struct Doubt {
    probes: u32,
    next_probe: Time,
    /// When it is gone, if it is suspect already.
    gone: Option<Time>,
    excuses: u32,
    /// Where the medium says that it is cut off.
    cut: Option<Cut>,
}

/// What else there is to know of a neighbour that is cut off.
#[derive(Clone, Copy, Debug)]
struct Cut {
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
    expected: Duration,
    /// Whether anything has come.
    begun: bool,
    next_hello: Time,
    /// Since when something that we sent has stayed without an answer.
    unanswered: Option<Time>,
    /// When we owe a packet an answer: anything that is sent until then is one.
    answer: Option<Time>,
    /// When we owe a probe an answer: only vitals are one, since its sender measures the round trip by them.
    vitals: Option<Time>,
    answered: Option<Time>,
    doubt: Option<Doubt>,
    sign: Option<Sign>,
}

impl Liveness {
    /// The link is new: a probe goes out at once, which also measures the first round trip.
    pub(super) fn new(now: Time) -> Self {
        Liveness {
            heard: now,
            expected: Duration::ZERO,
            begun: false,
            next_hello: now + HELLO,
            unanswered: Some(now),
            answer: None,
            vitals: None,
            answered: None,
            doubt: None,
            sign: Some(Sign::Probe),
        }
    }

    /// The handshake says that a round trip takes so long, or less.
    pub(super) fn expect(&mut self, rtt: Duration) {
        self.expected = rtt;
    }

    /// When the neighbour was last heard.
    pub(super) fn heard_at(&self) -> Time {
        self.heard
    }

    /// An authentic frame has come. Whether the neighbour was suspect.
    pub(super) fn heard(&mut self, now: Time) -> bool {
        self.heard = now;
        self.begun = true;
        self.unanswered = None;
        self.doubt.take().is_some_and(|doubt| doubt.gone.is_some())
    }

    /// It was a packet: it deserves an answer, if nothing else is sent anyway.
    pub(super) fn owe_answer(&mut self, now: Time) {
        self.answer.get_or_insert(now + ANSWER_AFTER);
    }

    /// It was a probe: it deserves an answer at once.
    pub(super) fn owe_answer_now(&mut self, now: Time) {
        match self.answered.map(|answered| answered + ANSWER_GAP).filter(|soon| *soon > now) {
            Some(soon) => self.vitals = Some(soon),
            None => self.raise(Sign::Answer),
        }
    }

    /// Something was sent that the neighbour will answer.
    pub(super) fn sent(&mut self, now: Time) {
        self.unanswered.get_or_insert(now);
        self.answer = None;
    }

    /// The medium says that nothing gets through: the neighbour is suspect, without being asked first.
    pub(super) fn cut(&mut self, now: Time) {
        if self.doubt.is_some_and(|doubt| doubt.cut.is_some()) {
            return;
        }
        let before = self.doubt.and_then(|doubt| doubt.gone);
        let gone = now + CUT_OUT_AFTER;
        self.doubt = Some(Doubt {
            probes: PROBES,
            next_probe: now + CUT_GAP,
            gone: Some(before.map_or(gone, |before| before.min(gone))),
            excuses: 0,
            cut: Some(Cut { gap: CUT_GAP, out: false }),
        });
        self.raise(Sign::Probe);
    }

    /// The medium has refused to send something there. It may be wrong for a moment, or another host may make it say so: the
    /// neighbour is asked at once, and need not be waited for as when a frame was lost on the way.
    pub(super) fn unsent(&mut self, now: Time, rtt: Option<Duration>) {
        if self.doubt.is_none() {
            self.begin_doubt(now, probe_gap(rtt.unwrap_or(self.expected)));
        }
    }

    fn begin_doubt(&mut self, now: Time, gap: Duration) {
        self.doubt = Some(Doubt { probes: 1, next_probe: now + gap, gone: None, excuses: 0, cut: None });
        self.raise(Sign::Probe);
    }

    /// The neighbour is asked for an answer at once.
    pub(super) fn ask(&mut self) {
        self.raise(Sign::Probe);
    }

    /// The neighbour is to hear of us at once.
    pub(super) fn greet(&mut self) {
        self.raise(Sign::Hello);
    }

    /// The sign that is to be sent now, if there is one. `spread` is random; `often` says that hellos should come twice as
    /// often.
    pub(super) fn take_sign(&mut self, now: Time, spread: u32, often: bool) -> Option<Sign> {
        let sign = self.sign.take()?;
        let mean = if often { HELLO_OFTEN } else { HELLO };
        // From an eighth less to an eighth more.
        let eighths = f64::from(spread) / f64::from(u32::MAX) / 4.0 + 0.875;
        self.next_hello = now + mean.mul_f64(eighths);
        // All signs carry vitals.
        (self.answer, self.vitals) = (None, None);
        if sign == Sign::Answer {
            self.answered = Some(now);
        }
        Some(sign)
    }

    /// When [`Liveness::timeout`] is due.
    pub(super) fn deadline(&self, rtt: Option<Duration>) -> Time {
        let doubt = match &self.doubt {
            Some(doubt) => doubt.next_probe,
            None => self.doubt_at(rtt),
        };
        self.answer.into_iter().chain(self.vitals).fold(self.next_hello.min(doubt), Time::min)
    }

    fn doubt_at(&self, rtt: Option<Duration>) -> Time {
        let first = self.expected.saturating_mul(FIRST_TRIPS);
        let idle = self.heard + if self.begun { IDLE_DOUBT } else { IDLE_DOUBT.max(first) };
        let patience = match rtt {
            Some(rtt) => rtt.saturating_mul(3).max(PATIENCE),
            None => FIRST_PATIENCE.max(first),
        };
        self.unanswered.map_or(idle, |since| idle.min(since + patience))
    }

    /// Time has passed. `rtt` is the smoothed round trip; `lossy` says that frames are known to get lost.
    pub(super) fn timeout(&mut self, now: Time, rtt: Option<Duration>, lossy: bool) -> Option<Verdict> {
        if self.answer.into_iter().chain(self.vitals).any(|due| due <= now) {
            self.raise(Sign::Answer);
        }
        if self.next_hello <= now {
            self.raise(Sign::Hello);
        }
        let trip = rtt.unwrap_or(self.expected);
        let gap = probe_gap(trip);
        let Some(doubt) = &mut self.doubt else {
            if self.doubt_at(rtt) <= now {
                self.begin_doubt(now, gap);
            }
            return None;
        };
        if doubt.next_probe > now {
            return None;
        }
        let late = now.since(doubt.next_probe);
        let excused = late > LATE && doubt.excuses < MAX_EXCUSES;
        let verdict = match &mut doubt.gone {
            gone if excused => {
                doubt.excuses = doubt.excuses.saturating_add(1);
                *gone = gone.map(|gone| gone + late);
                None
            }
            Some(gone) if *gone <= now => match &mut doubt.cut {
                None => return Some(Verdict::Gone),
                Some(cut) if cut.out => return Some(Verdict::Cut),
                Some(cut) => {
                    cut.out = true;
                    *gone = now + KEPT;
                    Some(Verdict::Away)
                }
            },
            Some(_) => None,
            gone if doubt.probes >= if lossy { PROBES.saturating_mul(2) } else { PROBES } => {
                *gone = Some(now + DOWN_AFTER.max(trip));
                Some(Verdict::Suspect)
            }
            None => {
                doubt.probes = doubt.probes.saturating_add(1);
                None
            }
        };
        let gap = match &mut doubt.cut {
            Some(cut) => {
                cut.gap = cut.gap.saturating_mul(if cut.out { 2 } else { 1 }).min(HELLO);
                cut.gap
            }
            None if doubt.gone.is_some() => gap.max(SUSPECT_GAP),
            None => gap,
        };
        doubt.next_probe = doubt.gone.map_or(now + gap, |gone| gone.min(now + gap));
        self.raise(Sign::Probe);
        verdict
    }

    fn raise(&mut self, sign: Sign) {
        self.sign = self.sign.max(Some(sign));
        match sign {
            Sign::Hello => {}
            Sign::Answer | Sign::Probe => (self.answer, self.vitals) = (None, None),
        }
    }
}

/// The time between two probes of a neighbour that is in doubt.
fn probe_gap(trip: Duration) -> Duration {
    PROBE_GAP.max(trip.checked_div(2).unwrap_or_default())
}

#[cfg(test)]
mod tests;
