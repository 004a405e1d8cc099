//! The handshakes that other nodes begin, from their initiation to their finish.

mod room;

use super::Handshakes;
use super::limiter::{Admission, InitiationClaim};
use super::pending::{AwaitedFinish, INBOUND_LIFE, InboundHandshake, InboundStage};
use super::session::{HandshakeOutput, Session, SessionKeys, introduced};
use crate::link::keys::Suite;
use crate::link::noise::NoiseError;
use crate::link::{DownReason, Path, Source};
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::link::{
    COOKIE, COOKIE_LEN, Cookie, ECHO_LEN, Finish, INITIATION_LEN, Initiation, Introduction, KEY_LEN, Opening,
    REFUSAL, RESPONSE, Refusal, Response, VERSION, frame, split,
};

/// The number of finishes with a static key that opens, but that do not verify, after which the handshake ends. Each of
/// them costs the computation of a whole handshake.
const MAX_BAD_FINISHES: u32 = 4;

impl Handshakes {
    /// Decides whether an initiation is read any further. A cookie is requested where one is required.
    fn admit(&mut self, now: Time, head: &Initiation, claim: InitiationClaim) -> Result<(), DropCause> {
        match self.limiter.admit(now, &claim, &mut self.rng) {
            Admission::Admit => return Ok(()),
            Admission::Refuse => {}
            Admission::RequireCookie(cookie) => {
                self.require_cookie(claim.path, head, &claim.ephemeral, cookie);
            }
        }
        Err(DropCause::HandshakeLimit)
    }

    /// Handles an initiation. The checks are in the order of their cost, so that a flood is dropped by the cheapest
    /// one; the key agreement comes last.
    pub(super) fn on_initiation(
        &mut self,
        now: Time,
        path: Path,
        source: Source,
        mtu: usize,
        bytes: &[u8],
    ) -> Result<(), DropCause> {
        let (head, message) = split::<Initiation>(bytes).map_err(|_| DropCause::MalformedFrame)?;
        let ephemeral: [u8; KEY_LEN] = *message.first_chunk().ok_or(DropCause::MalformedFrame)?;
        self.check_protocol_and_mesh(path, &head, &ephemeral)?;
        if bytes.len() < INITIATION_LEN {
            return Err(DropCause::BadHandshake);
        }
        let id = initiation_id(bytes);
        if self.repeat_response(path, &id) {
            return Ok(());
        }
        self.admit(now, &head, InitiationClaim { path, source, ephemeral, cookie: head.cookie })?;
        let seed = self.seed();
        let mut noise = self.keys.responder(&seed).map_err(|_| DropCause::BadHandshake)?;
        let payload = noise.read(message).map_err(|_| DropCause::BadHandshake)?;
        let (opening, _) = split::<Opening>(&payload).map_err(|_| DropCause::BadHandshake)?;
        if self.repeat_finish(path, opening.instance) {
            return Ok(());
        }
        self.make_room(now, path.netmod, source)?;

        let index = self.indices.draw();
        let introduction = self.introduction(index, mtu);
        let reply = noise.write(&introduction).map_err(|_| DropCause::BadHandshake)?;
        let response = Response { kind: RESPONSE, version: VERSION, sender: index, receiver: head.sender };
        let response = frame(&response, &reply);
        if response.len() > bytes.len() {
            return Err(DropCause::BadHandshake);
        }
        let message = message.to_vec();
        let awaited = AwaitedFinish { noise, seed, message, response: response.clone(), bad: 0 };
        let inbound = InboundHandshake {
            path,
            source,
            mtu,
            id,
            instance: opening.instance,
            peer_index: head.sender,
            since: now,
            until: now + INBOUND_LIFE,
            stage: InboundStage::AwaitingFinish(Box::new(awaited)),
            superseded: self.is_in_use(now, path.netmod, opening.instance),
        };
        self.inbound.insert(index, inbound);
        self.transmit(path, response);
        Ok(())
    }

    /// Refuses an initiation of another version, or of a mesh with a key where this node has none.
    fn check_protocol_and_mesh(
        &mut self,
        path: Path,
        head: &Initiation,
        ephemeral: &[u8; KEY_LEN],
    ) -> Result<(), DropCause> {
        if head.version != VERSION {
            self.refuse(path, head, ephemeral, Refusal::VERSION);
            return Err(DropCause::BadHandshake);
        }
        match (head.flags & Initiation::MESH != 0, self.keys.has_mesh_key()) {
            (true, false) => {
                self.refuse(path, head, ephemeral, Refusal::MESH);
                Err(DropCause::BadHandshake)
            }
            // A closed mesh does not answer other nodes at all, so that its nodes cannot be found by scanning.
            (false, true) => Err(DropCause::BadHandshake),
            _ => Ok(()),
        }
    }

