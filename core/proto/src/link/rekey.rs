//! Renewal of the keys of a session: a handshake inside the link, every two minutes or 2²⁸ frames.
//!
//! A session may last for months. Fresh ephemeral keys limit what a stolen key can decrypt to two minutes of traffic.
//!
//! Only the session's initiator begins, so that two renewals never cross. It sends one `rekey` for each generation and
//! repeats the same bytes until the answer arrives, so that both ends can never derive different keys for one
//! generation. After its answer the responder opens frames of both generations, and seals under the old key until a
//! frame of the new one opens, because only that frame proves that the initiator has the answer. The initiator switches
//! when the answer arrives. Frames that were sealed under the old keys are opened for [`OLD_KEY_LIFE`] more, since they
//! may be on their way.
//!
//! The handshake is `Noise_KKpsk0`: both sides know each other's static key already. The pre-shared key comes from the
//! present session ([`chain`](super::keys::chain)), so that only its two ends can make the next keys. All of it is
//! sealed.

use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use zeroize::Zeroizing;

use super::keys::{DataKey, Opener, Suite};
use super::noise::{NoiseError, NoiseHandshake, RekeyInput, StaticKeys};
use super::seed::fresh_seed;
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::link::{KEY_LEN, KIND_REKEY, KIND_REKEYED, REKEY_LEN, Rekey, plaintext};

/// The time after which keys are replaced (REKEY_AFTER_TIME of WireGuard). Up to a tenth is added at random, so that
/// the renewals of many links that began together do not coincide.
pub(super) const KEY_LIFE: Duration = Duration::from_secs(120);
/// The time for which frames of the previous generation are opened. Otherwise those on their
/// way would be lost.
pub(super) const OLD_KEY_LIFE: Duration = Duration::from_secs(10);
/// The minimum time to the first repetition of a `rekey`; it doubles up to [`MAX_DELAY`].
pub(super) const FIRST_DELAY: Duration = Duration::from_millis(250);
/// The maximum time between two repetitions.
pub(super) const MAX_DELAY: Duration = Duration::from_secs(2);
/// The number of transmissions before a pause. The link keeps its old keys meanwhile, since they are still safe.
pub(super) const TRIES: u32 = 8;
/// The pause after [`TRIES`] transmissions without an answer.
pub(super) const PAUSE: Duration = Duration::from_secs(30);
/// The time after a message that did not verify in which no other one is verified, because each costs a key agreement.
/// Such a message is authentic, so it comes from a faulty or hostile neighbour.
pub(super) const BAD_MESSAGE_PAUSE: Duration = Duration::from_secs(1);

/// The renewal of keys at one end of a session. See the [module documentation](self).
pub struct Renewal {
    keys: Arc<StaticKeys>,
    /// The neighbour's static key.
    remote: [u8; KEY_LEN],
    suite: Suite,
    /// Whether this side began the session, and so begins each renewal.
    initiator: bool,
    /// The pre-shared key of the next handshake, derived from the present keys.
    chain: Zeroizing<[u8; 32]>,
    stage: RenewalStage,
    /// The time until which frames of the previous generation are opened; `None` when its key has been erased.
    old_until: Option<Time>,
}

/// The progress of a renewal.
enum RenewalStage {
    /// No renewal is under way. The initiator begins at this time; the responder accepts a `rekey` from then on.
    Idle(Time),
    /// The initiator has sent its `rekey` and waits for the answer.
    Requested(Box<PendingRekey>),
    /// The responder has answered and waits for a frame under the new key.
    Responded(Box<AnsweredRekey>),
}

/// A renewal of the initiator that waits for its answer.
struct PendingRekey {
    noise: NoiseHandshake,
    /// The message, kept because its repetitions must be the same bytes.
    rekey: Rekey,
    /// The number of transmissions since the last pause.
    tries: u32,
    delay: Duration,
    next: Time,
    /// The time before which no answer is verified, because the last one did not verify.
    closed_until: Time,
}

/// A renewal that the responder has answered. Its key is used when the initiator has proved to have the answer.
struct AnsweredRekey {
    request: Rekey,
    answer: Rekey,
    sealing: DataKey,
    chain: Zeroizing<[u8; 32]>,
}

