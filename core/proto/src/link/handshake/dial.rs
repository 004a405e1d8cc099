//! The handshakes that this node begins, from the initiation to the last repetition of the finish.

mod unauthenticated;

use std::time::Duration;

use rand_core::RngCore;

use super::Handshakes;
use super::pending::{CompletedDial, Dial, FINISH_LIFE, HOLD_FINISH, HOLD_FINISH_ELSEWHERE, HeldSession};
use super::session::{DialError, HandshakeOutput, Session, SessionKeys, introduced};
use crate::address::Address;
use crate::link::Path;
use crate::link::keys::Suite;
use crate::link::noise::{NoiseError, NoiseHandshake};
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::codec;
use crate::wire::link::{
    COOKIE_LEN, FINISH, Finish, INITIATION, INITIATION_LEN, Initiation, KEY_LEN, Opening, Response, TAG_LEN,
    VERSION, frame, split,
};

/// The number of initiations before a dial fails. With the delays between them it takes about 8 s.
pub(in crate::link) const TRIES: u32 = 5;
/// The time to the second initiation; it doubles with each, so that a node that is absent receives little traffic.
pub(in crate::link) const FIRST_DELAY: Duration = Duration::from_millis(250);
/// The minimum time of a dial before another one takes its place. It gives each one time for an answer.
pub(in crate::link) const MIN_DIAL_TIME: Duration = Duration::from_secs(1);
/// The number of responses to each initiation that may fail to verify. Further ones are dropped, because each costs a
/// key agreement and may be forged.
pub(in crate::link) const MAX_BAD_RESPONSES: u32 = 4;

impl Handshakes {
    /// Begins a handshake with the node at `path`. Nothing happens while a dial over the same path is under way. `mtu`
    /// is the maximum length of a frame that this side accepts, in bytes.
    ///
    /// When the maximum number of dials is under way, the oldest one ends if it has had a second without an answer.
    /// Otherwise an attacker that announces many absent nodes would block all other dials.
    pub fn dial(&mut self, now: Time, path: Path, mtu: usize) {
        if self.dials.values().any(|dial| dial.path == path) {
            return;
        }
        if self.dials.len() >= self.config.max_dials && !self.evict_oldest_dial(now) {
            return self.fail(path, DialError::TooMany);
        }
        let index = self.indices.draw();
        let Ok((noise, initiation)) = self.initiation(index) else {
            return self.fail(path, DialError::Protocol);
        };
        let dial = Dial {
            path,
            mtu,
            started: now,
            noise,
            initiation,
            tries: 0,
            delay: FIRST_DELAY,
            deadline: now,
            bad: 0,
            cookie_obeyed: false,
            hint: None,
            held: None,
        };
        self.dials.insert(index, dial);
        self.dials_timeout(now);
    }

    /// Ends the oldest dial without an answer, if it has had time for one. Returns whether there was one.
    fn evict_oldest_dial(&mut self, now: Time) -> bool {
        let unanswered = self.dials.iter().filter(|(_, dial)| dial.held.is_none());
        let oldest = unanswered.min_by_key(|(_, dial)| dial.started).map(|(index, _)| *index);
        let Some(index) = oldest else { return false };
        if self.dials.get(&index).is_none_or(|dial| now.since(dial.started) < MIN_DIAL_TIME) {
            return false;
        }
        self.give_up(index);
        true
    }

    /// Ends a dial and reports its failure.
    fn give_up(&mut self, index: u32) {
        if let Some(dial) = self.dials.remove(&index) {
            self.fail(dial.path, dial.hint.unwrap_or(DialError::Timeout));
        }
    }

    /// Ends the dial of `path` without a report.
    pub fn cancel(&mut self, path: &Path) {
        self.dials.retain(|_, dial| dial.path != *path);
    }

    /// Ends the dials over a medium without a report.
    pub fn cancel_on(&mut self, netmod: u32) {
        self.dials.retain(|_, dial| dial.path.netmod != netmod);
    }

    /// Records that a session with this run of a neighbour over this netmod is in use until this time, or that none is any
    /// more.
    ///
    /// The neighbour may be dialled on another path although it is reached, because a dialler does not know which node it
    /// will find. The call is optional: without it the new session replaces the one in use.
    pub fn set_in_use(&mut self, netmod: u32, peer: Address, instance: Option<(u64, Time)>) {
        match instance {
            Some(instance) => self.in_use.insert((netmod, peer), instance),
            None => self.in_use.remove(&(netmod, peer)),
        };
    }

    /// Whether a session with this run of a neighbour has just begun and is in use.
    pub(super) fn is_in_use(&self, now: Time, netmod: u32, instance: u64) -> bool {
        let mut runs = self.in_use.iter().filter(|((on, _), _)| *on == netmod);
        runs.any(|(_, (run, until))| *run == instance && now < *until)
    }

