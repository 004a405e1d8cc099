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
pub(super) const MOST: usize = 4;
/// How long an answer is waited for.
pub(super) const LIFE: Duration = Duration::from_secs(3);
/// The least time between two challenges to one endpoint.
pub(super) const GAP: Duration = Duration::from_millis(50);

/// Who is asked. See the [module's page](self).
#[derive(Debug, Default)]
pub(super) struct Roaming {
    asked: VecDeque<Asked>,
}

#[derive(Debug)]
struct Asked {
    endpoint: Endpoint,
    token: u64,
    until: Time,
    last: Time,
}

impl Roaming {
    /// Whether nobody is asked.
    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }

    /// The neighbour is where it was.
    pub(super) fn settle(&mut self) {
        self.asked.clear();
    }

    /// A new frame of `length` bytes has opened that came from `endpoint`. Returns the challenge to be sent there.
    pub(super) fn challenge(
        &mut self,
        now: Time,
        endpoint: Endpoint,
        length: usize,
        rng: &mut ChaCha20Rng,
    ) -> Option<Vec<u8>> {
        self.asked.retain(|asked| asked.until > now);
        let full = self.asked.len() >= MOST;
        let token = match self.asked.iter_mut().find(|asked| asked.endpoint == endpoint) {
            Some(asked) if now.since(asked.last) < GAP => return None,
            Some(asked) => {
                asked.last = now;
                asked.token
            }
            None if full => return None,
            None => {
                let token = rng.next_u64();
                self.asked.push_back(Asked { endpoint, token, until: now + LIFE, last: now });
                token
            }
        };
        let challenge = plaintext(KIND_CHALLENGE, &Token { token });
        (challenge.len().saturating_add(Sealer::OVERHEAD) <= length).then_some(challenge)
    }

    /// Whether the owner of the session has answered from `endpoint`.
    pub(super) fn answered(&mut self, now: Time, endpoint: &Endpoint, answer: Token) -> bool {
        let found = self
            .asked
            .iter()
            .any(|asked| asked.endpoint == *endpoint && asked.until > now && asked.token == answer.token);
        if found {
            self.asked.clear();
        }
        found
    }
}
