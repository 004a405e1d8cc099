//! Fresh keys for a session that goes on: a handshake inside the link, every two minutes or 2²⁸ frames.
//!
//! Only the session's initiator begins. It sends one `rekey` for each generation and repeats that very message until
//! the answer comes, so that both ends can never come to different keys for one generation. The responder, when it has
//! answered, opens frames of both generations and seals under the old key until a frame of the new one has opened: then
//! it knows that the initiator has the answer. The initiator turns to the new keys with the answer. What was sealed under
//! the old keys is opened for [`KEEP_OLD`] more.
//!
//! The handshake is `Noise_KKpsk0`: both know each other's static keys, and the pre-shared key comes from the present
//! session ([`chain`](super::keys::chain)), so that the new keys are bound to the link that carries it. Everything travels sealed.

use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use zeroize::Zeroizing;

use super::keys::{Key, Opener, Suite};
use super::noise::{Keys, Noise, NoiseError, Rekeying};
use super::seed::fresh_seed;
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::link::{KEY_LEN, KIND_REKEY, KIND_REKEYED, REKEY_LEN, Rekey, plaintext};

/// How long keys are used before they are replaced; up to a tenth is added, so that links do not stay in step.
pub(super) const LIFE: Duration = Duration::from_secs(120);
/// How long frames of the generation before are opened.
pub(super) const KEEP_OLD: Duration = Duration::from_secs(10);
/// The least time to the first repetition of a `rekey`; it doubles up to [`LAST_DELAY`].
pub(super) const FIRST_DELAY: Duration = Duration::from_millis(250);
pub(super) const LAST_DELAY: Duration = Duration::from_secs(2);
/// How often it is sent in a row, and how long the pause is then. The link goes on with its old keys.
pub(super) const TRIES: u32 = 8;
pub(super) const PAUSE: Duration = Duration::from_secs(30);
/// The least time between two messages that do not verify and are looked into nevertheless.
pub(super) const BAD_PAUSE: Duration = Duration::from_secs(1);

/// How one end of a session comes to its next keys. See the [module's page](self).
pub(crate) struct Renewal {
    keys: Arc<Keys>,
    /// The neighbour's static key.
    remote: [u8; KEY_LEN],
    suite: Suite,
    initiator: bool,
    /// What the present keys left for the next handshake.
    chain: Zeroizing<[u8; 32]>,
    stage: Stage,
    /// Until when frames of the generation before are opened.
    old_until: Option<Time>,
}

enum Stage {
    /// The keys are good. The initiator begins at that time; the responder listens from then on.
    Resting(Time),
    /// The initiator waits for the answer.
    Asking(Box<Asking>),
    /// The responder has answered, and waits for a frame under the new key.
    Answered(Box<Answered>),
}

struct Asking {
    noise: Noise,
    /// What is repeated.
    rekey: Rekey,
    /// How often it was sent since the last pause.
    tries: u32,
    delay: Duration,
    next: Time,
    /// Before this time an answer is not looked into.
    closed_until: Time,
}

struct Answered {
    asked: Rekey,
    answer: Rekey,
    sealing: Key,
    chain: Zeroizing<[u8; 32]>,
}

impl Renewal {
    /// For a session whose handshake left `chain`.
    pub(super) fn new(
        keys: Arc<Keys>,
        remote: [u8; KEY_LEN],
        suite: Suite,
        initiator: bool,
        chain: Zeroizing<[u8; 32]>,
    ) -> Self {
        Renewal { keys, remote, suite, initiator, chain, stage: Stage::Resting(Time::ZERO), old_until: None }
    }

    /// The keys are in use from now on.
    pub(super) fn begin(&mut self, now: Time, rng: &mut ChaCha20Rng) {
        let later = f64::from(rng.next_u32()) / f64::from(u32::MAX) / 10.0;
        self.stage = Stage::Resting(if self.initiator { now + LIFE + LIFE.mul_f64(later) } else { now });
    }

    /// The keys are worn: they are replaced as soon as can be, if it is this side that begins.
    pub(super) fn hasten(&mut self, now: Time) {
        if let Stage::Resting(due) = &mut self.stage {
            *due = (*due).min(now);
        }
    }