    /// Repeats the response to an initiation that was answered before, unless its finish has arrived. Returns whether
    /// it was.
    fn repeat_response(&mut self, path: Path, id: &[u8; 32]) -> bool {
        let Some(inbound) = self.inbound.values().find(|inbound| inbound.path == path && inbound.id == *id)
        else {
            return false;
        };
        if let InboundStage::AwaitingFinish(awaited) = &inbound.stage {
            let response = awaited.response.clone();
            self.transmit(path, response);
        }
        true
    }

    /// Requires that the initiation is sent again with this cookie.
    fn require_cookie(
        &mut self,
        path: Path,
        head: &Initiation,
        ephemeral: &[u8; KEY_LEN],
        cookie: [u8; COOKIE_LEN],
    ) {
        let echo = echo(ephemeral);
        let cookie = Cookie { kind: COOKIE, version: VERSION, receiver: head.sender, echo, cookie };
        self.transmit(path, frame(&cookie, &[]));
    }

    /// Refuses an initiation with a reason.
    fn refuse(&mut self, path: Path, head: &Initiation, ephemeral: &[u8; KEY_LEN], reason: u8) {
        let echo = echo(ephemeral);
        let refusal = Refusal { kind: REFUSAL, version: VERSION, receiver: head.sender, echo, reason };
        self.transmit(path, frame(&refusal, &[]));
    }

    /// Repeats the finish that was just sent to this run of a neighbour, if it may not have arrived. Then its own
    /// initiation is not answered, since two sessions would result. For an initiation from another endpoint that is
    /// done once, because it has not proved its instance yet. Returns whether there was such a finish.
    fn repeat_finish(&mut self, path: Path, instance: u64) -> bool {
        let mut finishes = Vec::new();
        for kept in self.completed_dials.values_mut().filter(|kept| {
            kept.path.netmod == path.netmod && kept.instance == instance && kept.confirmed.is_none()
        }) {
            if kept.path == path || !std::mem::replace(&mut kept.reminded, true) {
                finishes.push((kept.path, kept.finish.clone()));
            }
        }
        // One finish is sent, so that the answer is not longer than the initiation.
        match finishes.pop() {
            Some((path, finish)) => {
                self.transmit(path, finish);
                true
            }
            None => false,
        }
    }

    /// Whether the finish of the session with this local index is awaited over this path. Its early frames are kept
    /// until then.
    pub fn awaits_finish(&self, path: &Path, local_index: u32) -> bool {
        let inbound = self.inbound.get(&local_index).filter(|inbound| inbound.path == *path);
        inbound.is_some_and(|inbound| matches!(inbound.stage, InboundStage::AwaitingFinish(_)))
    }

    /// Handles a finish, which completes an inbound handshake if it verifies.
    pub(super) fn on_finish(&mut self, now: Time, path: Path, bytes: &[u8]) -> Result<(), DropCause> {
        let (head, message) = split::<Finish>(bytes).map_err(|_| DropCause::MalformedFrame)?;
        let inbound = self
            .inbound
            .get_mut(&head.receiver)
            .filter(|inbound| inbound.path == path)
            .ok_or(DropCause::UnknownSession)?;
        let awaited = match &mut inbound.stage {
            InboundStage::AwaitingFinish(awaited) => awaited,
            InboundStage::Completed { declined, .. } => {
                // The frame must not be longer than the finish, since the sender of this copy has proved nothing.
                let again = declined.clone().filter(|declined| declined.len() <= bytes.len());
                again.into_iter().for_each(|declined| self.transmit(path, declined));
                return Ok(());
            }
        };
        let source = inbound.source;
        // The handshake is kept, because the finish is repeated.
        if !self.limiter.has_session(now, path.netmod, source) {
            return Err(DropCause::HandshakeLimit);
        }
        let Ok(payload) = awaited.noise.read(message) else {
            let is_unusable = awaited.noise.remote_static().is_some();
            return Err(self.on_bad_finish(head.receiver, is_unusable));
        };
        let peer = introduced(&payload, &awaited.noise).filter(|peer| {
            peer.index == inbound.peer_index
                && peer.instance == inbound.instance
                && peer.address != self.address
        });
        let agreed = peer.and_then(|peer| Some((peer, Suite::agree(self.config.suites, peer.suites)?)));
        let Some((peer, suite)) = agreed else {
            self.inbound.remove(&head.receiver);
            return Err(DropCause::BadHandshake);
        };
        let completed = SessionKeys::new(&self.keys, &mut awaited.noise, suite, peer.index, false);
        let (since, mtu) = (inbound.since, inbound.mtu.min(usize::from(peer.mtu)));
        inbound.stage = InboundStage::Completed { peer: peer.address, at: now, declined: None };
        inbound.until = now + INBOUND_LIFE;
        if self.prefers_own_session(path, &peer, since) {
            return Ok(());
        }
        let SessionKeys { sealer, opener, renewal } = completed.ok_or(DropCause::BadHandshake)?;
        let session = Session {
            peer: peer.address,
            path,
            initiator: false,
            local_index: head.receiver,
            mtu,
            peer_instance: peer.instance,
            peer_capabilities: peer.capabilities,
            suite,
            sealer,
            opener,
            renewal,
            rtt: now.since(since),
        };
        self.begin_inbound_session(now, source, session)
    }

