//! A neighbour as its tasks share it: the link, its queues, and what is known of it.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;

use crate::address::Address;
use crate::egress::Egress;
use crate::egress::intake::PushGuard;
use crate::inbox::{Full, Inbox};
use crate::link::{LinkMetrics, Path};
use crate::netmod::Endpoint;
use crate::node::state::announced::Announced;
use crate::node::state::conversation::ConversationEntry;
use crate::node::state::conversation_queue::ConversationQueue;
use crate::node::state::locks::lock;
use crate::node::state::medium::Medium;
use crate::node::state::router_feed::RouterFeed;
use crate::node::state::unvalidated::UnvalidatedFrames;
use crate::notify::Notify;
use crate::route::Location;
use crate::rt;
use crate::time::Time;
use crate::types::{Peer, PeerState, Timestamp};

/// Bytes that a neighbour's inbox may hold. Frames are bounded by their count and by their bytes, since either alone
/// would leave the memory of long frames, or the work of short ones, without a limit.
pub(crate) const INBOX_BYTES: usize = 4 << 20;
/// The time for which a delivery speaks for the neighbour: that of the first penalty.
const RECENT_DELIVERY: Duration = Duration::from_secs(60);
/// Commands that may wait for the task. A command that finds no room is dropped, because each only speeds up what a
/// deadline of the link finds out later.
const COMMANDS: usize = 4096;
/// Routing messages that may wait for room in the link, and their bytes. The router sends a neighbour at most its whole
/// table, of 32 768 records that have 444 bytes at most, so a link that exceeds this cannot keep up.
pub(crate) const ROUTES: usize = 65_536;
pub(crate) const ROUTES_BYTES: usize = 16 << 20;

// The service of a link goes one way: before, in service, after. Another task may end it at the same instant as it
// begins, so the atomic change decides which notifications are sent: a link that ends before it was in service is
// announced by neither, and the router uses no link that has ended, in whichever order the two events arrive.
pub(crate) const BEFORE: u8 = 0;
pub(crate) const IN_SERVICE: u8 = 1;
const AFTER: u8 = 2;

