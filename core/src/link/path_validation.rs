//! Following a neighbour that has moved, and nobody else.
//!
//! A frame that opens proves who sealed it, not who sent it on: whoever overheard it may send it from elsewhere. So when a
//! frame from another endpoint opens and none newer has come, that endpoint gets a challenge. Only when the answer comes from
//! there, sealed and new itself, has the neighbour moved. A newer frame from the endpoint that is known shows that it has
//! not. A neighbour answers challenges only from the endpoint that it knows.
//!
//! A challenge is never longer than the frame that it answers, and there is one for each such frame at most.

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;

use super::keys::Sealer;
use crate::netmod::Endpoint;
use crate::time::Time;
use crate::wire::link::{KIND_CHALLENGE, Token, plaintext};

/// Endpoints that are asked at a time, so that somebody who is quick does not keep the neighbour from being asked.
pub(super) const MAX_CHALLENGES: usize = 4;
/// How long an answer is waited for.
pub(super) const CHALLENGE_LIFE: Duration = Duration::from_secs(3);
/// The least time between two challenges to one endpoint.
pub(super) const CHALLENGE_GAP: Duration = Duration::from_millis(50);

/// Who is asked. See the [module's page](self).
#[derive(Debug, Default)]
pub(super) struct PathValidation {
    challenges: VecDeque<PathChallenge>,
}

#[derive(Debug)]
struct PathChallenge {
    endpoint: Endpoint,
    token: u64,
    until: Time,
    last: Time,
}

impl PathValidation {
    /// Whether nobody is asked.
    pub(super) fn is_idle(&self) -> bool {
        self.challenges.is_empty()
    }

    /// The neighbour is where it was.
    pub(super) fn cancel(&mut self) {
        self.challenges.clear();
    }

    /// A new frame of `length` bytes has opened that came from `endpoint`. Returns the challenge to be sent there.
    pub(super) fn challenge(
        &mut self,
        now: Time,
        endpoint: Endpoint,
        length: usize,
        rng: &mut ChaCha20Rng,
    ) -> Option<Vec<u8>> {
        self.challenges.retain(|challenge| challenge.until > now);
        let full = self.challenges.len() >= MAX_CHALLENGES;
        let token = match self.challenges.iter_mut().find(|challenge| challenge.endpoint == endpoint) {
            Some(challenge) if now.since(challenge.last) < CHALLENGE_GAP => return None,
            Some(challenge) => {
                challenge.last = now;
                challenge.token
            }
            None if full => return None,
            None => {
                let token = rng.next_u64();
                self.challenges.push_back(PathChallenge {
                    endpoint,
                    token,
                    until: now + CHALLENGE_LIFE,
                    last: now,
                });
                token
            }
        };
        let challenge = plaintext(KIND_CHALLENGE, &Token { token });
        (challenge.len().saturating_add(Sealer::OVERHEAD) <= length).then_some(challenge)
    }

    /// Whether the owner of the session has answered from `endpoint`.
    pub(super) fn on_response(&mut self, now: Time, endpoint: &Endpoint, answer: Token) -> bool {
        let found = self.challenges.iter().any(|challenge| {
            challenge.endpoint == *endpoint && challenge.until > now && challenge.token == answer.token
        });
        if found {
            self.challenges.clear();
        }
        found
    }
}
