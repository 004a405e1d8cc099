//! Handshake messages that arrive: requests of others, and responses to our own.

use std::time::Duration;

use super::Sessions;
use super::epoch::Epoch;
use super::event::{PathChoice, SessionOutput};
use super::exchange::{OpenRequest, ResponseError, Terms};
use super::pair::{AnsweredRequest, InboundSession, MAX_INBOUND, PairState, RequestStage};
use super::parts::WholeMessage;
use super::places::{Place, PreviousHop};
use super::repetition::Repetition;
use super::sessions::HOLD_ATTEMPT;
use crate::address::Address;
use crate::stats::DropCause;
use crate::time::Time;
use crate::types::Ends;
use crate::wire::session::{MESSAGE_REQUEST, MESSAGE_RESPONSE, Standing, parts};

/// The time that a responder waits for the first packet under the keys of a handshake. It is longer than the time
/// between two repetitions of a request, so that each of them receives the same response, and its parts fit each other.
pub(super) const INBOUND_SESSION_LIFE: Duration = Duration::from_secs(45);
/// The time from a transmission of the lower address's request in which one of the higher address is passed over. It counts
/// from each of them, because both ends repeat for minutes while there is no path, and meet when there is one.
pub(super) const CROSSING: Duration = HOLD_ATTEMPT;

impl Sessions {
    /// Handles a part of a handshake message.
    pub(super) fn on_part(
        &mut self,
        now: Time,
        local: Address,
        hop: PreviousHop,
        payload: &[u8],
    ) -> Result<(), DropCause> {
        if !self.locals.contains_key(&local) {
            return Err(DropCause::UnknownSession);
        }
        match self.partial.take(now, &local, &hop, payload)? {
            None => Ok(()),
            Some(whole) if whole.message == MESSAGE_REQUEST => self.on_request(now, local, hop, &whole),
            Some(whole) => {
                let result = self.on_response(now, local, &whole);
                if result != Err(DropCause::BadHandshake) {
                    self.partial.forget(&local, &hop, &whole);
                }
                result
            }
        }
    }

    /// Handles a request. A repetition of one that was answered receives the same response.
    fn on_request(
        &mut self,
        now: Time,
        local: Address,
        hop: PreviousHop,
        whole: &WholeMessage,
    ) -> Result<(), DropCause> {
        // The address is a part of the digest, because several addresses of a node could receive the same bytes.
        let digest = blake3::Hasher::new().update(local.as_bytes()).update(&whole.bytes).finalize();
        let digest = *digest.as_bytes();
        if let Some(pair) = self.by_digest.get(&digest).copied() {
            self.respond_again(pair, &digest);
            return Ok(());
        }
        if !self.unproved.has_place(now, &hop) || !self.limiter.admit(now, &hop) {
            return Err(DropCause::HandshakeLimit);
        }
        let keys = self.locals.get(&local).cloned().ok_or(DropCause::UnknownSession)?;
        let seed = self.seed();
        let request =
            OpenRequest::read(&keys, &local, &whole.bytes, &seed).map_err(|_| DropCause::BadHandshake)?;
        let (peer, standing) = (request.request.address, request.request.standing);
        let pair = Ends { local, peer };
        if !self.limiter.admit_address(now, pair) {
            return Err(DropCause::HandshakeLimit);
        }
        if self.peers.get(&pair).is_some_and(|state| is_ours(now, &pair, state)) {
            // Both ends begin at once, and the handshake of the lower address is under way.
            return Ok(());
        }
        match self.unproved.take(now, digest, hop) {
            Place::Free => {}
            Place::Evicted(victim) => self.drop_inbound(&victim),
            Place::Refused => return Err(DropCause::HandshakeLimit),
        }
        self.peers.entry(pair).or_insert_with(|| PairState::new(now));
        self.change(pair, |state| {
            if state.inbound.len() >= MAX_INBOUND {
                state.inbound.remove(0);
            }
            state.inbound.push(InboundSession {
                digest,
                hop,
                until: now + INBOUND_SESSION_LIFE,
                stage: RequestStage::Requested(Box::new(request)),
            });
            // An attempt of the higher address waits for this handshake, but only once, because a request may be an old
            // one that was replayed.
            if let Some(attempt) = state.attempt.as_mut().filter(|attempt| !attempt.held) {
                attempt.held = true;
                attempt.repetition.hold_until(now + HOLD_ATTEMPT);
            }
        });
        self.output.push_back(SessionOutput::Requested { pair, standing, hop });
        Ok(())
    }

    /// Sends the response to a request again.
    fn respond_again(&mut self, pair: Ends, digest: &[u8; 32]) {
        let Some(state) = self.peers.get_mut(&pair) else { return };
        let Some(one) = state.inbound.iter_mut().find(|one| one.digest == *digest) else { return };
        if let RequestStage::Answered(answered) = &mut one.stage {
            // In turns and not over both, since a response may cost no more bytes than its request.
            answered.path = match answered.path {
                PathChoice::Alternate => PathChoice::Best,
                _ => PathChoice::Alternate,
            };
            for payload in parts(MESSAGE_RESPONSE, answered.id, &answered.message) {
                self.output.push_back(SessionOutput::Transmit { pair, payload, path: answered.path });
            }
        }
    }