    /// When [`Renewal::timeout`] is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        let next = match &self.stage {
            // One after the other: only one generation before is kept.
            Stage::Resting(due) if self.initiator && self.old_until.is_none() => Some(*due),
            Stage::Asking(asking) => Some(asking.next),
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
            opener.forget_before();
        }
        if self.deadline().is_none_or(|due| due > now) {
            return None;
        }
        if let Stage::Resting(_) = self.stage {
            self.stage = match self.ask(now, opener.generation(), rng) {
                Ok(asking) => Stage::Asking(Box::new(asking)),
                Err(NoiseError) => Stage::Resting(now + PAUSE),
            };
        }
        let Stage::Asking(asking) = &mut self.stage else { return None };
        let first = FIRST_DELAY.max(rtt.unwrap_or_default().saturating_mul(2));
        asking.delay = match asking.tries {
            0 => first,
            _ => asking.delay.saturating_mul(2).min(LAST_DELAY.max(first)),
        };
        asking.tries = asking.tries.saturating_add(1);
        asking.next = now + asking.delay;
        if asking.tries >= TRIES {
            asking.tries = 0;
            asking.next = now + PAUSE;
        }
        Some(plaintext(KIND_REKEY, &asking.rekey))
    }

    fn ask(&self, now: Time, present: u32, rng: &mut ChaCha20Rng) -> Result<Asking, NoiseError> {
        let generation = present.checked_add(1).ok_or(NoiseError)?;
        let mut noise = self.keys.rekey_initiator(&self.rekeying(generation), &fresh_seed(rng))?;
        let rekey = Rekey { generation, message: message(&mut noise)? };
        let delay = FIRST_DELAY;
        Ok(Asking { noise, rekey, tries: 0, delay, next: now, closed_until: now })
    }

    fn rekeying(&self, generation: u32) -> Rekeying<'_> {
        Rekeying { remote: &self.remote, chain: &self.chain, generation }
    }

    /// The neighbour asks for the next keys. Returns the plaintext that answers.
    ///
    /// # Errors
    /// When that cannot be: it is not for the next generation, or does not verify.
    pub(super) fn on_rekey(
        &mut self,
        now: Time,
        asked: Rekey,
        opener: &mut Opener,
        rng: &mut ChaCha20Rng,
    ) -> Result<Option<Vec<u8>>, DropCause> {
        if self.initiator {
            return Err(DropCause::MalformedPacket);
        }
        let generation = asked.generation;
        if generation == opener.generation() {
            // A repetition that was overtaken: the neighbour has the answer.
            return Ok(None);
        }
        if opener.generation().checked_add(1) != Some(generation) {
            return Err(DropCause::MalformedPacket);
        }
        match &self.stage {
            Stage::Answered(answered) if answered.asked == asked => {
                return Ok(Some(plaintext(KIND_REKEYED, &answered.answer)));
            }
            // There is one such message for each generation.
            Stage::Answered(_) => return Err(DropCause::MalformedPacket),
            // What does not verify costs as much as what does.
            Stage::Resting(closed_until) if self.old_until.is_some() || *closed_until > now => {
                return Err(DropCause::HandshakeLimit);
            }
            _ => {}
        }
        match self.answer(asked, rng) {
            Ok((answered, opening)) => {
                let answer = plaintext(KIND_REKEYED, &answered.answer);
                self.stage = Stage::Answered(Box::new(answered));
                opener.expect(opening);
                Ok(Some(answer))
            }
            Err(NoiseError) => {
                self.stage = Stage::Resting(now + BAD_PAUSE);
                Err(DropCause::MalformedPacket)
            }
        }
    }

    fn answer(&self, asked: Rekey, rng: &mut ChaCha20Rng) -> Result<(Answered, Key), NoiseError> {
        let generation = asked.generation;
        let mut noise = self.keys.rekey_responder(&self.rekeying(generation), &fresh_seed(rng))?;
        noise.read(&asked.message)?;
        let answer = Rekey { generation, message: message(&mut noise)? };
        let (sealing, opening) = noise.split_keys(self.suite, generation).ok_or(NoiseError)?;
        let chain = noise.chain().ok_or(NoiseError)?;
        Ok((Answered { asked, answer, sealing, chain }, opening))
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
        let Stage::Asking(asking) = &mut self.stage else { return Err(DropCause::MalformedPacket) };
        if asking.rekey.generation != answer.generation {
            return Err(DropCause::MalformedPacket);
        }
        if asking.closed_until > now {
            return Err(DropCause::HandshakeLimit);
        }
        if asking.noise.read(&answer.message).is_err() {
            asking.closed_until = now + BAD_PAUSE;
            return Err(DropCause::MalformedPacket);
        }
        let keys = asking.noise.split_keys(self.suite, answer.generation).zip(asking.noise.chain());
        let Some(((sealing, opening), chain)) = keys else { return Err(DropCause::MalformedPacket) };
        self.chain = chain;
        opener.expect(opening);
        opener.turn();
        self.old_until = Some(now + KEEP_OLD);
        self.begin(now, rng);
        Ok(Some(sealing))
    }

    /// Whether a frame has opened under the key to come: returns the key to seal with from now on.
    pub(super) fn turned(&mut self, now: Time, opener: &Opener) -> Option<Key> {
        match &self.stage {
            Stage::Answered(answered) if answered.answer.generation == opener.generation() => {}
            _ => return None,
        }
        let Stage::Answered(answered) = std::mem::replace(&mut self.stage, Stage::Resting(now)) else {
            return None;
        };
        self.chain = answered.chain;
        self.old_until = Some(now + KEEP_OLD);
        Some(answered.sealing)
    }
}

fn message(noise: &mut Noise) -> Result<[u8; REKEY_LEN], NoiseError> {
    noise.write(&[])?.try_into().map_err(|_| NoiseError)
}

impl std::fmt::Debug for Renewal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renewal").field("initiator", &self.initiator).finish_non_exhaustive()
    }
}
