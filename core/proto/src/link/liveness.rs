//! Liveness of the neighbour: hellos, probes, and the decision that a link is suspect or down.
//!
//! Each side sends a hello once a second, and less often on a link at [rest]. It answers a packet within [`ANSWER_DELAY`] unless it sends something else,
//! so that a sender with traffic notices silence sooner than by hellos. A suspicion begins when a packet stays
//! unanswered for too long, when two hellos in a row are missing (one, at rest), or when the medium refuses to send a frame. Then the
//! neighbour is probed. After [`MAX_PROBES`] unanswered probes it is suspect, so that routes avoid it; after
//! [`DOWN_AFTER`] more of silence the link is down. Any authentic frame ends the suspicion.
//!
//! A neighbour that the medium reports as cut off is out of service after [`CUT_TIMEOUT`], but its session is kept for
//! [`AWAY_LIFE`], so that a cable that is plugged in again, or an interface that restarts, continues without a
//! handshake.
//!
//! A timer that fires late shows that this machine was busy, not that the neighbour is gone: answers may be waiting to
//! be read. The delay is not counted as silence, for a limited number of times in a row.

use std::time::Duration;

use self::limits::FIRST_ANSWER_TRIPS;
use self::rest::Rest;
use self::suspicion::{MediumCut, Suspicion};
use crate::time::Time;

pub(super) mod limits;
pub(super) mod rest;
mod suspicion;

pub(super) use self::limits::{
    ANSWER_DELAY, ANSWER_GAP, ANSWER_TIMEOUT, AWAY_LIFE, CUT_PROBE_GAP, CUT_TIMEOUT, DOWN_AFTER,
    FIRST_ANSWER_TIMEOUT, HELLO_INTERVAL, HELLO_INTERVAL_UNCERTAIN, LATE_TIMER, MAX_EXCUSES, MAX_PROBES,
    PROBE_GAP,
};

/// A kind of content that carries vitals. The order is that of urgency: the more urgent kind replaces the other,
/// because each of them serves as a hello too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum VitalsKind {
    /// A periodic sign that this node is alive.
    Hello,
    /// An answer to a packet or a probe.
    Answer,
    /// A request for an answer at once.
    Probe,
}

/// A change of the state of the link that follows from silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LivenessVerdict {
    /// The neighbour is suspect.
    Suspect,
    /// The neighbour is out of service, and its session is kept.
    Away,
    /// The link is down, because the neighbour stayed silent.
    Gone,
    /// The link is down, because the medium reported a cut and the neighbour stayed silent.
    Cut,
}

/// The liveness of one neighbour. See the [module documentation](self).
#[derive(Debug)]
pub(super) struct Liveness {
    /// The time of the last authentic frame.
    heard: Time,
    /// The duration of the handshake from this side's first message to the answer. It is an upper bound of the round
    /// trip, because frames may have been lost or held back, and is used until one was measured.
    handshake_rtt: Duration,
    /// Whether any frame has been received.
    has_received: bool,
    /// The time of the next hello.
    next_hello: Time,
    /// The time of the first frame sent since the last one was received; `None` if none was sent that must be answered.
    unanswered: Option<Time>,
    /// The time at which the answer to a packet is due. Anything that is sent before is an answer too.
    answer_due: Option<Time>,
    /// The time at which the answer to a probe is due. Only vitals are an answer, since the sender of the probe
    /// measures the round trip by them.
    vitals_due: Option<Time>,
    /// The time of our last answer.
    last_answer: Option<Time>,
    /// The present suspicion, if there is one.
    suspicion: Option<Suspicion>,
    /// The vitals to be sent next.
    pending: Option<VitalsKind>,
    rest: Rest,
}

