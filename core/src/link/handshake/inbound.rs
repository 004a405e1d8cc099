//! The handshakes of others: from their initiation to their finish.

use std::cmp::Reverse;

use zeroize::Zeroizing;

use super::limiter::Admission;
use super::{HandshakeOutput, Handshakes, INBOUND_LIFE, Session, SessionKeys, introduced};
use crate::address::Address;
use crate::link::eviction::{Occupant, choose_evicted};
use crate::link::keys::Suite;
use crate::link::noise::{NoiseError, NoiseHandshake};
use crate::link::{DownReason, Path, Source};
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::link::{
    COOKIE, Cookie, ECHO_LEN, Finish, INITIATION_LEN, Initiation, Introduction, KEY_LEN, Opening, REFUSAL,
    RESPONSE, Refusal, Response, VERSION, frame, split,
};

/// Finishes whose key opens, and that do not verify, before the handshake is given up.
const MAX_BAD_FINISHES: u32 = 4;

/// A handshake that somebody else began.
pub(super) struct InboundHandshake {
    path: Path,
    source: Source,
    mtu: usize,
    /// What tells one initiation from another: a hash of it, without the cookie.
    id: [u8; 32],
    /// What the initiation said; the finish proves it.
    instance: u64,
    peer_index: u32,
    since: Time,
    pub(super) until: Time,
    stage: InboundStage,
}

enum InboundStage {
    /// The response is sent.
    AwaitingFinish(Box<AwaitedFinish>),
    /// The finish has come. If the session was declined, the frame that says why is kept as long: should it be lost, the finish
    /// comes again.
    Completed { peer: Address, at: Time, declined: Option<Vec<u8>> },
}

struct AwaitedFinish {
    noise: NoiseHandshake,
    /// What it takes to get to the same state once more.
    seed: Zeroizing<[u8; 32]>,
    message: Vec<u8>,
    response: Vec<u8>,
    bad: u32,
}

impl InboundHandshake {
    /// The path on which a finish from this run of a neighbour may still come. Anybody can claim an instance.
    pub(super) fn waits_for(&self, netmod: u32, instance: u64) -> Option<Path> {
        let waits = self.path.netmod == netmod
            && self.instance == instance
            && matches!(self.stage, InboundStage::AwaitingFinish(_));
        waits.then_some(self.path)
    }

    /// Whether its finish came at `time` or later.
    pub(super) fn completed_since(&self, netmod: u32, peer: &Address, instance: u64, time: Time) -> bool {
        let InboundStage::Completed { peer: completed, at, .. } = &self.stage else { return false };
        self.path.netmod == netmod && completed == peer && self.instance == instance && *at >= time
    }
}