    /// Drops a handshake of a peer that has lost its place.
    fn drop_inbound(&mut self, digest: &[u8; 32]) {
        let Some(pair) = self.by_digest.get(digest).copied() else { return };
        self.change(pair, |state| state.inbound.retain(|one| one.digest != *digest));
    }

    /// Answers the requests of a peer.
    pub(super) fn accept(&mut self, now: Time, pair: Ends, standing: Standing) -> Result<(), DropCause> {
        let Some(state) = self.peers.get_mut(&pair) else { return Ok(()) };
        state.standing = standing;
        let mut result = Ok(());
        let requested = |one: &InboundSession| matches!(one.stage, RequestStage::Requested(_));
        while let Some(nth) = self.peers.get(&pair).and_then(|state| state.inbound.iter().position(requested))
        {
            let index = self.draw_index();
            let terms = Terms { index, suites: self.suites, standing };
            let randomness = self.seed();
            let answer = self.change(pair, |state| answer(now, state, nth, &terms, &randomness)).flatten();
            result = if answer.is_some() { result } else { Err(DropCause::BadHandshake) };
            for payload in answer.unwrap_or_default() {
                self.output.push_back(SessionOutput::Transmit { pair, payload, path: PathChoice::Best });
            }
        }
        result
    }

    /// Drops the requests of a peer.
    pub(super) fn refuse(&mut self, pair: Ends) {
        self.change(pair, |state| {
            state.inbound.retain(|one| matches!(one.stage, RequestStage::Answered(_)));
        });
    }

    /// Handles a response.
    fn on_response(&mut self, now: Time, local: Address, whole: &WholeMessage) -> Result<(), DropCause> {
        let pair = self.by_index.get(&whole.id).copied().filter(|pair| pair.local == local);
        let pair = pair.ok_or(DropCause::UnknownSession)?;
        let state = self.peers.get_mut(&pair).ok_or(DropCause::UnknownSession)?;
        let attempt = state.attempt.as_mut().ok_or(DropCause::UnknownSession)?;
        let initiation = attempt.initiation.as_mut().filter(|initiation| initiation.index == whole.id);
        let initiation = initiation.ok_or(DropCause::UnknownSession)?;
        // Each response that does not verify costs two key agreements.
        attempt.responses_left = attempt.responses_left.checked_sub(1).ok_or(DropCause::HandshakeLimit)?;
        let (index, agreed) = match initiation.finish(&whole.bytes) {
            Ok(agreed) => (initiation.index, agreed),
            Err(ResponseError::Forged) => return Err(DropCause::BadHandshake),
            Err(ResponseError::Broken) => {
                // The next repetition begins another handshake.
                self.change(pair, |state| {
                    state.attempt.iter_mut().for_each(|attempt| attempt.initiation = None);
                });
                return Err(DropCause::BadHandshake);
            }
        };
        let mut epoch = Epoch::new(now, index, true, agreed);
        epoch.confirm = Some(Repetition::starting(now));
        self.install(now, pair, epoch);
        self.confirm_timeout(now, pair);
        Ok(())
    }
}

/// Whether a handshake that the peer begins is to be passed over, since the one of this end counts: both began at once
/// and this address is the lower one.
fn is_ours(now: Time, pair: &Ends, state: &PairState) -> bool {
    let sent = state.attempt.as_ref().and_then(|attempt| attempt.repetition.last());
    let current = state.current.as_ref().filter(|epoch| epoch.initiator);
    let completed = current.map(|epoch| epoch.hybrid_since);
    let is_recent = |time: Option<Time>| time.is_some_and(|time| now.since(time) < CROSSING);
    pair.local < pair.peer && (is_recent(sent) || is_recent(completed))
}

/// Answers one request. Returns the parts of the response; `None` when the request breaks the protocol.
fn answer(
    now: Time,
    state: &mut PairState,
    nth: usize,
    terms: &Terms,
    randomness: &crate::link::Secret,
) -> Option<Vec<Vec<u8>>> {
    let InboundSession { digest, hop, until, stage } = state.inbound.remove(nth);
    let RequestStage::Requested(request) = stage else { return None };
    let id = request.request.index;
    let (message, agreed) = request.answer(terms, randomness).ok()?;
    let payloads = parts(MESSAGE_RESPONSE, id, &message);
    let epoch = Epoch::new(now, terms.index, false, agreed);
    let stage =
        RequestStage::Answered(Box::new(AnsweredRequest { message, id, epoch, path: PathChoice::Best }));
    state.inbound.push(InboundSession { digest, hop, until, stage });
    Some(payloads)
}
