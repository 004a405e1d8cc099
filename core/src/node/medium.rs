//! A netmod at work: it is opened, read, and opened again when it fails. Each has a task of its own, which receives in
//! batches and writes the frames into the inboxes of the neighbours that sent them.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::BytesMut;

use crate::link::Path;
use crate::netmod::{Arrival, Endpoint, Heard, Netmod, NetmodError, Received};
use crate::node::panics::caught;
use crate::node::state::NodeState;
use crate::node::state::link_event::LinkEvent;
use crate::node::state::locks::{lock, read, write};
use crate::node::state::medium::Medium;
use crate::node::state::neighbour::{LinkCommand, Neighbour};
use crate::peering::Input;
use crate::rt::{self, Alarm};
use crate::stats::{Counter, DropCause};
use crate::time::Time;
use crate::types::{Event, NetmodState};
use crate::wire::link::{FrameKind, peek};

/// The time that a netmod may take to close. It may come from another author, so the node does not wait for it for ever.
const CLOSE: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(10);
/// The depth of an inbox from which frames are copied out of the buffer that they arrived in, so that a queued frame
/// does not keep the 64 KiB around it allocated.
const COPY_FROM_DEPTH: usize = 64;
/// The bytes of a batch that stays in the buffer that it arrived in at any depth: a quarter of the longest train. So a full
/// inbox keeps at most four times its bytes allocated.
const LONG_BATCH: usize = 16 << 10;

/// Events in the queue of the peering task up to which this medium adds handshake frames, and early frames. The rest of
/// the queue is left to the node's own events, so that no flood of frames keeps those out.
const HANDSHAKES: usize = 1024;
const EARLY: usize = 256;

/// The endpoints from which handshake frames arrived recently. A neighbour sends its first frames right after the
/// handshake, when the session may not be in service here yet, so frames from these endpoints are stored and not
/// dropped.
#[derive(Default)]
struct RecentHandshakes {
    last: VecDeque<(Endpoint, Time)>,
}

impl RecentHandshakes {
    const MOST: usize = 32;
    const LIFE: Duration = Duration::from_secs(10);

    fn note(&mut self, now: Time, endpoint: Endpoint) {
        self.last.retain(|(known, _)| *known != endpoint);
        if self.last.len() >= Self::MOST {
            self.last.pop_front();
        }
        self.last.push_back((endpoint, now));
    }

    fn has(&self, now: Time, endpoint: &Endpoint) -> bool {
        self.last.iter().any(|(known, at)| known == endpoint && now.since(*at) < Self::LIFE)
    }
}

impl Medium {
    /// Adds a netmod to a running node.
    pub(crate) fn add(shared: &Arc<NodeState>, netmod: Arc<dyn Netmod>) {
        let medium = Arc::new(Medium::new(shared.new_medium_id(), netmod));
        write(&shared.media).insert(medium.id, medium.clone());
        shared.spawn_vital("task of a netmod", medium.run(shared.clone()));
    }

    pub(crate) fn count_sent(&self, shared: &NodeState, frames: u64, bytes: u64) {
        self.tx_frames.fetch_add(frames, Relaxed);
        self.tx_bytes.fetch_add(bytes, Relaxed);
        shared.stats.count(Counter::FramesOut, frames);
    }

    /// Sets the state, and publishes an event when it has changed. An error stays visible until the next one.
    pub(crate) fn set_state(&self, shared: &NodeState, state: NetmodState, error: Option<&NetmodError>) {
        let (uri, error) = (self.netmod.uri(), error.map(ToString::to_string));
        let mut condition = lock(&self.condition);
        if let Some(error) = &error {
            // A netmod that is tried again usually fails for the same reason, so one line is enough for it.
            if condition.last_error.as_ref() != Some(error) || condition.state != state {
                tracing::warn!(netmod = %uri, %error, "netmod failed");
            }
            condition.last_error = Some(error.clone());
        }
        let changed = condition.state != state;
        condition.state = state;
        drop(condition);
        if changed {
            tracing::info!(netmod = %uri, ?state, "netmod");
            shared.publish(Event::NetmodState { uri, state, error });
        }
    }

