//! The peering task: it handles the handshake frames of all media, dials peers, and puts each session that results into
//! service as a neighbour with a task of its own. One task does this for all media, so that the choice between two
//! sessions with the same neighbour is made in one place.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use bytes::BytesMut;
use futures::future::{Either, select};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use zeroize::Zeroizing;

mod live_links;
mod resolve;
#[cfg(test)]
mod tests;

pub(crate) use live_links::{links_in_service, live_links};

use crate::egress::Egress;
use crate::link::{
    DialError, DownReason, HandshakeOutput, Handshakes, Link, LinkConfig, Path, Session, fresh_seed,
};
use crate::netmod::{Heard, Train};
use crate::node::RemovedPeer;
use crate::node::medium::Medium;
use crate::node::neighbour::{Neighbour, NeighbourParts};
use crate::node::reply::Reply;
use crate::node::state::{NodeState, lock, read};
use crate::peering::early_frames::{EarlyFrameAction, EarlyFrames};
use crate::peering::slots::{SlotDecision, SlotHolder, decide};
use crate::rt::{self, Alarm};
use crate::stats::{Counter, DropCause};
use crate::wire::link::FINISH;

/// An event for the peering task.
pub(crate) enum LinkEvent {
    /// A handshake frame, which belongs to no session yet.
    Handshake { path: Path, frame: BytesMut },
    /// A frame of a session that is not in service yet, from an endpoint with a handshake in progress.
    Early { index: u32, path: Path, frame: BytesMut },
    /// A beacon of another node has arrived on a medium.
    Heard { medium: u32, heard: Heard },
    /// A configured peer was resolved, or the look-up failed.
    Resolved { uri: String, result: Result<Vec<Path>, String> },
    /// The first frame of a session was opened, so the neighbour has completed the handshake.
    Confirmed { local_index: u32 },
    /// The node is about to leave, and all that came before this is to be done with.
    Leave { done: Reply<()> },
    /// A fault of the program.
    #[cfg(test)]
    Panic,
    /// A condition of the dial list has changed: a link has ended, a peer or a medium was added.
    DialCheck,
    /// A removed peer is no longer dialled on these paths.
    Forget { paths: Vec<Path> },
}

const BATCH: usize = 64;
/// The time that a medium may take to send a handshake frame. It is short, because all media wait for it.
const SEND: Duration = Duration::from_millis(20);

/// Paths for which the last error of sending is kept.
const UNSENT: usize = 1024;

struct PeeringTask {
    shared: Arc<NodeState>,
    handshakes: Handshakes,
    /// The source of the seeds of future links.
    seeds: ChaCha20Rng,
    next_id: AtomicU32,
    /// The error of the last handshake frame to a path. The handshake then ends with a timeout, and the error is the
    /// better explanation.
    unsent: HashMap<Path, String>,
    /// Frames that arrived before the end of their handshake.
    early: EarlyFrames,
    /// Waits until the handshakes that came before the node left are done with.
    left: Vec<Reply<()>>,
}

/// Runs the peering task until the node ends.
pub(crate) async fn run(shared: Arc<NodeState>, seed: Zeroizing<[u8; 32]>) {
    let config = LinkConfig { mesh_key: shared.config.mesh_key.clone(), ..LinkConfig::default() };
    let mut seeds = ChaCha20Rng::from_seed(*seed);
    drop(seed);
    let mut task = PeeringTask {
        handshakes: Handshakes::new(&shared.identity, config, *fresh_seed(&mut seeds)),
        seeds,
        unsent: HashMap::new(),
        shared: shared.clone(),
        next_id: AtomicU32::new(1),
        early: EarlyFrames::default(),
        left: Vec::new(),
    };
    let mut events = Vec::new();
    let mut alarm = Alarm::default();
    loop {
        task.dial();
        task.serve_handshakes().await;
        task.serve_early();
        task.left.drain(..).for_each(|done| done.send(()));
        let dials = lock(&shared.dials).next_deadline(shared.now(), &live_links(&shared));
        let deadline = task.handshakes.next_deadline().into_iter().chain(dials).min();
        alarm.set(deadline.map(|time| shared.instant(time)));
        {
            let incoming = std::pin::pin!(shared.link_events.recv_batch_into(&mut events, BATCH));
            if let Either::Left((Err(_), _)) = select(incoming, alarm.wait()).await {
                return;
            }
        }
        for event in events.drain(..) {
            task.handle(event);
        }
        let now = shared.now();
        if task.handshakes.next_deadline().is_some_and(|deadline| deadline <= now) {
            task.handshakes.handle_timeout(now);
        }
    }
}

impl PeeringTask {
    fn medium(&self, path: &Path) -> Option<Arc<Medium>> {
        read(&self.shared.media).get(&path.netmod).cloned()
    }

