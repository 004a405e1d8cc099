//! A neighbour: a node one hop away, with the link to it and the task that serves the link. There is one task for each
//! neighbour; it does everything from the neighbour's inbox to the next queue itself, so that a busy neighbour delays
//! no other.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;

mod flush;
mod outputs;
mod router_feed;
mod service;
mod task;
#[cfg(test)]
mod tests;
mod unvalidated;

use self::flush::Flush;
pub(crate) use self::router_feed::{LinkChanges, RouterFeed};
use self::unvalidated::UnvalidatedFrames;

use super::conversations::ConversationEntry;
use super::data_path::DeferredWork;
use super::medium::Medium;
use super::state::announced::Announced;
use super::state::{NodeState, lock};
use crate::address::Address;
use crate::egress::intake::PushGuard;
use crate::egress::{Class, DrainReport, Egress, PushOutcome};
use crate::inbox::{Full, Inbox};
use crate::link::{LinkMetrics, Path};
use crate::netmod::{Endpoint, NetmodError};
use crate::notify::Notify;
use crate::peering::Input;
use crate::route::Location;
use crate::stats::DropCause;
use crate::time::Time;
use crate::types::{Peer, PeerState, Timestamp};

/// Frames that are taken from the inbox at once.
const BATCH: usize = 64;
/// Bytes that a neighbour's inbox may hold.
const INBOX_BYTES: usize = 4 << 20;
/// Commands that may wait for the task.
const COMMANDS: usize = 4096;
/// Routing messages that may wait for room in the link, and their bytes. The router sends a neighbour at most its whole
/// table, of 32 768 records that have 444 bytes at most, so a link that exceeds this cannot keep up.
const ROUTES: usize = 65_536;
const ROUTES_BYTES: usize = 16 << 20;
/// The period in which the link is given the count of sent packets. It judges silence by that, since a neighbour that
/// was sent nothing owes no acknowledgement.
const NOTE_EVERY: Duration = Duration::from_millis(20);

/// A request of another task to the neighbour's task.
pub(crate) enum LinkCommand {
    /// Packets were sent: report their count to the link.
    PacketsSent,
    /// A queue has something to send, or has room again for the conversations that wait.
    Wake,
    /// The medium reports that it carries nothing to this endpoint any more.
    MediumCut,
    /// The medium reports that it carries frames to this endpoint again.
    MediumRestored,
    /// The key is near the limit of its use.
    KeyWorn,
    /// The medium has refused a frame of this many bytes as too long.
    FrameTooLong(usize),
    /// The medium has refused to send to this endpoint.
    SendRefused,
    /// A frame with the receiver index of this link from another endpoint than the neighbour's. It may show that the
    /// neighbour has moved, or be a replay, so the link validates the path first (RFC 9000, section 9).
    UnvalidatedFrame { endpoint: Endpoint, frame: BytesMut },
    /// A panic, for a test.
    #[cfg(test)]
    Panic,
}

/// The link to a neighbour, as other tasks see it.
pub(crate) struct Neighbour {
    /// The number by which the router knows it.
    pub(crate) id: u32,
    pub(crate) address: Address,
    path: Mutex<Path>,
    pub(crate) medium: Arc<Medium>,
    /// Whether this node has initiated the session.
    pub(crate) initiator: bool,
    pub(crate) local_index: u32,
    /// The longest frame that the path carries now, and the one at the start of the link.
    mtu: AtomicUsize,
    base_mtu: usize,
    configured: AtomicBool,
    pub(crate) inbox: Inbox<BytesMut>,
    pub(crate) commands: Inbox<LinkCommand>,
    /// The messages and changes for the router.
    pub(crate) router_feed: RouterFeed,
    /// Routing messages to send, reliably and in order. They have a queue of their own, so that a link without room for
    /// them still handles commands.
    pub(crate) routes: Inbox<Vec<u8>>,
    egress: Egress,
    suspect: AtomicBool,
    /// Whether the link is out of service while its session is kept.
    away: AtomicBool,
    status: Mutex<LinkStatus>,
    rx_bytes: AtomicU64,
    tx_bytes: AtomicU64,
    /// Frames sent since the task last reported them to the link, and their bytes.
    unnoted: AtomicU64,
    unnoted_bytes: AtomicU64,
    /// Whether the task has a command to report sent packets already. One command serves for all packets until then.
    report_pending: AtomicBool,
    /// Whether the link is to end with a goodbye. It is no command, so that neither a full queue nor a slow medium delays it.
    leaving: Notify<bool>,
    /// The account to which its packets are charged. See [`Neighbour::origin`].
    origin: Mutex<Location>,
    /// Conversations that wait until the queues are shorter.
    waiting: Mutex<Vec<Arc<ConversationEntry>>>,
    /// The longest frame sent since the task last reported, in bytes.
    longest: AtomicUsize,
    unvalidated: Mutex<UnvalidatedFrames>,
    /// Whether new keys have been requested.
    worn: AtomicBool,
    /// Whether the task has a command about a refused frame already.
    refused: AtomicBool,
    /// Whether a frame of the neighbour has been opened, which proves that it has the keys.
    confirmed: AtomicBool,
    /// The phase of the link that the router has been notified of.
    service: AtomicU8,
    /// The phase of the link that subscribers have been notified of.
    announced: Mutex<Announced>,
}

