//! What the tasks of one node share.

pub(crate) mod fib;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use super::conversations::Conversations;
use super::data_path::awaiting_route::AwaitingRoute;
use super::data_path::probe::Probes;
use super::dial::Dials;
use super::events::EventBus;
use super::mailbox::Mailbox;
use super::medium::Medium;
use super::neighbour::Neighbour;
use super::tasks::peering::LinkEvent;
use super::tasks::peering::slots::RecentRefusals;
use super::tasks::router::RouterInputs;
use super::tasks::{NodeFailure, Tasks};
use super::{Limits, NodeConfig};
use crate::address::Address;
use crate::identity::Identity;
use crate::inbox::{Full, Inbox};
use crate::notify::Notify;
use crate::stats::Stats;
use crate::time::Time;
use crate::types::Event;
use fib::Fib;

/// What the tasks of one node share. Locks are held for a lookup or an insertion, never across an await, and never
/// two at once unless one function shows both.
pub(crate) struct NodeState {
    pub(crate) identity: Identity,
    pub(crate) config: NodeConfig,
    pub(crate) stats: Stats,
    pub(crate) event_bus: EventBus,
    pub(crate) started: Instant,
    /// For those who wait at the node's door. Its tasks have an end of their own each.
    pub(crate) stopped: Notify<bool>,
    stopping: AtomicBool,
    /// Set before the goodbyes are said: no link is put into service from then on.
    leaving: AtomicBool,

    pub(crate) media: RwLock<BTreeMap<u32, Arc<Medium>>>,
    next_medium: AtomicU32,
    /// Links by the receiver index that their frames carry.
    pub(crate) sessions: RwLock<HashMap<u32, Arc<Neighbour>>>,
    /// Links by their number, in which they were made.
    pub(crate) neighbours: RwLock<BTreeMap<u32, Arc<Neighbour>>>,
    /// Links in service by the address of the neighbour, one for each medium.
    linked: RwLock<HashMap<Address, Vec<Arc<Neighbour>>>>,
    /// Answers that wait for a route.
    pub(crate) awaiting_route: AwaitingRoute,
    /// Routes in use.
    pub(crate) fib: Fib,
    /// How often the table of routes has changed.
    pub(crate) fib_changes: Notify<u64>,
    /// Handshake frames, who was heard, whom to dial: for the task that makes links.
    pub(crate) link_events: Inbox<LinkEvent>,
    /// For the task that keeps the routes.
    pub(crate) router: RouterInputs,
    pub(crate) dials: Mutex<Dials>,
    pub(crate) refusals: Mutex<RecentRefusals>,
    pub(crate) mailboxes: RwLock<BTreeMap<Address, Mailbox>>,
    pub(crate) conversations: Conversations,
    pub(crate) probes: Mutex<Probes>,
    /// Addresses of ours that somebody else uses as well, and when that was last seen.
    pub(crate) conflicts: Mutex<BTreeMap<Address, Time>>,
    pub(super) tasks: Mutex<Tasks>,
    /// Why the node has ended by itself.
    pub(crate) failure: Notify<Option<NodeFailure>>,
}

/// Events that may wait for the link task.
const EVENT_QUEUE: usize = 16_384;

impl NodeState {
    pub(crate) fn new(identity: Identity, config: NodeConfig) -> Self {
        let conversations = Conversations::new(&config.limits);
        let address = identity.address();
        let mailbox =
            Mailbox::new(address, config.limits.inbox_messages, conversations.mailbox_changes.clone());
        NodeState {
            mailboxes: RwLock::new(BTreeMap::from([(address, mailbox)])),
            conversations,
            identity,
            config,
            stats: Stats::default(),
            event_bus: EventBus::default(),
            started: Instant::now(),
            stopped: Notify::new(false),
            stopping: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            media: RwLock::default(),
            next_medium: AtomicU32::new(0),
            sessions: RwLock::default(),
            neighbours: RwLock::default(),
            linked: RwLock::default(),
            awaiting_route: AwaitingRoute::default(),
            fib: Fib::default(),
            fib_changes: Notify::new(0),
            link_events: Inbox::new(EVENT_QUEUE, Full::Wait),
            router: RouterInputs::default(),
            dials: Mutex::default(),
            refusals: Mutex::default(),
            probes: Mutex::default(),
            conflicts: Mutex::default(),
            tasks: Mutex::default(),
            failure: Notify::new(None),
        }
    }

    /// The time for the pure parts: since the node's start.
    pub(crate) fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// A pure part's deadline as the timer wants it.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        self.started + std::time::Duration::from_nanos(time.as_nanos())
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.config.limits
    }

    pub(crate) fn is_ours(&self, address: &Address) -> bool {
        read(&self.mailboxes).contains_key(address)
    }

    /// Somebody else speaks for an address of ours.
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

    /// Puts no link into service from now on: a neighbour that hears the goodbye and dials again must not be answered. The links
    /// that are in the table of neighbours when this returns are all that there will be.
    pub(crate) fn leave(&self) {
        self.begin_stop();
        {
            // Under the lock that `put_into_service` holds while it looks.
            let _neighbours = write(&self.neighbours);
            self.leaving.store(true, Relaxed);
        }
        for medium in read(&self.media).values() {
            medium.netmod.stop_announcing();
        }
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }

    /// Enters a new link into the tables. Returns whether it may serve: not when the node leaves, or its medium was removed.
    pub(crate) fn put_into_service(&self, neighbour: &Arc<Neighbour>) -> bool {
        let mut neighbours = write(&self.neighbours);
        if self.is_leaving() || !read(&self.media).contains_key(&neighbour.medium.id) {
            return false;
        }
        neighbours.insert(neighbour.id, neighbour.clone());
        write(&self.linked).entry(neighbour.address).or_default().push(neighbour.clone());
        // From here on frames are delivered to it, and it can be reached already.
        write(&self.sessions).insert(neighbour.local_index, neighbour.clone());
        true
    }

    /// Removes a link from the tables. Returns whether it was there.
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

    /// The neighbour with this address, over the best of the links to it.
    pub(crate) fn linked_to(&self, address: &Address) -> Option<Arc<Neighbour>> {
        let linked = read(&self.linked);
        let usable = linked.get(address)?.iter().filter(|link| link.is_in_service() && !link.is_away());
        usable.min_by_key(|link| (link.is_suspect(), link.id)).cloned()
    }

    /// Refuses new work from now on.
    pub(crate) fn begin_stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Ends every task at its next await.
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
            neighbour.inbox.close();
        }
        self.conversations.close();
        self.event_bus.close();
        let probes = std::mem::take(&mut *lock(&self.probes));
        drop(probes);
    }
}

/// Locks, also after a panic of another holder: what these locks guard is whole after every statement.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