    fn handle(&mut self, event: LinkEvent) {
        let now = self.shared.now();
        match event {
            LinkEvent::Handshake { path, frame } => {
                let Some(medium) = self.medium(&path) else { return };
                // After a finish the other side takes the link as established, so it is owed a goodbye.
                if self.shared.is_leaving() && frame.first() != Some(&FINISH) {
                    return;
                }
                let source = medium.source(&path.endpoint);
                let mtu = medium.netmod.max_mtu();
                if let Err(cause) = self.handshakes.handle(now, path, source, mtu, &frame) {
                    self.shared.stats.drop(cause);
                }
            }
            LinkEvent::Early { index, path, frame } => self.early.push((index, path, frame)),
            LinkEvent::Heard { medium, heard } => lock(&self.shared.dials).heard(now, medium, heard),
            LinkEvent::Resolved { uri, result } => {
                let paths = {
                    let mut dials = lock(&self.shared.dials);
                    dials.resolved(now, &uri, result, &live_links(&self.shared))
                };
                self.dial_paths(paths);
            }
            LinkEvent::Confirmed { local_index } => self.handshakes.confirm(now, local_index),
            LinkEvent::DialCheck => {}
            #[cfg(test)]
            LinkEvent::Panic => panic!("a fault of the test"),
            LinkEvent::Leave { done } => self.left.push(done),
            LinkEvent::Forget { paths } => {
                for path in &paths {
                    self.handshakes.cancel(path);
                    lock(&self.shared.dials).failed(now, path, "no longer asked for");
                }
            }
        }
    }

    /// Starts the handshakes that are due.
    fn dial(&mut self) {
        if self.shared.is_leaving() {
            return;
        }
        let now = self.shared.now();
        let (due, paths) = {
            let mut dials = lock(&self.shared.dials);
            let links = live_links(&self.shared);
            let mut paths = dials.due_later(now, &links);
            paths.extend(dials.due_heard(now, &self.shared.identity.address(), &links));
            (dials.due(now, &links), paths)
        };
        for uri in due {
            resolve::later(&self.shared, uri);
        }
        self.dial_paths(paths);
    }

    fn dial_paths(&mut self, paths: Vec<Path>) {
        let now = self.shared.now();
        for path in paths {
            if let Some(medium) = self.medium(&path) {
                self.shared.stats.count(Counter::HandshakesStarted, 1);
                self.handshakes.dial(now, path, medium.netmod.max_mtu());
            } else {
                lock(&self.shared.dials).failed(now, &path, "its netmod was removed");
            }
        }
    }

    /// Delivers early frames to the sessions that have started by now. A frame that has overtaken its finish waits for
    /// it.
    fn serve_early(&mut self) {
        let served = |index, path: &Path| {
            let found = read(&self.shared.sessions).get(&index).cloned();
            found.filter(|neighbour| neighbour.path() == *path)
        };
        let (ready, dropped) = self.early.sort(|index, path| match served(index, path) {
            Some(_) => EarlyFrameAction::Deliver,
            None if self.handshakes.awaits_finish(path, index) => EarlyFrameAction::Wait,
            None => EarlyFrameAction::Drop,
        });
        self.shared.stats.drop_n(DropCause::UnknownSession, dropped);
        for (index, path, frame) in ready {
            match served(index, &path).map(|neighbour| neighbour.inbox.try_push(frame).is_ok()) {
                Some(true) => {}
                Some(false) => self.shared.stats.drop(DropCause::InboxFull),
                None => self.shared.stats.drop(DropCause::UnknownSession),
            }
        }
    }

    async fn serve_handshakes(&mut self) {
        while let Some(output) = self.handshakes.poll_output() {
            match output {
                HandshakeOutput::Transmit { .. } if self.shared.is_leaving() => {}
                HandshakeOutput::Transmit { path, frame } => {
                    let Some(medium) = self.medium(&path) else { continue };
                    let sent = medium.netmod.send(&path.endpoint, Train::single(&frame));
                    match rt::timeout(SEND, sent).await {
                        Some(Ok(())) => {
                            self.unsent.remove(&path);
                            medium.count_sent(&self.shared, 1, frame.len() as u64);
                        }
                        // The handshake repeats the frame; waiting longer would delay the other media.
                        None => self.shared.stats.drop(DropCause::SendFailed),
                        Some(Err(error)) => {
                            tracing::debug!(endpoint = %medium.netmod.describe(&path.endpoint), %error, "handshake not sent");
                            medium.note_send_error(&error);
                            if self.unsent.len() < UNSENT {
                                self.unsent.insert(path, error.to_string());
                            }
                            self.shared.stats.drop(DropCause::SendFailed);
                        }
                    }
                }
                HandshakeOutput::Failed { path, reason } => {
                    if reason == DialError::IdentityInUse {
                        self.shared.in_use_elsewhere(self.shared.identity.address());
                    }
                    let unsent = self.unsent.remove(&path).filter(|_| reason == DialError::Timeout);
                    let reason = unsent.unwrap_or_else(|| reason.to_string());
                    if let Some(medium) = self.medium(&path) {
                        tracing::debug!(endpoint = %medium.netmod.describe(&path.endpoint), reason, "no link");
                    }
                    lock(&self.shared.dials).failed(self.shared.now(), &path, &reason);
                }
                HandshakeOutput::Established(session) => self.established(*session).await,
            }
        }
    }

