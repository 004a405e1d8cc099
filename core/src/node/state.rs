//! The state that the tasks of one node share.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

use zeroize::Zeroizing;

use crate::address::Address;
use crate::identity::Identity;
use crate::inbox::{Full, Inbox};
use crate::node::events::EventBus;
use crate::node::mailbox::Mailbox;
use crate::node::state::announced::LinksUp;
use crate::node::state::awaiting_route::AwaitingRoute;
use crate::node::state::conversations::Conversations;
use crate::node::state::fib::Fib;
use crate::node::state::journal::JournalState;
use crate::node::state::link_event::LinkEvent;
use crate::node::state::local_ids::LocalIds;
use crate::node::state::locks::{lock, read, write};
use crate::node::state::medium::Medium;
use crate::node::state::neighbour::Neighbour;
use crate::node::state::probes::Probes;
use crate::node::state::router_inputs::RouterInputs;
use crate::node::state::running_tasks::{NodeFailure, Tasks};
use crate::node::state::sessions::EndToEnd;
use crate::node::{Limits, NodeConfig};
use crate::notify::Notify;
use crate::peering::{Input, Peering, PeeringConfig};
use crate::rt;
use crate::stats::Stats;
use crate::time::Time;
use crate::types::{Event, Timestamp};

pub(crate) mod announced;
pub(crate) mod awaiting_route;
pub(crate) mod conversation;
pub(crate) mod conversation_queue;
pub(crate) mod conversations;
pub(crate) mod fib;
pub(crate) mod journal;
pub(crate) mod journaled;
pub(crate) mod link_event;
pub(crate) mod local_ids;
pub(crate) mod locks;
pub(crate) mod medium;
pub(crate) mod memory_budget;
pub(crate) mod neighbour;
pub(crate) mod outcomes;
pub(crate) mod probes;
pub(crate) mod rare_queue;
pub(crate) mod ready_queue;
pub(crate) mod router_feed;
pub(crate) mod router_inputs;
pub(crate) mod running_tasks;
pub(crate) mod send_line;
pub(crate) mod send_turn;
pub(crate) mod sessions;
pub(crate) mod unanswered;
pub(crate) mod unvalidated;

/// The state that the tasks of one node share. A lock is held for a look-up or an insertion and never across an await,
/// since another task on the same thread would then wait for it for ever. No function holds two of them unless it shows
/// both.
pub(crate) struct NodeState {
    pub(crate) identity: Identity,
    pub(crate) config: NodeConfig,
    pub(crate) stats: Stats,
    pub(crate) event_bus: EventBus,
    pub(crate) started: Instant,
    /// Whether the node has ended, for methods that wait. Its tasks do not wait on this, since each is aborted by
    /// itself.
    pub(crate) stopped: Notify<bool>,
    stopping: AtomicBool,
    /// Set before the goodbyes are sent: no link enters service after that, so that the goodbyes reach all links.
    leaving: AtomicBool,