    /// Opens the medium once.
    pub(crate) async fn open(&self, shared: &NodeState) -> Result<(), NetmodError> {
        let result = self.netmod.open().await;
        match &result {
            Ok(()) => self.set_state(shared, NetmodState::Up, None),
            Err(error) => self.set_state(shared, NetmodState::Retrying, Some(error)),
        }
        result
    }

    /// Removes the netmod from the node: its task ends.
    pub(crate) async fn remove(&self, shared: &NodeState) {
        *self.removed.write() = true;
        let _ = rt::timeout(CLOSE, self.netmod.close()).await;
        self.set_state(shared, NetmodState::Down, None);
    }

    /// Runs the netmod's task until the netmod is removed or the node stops.
    pub(crate) async fn run(self: Arc<Self>, shared: Arc<NodeState>) {
        let removed = std::pin::pin!(self.removed.when(|removed| removed.then_some(())));
        futures::future::select(removed, std::pin::pin!(self.serve(&shared))).await;
    }

    async fn serve(&self, shared: &NodeState) {
        let (mut retry, mut alarm) = (FIRST_RETRY, Alarm::default());
        loop {
            if self.is_up() || self.open(shared).await.is_ok() {
                let opened = shared.now();
                let error = match caught(self.read(shared)).await {
                    Ok(error) => error,
                    Err(message) => {
                        NetmodError::Gone(io::Error::other(format!("its task panicked: {message}")))
                    }
                };
                self.set_state(shared, NetmodState::Retrying, Some(&error));
                // A medium that has worked for a while is opened again quickly; one that fails at once is not, since it
                // would fail again.
                if shared.now().since(opened) > LAST_RETRY {
                    retry = FIRST_RETRY;
                }
            }
            alarm.set_after(retry);
            alarm.wait().await;
            retry = retry.saturating_mul(2).min(LAST_RETRY);
        }
    }

    /// Reads until the medium fails.
    async fn read(&self, shared: &NodeState) -> NetmodError {
        let mut received = Received::default();
        let mut handshakes = RecentHandshakes::default();
        let (mut failures, mut alarm) = (0u32, Alarm::default());
        loop {
            received.clear();
            match self.netmod.recv(&mut received).await {
                Ok(()) => failures = 0,
                Err(error @ (NetmodError::Gone(_) | NetmodError::Invalid(_))) => return error,
                Err(error) => {
                    // The error may be transient. If it persists, the medium is opened again.
                    failures = failures.saturating_add(1);
                    if failures > 16 {
                        return error;
                    }
                    tracing::debug!(netmod = %self.netmod.uri(), %error, "receive failed");
                    alarm.set_after(Duration::from_millis(1).saturating_mul(failures));
                    alarm.wait().await;
                }
            }
            if received.cut {
                self.report_cut(shared);
            }
            if received.restored {
                self.report_restored(shared);
            }
            for heard in received.heard.drain(..) {
                self.heard(shared, heard);
            }
            for arrival in received.arrivals.drain(..) {
                self.arrived(shared, arrival, &mut handshakes);
            }
        }
    }

    /// Notifies the links that the medium reports as cut, so that they probe at once instead of waiting for silence.
    fn report_cut(&self, shared: &NodeState) {
        let cut = |neighbour: &&Arc<Neighbour>| {
            let path = neighbour.path();
            path.netmod == self.id && self.netmod.is_cut(&path.endpoint)
        };
        // Collected first: a command may wake a task that takes the lock.
        let affected: Vec<_> = read(&shared.neighbours).values().filter(cut).cloned().collect();
        for neighbour in affected {
            // Without room in the queue the link detects the cut by its silence.
            let _ = neighbour.commands.try_push(LinkCommand::MediumCut);
        }
    }

    /// Notifies the links that were silent and that the medium no longer reports as cut, so that they probe at once.
    fn report_restored(&self, shared: &NodeState) {
        let restored = |neighbour: &&Arc<Neighbour>| {
            let path = neighbour.path();
            path.netmod == self.id && neighbour.is_suspect() && !self.netmod.is_cut(&path.endpoint)
        };
        let affected: Vec<_> = read(&shared.neighbours).values().filter(restored).cloned().collect();
        for neighbour in affected {
            // Without room in the queue the next probe of the link follows within a second.
            let _ = neighbour.commands.try_push(LinkCommand::MediumRestored);
        }
    }