/// The state of the link as the status shows it.
struct LinkStatus {
    state: PeerState,
    since: Timestamp,
    metrics: LinkMetrics,
    last_error: Option<String>,
}

/// The properties of a link that its handshake determines.
pub(crate) struct NeighbourParts {
    pub(crate) id: u32,
    pub(crate) address: Address,
    pub(crate) path: Path,
    pub(crate) medium: Arc<Medium>,
    pub(crate) initiator: bool,
    pub(crate) local_index: u32,
    pub(crate) mtu: usize,
    pub(crate) configured: bool,
    pub(crate) egress: Egress,
    pub(crate) metrics: LinkMetrics,
}

impl Neighbour {
    pub(crate) fn new(parts: NeighbourParts, inbox_frames: usize) -> Self {
        let neighbour = Neighbour {
            id: parts.id,
            address: parts.address,
            path: Mutex::new(parts.path),
            medium: parts.medium,
            initiator: parts.initiator,
            local_index: parts.local_index,
            mtu: AtomicUsize::new(parts.mtu),
            base_mtu: parts.mtu,
            configured: AtomicBool::new(parts.configured),
            inbox: Inbox::with_bytes(
                inbox_frames,
                INBOX_BYTES,
                |frame: &BytesMut| frame.len(),
                Full::RefuseNewest,
            ),
            commands: Inbox::new(COMMANDS, Full::RefuseNewest),
            router_feed: RouterFeed::default(),
            routes: Inbox::with_bytes(ROUTES, ROUTES_BYTES, Vec::len, Full::RefuseNewest),
            egress: parts.egress,
            suspect: AtomicBool::new(false),
            away: AtomicBool::new(false),
            status: Mutex::new(LinkStatus {
                state: PeerState::Connecting,
                since: Timestamp::now(),
                metrics: parts.metrics,
                last_error: None,
            }),
            rx_bytes: AtomicU64::new(0),
            tx_bytes: AtomicU64::new(0),
            unnoted: AtomicU64::new(0),
            unnoted_bytes: AtomicU64::new(0),
            report_pending: AtomicBool::new(false),
            leaving: Notify::new(false),
            origin: Mutex::default(),
            waiting: Mutex::default(),
            longest: AtomicUsize::new(0),
            unvalidated: Mutex::default(),
            worn: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            confirmed: AtomicBool::new(false),
            service: AtomicU8::new(service::BEFORE),
            announced: Mutex::default(),
        };
        neighbour.update_origin();
        neighbour
    }

    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect.load(Relaxed)
    }

    /// Whether the path is cut. The link is out of service then, though its session is kept, since a cut path often
    /// returns.
    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Relaxed)
    }

    /// The current path.
    pub(crate) fn path(&self) -> Path {
        *lock(&self.path)
    }

    /// The longest frame that the path carries now, in bytes.
    pub(crate) fn mtu(&self) -> usize {
        self.mtu.load(Relaxed)
    }

    /// The longest frame in bytes, if it is shorter than the medium usually carries.
    pub(crate) fn narrow_mtu(&self) -> Option<usize> {
        Some(self.mtu()).filter(|mtu| *mtu < self.base_mtu)
    }

    /// Queues a frame of this link that arrived from an `endpoint` where the neighbour is not known to be. Returns
    /// whether it was admitted.
    pub(crate) fn offer_unvalidated(&self, now: Time, endpoint: Endpoint, frame: &[u8]) -> bool {
        if !lock(&self.unvalidated).admit(now) {
            return false;
        }
        // Pushed with no lock held, because that wakes the task.
        let taken = self
            .commands
            .try_push(LinkCommand::UnvalidatedFrame { endpoint, frame: BytesMut::from(frame) })
            .is_ok();
        if !taken {
            lock(&self.unvalidated).done();
        }
        taken
    }

    /// The endpoint in the notation of its netmod.
    pub(crate) fn endpoint(&self) -> String {
        self.medium.netmod.describe(&self.path().endpoint)
    }

    pub(crate) fn peer(&self) -> Peer {
        let status = lock(&self.status);
        Peer {
            address: Some(self.address),
            name: None,
            endpoint: self.endpoint(),
            netmod: self.medium.netmod.uri(),
            state: status.state,
            rtt_ms: status.metrics.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
            loss: Some(status.metrics.loss),
            metric: Some(status.metrics.cost),
            rx_bytes: self.rx_bytes.load(Relaxed),
            tx_bytes: self.tx_bytes.load(Relaxed),
            since: status.since,
            last_error: status.last_error.clone(),
        }
    }

    /// Queues the content of a frame, and counts it when it is dropped. The caller flushes afterwards.
    pub(crate) fn push(&self, shared: &NodeState, class: Class, content: Bytes) -> PushOutcome {
        let pushed = self.egress.push(class, content);
        pushed.count(&shared.stats);
        pushed
    }

    /// The locked queues, for several frames. The caller counts the outcome of each and flushes afterwards.
    pub(crate) fn pushing(&self) -> PushGuard<'_> {
        self.egress.pushing()
    }

    /// Sends queued frames as far as the medium accepts them now, and leaves the rest to the neighbour's task. So a
    /// slow medium delays only its own neighbours.
    pub(crate) fn flush(&self, shared: &NodeState) {
        let _ = self.flush_wait(shared).now_or_never();
    }

    /// Sends up to a portion of the queued frames. When the future is dropped midway, the neighbour's task continues.
    async fn flush_wait(&self, shared: &NodeState) {
        let mut flush = Flush { neighbour: self, shared, drained: DrainReport::default() };
        if let Err(error) = self.egress.drain(&mut flush.drained).await {
            tracing::debug!(neighbour = ?self.address, %error, "send failed");
            if matches!(error, NetmodError::Endpoint(_) | NetmodError::Gone(_)) {
                // One command serves for all refused frames until the task has handled it.
                if !self.refused.swap(true, Relaxed)
                    && self.commands.try_push(LinkCommand::SendRefused).is_err()
                {
                    self.refused.store(false, Relaxed);
                }
            }
            self.medium.note_send_error(&error);
            lock(&self.status).last_error = Some(error.to_string());
        }
    }

    /// Whether a conversation has to wait. If so, it is served again when the queue is shorter.
    pub(crate) fn makes_wait(&self, conversation: &Arc<ConversationEntry>) -> bool {
        if !self.egress.is_backed_up() {
            return false;
        }
        let mut waiting = lock(&self.waiting);
        if !waiting.iter().any(|known| Arc::ptr_eq(known, conversation)) {
            waiting.push(conversation.clone());
        }
        drop(waiting);
        // The queue may have become shorter between the check and the insertion, when nothing waited yet; without this,
        // the conversation would wait for ever.
        if !self.egress.is_backed_up() {
            self.wake();
        }
        true
    }

    /// Wakes the neighbour's task.
    pub(crate) fn wake(&self) {
        // A full queue of commands wakes the task anyway.
        let _ = self.commands.try_push(LinkCommand::Wake);
    }

    fn resume_waiting(&self, work: &mut DeferredWork) {
        if !self.egress.is_backed_up() {
            for conversation in std::mem::take(&mut *lock(&self.waiting)) {
                work.pump_later(&conversation);
            }
        }
    }

    /// Takes the link out of service: it leaves the tables, its queues are dropped, and its task ends. Returns whether
    /// it was in the tables, so that one caller only announces the end.
    pub(crate) fn retire(&self, shared: &NodeState) -> bool {
        let was_known = shared.take_out_of_service(self);
        if was_known {
            shared.report_to_peering(Input::LinkLost { id: self.id, reason: None });
        }
        shared.stats.drop_n(DropCause::UnknownSession, self.egress.close());
        lock(&self.waiting).clear();
        self.inbox.close();
        self.commands.close();
        self.routes.close();
        was_known
    }
}
