//! Fresh keys for a session that goes on: a handshake inside the link, every two minutes or 2²⁸ frames.
//!
//! Only the session's initiator begins. It sends one `rekey` for each generation and repeats that very message until
//! the answer comes, so that both ends can never come to different keys for one generation. The responder, when it has
//! answered, opens frames of both generations and seals under the old key until a frame of the new one has opened: then
//! it knows that the initiator has the answer. The initiator turns to the new keys with the answer. What was sealed under
//! the old keys is opened for [`OLD_KEY_LIFE`] more.
//!
//! The handshake is `Noise_KKpsk0`: both know each other's static keys, and the pre-shared key comes from the present
//! session ([`chain`](super::keys::chain)), so that the new keys are bound to the link that carries it. Everything travels sealed.

use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use zeroize::Zeroizing;

use super::keys::{Key, Opener, Suite};
use super::noise::{NoiseError, NoiseHandshake, RekeyInput, StaticKeys};
use super::seed::fresh_seed;
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::link::{KEY_LEN, KIND_REKEY, KIND_REKEYED, REKEY_LEN, Rekey, plaintext};

/// How long keys are used before they are replaced; up to a tenth is added, so that links do not stay in step.
pub(super) const KEY_LIFE: Duration = Duration::from_secs(120);
/// How long frames of the generation before are opened.
pub(super) const OLD_KEY_LIFE: Duration = Duration::from_secs(10);
/// The least time to the first repetition of a `rekey`; it doubles up to [`MAX_DELAY`].
pub(super) const FIRST_DELAY: Duration = Duration::from_millis(250);
pub(super) const MAX_DELAY: Duration = Duration::from_secs(2);
/// How often it is sent in a row, and how long the pause is then. The link goes on with its old keys.
pub(super) const TRIES: u32 = 8;
pub(super) const PAUSE: Duration = Duration::from_secs(30);
/// The least time between two messages that do not verify and are looked into nevertheless.
pub(super) const BAD_MESSAGE_PAUSE: Duration = Duration::from_secs(1);

/// How one end of a session comes to its next keys. See the [module's page](self).
pub(crate) struct Renewal {
    keys: Arc<StaticKeys>,
    /// The neighbour's static key.
    remote: [u8; KEY_LEN],
    suite: Suite,
    initiator: bool,
    /// What the present keys left for the next handshake.
    chain: Zeroizing<[u8; 32]>,
    stage: RenewalStage,
    /// Until when frames of the generation before are opened.
    old_until: Option<Time>,
}

enum RenewalStage {
    /// The keys are good. The initiator begins at that time; the responder listens from then on.
    Idle(Time),
    /// The initiator waits for the answer.
    Requested(Box<PendingRekey>),
    /// The responder has answered, and waits for a frame under the new key.
    Responded(Box<AnsweredRekey>),
}

struct PendingRekey {
    noise: NoiseHandshake,
    /// What is repeated.
    rekey: Rekey,
    /// How often it was sent since the last pause.
    tries: u32,
    delay: Duration,
    next: Time,
    /// Before this time an answer is not looked into.
    closed_until: Time,
}

struct AnsweredRekey {
    request: Rekey,
    answer: Rekey,
    sealing: Key,
    chain: Zeroizing<[u8; 32]>,
}

impl Renewal {
    /// For a session whose handshake left `chain`.
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

    /// The keys are in use from now on.
    pub(super) fn start_key_life(&mut self, now: Time, rng: &mut ChaCha20Rng) {
        let later = f64::from(rng.next_u32()) / f64::from(u32::MAX) / 10.0;
        self.stage =
            RenewalStage::Idle(if self.initiator { now + KEY_LIFE + KEY_LIFE.mul_f64(later) } else { now });
    }

    /// The keys are worn: they are replaced as soon as can be, if it is this side that begins.
    pub(super) fn hasten(&mut self, now: Time) {
        if let RenewalStage::Idle(due) = &mut self.stage {
            *due = (*due).min(now);
        }
    }

    /// When [`Renewal::timeout`] is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        let next = match &self.stage {
            // One after the other: only one generation before is kept.
            RenewalStage::Idle(due) if self.initiator && self.old_until.is_none() => Some(*due),
            RenewalStage::Requested(pending) => Some(pending.next),
            _ => None,
        };
        next.into_iter().chain(self.old_until).min()
    }

    /// Time has passed. Returns a plaintext to be sent.
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

    fn rekeying(&self, generation: u32) -> RekeyInput<'_> {
        RekeyInput { remote: &self.remote, chain: &self.chain, generation }
    }

    /// The neighbour asks for the next keys. Returns the plaintext that answers.
    ///
    /// # Errors
    /// When that cannot be: it is not for the next generation, or does not verify.
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
            // A repetition that was overtaken: the neighbour has the answer.
            return Ok(None);
        }
        if opener.generation().checked_add(1) != Some(generation) {
            return Err(DropCause::MalformedPacket);
        }
        match &self.stage {
            RenewalStage::Responded(answered) if answered.request == request => {
                return Ok(Some(plaintext(KIND_REKEYED, &answered.answer)));
            }
            // There is one such message for each generation.
            RenewalStage::Responded(_) => return Err(DropCause::MalformedPacket),
            // What does not verify costs as much as what does.
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

    fn answer(&self, request: Rekey, rng: &mut ChaCha20Rng) -> Result<(AnsweredRekey, Key), NoiseError> {
        let generation = request.generation;
        let mut noise = self.keys.rekey_responder(&self.rekeying(generation), &fresh_seed(rng))?;
        noise.read(&request.message)?;
        let answer = Rekey { generation, message: message(&mut noise)? };
        let (sealing, opening) = noise.split_keys(self.suite, generation).ok_or(NoiseError)?;
        let chain = noise.chain().ok_or(NoiseError)?;
        Ok((AnsweredRekey { request, answer, sealing, chain }, opening))
    }

    /// The neighbour has answered. Returns the key to seal with from now on; nothing when that has happened already.
    ///
    /// # Errors
    /// When it is no answer to what was asked.
    pub(super) fn on_rekeyed(
        &mut self,
        now: Time,
        answer: Rekey,
        opener: &mut Opener,
        rng: &mut ChaCha20Rng,
    ) -> Result<Option<Key>, DropCause> {
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

    /// Whether a frame has opened under the key to come: returns the key to seal with from now on.
    pub(super) fn on_switched(&mut self, now: Time, opener: &Opener) -> Option<Key> {
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

fn message(noise: &mut NoiseHandshake) -> Result<[u8; REKEY_LEN], NoiseError> {
    noise.write(&[])?.try_into().map_err(|_| NoiseError)
}

impl std::fmt::Debug for Renewal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renewal").field("initiator", &self.initiator).finish_non_exhaustive()
    }
}