/// A request of another task to the neighbour's task.
pub(crate) enum LinkCommand {
    /// Packets were sent: report their count to the link, because a neighbour that was sent packets owes a sign of life.
    PacketsSent,
    /// A queue has something to send, or has room again for the conversations that wait.
    Wake,
    /// The medium reports that it carries nothing to this endpoint any more, so that the link need not wait for silence.
    MediumCut,
    /// The medium reports that it carries frames to this endpoint again, so that the link probes at once.
    MediumRestored,
    /// The key is near the limit of its use, so the link has to agree on the next one.
    KeyWorn,
    /// The medium has refused a frame of this many bytes as too long, so the path carries less than the link assumes.
    FrameTooLong(usize),
    /// The medium has refused to send to this endpoint, so the link has to find out whether the neighbour is still there.
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
    /// The number by which the router knows it. No number is used again, since a late message of an old link would
    /// otherwise be taken for one of a new link.
    pub(crate) id: u32,
    pub(crate) address: Address,
    pub(crate) path: Mutex<Path>,
    pub(crate) medium: Arc<Medium>,
    /// Whether this node has initiated the session. Both ends choose between two sessions by it, so that they keep the
    /// same one.
    pub(crate) initiator: bool,
    pub(crate) local_index: u32,
    /// The longest frame that the path carries now, and the one at the start of the link. The status compares them, so
    /// that its user learns of a narrow path.
    pub(crate) mtu: AtomicUsize,
    pub(crate) base_mtu: usize,
    pub(crate) configured: AtomicBool,
    pub(crate) inbox: Inbox<BytesMut>,
    /// The time in nanoseconds at which a message that was sent over this link was last known to be delivered, to any
    /// destination; 0 if there was none.
    delivered_at: AtomicU64,
    pub(crate) commands: Inbox<LinkCommand>,
    /// The messages and changes for the router.
    pub(crate) router_feed: RouterFeed,
    /// Routing messages to send, reliably and in order. They have a queue of their own, so that a link without room for
    /// them still handles commands.
    pub(crate) routes: Inbox<Vec<u8>>,
    pub(crate) egress: Egress,
    pub(crate) suspect: AtomicBool,
    /// Whether the link is out of service while its session is kept.
    pub(crate) away: AtomicBool,
    pub(crate) status: Mutex<LinkStatus>,
    pub(crate) rx_bytes: AtomicU64,
    pub(crate) tx_bytes: AtomicU64,
    /// Frames sent since the task last reported them to the link, and their bytes.
    pub(crate) unnoted: AtomicU64,
    pub(crate) unnoted_bytes: AtomicU64,
    /// Whether the task has a command to report sent packets already. One command serves for all packets until then.
    pub(crate) report_pending: AtomicBool,
    /// Whether the link is to end with a goodbye. It is no command, so that neither a full queue nor a slow medium delays it.
    pub(crate) leaving: Notify<bool>,
    /// Whether the link has ended: its inbox takes no further frame. A node that leaves waits for that, since the goodbye is sent by
    /// the task of the link.
    pub(crate) retired: Notify<bool>,
    /// The account to which its packets are charged. See [`Neighbour::origin`].
    pub(crate) origin: Mutex<Location>,
    /// Conversations that wait until the queues are shorter, because packets beyond would only be dropped.
    pub(crate) waiting: Mutex<ConversationQueue>,
    /// The longest frame sent since the task last reported, in bytes.
    pub(crate) longest: AtomicUsize,
    pub(crate) unvalidated: Mutex<UnvalidatedFrames>,
    /// Whether new keys have been requested, so that a worn key causes one command and not one for each flush.
    pub(crate) worn: AtomicBool,
    /// Whether the task has a command about a refused frame already.
    pub(crate) refused: AtomicBool,
    /// Whether a frame of the neighbour has been opened, which proves that it has the keys.
    pub(crate) confirmed: AtomicBool,
    /// The phase of the link that the router has been notified of.
    pub(crate) service: AtomicU8,
    /// The phase of the link that subscribers have been notified of.
    pub(crate) announced: Mutex<Announced>,
}

/// The state of the link as the status shows it. It is a copy, because the link itself belongs to its task and cannot be
/// read by others.
pub(crate) struct LinkStatus {
    pub(crate) state: PeerState,
    pub(crate) since: Timestamp,
    pub(crate) metrics: LinkMetrics,
    pub(crate) last_error: Option<String>,
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
            delivered_at: AtomicU64::new(0),
            commands: Inbox::new(COMMANDS, Full::RefuseNewest),
            router_feed: RouterFeed::default(),
            routes: Inbox::with_bytes(ROUTES, ROUTES_BYTES, Vec::len, Full::RefuseNewest),
            egress: parts.egress,
            suspect: AtomicBool::new(false),
            away: AtomicBool::new(false),
            status: Mutex::new(LinkStatus {
                state: PeerState::Connecting,
                since: rt::wall_clock(),
                metrics: parts.metrics,
                last_error: None,
            }),
            rx_bytes: AtomicU64::new(0),
            tx_bytes: AtomicU64::new(0),
            unnoted: AtomicU64::new(0),
            unnoted_bytes: AtomicU64::new(0),
            report_pending: AtomicBool::new(false),
            leaving: Notify::new(false),
            retired: Notify::new(false),
            origin: Mutex::default(),
            waiting: Mutex::default(),
            longest: AtomicUsize::new(0),
            unvalidated: Mutex::default(),
            worn: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            confirmed: AtomicBool::new(false),
            service: AtomicU8::new(BEFORE),
            announced: Mutex::default(),
        };
        neighbour.update_origin();
        neighbour
    }

    /// Notes that a message that was sent over this link was delivered.
    pub(crate) fn note_delivery(&self, now: Time) {
        self.delivered_at.store(now.as_nanos(), Relaxed);
    }

    /// Whether messages that were sent over this link were delivered recently, so that a loss is no sign that the neighbour
    /// drops what it should forward.
    pub(crate) fn delivers(&self, now: Time) -> bool {
        let at = self.delivered_at.load(Relaxed);
        at > 0 && now.since(Time::from_nanos(at)) < RECENT_DELIVERY
    }

    /// Closes the inbox of frames, and wakes what waits for the end of the link.
    pub(crate) fn close_inbox(&self) {
        self.inbox.close();
        *self.retired.write() = true;
    }

    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect.load(Relaxed)
    }

    /// Whether the path is cut. The link is out of service then, though its session is kept, since a cut path often
    /// returns.
    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Relaxed)
    }

    /// The current path. It is copied, so that no caller holds the lock while it calls a netmod.
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

    /// The endpoint in the notation of its netmod. The netmod may list the interfaces of the host for it, so no lock may
    /// be held.
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

    /// The locked queues, for several frames, since one lock for each would be slower. The caller counts the outcome of
    /// each and flushes afterwards.
    pub(crate) fn pushing(&self) -> PushGuard<'_> {
        self.egress.pushing()
    }

    /// Whether a conversation has to wait. If so, it is served again when the queue is shorter.
    pub(crate) fn makes_wait(&self, conversation: &Arc<ConversationEntry>) -> bool {
        if !self.egress.is_backed_up() {
            return false;
        }
        lock(&self.waiting).push(conversation);
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
}