impl Handshakes {
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
        if head.version != VERSION {
            self.refuse(path, &head, &ephemeral, Refusal::VERSION);
            return Err(DropCause::BadHandshake);
        }
        match (head.flags & Initiation::MESH != 0, self.keys.has_mesh_key()) {
            (true, false) => {
                self.refuse(path, &head, &ephemeral, Refusal::MESH);
                return Err(DropCause::BadHandshake);
            }
            // A closed mesh does not answer strangers at all.
            (false, true) => return Err(DropCause::BadHandshake),
            _ => {}
        }
        if bytes.len() < INITIATION_LEN {
            return Err(DropCause::BadHandshake);
        }
        let id = initiation_id(bytes);
        if let Some(answer) = self.inbound.values().find(|answer| answer.path == path && answer.id == id) {
            if let InboundStage::AwaitingFinish(awaited) = &answer.stage {
                let response = awaited.response.clone();
                self.transmit(path, response);
            }
            return Ok(());
        }
        match self.limiter.admit(now, &path, source, &ephemeral, &head.cookie, &mut self.rng) {
            Admission::Admit => {}
            Admission::Refuse => return Err(DropCause::HandshakeLimit),
            Admission::RequireCookie(cookie) => {
                let echo = echo(&ephemeral);
                let cookie = Cookie { kind: COOKIE, version: VERSION, receiver: head.sender, echo, cookie };
                self.transmit(path, frame(&cookie, &[]));
                return Err(DropCause::HandshakeLimit);
            }
        }
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
        let answer = InboundHandshake {
            path,
            source,
            mtu,
            id,
            instance: opening.instance,
            peer_index: head.sender,
            since: now,
            until: now + INBOUND_LIFE,
            stage: InboundStage::AwaitingFinish(Box::new(awaited)),
        };
        self.inbound.insert(index, answer);
        self.transmit(path, response);
        Ok(())
    }

    fn refuse(&mut self, path: Path, head: &Initiation, ephemeral: &[u8; KEY_LEN], reason: u8) {
        let echo = echo(ephemeral);
        let refusal = Refusal { kind: REFUSAL, version: VERSION, receiver: head.sender, echo, reason };
        self.transmit(path, frame(&refusal, &[]));
    }

    /// Whether we have just sent a finish to this run of a neighbour, and it may not know. Then its own
    /// initiation is not answered, but the finish is sent again. From elsewhere that holds once: nobody has proved yet whose
    /// instance it is.
    fn repeat_finish(&mut self, path: Path, instance: u64) -> bool {
        let mut finishes = Vec::new();
        for kept in self.completed_dials.values_mut().filter(|kept| {
            kept.path.netmod == path.netmod && kept.instance == instance && kept.confirmed.is_none()
        }) {
            if kept.path == path || !std::mem::replace(&mut kept.reminded, true) {
                finishes.push((kept.path, kept.finish.clone()));
            }
        }
        // One is enough: no more than was sent is answered.
        match finishes.pop() {
            Some((path, finish)) => {
                self.transmit(path, finish);
                true
            }
            None => false,
        }
    }

    /// When all places are taken, one gives way: the oldest of those that [`giver`] names; or else the oldest of the newcomer's own
    /// host, group or at all, if it has had a second to complete.
    fn make_room(&mut self, now: Time, netmod: u32, source: Source) -> Result<(), DropCause> {
        if self.inbound.len() < self.config.max_answers {
            return Ok(());
        }
        let tenants: Vec<Occupant<(Reverse<Time>, u32)>> = self
            .inbound
            .iter()
            .map(|(index, answer)| (answer.path.netmod, answer.source, (Reverse(answer.since), *index)))
            .collect();
        let crowded = choose_evicted(&tenants, Some((netmod, source))).map(|(_, index)| index);
        let closeness = |answer: &InboundHandshake| {
            let near = answer.path.netmod == netmod;
            let (host, group) = (answer.source.host == source.host, answer.source.group == source.group);
            (Reverse(near && host), Reverse(near && group), answer.since)
        };
        let own = self.inbound.iter().min_by_key(|(_, answer)| closeness(answer));
        let own = own.filter(|(_, answer)| now.since(answer.since).as_secs() >= 1);
        let index = crowded.or(own.map(|(index, _)| *index)).ok_or(DropCause::HandshakeLimit)?;
        self.inbound.remove(&index);
        Ok(())
    }

    /// Whether the session with this local index begins with a finish that has yet to come over this path.
    pub fn awaits_finish(&self, path: &Path, local_index: u32) -> bool {
        let answer = self.inbound.get(&local_index).filter(|answer| answer.path == *path);
        answer.is_some_and(|answer| matches!(answer.stage, InboundStage::AwaitingFinish(_)))
    }

    pub(super) fn on_finish(&mut self, now: Time, path: Path, bytes: &[u8]) -> Result<(), DropCause> {
        let (head, message) = split::<Finish>(bytes).map_err(|_| DropCause::MalformedFrame)?;
        let answer = self
            .inbound
            .get_mut(&head.receiver)
            .filter(|answer| answer.path == path)
            .ok_or(DropCause::UnknownSession)?;
        let awaited = match &mut answer.stage {
            InboundStage::AwaitingFinish(awaited) => awaited,
            InboundStage::Completed { declined, .. } => {
                // No longer than what it answers, like everything that goes to a stranger.
                let again = declined.clone().filter(|declined| declined.len() <= bytes.len());
                again.into_iter().for_each(|declined| self.transmit(path, declined));
                return Ok(());
            }
        };
        let source = answer.source;
        // The handshake stays: the finish comes again.
        if !self.limiter.has_session(now, path.netmod, source) {
            return Err(DropCause::HandshakeLimit);
        }
        let Ok(payload) = awaited.noise.read(message) else {
            // One whose key does not open was made by somebody who guesses, and has changed nothing. One whose key does leaves
            // the handshake unusable; the true one may still come.
            if awaited.noise.remote_static().is_some() && self.restore_noise(head.receiver).is_err() {
                self.inbound.remove(&head.receiver);
            }
            return Err(DropCause::BadHandshake);
        };
        let peer = introduced(&payload, &awaited.noise).filter(|peer| {
            peer.index == answer.peer_index
                && peer.instance == answer.instance
                && peer.address != self.address
        });
        let agreed = peer.and_then(|peer| Some((peer, Suite::agree(self.config.suites, peer.suites)?)));
        let Some((peer, suite)) = agreed else {
            self.inbound.remove(&head.receiver);
            return Err(DropCause::BadHandshake);
        };
        let completed = SessionKeys::new(&self.keys, &mut awaited.noise, suite, peer.index, false);
        let (since, mtu) = (answer.since, answer.mtu.min(usize::from(peer.mtu)));
        answer.stage = InboundStage::Completed { peer: peer.address, at: now, declined: None };
        answer.until = now + INBOUND_LIFE;
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
        if !self.limiter.admit_session(now, path.netmod, source, &session.peer) {
            self.decline(session, DownReason::Crowded);
            return Err(DropCause::HandshakeLimit);
        }
        self.end_superseded_dials(&session);
        self.output.push_back(HandshakeOutput::Established(Box::new(session)));
        Ok(())
    }

    /// Ends a session that was just made, and says why: by the first frame of it, which nobody else can make. It is said again
    /// when the finish comes again.
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

    /// Both dialled, ours is complete and wins because our address is lower: the other side is reminded of it.
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

    /// Brings a handshake back to where the finish is awaited, byte by byte the same.
    fn restore_noise(&mut self, index: u32) -> Result<(), NoiseError> {
        let answer = self.inbound.get(&index).ok_or(NoiseError)?;
        let introduction = self.introduction(index, answer.mtu);
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

fn echo(ephemeral: &[u8; KEY_LEN]) -> [u8; ECHO_LEN] {
    ephemeral.first_chunk().copied().unwrap_or_default()
}