    /// Records that the first frame of the session with this local index was opened, so that the neighbour has the
    /// finish. The call is optional: it saves repetitions, and lets a new dial of a neighbour that lost its link
    /// succeed at once.
    pub fn confirm(&mut self, now: Time, local_index: u32) {
        if let Some(kept) = self.completed_dials.get_mut(&local_index) {
            kept.confirmed.get_or_insert(now);
        }
    }

    /// Makes an initiation. It is padded to its minimum length, because the response must not be longer.
    fn initiation(&mut self, index: u32) -> Result<(NoiseHandshake, Vec<u8>), NoiseError> {
        let seed = self.seed();
        let mut noise = self.keys.initiator(&seed)?;
        let closed = self.keys.has_mesh_key();
        let head = Initiation {
            kind: INITIATION,
            version: VERSION,
            flags: if closed { Initiation::MESH } else { 0 },
            sender: index,
            cookie: [0; COOKIE_LEN],
        };
        let mut payload = codec::encode(&Opening { instance: self.instance }).map_err(|_| NoiseError)?;
        let tag = if closed { TAG_LEN } else { 0 };
        payload.resize(
            INITIATION_LEN.saturating_sub(Initiation::LEN.saturating_add(KEY_LEN).saturating_add(tag)),
            0,
        );
        let message = noise.write(&payload)?;
        Ok((noise, frame(&head, &message)))
    }

    /// Sends, completes or ends the dials that are due.
    pub(super) fn dials_timeout(&mut self, now: Time) {
        let due: Vec<u32> =
            self.dials.iter().filter(|(_, dial)| dial.deadline <= now).map(|(index, _)| *index).collect();
        for index in due {
            let jitter = self.rng.next_u32();
            let Some(dial) = self.dials.get_mut(&index) else { continue };
            if dial.held.is_some() {
                self.complete(now, index);
            } else if dial.tries >= TRIES {
                self.give_up(index);
            } else {
                dial.tries = dial.tries.saturating_add(1);
                dial.bad = 0;
                dial.cookie_obeyed = false;
                // Up to an eighth is added, so that the dials of many nodes that started together do not coincide.
                let later = f64::from(jitter) / f64::from(u32::MAX) / 8.0;
                dial.deadline = now + dial.delay + dial.delay.mul_f64(later);
                dial.delay = dial.delay.saturating_mul(2);
                let (path, initiation) = (dial.path, dial.initiation.clone());
                self.transmit(path, initiation);
            }
        }
    }

    /// Handles a response to a dial, or a repeated one to a completed dial.
    pub(super) fn on_response(&mut self, now: Time, path: Path, bytes: &[u8]) -> Result<(), DropCause> {
        let (head, message) = split::<Response>(bytes).map_err(|_| DropCause::MalformedFrame)?;
        if let Some(kept) = self.completed_dials.get(&head.receiver).filter(|kept| kept.path == path) {
            // A repeated response is not verified and may be forged, so it must not cause a longer frame.
            if bytes.len() < kept.finish.len() {
                return Err(DropCause::BadHandshake);
            }
            let finish = kept.finish.clone();
            self.transmit(path, finish);
            return Ok(());
        }
        let dial = self
            .dials
            .get_mut(&head.receiver)
            .filter(|dial| dial.path == path)
            .ok_or(DropCause::UnknownSession)?;
        if dial.held.is_some() {
            return Ok(());
        }
        if dial.bad >= MAX_BAD_RESPONSES {
            return Err(DropCause::HandshakeLimit);
        }
        let Ok(payload) = dial.noise.read(message) else {
            dial.bad = dial.bad.saturating_add(1);
            if self.keys.has_mesh_key() {
                dial.hint.get_or_insert(DialError::WrongMesh);
            }
            return Err(DropCause::BadHandshake);
        };
        // The response is authentic from here on, so an error in it is final: no other response can replace it.
        match self.finish(now, head, &payload) {
            Ok((session, finish)) => {
                self.hold_or_complete(now, head.receiver, session, finish);
                Ok(())
            }
            Err(reason) => {
                self.dials.remove(&head.receiver);
                self.fail(path, reason);
                Err(DropCause::BadHandshake)
            }
        }
    }