    fn heard(&self, shared: &NodeState, heard: Heard) {
        // A beacon may be lost, since another one follows.
        let _ =
            notify_peering(shared, HANDSHAKES, || LinkEvent::Input(Input::Heard { netmod: self.id, heard }));
    }

    /// Distributes the frames of one train to the inboxes of their links, with one write for consecutive frames of one
    /// link.
    fn arrived(&self, shared: &NodeState, arrival: Arrival, handshakes: &mut RecentHandshakes) {
        let Arrival { endpoint, mut bytes, size } = arrival;
        let path = Path { netmod: self.id, endpoint };
        let size = size.max(1);
        let most = self.netmod.max_mtu();
        let mut batch: Vec<BytesMut> = Vec::with_capacity(bytes.len().div_ceil(size));
        let mut owner: Option<(u32, Arc<Neighbour>)> = None;
        self.rx_bytes.fetch_add(bytes.len() as u64, Relaxed);
        let frames = bytes.len().div_ceil(size) as u64;
        self.rx_frames.fetch_add(frames, Relaxed);
        shared.stats.count(Counter::FramesIn, frames);
        while !bytes.is_empty() {
            let frame = bytes.split_to(size.min(bytes.len()));
            // A longer frame comes from no neighbour, because handshakes announce the limit; and frames of unknown
            // nodes are stored for a while, so their length is bounded.
            match peek(&frame).filter(|_| frame.len() <= most) {
                Some(FrameKind::Data { index }) => {
                    if owner.as_ref().is_none_or(|(known, _)| *known != index) {
                        deliver(shared, owner.take(), &mut batch);
                        let found = read(&shared.sessions).get(&index).cloned();
                        let found = match found {
                            // Another node has replayed the frame, or the neighbour has moved.
                            Some(found) if found.path() != path && found.path().netmod == self.id => {
                                if !found.offer_unvalidated(shared.now(), endpoint, &frame) {
                                    shared.stats.drop(DropCause::Stranger);
                                }
                                continue;
                            }
                            found => found.filter(|found| found.path() == path),
                        };
                        owner = found.map(|found| (index, found));
                    }
                    match owner {
                        Some(_) => batch.push(frame),
                        None => {
                            let kept = handshakes.has(shared.now(), &endpoint)
                                && notify_peering(shared, EARLY, || {
                                    LinkEvent::Input(Input::EarlyFrame { index, path, frame: copy(&frame) })
                                });
                            if !kept {
                                shared.stats.drop(DropCause::UnknownSession);
                            }
                        }
                    }
                }
                Some(FrameKind::Handshake) => {
                    handshakes.note(shared.now(), endpoint);
                    if !notify_peering(shared, HANDSHAKES, || {
                        LinkEvent::Input(Input::Handshake { path, frame: copy(&frame) })
                    }) {
                        shared.stats.drop(DropCause::HandshakeLimit);
                    }
                }
                None => shared.stats.drop(DropCause::MalformedFrame),
            }
        }
        deliver(shared, owner, &mut batch);
    }
}

/// Sends an event to the peering task, unless `most` events wait there already.
fn notify_peering(shared: &NodeState, most: usize, event: impl FnOnce() -> LinkEvent) -> bool {
    shared.link_events.len() < most && shared.link_events.try_push(event()).is_ok()
}

/// A copy of the frame in a buffer of its own.
fn copy(frame: &[u8]) -> BytesMut {
    BytesMut::from(frame)
}

/// Writes a batch into a neighbour's inbox, which wakes the neighbour's task. One write serves the whole batch, so that a
/// task wakes once for a train and not for each of its frames.
fn deliver(shared: &NodeState, owner: Option<(u32, Arc<Neighbour>)>, batch: &mut Vec<BytesMut>) {
    let Some((_, neighbour)) = owner else { return };
    // A batch of many frames is most of what its buffer holds, so it may stay there.
    let is_long = batch.iter().map(BytesMut::len).sum::<usize>() >= LONG_BATCH;
    if !is_long && neighbour.inbox.len() >= COPY_FROM_DEPTH {
        for frame in batch.iter_mut() {
            *frame = copy(frame);
        }
    }
    shared.stats.drop_n(DropCause::InboxFull, neighbour.push_frames(batch));
}
