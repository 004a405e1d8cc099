//! Path validation: a neighbour that moves to another endpoint is followed, and no attacker (RFC 9000, sections 8.2 and
//! 9).
//!
//! A frame that opens proves its author but not its sender, because a node that overheard the frame may send a copy
//! from elsewhere. So when a frame from another endpoint opens and is newer than all others, that endpoint receives a
//! challenge. The link moves only when the response arrives from the same endpoint, and is itself the newest frame. A
//! newer frame from the known endpoint shows that the neighbour has not moved. A neighbour answers challenges only from
//! the endpoint that it knows; otherwise an attacker could forward the challenge and obtain the response.
//!
//! A challenge is never longer than the frame that caused it, and each frame causes three at most, which is the limit of
//! RFC 9000 (section 8.1), so that a forged endpoint cannot be flooded by this node. The second and the third follow
//! when no response arrives: a neighbour that only listens sends its next frame a second later, and would be lost for as
//! long by the loss of one challenge.

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;

use super::keys::Sealer;
use crate::endpoint::Endpoint;
use crate::time::Time;
use crate::wire::link::{ChallengeToken, KIND_CHALLENGE, plaintext};

/// The maximum number of endpoints that are challenged at a time. It is more than one, so that an attacker that is
/// faster than the neighbour does not occupy the only challenge.
pub(super) const MAX_CHALLENGES: usize = 4;
/// The time within which a response must arrive. It covers several round trips of a slow path, because a neighbour is
/// not followed if its response is late.
pub(super) const CHALLENGE_LIFE: Duration = Duration::from_secs(3);
/// The minimum time between two challenges to one endpoint. The neighbour may send many frames before its response
/// arrives, and a challenge for each would double its traffic.
pub(super) const CHALLENGE_GAP: Duration = Duration::from_millis(50);

/// The maximum number of repetitions of a challenge without a further frame from its endpoint.
pub(super) const MAX_REPETITIONS: u32 = 2;
/// The time without a response after which a challenge is repeated before a round trip is known.
pub(super) const FIRST_TIMEOUT: Duration = Duration::from_millis(250);

/// The time without a response after which a challenge is repeated for the first time. The path of `rtt` is the former
/// one, so two round trips are allowed.
fn timeout(rtt: Option<Duration>) -> Duration {
    rtt.map_or(FIRST_TIMEOUT, |rtt| rtt.saturating_mul(2).max(CHALLENGE_GAP))
}

/// The endpoints that have been challenged. See the [module documentation](self).
#[derive(Debug, Default)]
pub(super) struct PathValidation {
    challenges: VecDeque<PathChallenge>,
}

/// A challenge that was sent to an endpoint and not yet answered.
#[derive(Debug)]
struct PathChallenge {
    endpoint: Endpoint,
    token: u64,
    until: Time,
    last: Time,
    /// The number of repetitions since the last frame from the endpoint.
    repetitions: u32,
}

impl PathChallenge {
    /// The time of the next repetition, if there is one. The second waits twice as long as the first.
    fn repeat_at(&self, timeout: Duration) -> Option<Time> {
        let at = self.last + timeout.saturating_mul(self.repetitions.saturating_add(1));
        (self.repetitions < MAX_REPETITIONS && at < self.until).then_some(at)
    }

    fn content(&self) -> Vec<u8> {
        plaintext(KIND_CHALLENGE, &ChallengeToken { token: self.token })
    }
}

impl PathValidation {
    /// Whether no challenge waits for its response.
    pub(super) fn is_idle(&self) -> bool {
        self.challenges.is_empty()
    }

    /// Withdraws all challenges, since the neighbour was heard from its known endpoint.
    pub(super) fn cancel(&mut self) {
        self.challenges.clear();
    }

    /// Returns the challenge for `endpoint`, from which the newest frame of `length` bytes has arrived; `None` when too
    /// many endpoints are challenged, the last challenge is too recent, or the challenge would be longer than the
    /// frame.
    ///
    /// A repeated challenge carries the same token, so that the response to an earlier one is still valid.
    pub(super) fn challenge(
        &mut self,
        now: Time,
        endpoint: Endpoint,
        length: usize,
        rng: &mut ChaCha20Rng,
    ) -> Option<Vec<u8>> {
        self.challenges.retain(|challenge| challenge.until > now);
        let full = self.challenges.len() >= MAX_CHALLENGES;
        let known = self.challenges.iter_mut().find(|challenge| challenge.endpoint == endpoint);
        if known.as_ref().is_some_and(|challenge| now.since(challenge.last) < CHALLENGE_GAP) {
            return None;
        }
        let token = known.as_ref().map_or_else(|| rng.next_u64(), |challenge| challenge.token);
        let new = PathChallenge { endpoint, token, until: now + CHALLENGE_LIFE, last: now, repetitions: 0 };
        let content = new.content();
        if content.len().saturating_add(Sealer::OVERHEAD) > length {
            return None;
        }
        match known {
            Some(challenge) => (challenge.last, challenge.repetitions) = (now, 0),
            None if full => return None,
            None => self.challenges.push_back(new),
        }
        Some(content)
    }

    /// The time at which [`PathValidation::repeat`] is due. `rtt` is the round trip of the link.
    pub(super) fn deadline(&self, rtt: Option<Duration>) -> Option<Time> {
        self.challenges.iter().filter_map(|challenge| challenge.repeat_at(timeout(rtt))).min()
    }

    /// The challenges that are due to be repeated, since no response has arrived in time.
    pub(super) fn repeat(
        &mut self,
        now: Time,
        rtt: Option<Duration>,
    ) -> impl Iterator<Item = (Endpoint, Vec<u8>)> + '_ {
        let due = move |challenge: &&mut PathChallenge| {
            challenge.repeat_at(timeout(rtt)).is_some_and(|at| at <= now)
        };
        self.challenges.iter_mut().filter(due).map(move |challenge| {
            challenge.last = now;
            challenge.repetitions = challenge.repetitions.saturating_add(1);
            (challenge.endpoint, challenge.content())
        })
    }

    /// Whether this response proves that the neighbour receives at `endpoint`. If so, all challenges end.
    pub(super) fn on_response(&mut self, now: Time, endpoint: &Endpoint, answer: ChallengeToken) -> bool {
        let found = self.challenges.iter().any(|challenge| {
            challenge.endpoint == *endpoint && challenge.until > now && challenge.token == answer.token
        });
        if found {
            self.challenges.clear();
        }
        found
    }
}