    /// Restores or ends the handshake of a finish that does not verify.
    ///
    /// A finish with a static key that does not open is a guess, and has changed nothing. One with a key that opens
    /// leaves the state of the handshake unusable, so it is restored, because the true finish may still arrive.
    fn on_bad_finish(&mut self, index: u32, is_unusable: bool) -> DropCause {
        if is_unusable && self.restore_noise(index).is_err() {
            self.inbound.remove(&index);
        }
        DropCause::BadHandshake
    }

    /// Reports a session that another node began, or declines it when its address or host has used up its rate.
    fn begin_inbound_session(
        &mut self,
        now: Time,
        source: Source,
        session: Session,
    ) -> Result<(), DropCause> {
        if !self.limiter.admit_session(now, session.path.netmod, source, &session.peer) {
            self.decline(session, DownReason::Crowded);
            return Err(DropCause::HandshakeLimit);
        }
        self.end_superseded_dials(&session);
        self.output.push_back(HandshakeOutput::Established(Box::new(session)));
        Ok(())
    }

    /// Ends a session that has just begun, by a goodbye with the reason as its only frame. The frame is sealed, so the
    /// other side can believe it; it is repeated when the finish arrives again.
    pub fn decline(&mut self, mut session: Session, reason: DownReason) {
        let mut farewell = Vec::new();
        if session.sealer.seal(|out| out.extend(reason.goodbye()), &mut farewell).is_err() {
            return;
        }
        if let Some(InboundHandshake { stage: InboundStage::Completed { declined, .. }, .. }) =
            self.inbound.get_mut(&session.local_index)
        {
            *declined = Some(farewell.clone());
        }
        self.completed_dials.remove(&session.local_index);
        self.transmit(session.path, farewell);
    }

    /// Whether both sides dialled, and the session of this side takes precedence because its address is lower. Then its
    /// finish is repeated, since the other side seems not to have it.
    fn prefers_own_session(&mut self, path: Path, peer: &Introduction, since: Time) -> bool {
        if peer.address < self.address {
            return false;
        }
        let finish = self
            .completed_dials
            .values()
            .find(|kept| {
                let at_once = kept.confirmed.is_none_or(|confirmed| since <= confirmed);
                at_once
                    && kept.path.netmod == path.netmod
                    && kept.peer == peer.address
                    && kept.instance == peer.instance
            })
            .map(|kept| (kept.path, kept.finish.clone()));
        match finish {
            Some((path, finish)) => {
                self.transmit(path, finish);
                true
            }
            None => false,
        }
    }

    /// Restores a handshake to the state in which the finish is awaited. The seed makes it the same byte by byte, so
    /// that the finish that answers the sent response still verifies.
    fn restore_noise(&mut self, index: u32) -> Result<(), NoiseError> {
        let inbound = self.inbound.get(&index).ok_or(NoiseError)?;
        let introduction = self.introduction(index, inbound.mtu);
        let Some(InboundHandshake { stage: InboundStage::AwaitingFinish(awaited), .. }) =
            self.inbound.get_mut(&index)
        else {
            return Err(NoiseError);
        };
        awaited.bad = awaited.bad.saturating_add(1);
        if awaited.bad >= MAX_BAD_FINISHES {
            return Err(NoiseError);
        }
        let mut noise = self.keys.responder(&awaited.seed)?;
        noise.read(&awaited.message)?;
        noise.write(&introduction)?;
        awaited.noise = noise;
        Ok(())
    }
}

/// The hash of an initiation without its cookie.
fn initiation_id(bytes: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(bytes.get(..Initiation::COOKIE_AT).unwrap_or_default());
    hasher.update(bytes.get(Initiation::LEN..).unwrap_or_default());
    *hasher.finalize().as_bytes()
}

/// The first bytes of the ephemeral key, which show the dialler that an unauthenticated answer belongs to its
/// initiation.
fn echo(ephemeral: &[u8; KEY_LEN]) -> [u8; ECHO_LEN] {
    ephemeral.first_chunk().copied().unwrap_or_default()
}
