//! Renewal of the keys of a session between its handshakes: every two minutes of use or 2²⁸ packets.
//!
//! It follows the renewal of links ([`link::rekey`](crate::link)), with one difference: the next keys have an index of
//! their own at either end, since packets name their keys by that. Only the end that began the session begins a renewal,
//! so that two never cross. It sends one `rekey` for each generation and repeats the same bytes until the answer
//! arrives, so that both ends can never derive different keys for one generation. The responder opens packets of the
//! next keys after its answer, and seals with them after one of them has opened, because only that proves that the
//! initiator has the answer. The old keys open packets for some time, since some may be on their way.
//!
//! A renewal has no KEM. Its pre-shared key comes from the hybrid keys before, so that an attacker that breaks X25519
//! alone does not get the next keys; against one that has stolen the present keys as well as broken X25519, the hybrid
//! handshake of every hour helps.

use std::time::Duration;

use super::epoch::{Epoch, RekeyStage, RequestedRekey, RespondedRekey};
use super::exchange::{RekeyTerms, rekey_message};
use super::keys::{EpochKeys, EpochRole};
use super::repetition::Repetition;
use crate::address::Address;
use crate::link::{NoiseError, NoiseHandshake, Secret, StaticKeys};
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::session::SessionRekey;

/// The time of use after which keys are replaced (REKEY_AFTER_TIME of WireGuard).
pub(super) const SESSION_KEY_LIFE: Duration = Duration::from_secs(120);
/// The maximum time between two repetitions of a `rekey`.
pub(super) const MAX_REKEY_DELAY: Duration = Duration::from_secs(2);
/// The number of transmissions before a pause. The session keeps its keys meanwhile, since they are still safe.
pub(super) const REKEY_TRIES: u32 = 8;
/// The pause after that.
pub(super) const REKEY_PAUSE: Duration = Duration::from_secs(30);
/// The time after a message that did not verify in which no other one is verified, because each costs key agreements.
/// Such a message is authentic, so it comes from a faulty or hostile peer.
pub(super) const BAD_REKEY_PAUSE: Duration = Duration::from_secs(1);

/// The inputs of a step of a renewal that lie outside of the keys.
pub(super) struct RekeyContext<'a> {
    pub(super) now: Time,
    pub(super) keys: &'a StaticKeys,
    pub(super) peer: &'a Address,
    /// The seed of an ephemeral key, if the step makes one.
    pub(super) seed: Secret,
    /// An index for the next keys, if the step makes them.
    pub(super) index: u32,
}

impl Epoch {
    /// Makes the `rekey` of the next generation.
    pub(super) fn start_rekey(&mut self, step: &RekeyContext<'_>) -> Result<(), NoiseError> {
        let generation = self.generation.checked_add(1).ok_or(NoiseError)?;
        let mut noise = self.rekey_terms(step, generation).begin(&step.seed)?;
        let rekey = SessionRekey { generation, index: step.index, message: rekey_message(&mut noise)? };
        self.rekey = RekeyStage::Requested(Box::new(RequestedRekey {
            noise,
            rekey,
            repetition: Repetition::starting(step.now),
            closed_until: step.now,
        }));
        Ok(())
    }