    /// Makes the session of a dial from its verified response, and the finish that completes it.
    fn finish(
        &mut self,
        now: Time,
        head: Response,
        payload: &[u8],
    ) -> Result<(Box<Session>, Vec<u8>), DialError> {
        let dial = self.dials.get(&head.receiver).ok_or(DialError::Protocol)?;
        let peer = introduced(payload, &dial.noise).ok_or(DialError::Protocol)?;
        let suite = Suite::agree(self.config.suites, peer.suites).ok_or(DialError::Protocol)?;
        if peer.index != head.sender {
            return Err(DialError::Protocol);
        }
        if peer.address == self.address {
            return Err(match peer.instance == self.instance {
                true => DialError::Oneself,
                false => DialError::IdentityInUse,
            });
        }
        if self.is_reached(now, dial.path.netmod, &peer.address, (peer.instance, dial.started)) {
            return Err(DialError::Duplicate(peer.address));
        }
        let (path, started, mtu) = (dial.path, dial.started, dial.mtu.min(usize::from(peer.mtu)));
        if !self.limiter.admit_own(now, &peer.address) {
            return Err(DialError::TooOften);
        }
        let introduction = self.introduction(head.receiver, dial.mtu);
        let dial = self.dials.get_mut(&head.receiver).ok_or(DialError::Protocol)?;
        let message = dial.noise.write(&introduction).map_err(|_| DialError::Protocol)?;
        let completed = SessionKeys::new(&self.keys, &mut dial.noise, suite, peer.index, true);
        let SessionKeys { sealer, opener, renewal } = completed.ok_or(DialError::Protocol)?;
        let session = Session {
            peer: peer.address,
            path,
            initiator: true,
            local_index: head.receiver,
            mtu,
            peer_instance: peer.instance,
            peer_capabilities: peer.capabilities,
            suite,
            sealer,
            opener,
            renewal,
            rtt: now.since(started),
        };
        let head = Finish { kind: FINISH, version: VERSION, receiver: peer.index };
        Ok((Box::new(session), frame(&head, &message)))
    }

    /// Whether a session with this run of this neighbour, over this netmod, is in use or has begun since `started`.
    fn is_reached(&self, now: Time, netmod: u32, peer: &Address, (instance, started): (u64, Time)) -> bool {
        let dialled = self.completed_dials.values().any(|kept| {
            kept.path.netmod == netmod
                && kept.peer == *peer
                && kept.instance == instance
                && kept.since >= started
        });
        dialled
            || self.in_use.get(&(netmod, *peer)).is_some_and(|(run, until)| *run == instance && now < *until)
            || self.inbound.values().any(|inbound| inbound.completed_since(netmod, peer, instance, started))
    }

    /// Completes a dial, or holds its finish back if the neighbour dials at the same time and has the lower address.
    fn hold_or_complete(&mut self, now: Time, index: u32, session: Box<Session>, finish: Vec<u8>) {
        let (path, instance) = (session.path, session.peer_instance);
        let waiting = self.inbound.values().filter_map(|inbound| inbound.waits_for(path.netmod, instance));
        let hold = waiting.map(|from| if from == path { HOLD_FINISH } else { HOLD_FINISH_ELSEWHERE }).max();
        let hold = hold.filter(|_| session.peer < self.address);
        let Some(dial) = self.dials.get_mut(&index) else { return };
        dial.held = Some(HeldSession { session, finish });
        match hold {
            Some(hold) => dial.deadline = now + hold,
            None => self.complete(now, index),
        }
    }

    /// Sends the finish of a held dial and begins its session.
    fn complete(&mut self, now: Time, index: u32) {
        let Some(HeldSession { session, finish }) = self.dials.remove(&index).and_then(|dial| dial.held)
        else {
            return;
        };
        let kept = CompletedDial {
            peer: session.peer,
            instance: session.peer_instance,
            path: session.path,
            finish: finish.clone(),
            since: now,
            confirmed: None,
            reminded: false,
            repeats: 0,
        };
        self.completed_dials.insert(index, kept);
        self.transmit(session.path, finish);
        self.end_superseded_dials(&session);
        self.output.push_back(HandshakeOutput::Established(session));
    }

    /// Ends other dials to the neighbour of a session that has begun, since they would only replace it, and awaits no finish
    /// of the dials that the neighbour had begun: a later dial of this side would hold its own finish back for them.
    pub(super) fn end_superseded_dials(&mut self, session: &Session) {
        let (netmod, instance) = (session.path.netmod, session.peer_instance);
        for inbound in self.inbound.values_mut() {
            inbound.superseded |= inbound.waits_for(netmod, instance).is_some();
        }
        let ended: Vec<(u32, Path)> = self
            .dials
            .iter()
            .filter(|(_, dial)| {
                let same_neighbour = dial.held.as_ref().is_some_and(|held| {
                    held.session.peer == session.peer && held.session.path.netmod == session.path.netmod
                });
                same_neighbour || dial.path == session.path
            })
            .map(|(index, dial)| (*index, dial.path))
            .collect();
        for (index, path) in ended {
            self.dials.remove(&index);
            if path != session.path {
                self.fail(path, DialError::Duplicate(session.peer));
            }
        }
    }

    /// Repeats finishes that are due, and removes completed dials after [`FINISH_LIFE`].
    pub(super) fn completed_dials_timeout(&mut self, now: Time) {
        self.completed_dials.retain(|_, kept| kept.since + FINISH_LIFE > now);
        let mut repeats = Vec::new();
        for kept in self.completed_dials.values_mut().filter(|kept| kept.deadline() <= now) {
            kept.repeats = kept.repeats.saturating_add(1);
            repeats.push((kept.path, kept.finish.clone()));
        }
        for (path, finish) in repeats {
            self.transmit(path, finish);
        }
    }
}