impl Neighbour {
    /// Whether the router and subscribers have been notified of this link.
    pub(crate) fn is_in_service(&self) -> bool {
        self.service.load(SeqCst) == IN_SERVICE
    }

    /// Whether the link has ended, so that the router must not add it.
    pub(crate) fn has_ended(&self) -> bool {
        self.service.load(SeqCst) == AFTER
    }

    /// Ends the service, which is final. Returns whether the router and subscribers have been notified of the link, and
    /// so have to be notified of its end.
    pub(crate) fn leave_service(&self) -> bool {
        self.service.swap(AFTER, SeqCst) == IN_SERVICE
    }

    /// Whether a configured peer is the reason for this link. It then keeps its slot against strangers, because the user
    /// has chosen it.
    pub(crate) fn is_configured(&self) -> bool {
        self.configured.load(Relaxed)
    }

    /// The account that is charged with the memory that packets of this link occupy. A configured link has an account
    /// of its own; others share that of their host and network, so that a host gains nothing by many links.
    pub(crate) fn origin(&self) -> Location {
        *lock(&self.origin)
    }

    /// Updates the account after the neighbour has moved, or was configured or removed.
    pub(crate) fn update_origin(&self) {
        let own = || {
            let key = self.address.as_bytes().first_chunk().copied().map_or(0, u64::from_le_bytes);
            Location { host: key, network: key }
        };
        let origin = if self.is_configured() { own() } else { self.location() };
        *lock(&self.origin) = origin;
    }

    /// The host and the network of the neighbour, for quotas.
    pub(crate) fn location(&self) -> Location {
        let endpoint = self.path().endpoint;
        let netmod = &self.medium.netmod;
        let key = |kind: &[u8], bytes: &[u8]| {
            let mut hash = blake3::Hasher::new();
            hash.update(kind).update(netmod.scheme().as_bytes()).update(&[0]).update(bytes);
            let hash = hash.finalize();
            hash.as_bytes().first_chunk().copied().map_or(0, u64::from_le_bytes)
        };
        let host = key(b"host", &netmod.host_key(&endpoint).to_le_bytes());
        Location { host, network: key(b"network", &netmod.quota_key(&endpoint).to_le_bytes()) }
    }

    /// Ends the link with a goodbye, after the frames that are queued, because the neighbour drops what follows a goodbye.
    pub(crate) fn leave(&self) {
        *self.leaving.write() = true;
        self.wake();
    }
}

impl Neighbour {
    pub(crate) fn set_state(&self, state: PeerState) {
        let mut status = lock(&self.status);
        status.state = state;
        status.since = rt::wall_clock();
    }
}