    /// Puts a session into service. It replaces an older one with the same neighbour, or else needs a free slot.
    async fn established(&mut self, session: Session) {
        let (now, shared) = (self.shared.now(), self.shared.clone());
        let (path, address) = (session.path, session.peer);
        let Some(medium) = self.medium(&path) else {
            return lock(&shared.dials).failed(now, &path, "its netmod was removed");
        };
        shared.stats.count(Counter::HandshakesDone, 1);
        if shared.is_leaving() {
            return self.serve(session, medium, false).await;
        }
        let configured = {
            let mut dials = lock(&shared.dials);
            dials.established(now, &path, &address, &live_links(&shared));
            dials.is_configured(&path, &address)
        };
        let old = {
            let neighbours = read(&shared.neighbours);
            let same =
                |known: &&Arc<Neighbour>| known.address == address && known.path().netmod == path.netmod;
            neighbours.values().find(same).cloned()
        };
        if let Some(old) = old {
            // Of two simultaneous dials the handshakes let one session through. A later session was started although
            // this one existed, so the neighbour was restarted or is not reachable over this one any more.
            if old.retire(&shared) {
                old.announce_end(&shared, "replaced by a new session").await;
            }
        } else if let Err(reason) = self.make_room(&medium, &path, configured).await {
            shared.stats.drop(DropCause::NeighbourLimit);
            lock(&shared.refusals).note(now);
            tracing::debug!(neighbour = ?address, %reason, "a session is declined");
            if session.initiator {
                let reason = "this node has as many links as it may have: raise `neighbours`";
                lock(&shared.dials).refused(now, &path, &address, reason);
            }
            return self.handshakes.decline(session, reason);
        }
        self.serve(session, medium, configured).await;
    }

    /// Finds a slot for one more neighbour. Another neighbour may be evicted for it, and is sent the reason.
    async fn make_room(&mut self, medium: &Medium, path: &Path, configured: bool) -> Result<(), DownReason> {
        let newcomer =
            SlotHolder { id: 0, configured, netmod: medium.id, source: medium.source(&path.endpoint) };
        let leaving = {
            let neighbours = read(&self.shared.neighbours);
            let holders: Vec<SlotHolder> = neighbours.values().map(|known| known.slot_holder()).collect();
            match decide(&holders, &newcomer, self.shared.limits().neighbours) {
                SlotDecision::Free => return Ok(()),
                SlotDecision::Refused(reason) => return Err(reason),
                SlotDecision::Evict(id) => neighbours.get(&id).cloned(),
            }
        };
        if let Some(leaving) = leaving {
            self.shared.stats.drop(DropCause::NeighbourLimit);
            lock(&self.shared.refusals).note(self.shared.now());
            leaving.dismiss(&self.shared, DownReason::Crowded).await;
        }
        Ok(())
    }

    async fn serve(&mut self, session: Session, medium: Arc<Medium>, configured: bool) {
        let (now, shared) = (self.shared.now(), self.shared.clone());
        let id = self.next_id.fetch_add(1, Relaxed);
        let (path, address, most) = (session.path, session.peer, session.mtu);
        // Longer frames are probed later, so that a path that does not carry them works from the start.
        let mtu = most.min(medium.netmod.properties().mtu);
        let floor = medium.netmod.min_mtu();
        let (suite, capabilities) = (session.suite, session.peer_capabilities);
        let seed = *fresh_seed(&mut self.seeds);
        let egress = Egress::new(medium.netmod.clone(), path.endpoint, session.sealer);
        let mut link = Link::new(now, session.peer, session.opener, mtu, seed)
            .with_renewal(now, session.renewal)
            .with_handshake_rtt(session.rtt)
            .with_path_mtu(floor, mtu, most);
        let neighbour = Arc::new(Neighbour::new(
            NeighbourParts {
                id,
                address,
                path,
                initiator: session.initiator,
                local_index: session.local_index,
                mtu,
                configured,
                egress,
                metrics: link.metrics(),
                medium: medium.clone(),
            },
            shared.limits().inbox_frames,
        ));
        if !shared.put_into_service(&neighbour) {
            return neighbour.say_goodbye(&shared, &mut link).await;
        }
        tracing::debug!(neighbour = ?address, ?suite, capabilities, mtu, most, "session");
        // Its peer may have been removed before the link was in the tables; from here on `remove_peer` finds it there.
        let reason = lock(&shared.dials).why_linked(&path, &address, neighbour.initiator);
        neighbour.set_configured(&shared, reason == RemovedPeer::DialledOtherwise).await;
        if configured && reason == RemovedPeer::Ended {
            neighbour.leave();
        }
        // The initiator waits for the first frame of the responder, since that proves that the finish has arrived.
        if !neighbour.initiator {
            neighbour.enter_service(&shared).await;
        }
        neighbour.start(&shared, link);
    }
}
