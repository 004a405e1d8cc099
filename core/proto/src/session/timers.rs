//! The timers of sessions: repetitions, renewals, and the ends of what is not needed any more.

use std::time::Duration;

use rand_core::RngCore;

use super::Sessions;
use super::epoch::RekeyStage;
use super::event::{EndReason, PathChoice, SessionOutput};
use super::exchange::{InitiationSeeds, SessionInitiation, Terms};
use super::pair::{Attempt, IDLE_LIFE};
use super::rekey::{MAX_REKEY_DELAY, REKEY_PAUSE, REKEY_TRIES, RekeyContext};
use super::repetition::Repetition;
use crate::link::NoiseError;
use crate::time::Time;
use crate::types::Ends;
use crate::wire::session::{CONTENT_CONFIRM, CONTENT_REKEY, MESSAGE_REQUEST, parts, rekey_content};

/// The maximum time between two repetitions of a request. The parts that a repetition has brought are kept for several
/// more of them, so that a request arrives even where most packets are lost.
pub(super) const MAX_REQUEST_DELAY: Duration = Duration::from_secs(10);
/// The time after which an attempt begins another handshake in place of the one that was not answered.
pub(super) const REQUEST_LIFE: Duration = Duration::from_secs(300);
/// The maximum number of responses that are verified for each transmission of a request.
pub(super) const RESPONSES: u32 = 4;
/// The maximum time between two repetitions of a confirm.
pub(super) const MAX_CONFIRM_DELAY: Duration = Duration::from_secs(2);
/// The number of confirms without a packet of the peer after which a session ends.
pub(super) const CONFIRM_TRIES: u32 = 8;

impl Sessions {
    /// Handles all timers that are due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.partial.timeout(now);
        while let Some((due, pair)) = self.timers.first().copied().filter(|(due, _)| *due <= now) {
            self.pair_timeout(now, pair);
            // A timer that was not moved would be due for ever.
            if self.timers.contains(&(due, pair)) {
                self.change(pair, |_| {});
            }
            if self.timers.contains(&(due, pair)) {
                break;
            }
        }
    }

    fn pair_timeout(&mut self, now: Time, pair: Ends) {
        self.change(pair, |state| {
            state.inbound.retain(|one| one.until > now);
            if state.previous.as_ref().is_some_and(|old| old.until <= now) {
                state.previous = None;
            }
        });
        let Some(state) = self.peers.get(&pair) else { return };
        if state.current.is_some() && now.since(state.used) >= IDLE_LIFE {
            return self.end(pair, EndReason::Idle);
        }
        if state.hybrid_due().is_some_and(|due| due <= now) {
            self.change(pair, |state| state.attempt = Some(Attempt::new(now, now)));
        }
        self.attempt_timeout(now, pair);
        self.confirm_timeout(now, pair);
        self.rekey_timeout(now, pair);
    }

    /// Sends the request of an attempt that is due.
    pub(super) fn attempt_timeout(&mut self, now: Time, pair: Ends) {
        let Some(attempt) = self.peers.get(&pair).and_then(|state| state.attempt.as_ref()) else { return };
        if attempt.repetition.next() > now {
            return;
        }
        let is_stale = now.since(attempt.started) >= REQUEST_LIFE;
        if (attempt.initiation.is_none() || is_stale) && self.initiate(now, pair).is_err() {
            return self.end(pair, EndReason::Unusable);
        }
        let payloads = self.change(pair, |state| {
            let attempt = state.attempt.as_mut()?;
            let path = if attempt.repetition.tries() == 0 { PathChoice::Best } else { PathChoice::Both };
            attempt.repetition.sent(now, MAX_REQUEST_DELAY);
            attempt.responses_left = RESPONSES;
            let initiation = attempt.initiation.as_ref()?;
            Some((path, parts(MESSAGE_REQUEST, initiation.id, &initiation.message)))
        });
        let Some((path, payloads)) = payloads.flatten() else { return };
        for payload in payloads {
            self.output.push_back(SessionOutput::Transmit { pair, payload, path });
        }
    }

    /// Makes the first message of an attempt.
    fn initiate(&mut self, now: Time, pair: Ends) -> Result<(), NoiseError> {
        let keys = self.locals.get(&pair.local).cloned().ok_or(NoiseError)?;
        let standing = self.peers.get(&pair).map(|state| state.standing).ok_or(NoiseError)?;
        let terms = Terms { index: self.draw_index(), suites: self.suites, standing };
        let seeds = InitiationSeeds { noise: self.seed(), kem: self.double_seed(), id: self.rng.next_u32() };
        let initiation = SessionInitiation::start(&keys, [&pair.local, &pair.peer], &terms, &seeds)?;
        self.change(pair, |state| {
            if let Some(attempt) = &mut state.attempt {
                attempt.initiation = Some(Box::new(initiation));
                attempt.started = now;
            }
        });
        Ok(())
    }

    /// Sends the packet by which the initiator proves that it has the keys, if it is due.
    pub(super) fn confirm_timeout(&mut self, now: Time, pair: Ends) {
        let Some(epoch) = self.peers.get_mut(&pair).and_then(|state| state.current.as_mut()) else { return };
        let Some(confirm) = epoch.confirm.as_mut().filter(|confirm| confirm.next() <= now) else { return };
        if confirm.tries() >= CONFIRM_TRIES {
            return self.end(pair, EndReason::Unconfirmed);
        }
        confirm.sent(now, MAX_CONFIRM_DELAY);
        self.transmit_sealed(pair, &[CONTENT_CONFIRM]);
        self.change(pair, |_| {});
    }

    /// Sends the `rekey` that is due.
    fn rekey_timeout(&mut self, now: Time, pair: Ends) {
        let is_due =
            |sessions: &Self| sessions.peers.get(&pair)?.rekey_due().filter(|due| *due <= now).map(|_| ());
        if is_due(self).is_none() {
            return;
        }
        let Some(keys) = self.locals.get(&pair.local).cloned() else { return };
        let (seed, index) = (self.seed(), self.draw_index());
        let step = RekeyContext { now, keys: &keys, peer: &pair.peer, seed, index };
        let content = self.change(pair, |state| {
            let epoch = state.current.as_mut()?;
            if matches!(epoch.rekey, RekeyStage::Idle(_)) && epoch.start_rekey(&step).is_err() {
                epoch.rekey = RekeyStage::Idle(now + REKEY_PAUSE);
            }
            let RekeyStage::Requested(requested) = &mut epoch.rekey else { return None };
            let repetition: &mut Repetition = &mut requested.repetition;
            repetition.sent(now, MAX_REKEY_DELAY);
            if repetition.tries() >= REKEY_TRIES {
                repetition.pause(now + REKEY_PAUSE);
            }
            Some(rekey_content(CONTENT_REKEY, &requested.rekey))
        });
        if let Some(content) = content.flatten() {
            self.transmit_sealed(pair, &content);
        }
    }
}