    pub(crate) media: RwLock<BTreeMap<u32, Arc<Medium>>>,
    next_medium: AtomicU32,
    /// Links by the receiver index in the header of their frames, so that a frame finds its link whatever endpoint it
    /// comes from.
    pub(crate) sessions: RwLock<HashMap<u32, Arc<Neighbour>>>,
    /// Links by number. Numbers ascend in the order in which the links were made, so that the oldest is found first.
    pub(crate) neighbours: RwLock<BTreeMap<u32, Arc<Neighbour>>>,
    /// Links in service by the address of the neighbour, one for each medium. Packets to a neighbour use them before the
    /// router has a route, since its announce arrives a moment after its link.
    linked: RwLock<HashMap<Address, Vec<Arc<Neighbour>>>>,
    pub(crate) links_up: Mutex<LinksUp>,
    /// Replies that wait until there is a route to their destination, because a request may arrive before its route.
    pub(crate) awaiting_route: AwaitingRoute,
    /// The active routes, for the data path. It reads a snapshot, so that it waits neither for the router nor for a lock.
    pub(crate) fib: Fib,
    /// Count of changes of the active routes, so that a method can wait for the next change.
    pub(crate) fib_changes: Notify<u64>,
    /// Events for the peering task: handshake frames, beacons, and changes that decide which peers to dial.
    pub(crate) link_events: Inbox<LinkEvent>,
    /// The queues of the router's task, one for each kind of input, so that a flood of one kind delays no other.
    pub(crate) router: RouterInputs,
    /// The choice of links. It is locked for one event, the most expensive of which is a handshake frame.
    pub(crate) peering: Mutex<Peering>,
    pub(crate) mailboxes: RwLock<BTreeMap<Address, Mailbox>>,
    pub(crate) local_ids: LocalIds,
    pub(crate) conversations: Conversations,
    /// The durable store of messages; `None` when all of them wait in memory.
    pub(crate) journal: Option<Arc<JournalState>>,
    pub(crate) probes: Mutex<Probes>,
    /// Addresses of this node that another node uses as well, and the time of the last evidence of it.
    pub(crate) conflicts: Mutex<BTreeMap<Address, Time>>,
    pub(super) tasks: Mutex<Tasks>,
    /// The error with which the node has ended by itself.
    pub(crate) failure: Notify<Option<NodeFailure>>,
}

/// Events that may wait for the peering task. Media stop earlier, so that the other writers always find room.
const EVENT_QUEUE: usize = 16_384;

impl NodeState {
    /// The state of a node without netmods. The randomness of its handshakes and links comes from `seed`.
    pub(crate) fn new(identity: Identity, config: NodeConfig, seed: Zeroizing<[u8; 32]>) -> Self {
        let peering = PeeringConfig {
            mesh_key: config.mesh_key.clone(),
            neighbours: config.limits.neighbours,
            neighbour_filter: config.neighbour_filter.clone(),
        };
        // Another seed than that of the links, derived from it.
        let sessions =
            EndToEnd::new(&identity, *blake3::keyed_hash(&seed, b"end-to-end sessions").as_bytes());
        let journal = config.journal.clone().map(|journal| Arc::new(JournalState::new(journal)));
        let conversations = Conversations::new(&config.limits, journal.is_some(), sessions);
        let address = identity.address();
        let changes = conversations.mailbox_changes.clone();
        let lending = journal.as_ref().map(|journal| journal.lending.clone());
        let mailbox = Mailbox::beside(lending, address, config.limits.inbox_messages, changes);
        NodeState {
            mailboxes: RwLock::new(BTreeMap::from([(address, mailbox)])),
            local_ids: LocalIds::new(),
            conversations,
            journal,
            config,
            stats: Stats::default(),
            event_bus: EventBus::default(),
            started: rt::now(),
            stopped: Notify::new(false),
            stopping: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            media: RwLock::default(),
            next_medium: AtomicU32::new(0),
            sessions: RwLock::default(),
            neighbours: RwLock::default(),
            linked: RwLock::default(),
            links_up: Mutex::default(),
            awaiting_route: AwaitingRoute::default(),
            fib: Fib::default(),
            fib_changes: Notify::new(0),
            link_events: Inbox::new(EVENT_QUEUE, Full::Wait),
            router: RouterInputs::default(),
            peering: Mutex::new(Peering::new(&identity, peering, seed)),
            probes: Mutex::default(),
            conflicts: Mutex::default(),
            tasks: Mutex::default(),
            failure: Notify::new(None),
            identity,
        }
    }