impl Liveness {
    /// Begins with a probe, because its answer measures the first round trip and confirms the session.
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
            rest: Rest::new(now),
        }
    }

    /// Lets hellos become rarer at rest, because the neighbour understands those that state the next one.
    pub(super) fn enable_rest(&mut self) {
        self.rest.enable();
    }

    /// Records a packet in either direction, or doubt about the link: hellos come every second again.
    pub(super) fn on_activity(&mut self, now: Time) {
        if self.rest.end(now) {
            self.next_hello = self.next_hello.min(now + HELLO_INTERVAL);
        }
    }

    /// Records a hello of the neighbour that states when the next one is due at the latest; zero when it states nothing.
    pub(super) fn on_hello(&mut self, stated: Duration) {
        self.rest.on_hello(stated);
    }

    /// The time within which the hello that is sent now has to state the next one; `None` when it states nothing.
    pub(super) fn statement(&self) -> Option<Duration> {
        self.rest.statement()
    }

    /// Sets the upper bound of the round trip that the handshake has found.
    pub(super) fn set_handshake_rtt(&mut self, rtt: Duration) {
        self.handshake_rtt = rtt;
    }

    /// The time of the last authentic frame.
    pub(super) fn last_heard(&self) -> Time {
        self.heard
    }

    /// Records an authentic frame, which ends a suspicion. Returns whether the neighbour was suspect or away.
    pub(super) fn on_frame(&mut self, now: Time) -> bool {
        self.heard = now;
        self.has_received = true;
        self.unanswered = None;
        self.suspicion.take().is_some_and(|suspicion| suspicion.gone.is_some())
    }

    /// Schedules the answer to a packet, which is sent unless something else is sent before.
    pub(super) fn answer_later(&mut self, now: Time) {
        self.answer_due.get_or_insert(now + ANSWER_DELAY);
    }

    /// Requests the answer to a probe at once, but not sooner than [`ANSWER_GAP`] after the last.
    pub(super) fn answer_now(&mut self, now: Time) {
        match self.last_answer.map(|answered| answered + ANSWER_GAP).filter(|soon| *soon > now) {
            Some(soon) => self.vitals_due = Some(soon),
            None => self.request(VitalsKind::Answer),
        }
    }

    /// Records that something was sent that the neighbour will answer.
    pub(super) fn on_sent(&mut self, now: Time) {
        self.unanswered.get_or_insert(now);
        self.answer_due = None;
    }

    /// Makes the neighbour suspect without probes, because the medium reports that nothing gets through. Further
    /// reports of the same cut change nothing, since otherwise each would extend the deadline.
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

    /// Probes a neighbour that was cut off at once, because the medium reports that frames may arrive again. The
    /// deadlines stay, since otherwise an interface that flaps would keep the session of a neighbour that is gone.
    pub(super) fn on_medium_restored(&mut self, now: Time) {
        let Some(suspicion) = &mut self.suspicion else { return };
        let Some(cut) = &mut suspicion.cut else { return };
        cut.gap = CUT_PROBE_GAP;
        suspicion.next_probe = suspicion.next_probe.min(now + CUT_PROBE_GAP);
        self.request(VitalsKind::Probe);
    }

    /// Probes the neighbour at once, because the medium has refused to send a frame. The refusal alone is no proof,
    /// since it may be temporary, or caused by a forged message of another host. But a frame that was not sent can have
    /// no answer, so there is none to wait for.
    pub(super) fn on_send_refused(&mut self, now: Time, rtt: Option<Duration>) {
        if self.suspicion.is_none() {
            self.begin_suspicion(now, probe_gap(rtt.unwrap_or(self.handshake_rtt)));
        }
    }

    /// Begins a suspicion and sends its first probe.
    fn begin_suspicion(&mut self, now: Time, gap: Duration) {
        self.suspicion =
            Some(Suspicion { probes: 1, next_probe: now + gap, gone: None, excuses: 0, cut: None });
        self.on_activity(now);
        self.request(VitalsKind::Probe);
    }

    /// Requests a probe, which the neighbour answers at once.
    pub(super) fn request_probe(&mut self) {
        self.request(VitalsKind::Probe);
    }

    /// Requests a hello at once.
    pub(super) fn request_hello(&mut self) {
        self.request(VitalsKind::Hello);
    }

    /// Takes the kind of vitals that is to be sent now, if there is one, and schedules the next hello. `spread` is a
    /// random number; `often` doubles the rate of hellos.
    pub(super) fn take_vitals(&mut self, now: Time, spread: u32, often: bool) -> Option<VitalsKind> {
        let kind = self.pending.take()?;
        let mean = match kind {
            _ if often => HELLO_INTERVAL_UNCERTAIN,
            VitalsKind::Hello => self.rest.next_interval(now),
            // Only a hello states the next one.
            VitalsKind::Answer | VitalsKind::Probe => self.rest.interval(),
        };
        // The factor is between 7/8 and 9/8.
        let eighths = f64::from(spread) / f64::from(u32::MAX) / 4.0 + 0.875;
        self.next_hello = now + mean.mul_f64(eighths);
        // Every kind carries vitals, so each of them is the answer that may be due.
        (self.answer_due, self.vitals_due) = (None, None);
        if kind == VitalsKind::Answer {
            self.last_answer = Some(now);
        }
        Some(kind)
    }

    /// The time at which [`Liveness::timeout`] is due.
    pub(super) fn deadline(&self, rtt: Option<Duration>) -> Time {
        let suspicion = match &self.suspicion {
            Some(suspicion) => suspicion.next_probe,
            None => self.suspicion_at(rtt),
        };
        self.answer_due.into_iter().chain(self.vitals_due).fold(self.next_hello.min(suspicion), Time::min)
    }

    /// The time at which a suspicion begins, if nothing is received before.
    fn suspicion_at(&self, rtt: Option<Duration>) -> Time {
        let first = self.handshake_rtt.saturating_mul(FIRST_ANSWER_TRIPS);
        let idle = self.rest.idle_timeout();
        let idle = self.heard + if self.has_received { idle } else { idle.max(first) };
        let patience = match rtt {
            Some(rtt) => rtt.saturating_mul(3).max(ANSWER_TIMEOUT),
            None => FIRST_ANSWER_TIMEOUT.max(first),
        };
        self.unanswered.map_or(idle, |since| idle.min(since + patience))
    }

    /// Handles the timers that are due. `rtt` is the smoothed round trip; `lossy` is true for a link that loses frames.
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
        let gap = suspicion.next_gap(gap);
        suspicion.next_probe = suspicion.gone.map_or(now + gap, |gone| gone.min(now + gap));
        self.request(VitalsKind::Probe);
        verdict
    }

    /// Requests vitals of a kind, unless more urgent ones are pending.
    fn request(&mut self, kind: VitalsKind) {
        self.pending = self.pending.max(Some(kind));
        match kind {
            VitalsKind::Hello => {}
            VitalsKind::Answer | VitalsKind::Probe => (self.answer_due, self.vitals_due) = (None, None),
        }
    }
}

/// The time between two probes during a suspicion.
fn probe_gap(trip: Duration) -> Duration {
    PROBE_GAP.max(trip.checked_div(2).unwrap_or_default())
}

#[cfg(test)]
mod tests;