    fn rekey_terms<'a>(&'a self, step: &'a RekeyContext<'_>, generation: u32) -> RekeyTerms<'a> {
        let (keys, peer, initiator) = (step.keys, step.peer, self.initiator);
        RekeyTerms { keys, peer, chain: &self.keys.chain, generation, initiator }
    }

    /// Handles a `rekey` of the initiator. Returns the answer; `None` for a late repetition. `may_renew` is false while
    /// the keys before the present ones are kept.
    ///
    /// # Errors
    /// [`DropCause::MalformedPacket`] for another generation than the next, a second message for one generation, or one
    /// that does not verify; [`DropCause::HandshakeLimit`] while `may_renew` is false, or soon after a message that did
    /// not verify.
    pub(super) fn on_rekey(
        &mut self,
        request: SessionRekey,
        may_renew: bool,
        step: &RekeyContext<'_>,
    ) -> Result<Option<SessionRekey>, DropCause> {
        if self.initiator {
            return Err(DropCause::MalformedPacket);
        }
        if request.generation == self.generation {
            // The initiator has switched, so it has the answer.
            return Ok(None);
        }
        if self.generation.checked_add(1) != Some(request.generation) {
            return Err(DropCause::MalformedPacket);
        }
        match &self.rekey {
            RekeyStage::Responded(responded) if responded.request == request => {
                return Ok(Some(responded.answer));
            }
            // There is one `rekey` for each generation, since two answers could lead to two different keys.
            RekeyStage::Responded(_) => return Err(DropCause::MalformedPacket),
            RekeyStage::Idle(closed_until) if !may_renew || *closed_until > step.now => {
                return Err(DropCause::HandshakeLimit);
            }
            _ => {}
        }
        match self.respond(request, step) {
            Ok(responded) => {
                let answer = responded.answer;
                self.rekey = RekeyStage::Responded(Box::new(responded));
                Ok(Some(answer))
            }
            Err(NoiseError) => {
                self.rekey = RekeyStage::Idle(step.now + BAD_REKEY_PAUSE);
                Err(DropCause::MalformedPacket)
            }
        }
    }

    fn respond(&self, request: SessionRekey, step: &RekeyContext<'_>) -> Result<RespondedRekey, NoiseError> {
        let generation = request.generation;
        let mut noise = self.rekey_terms(step, generation).begin(&step.seed)?;
        noise.read(&request.message)?;
        let answer = SessionRekey { generation, index: step.index, message: rekey_message(&mut noise)? };
        let next = self.next(&mut noise, step.now, step.index, request.index).ok_or(NoiseError)?;
        Ok(RespondedRekey { request, answer, next })
    }

    /// The keys of the next generation, after the last message of its handshake.
    fn next(&self, noise: &mut NoiseHandshake, now: Time, index: u32, remote_index: u32) -> Option<Epoch> {
        let role = EpochRole { suite: self.suite, initiator: self.initiator, remote_index };
        let keys = EpochKeys::new(&noise.split_secrets()?, None, role)?;
        Some(Epoch {
            keys,
            index,
            suite: self.suite,
            initiator: self.initiator,
            proved: self.proved,
            generation: self.generation.checked_add(1)?,
            since: now,
            hybrid_since: self.hybrid_since,
            used: false,
            confirm: None,
            rekey: RekeyStage::Idle(now),
        })
    }

    /// Handles the answer of the responder. Returns the next keys; `None` for a repeated answer.
    ///
    /// # Errors
    /// [`DropCause::MalformedPacket`] when it answers no `rekey` or does not verify; [`DropCause::HandshakeLimit`] soon
    /// after one that did not verify.
    pub(super) fn on_rekeyed(&mut self, now: Time, answer: SessionRekey) -> Result<Option<Epoch>, DropCause> {
        if self.initiator && answer.generation == self.generation {
            return Ok(None);
        }
        if !matches!(self.rekey, RekeyStage::Requested(_)) {
            return Err(DropCause::MalformedPacket);
        }
        let stage = std::mem::replace(&mut self.rekey, RekeyStage::Idle(now));
        let RekeyStage::Requested(mut requested) = stage else { return Err(DropCause::MalformedPacket) };
        let cause = if requested.rekey.generation != answer.generation {
            DropCause::MalformedPacket
        } else if requested.closed_until > now {
            DropCause::HandshakeLimit
        } else if requested.noise.read(&answer.message).is_err() {
            requested.closed_until = now + BAD_REKEY_PAUSE;
            DropCause::MalformedPacket
        } else {
            let index = requested.rekey.index;
            let next = self.next(&mut requested.noise, now, index, answer.index);
            return next.map(Some).ok_or(DropCause::MalformedPacket);
        };
        self.rekey = RekeyStage::Requested(requested);
        Err(cause)
    }
}