    /// The time since the start of the node, as the pure parts count it. They read no clock, so that tests can set it.
    pub(crate) fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(rt::elapsed(self.started).as_nanos()).unwrap_or(u64::MAX))
    }

    /// The wall-clock time of a past moment of a pure part. It is computed from the age, because the wall clock may have
    /// been set since.
    pub(crate) fn timestamp(&self, time: Time) -> Timestamp {
        let age = u64::try_from(self.now().since(time).as_millis()).unwrap_or(u64::MAX);
        Timestamp(rt::wall_clock().0.saturating_sub(age))
    }

    /// The instant of a pure part's deadline, for a timer.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        self.started + std::time::Duration::from_nanos(time.as_nanos())
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.config.limits
    }

    pub(crate) fn is_ours(&self, address: &Address) -> bool {
        read(&self.mailboxes).contains_key(address)
    }

    /// Records evidence that another node announces an address of this one.
    pub(crate) fn in_use_elsewhere(&self, address: Address) {
        if lock(&self.conflicts).insert(address, self.now()).is_none() {
            tracing::error!(%address, "this identity is in use elsewhere: give this node its own");
        }
    }

    pub(crate) fn new_medium_id(&self) -> u32 {
        self.next_medium.fetch_add(1, Relaxed)
    }

    pub(crate) fn publish(&self, event: Event) {
        self.event_bus.publish(&self.stats, event);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Ends the admission of links, so that a neighbour that receives the goodbye and dials again gets no new link. The
    /// links that are in the table of neighbours when this returns are all that there will be.
    pub(crate) fn leave(&self) {
        self.begin_stop();
        {
            // The lock that `put_into_service` holds from its check to its insertion: otherwise a link could slip in
            // between.
            let _neighbours = write(&self.neighbours);
            self.leaving.store(true, Relaxed);
        }
        self.report_to_peering(Input::Leaving);
        for medium in read(&self.media).values() {
            medium.netmod.stop_announcing();
        }
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }

    /// Inserts a new link into the tables. Returns whether it may serve: not when the node is leaving or its medium was
    /// removed.
    pub(crate) fn put_into_service(&self, neighbour: &Arc<Neighbour>) -> bool {
        let mut neighbours = write(&self.neighbours);
        if self.is_leaving() || !read(&self.media).contains_key(&neighbour.medium.id) {
            return false;
        }
        neighbours.insert(neighbour.id, neighbour.clone());
        write(&self.linked).entry(neighbour.address).or_default().push(neighbour.clone());
        // Last, because frames are delivered to the link from here on, and the other tables must have it by then.
        write(&self.sessions).insert(neighbour.local_index, neighbour.clone());
        true
    }

    /// Removes a link from the tables. Returns whether it was there, so that only one of two callers announces its end.
    pub(crate) fn take_out_of_service(&self, neighbour: &Neighbour) -> bool {
        write(&self.sessions).remove(&neighbour.local_index);
        let mut linked = write(&self.linked);
        if let Some(links) = linked.get_mut(&neighbour.address) {
            links.retain(|link| link.id != neighbour.id);
            if links.is_empty() {
                linked.remove(&neighbour.address);
            }
        }
        drop(linked);
        write(&self.neighbours).remove(&neighbour.id).is_some()
    }

    /// The best link to the neighbour with this address: one that is not suspect if there is one, or else the oldest.
    pub(crate) fn linked_to(&self, address: &Address) -> Option<Arc<Neighbour>> {
        let linked = read(&self.linked);
        let usable = linked.get(address)?.iter().filter(|link| link.is_in_service() && !link.is_away());
        usable.min_by_key(|link| (link.is_suspect(), link.id)).cloned()
    }

    /// Refuses new messages from now on, because those that are queued have only a moment left.
    pub(crate) fn begin_stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Ends every task at its next await, and wakes all callers that wait, since no task would wake them any more.
    pub(crate) fn end(&self) {
        self.begin_stop();
        *self.stopped.write() = true;
        self.end_tasks();
        self.link_events.close();
        self.router.close();
        let mailboxes: Vec<_> = read(&self.mailboxes).values().cloned().collect();
        mailboxes.iter().for_each(Mailbox::close);
        let neighbours: Vec<_> = read(&self.neighbours).values().cloned().collect();
        for neighbour in neighbours {
            neighbour.close_inbox();
        }
        self.conversations.close();
        if let Some(journal) = &self.journal {
            journal.close();
        }
        self.event_bus.close();
        let probes = std::mem::take(&mut *lock(&self.probes));
        drop(probes);
    }
}