impl Renewal {
    /// Makes the renewal of a session; `chain` was derived from its handshake.
    pub(super) fn new(
        keys: Arc<StaticKeys>,
        remote: [u8; KEY_LEN],
        suite: Suite,
        initiator: bool,
        chain: Zeroizing<[u8; 32]>,
    ) -> Self {
        Renewal {
            keys,
            remote,
            suite,
            initiator,
            chain,
            stage: RenewalStage::Idle(Time::ZERO),
            old_until: None,
        }
    }

    /// Begins the life of the present keys.
    pub(super) fn start_key_life(&mut self, now: Time, rng: &mut ChaCha20Rng) {
        let later = f64::from(rng.next_u32()) / f64::from(u32::MAX) / 10.0;
        self.stage =
            RenewalStage::Idle(if self.initiator { now + KEY_LIFE + KEY_LIFE.mul_f64(later) } else { now });
    }

    /// Makes the renewal due at once, if this side begins it.
    pub(super) fn hasten(&mut self, now: Time) {
        if let RenewalStage::Idle(due) = &mut self.stage {
            *due = (*due).min(now);
        }
    }

    /// The time at which [`Renewal::timeout`] is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        let next = match &self.stage {
            // A renewal waits until the previous key is erased, because the opener keeps one previous generation only.
            RenewalStage::Idle(due) if self.initiator && self.old_until.is_none() => Some(*due),
            RenewalStage::Requested(pending) => Some(pending.next),
            _ => None,
        };
        next.into_iter().chain(self.old_until).min()
    }

    /// Handles the timers that are due. Returns the plaintext of a `rekey` to be sent.
    pub(super) fn timeout(
        &mut self,
        now: Time,
        rtt: Option<Duration>,
        opener: &mut Opener,
        rng: &mut ChaCha20Rng,
    ) -> Option<Vec<u8>> {
        if self.old_until.is_some_and(|until| until <= now) {
            self.old_until = None;
            opener.forget_previous();
        }
        if self.deadline().is_none_or(|due| due > now) {
            return None;
        }
        if let RenewalStage::Idle(_) = self.stage {
            self.stage = match self.start_request(now, opener.generation(), rng) {
                Ok(pending) => RenewalStage::Requested(Box::new(pending)),
                Err(NoiseError) => RenewalStage::Idle(now + PAUSE),
            };
        }
        let RenewalStage::Requested(pending) = &mut self.stage else { return None };
        let first = FIRST_DELAY.max(rtt.unwrap_or_default().saturating_mul(2));
        pending.delay = match pending.tries {
            0 => first,
            _ => pending.delay.saturating_mul(2).min(MAX_DELAY.max(first)),
        };
        pending.tries = pending.tries.saturating_add(1);
        pending.next = now + pending.delay;
        if pending.tries >= TRIES {
            pending.tries = 0;
            pending.next = now + PAUSE;
        }
        Some(plaintext(KIND_REKEY, &pending.rekey))
    }

    /// Makes the `rekey` of the next generation.
    fn start_request(
        &self,
        now: Time,
        present: u32,
        rng: &mut ChaCha20Rng,
    ) -> Result<PendingRekey, NoiseError> {
        let generation = present.checked_add(1).ok_or(NoiseError)?;
        let mut noise = self.keys.rekey_initiator(&self.rekeying(generation), &fresh_seed(rng))?;
        let rekey = Rekey { generation, message: message(&mut noise)? };
        let delay = FIRST_DELAY;
        Ok(PendingRekey { noise, rekey, tries: 0, delay, next: now, closed_until: now })
    }

    /// The inputs of the handshake that both sides have.
    fn rekeying(&self, generation: u32) -> RekeyInput<'_> {
        RekeyInput { remote: &self.remote, chain: &self.chain, generation }
    }

    /// Handles a `rekey` of the initiator. Returns the plaintext of the answer.
    ///
    /// # Errors
    /// [`DropCause::MalformedPacket`] for another generation than the next, a second message for one generation, or one
    /// that does not verify; [`DropCause::HandshakeLimit`] while the previous key is kept, or soon after a message that
    /// did not verify.
    pub(super) fn on_rekey(
        &mut self,
        now: Time,
        request: Rekey,
        opener: &mut Opener,
        rng: &mut ChaCha20Rng,
    ) -> Result<Option<Vec<u8>>, DropCause> {
        if self.initiator {
            return Err(DropCause::MalformedPacket);
        }
        let generation = request.generation;
        if generation == opener.generation() {
            // It is a late repetition. The initiator has switched, so it has the answer.
            return Ok(None);
        }
        if opener.generation().checked_add(1) != Some(generation) {
            return Err(DropCause::MalformedPacket);
        }
        match &self.stage {
            RenewalStage::Responded(answered) if answered.request == request => {
                return Ok(Some(plaintext(KIND_REKEYED, &answered.answer)));
            }
            // There is one `rekey` for each generation, since two answers could lead to two different keys.
            RenewalStage::Responded(_) => return Err(DropCause::MalformedPacket),
            // A message that does not verify costs as much as one that does, so both are limited.
            RenewalStage::Idle(closed_until) if self.old_until.is_some() || *closed_until > now => {
                return Err(DropCause::HandshakeLimit);
            }
            _ => {}
        }
        match self.answer(request, rng) {
            Ok((answered, opening)) => {
                let answer = plaintext(KIND_REKEYED, &answered.answer);
                self.stage = RenewalStage::Responded(Box::new(answered));
                opener.set_next(opening);
                Ok(Some(answer))
            }
            Err(NoiseError) => {
                self.stage = RenewalStage::Idle(now + BAD_MESSAGE_PAUSE);
                Err(DropCause::MalformedPacket)
            }
        }
    }

    /// Computes the answer to a `rekey`, and the keys of the next generation. The opening key is the second value.
    fn answer(&self, request: Rekey, rng: &mut ChaCha20Rng) -> Result<(AnsweredRekey, DataKey), NoiseError> {
        let generation = request.generation;
        let mut noise = self.keys.rekey_responder(&self.rekeying(generation), &fresh_seed(rng))?;
        noise.read(&request.message)?;
        let answer = Rekey { generation, message: message(&mut noise)? };
        let (sealing, opening) = noise.split_keys(self.suite, generation).ok_or(NoiseError)?;
        let chain = noise.chain().ok_or(NoiseError)?;
        Ok((AnsweredRekey { request, answer, sealing, chain }, opening))
    }

    /// Handles the answer of the responder. Returns the key to seal with from now on; `None` for a repeated answer.
    ///
    /// # Errors
    /// [`DropCause::MalformedPacket`] when it does not answer the pending `rekey` or does not verify;
    /// [`DropCause::HandshakeLimit`] soon after one that did not verify.
    pub(super) fn on_rekeyed(
        &mut self,
        now: Time,
        answer: Rekey,
        opener: &mut Opener,
        rng: &mut ChaCha20Rng,
    ) -> Result<Option<DataKey>, DropCause> {
        if self.initiator && answer.generation == opener.generation() {
            return Ok(None);
        }
        let RenewalStage::Requested(pending) = &mut self.stage else {
            return Err(DropCause::MalformedPacket);
        };
        if pending.rekey.generation != answer.generation {
            return Err(DropCause::MalformedPacket);
        }
        if pending.closed_until > now {
            return Err(DropCause::HandshakeLimit);
        }
        if pending.noise.read(&answer.message).is_err() {
            pending.closed_until = now + BAD_MESSAGE_PAUSE;
            return Err(DropCause::MalformedPacket);
        }
        let keys = pending.noise.split_keys(self.suite, answer.generation).zip(pending.noise.chain());
        let Some(((sealing, opening), chain)) = keys else { return Err(DropCause::MalformedPacket) };
        self.chain = chain;
        opener.set_next(opening);
        opener.switch();
        self.old_until = Some(now + OLD_KEY_LIFE);
        self.start_key_life(now, rng);
        Ok(Some(sealing))
    }

    /// Called after a frame of a new generation has opened, which proves that the initiator has the answer. Returns the
    /// key to seal with from now on, if a renewal waited for that.
    pub(super) fn on_switched(&mut self, now: Time, opener: &Opener) -> Option<DataKey> {
        match &self.stage {
            RenewalStage::Responded(answered) if answered.answer.generation == opener.generation() => {}
            _ => return None,
        }
        let RenewalStage::Responded(answered) = std::mem::replace(&mut self.stage, RenewalStage::Idle(now))
        else {
            return None;
        };
        self.chain = answered.chain;
        self.old_until = Some(now + OLD_KEY_LIFE);
        Some(answered.sealing)
    }
}

/// Writes the next message of the handshake, which has a fixed length.
fn message(noise: &mut NoiseHandshake) -> Result<[u8; REKEY_LEN], NoiseError> {
    noise.write(&[])?.try_into().map_err(|_| NoiseError)
}

impl std::fmt::Debug for Renewal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renewal").field("initiator", &self.initiator).finish_non_exhaustive()
    }
}
