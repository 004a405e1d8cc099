//! The conversations of a node at work: the pure message layer between the mailboxes of applications and the routes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;

mod entry;
mod memory_budget;
mod outcomes;
mod receipts;
mod retention;

use super::Limits;
use super::data_path::{DeferredWork, route, send_part};
use super::mailbox::MailboxChanges;
use super::state::{NodeState, lock, read, write};
use super::tasks::router::RouterHint;
use crate::address::Address;
use crate::message::{self, Conversation, ConversationEvent};
use crate::notify::Notify;
use crate::route::Location;
use crate::stats::{Counter, DropCause};
use crate::time::Time;
use crate::types::{Event, Message, MessageId, Outgoing, Receipt, SendError, Timestamp, Waiting};
use memory_budget::{Charge, MemoryBudget};
use outcomes::{DeliveryOutcomes, OutcomeSender};
use retention::UnprovenConversations;

/// The peer comes first, so that all conversations with one peer are adjacent and a changed route finds them with one
/// range.
pub(crate) type ConversationKey = message::Ends;

/// Packets that one conversation sends before others have their turn.
const PORTION: usize = 64;
/// The period in which a conversation that waits for its link or its route examines its deadlines. Their own time is
/// too early, because nothing can be sent then.
const WAITING: Duration = Duration::from_millis(20);
/// The idle time after which a conversation may be removed for another.
const EVICT_AFTER: Duration = Duration::from_secs(60);
/// A conversation of a local address with a peer: the pure state machine behind a lock, and the channels to the
/// applications that wait on it.
pub(crate) struct ConversationEntry {
    ends: Arc<ConversationKey>,
    state: Mutex<EntryState>,
    /// The count of times that a full queue had room again. It is created by the first caller that waits, since most
    /// conversations never fill their queue.
    room: OnceLock<Box<Notify<u64>>>,
}

struct EntryState {
    conversation: Conversation,
    outcomes: Option<Box<DeliveryOutcomes>>,
    /// Messages taken from the state machine that the mailbox then refused, because it had filled up meanwhile.
    held: VecDeque<Message>,
    /// Whether a thread is moving messages into the mailbox. Only one may, so that they stay in order.
    delivering: bool,
    /// The deadline that the timers have for it.
    registered: Option<Time>,
    used: Time,
    /// The bytes charged to [`MemoryBudget`], and the account of the neighbour that its last packet arrived from.
    charge: Charge,
    from: Location,
    /// Whether it has been removed. A caller that still holds it must not use it, since its bytes are no longer
    /// counted.
    gone: bool,
    /// The neighbour that packets were last sent over. When it changes, the path's round-trip time does too.
    via: Option<u32>,
    closed: bool,
}

/// The state of the delivery of a message.
pub(crate) enum DeliveryState {
    Pending(oneshot::Receiver<Result<Receipt, SendError>>),
    Delivered,
    Expired,
    Stopped,
}

/// All conversations of a node.
pub(crate) struct Conversations {
    limit: usize,
    config: message::ConversationConfig,
    budget: MemoryBudget,
    /// The key is shared with the entry, so that it is stored once: a node that invents sources causes an entry for
    /// each.
    by_ends: RwLock<BTreeMap<Arc<ConversationKey>, Arc<ConversationEntry>>>,
    timers: Notify<BTreeSet<(Time, Arc<ConversationKey>)>>,
    unproven: Mutex<UnprovenConversations>,
    /// The changed inboxes of all mailboxes, which wake the task of the conversations.
    pub(crate) mailbox_changes: Arc<MailboxChanges>,
}

impl Conversations {
    pub(crate) fn new(limits: &Limits) -> Self {
        Conversations {
            limit: limits.senders,
            config: message::ConversationConfig {
                credit_bytes: limits.reassembly / 16,
                ..message::ConversationConfig::default()
            },
            budget: MemoryBudget::new(limits.reassembly),
            by_ends: RwLock::default(),
            timers: Notify::new(BTreeSet::new()),
            unproven: Mutex::default(),
            mailbox_changes: Arc::default(),
        }
    }

    fn find(&self, local: &Address, peer: &Address) -> Option<Arc<ConversationEntry>> {
        read(&self.by_ends).get(&(*peer, *local)).cloned()
    }

    /// The conversation of these two addresses, created if there is none; `None` when there are too many.
    pub(crate) fn open(
        &self,
        shared: &NodeState,
        local: &Address,
        peer: &Address,
    ) -> Option<Arc<ConversationEntry>> {
        self.open_from(shared, local, peer, None)
    }

    /// As [`Self::open`], for a packet that arrived from a neighbour with this account.
    fn open_from(
        &self,
        shared: &NodeState,
        local: &Address,
        peer: &Address,
        from: Option<Location>,
    ) -> Option<Arc<ConversationEntry>> {
        let now = shared.now();
        {
            let conversations = read(&self.by_ends);
            if let Some(known) = conversations.get(&(*peer, *local)) {
                // Marked under the lock of the map, so that it is not evicted between the look-up and its use.
                lock(&known.state).used = now;
                return Some(known.clone());
            }
        }
        let mut conversations = write(&self.by_ends);
        if conversations.len() >= self.limit {
            self.make_place(shared, &mut conversations, from, now)?;
        }
        let ends = Arc::new((*peer, *local));
        let entry = conversations.entry(ends.clone()).or_insert_with(|| {
            let incarnation = getrandom::u64().unwrap_or(now.as_nanos());
            let mut conversation = Conversation::between(self.config, ends.clone(), incarnation);
            conversation.set_reachable(now, route(shared, peer).is_some());
            Arc::new(ConversationEntry {
                ends,
                state: Mutex::new(EntryState {
                    conversation,
                    outcomes: None,
                    held: VecDeque::new(),
                    delivering: false,
                    registered: None,
                    used: now,
                    charge: Charge::default(),
                    from: Location::default(),
                    gone: false,
                    via: None,
                    closed: false,
                }),
                room: OnceLock::new(),
            })
        });
        let entry = entry.clone();
        drop(conversations);
        if let Some(from) = from {
            lock(&self.unproven).note(from, &entry);
        }
        shared.router.hint(RouterHint::Want { destination: *peer });
        Some(entry)
    }

    /// The incarnation of a conversation, if there is one.
    #[cfg(feature = "internals")]
    pub(crate) fn incarnation(&self, local: &Address, peer: &Address) -> Option<u64> {
        self.find(local, peer).map(|entry| lock(&entry.state).conversation.incarnation())
    }

    /// Handles a packet of a conversation that has arrived for `local`.
    pub(crate) fn handle(
        &self,
        shared: &NodeState,
        local: Address,
        payload: &Bytes,
        work: &mut DeferredWork,
    ) {
        let Some(peer) = message::source(payload) else {
            return shared.stats.drop(DropCause::MalformedMessage);
        };
        let Some(entry) = self.open_from(shared, &local, &peer, Some(work.from)) else {
            return shared.stats.drop(DropCause::SenderLimit);
        };
        if self.budget.left(work.from) < payload.len() {
            self.make_room(shared, work.from);
        }
        let now = shared.now();
        let mut state = lock(&entry.state);
        if state.gone {
            // It has just been removed to make room. The sender repeats the packet, and a new conversation receives it.
            return shared.stats.drop(DropCause::ReassemblyLimit);
        }
        (state.used, state.from) = (now, work.from);
        state.conversation.set_room(self.budget.left(work.from));
        if let Err(cause) = state.conversation.handle(now, payload) {
            shared.stats.drop(cause);
        }
        drop(state);
        entry.deliver(shared);
        work.pump_later(&entry);
    }

    /// Handles a route to `peer` that was installed, changed or removed.
    pub(crate) fn route_changed(
        &self,
        shared: &NodeState,
        peer: &Address,
        reachable: bool,
        work: &mut DeferredWork,
    ) {
        let conversations: Vec<_> = self.with_peer(peer);
        for entry in conversations {
            lock(&entry.state).conversation.set_reachable(shared.now(), reachable);
            work.pump_later(&entry);
        }
    }

    fn with_peer(&self, peer: &Address) -> Vec<Arc<ConversationEntry>> {
        let first = (*peer, Address::from_bytes([0; 32]));
        let all = read(&self.by_ends);
        let range = all.range::<ConversationKey, _>((Bound::Included(&first), Bound::Unbounded));
        range.take_while(|(ends, _)| ends.0 == *peer).map(|(_, entry)| entry.clone()).collect()
    }

    /// The messages that wait to be delivered, in all conversations.
    pub(crate) fn waiting(&self) -> Waiting {
        let mut all = Waiting::default();
        for entry in read(&self.by_ends).values() {
            let waiting = lock(&entry.state).conversation.waiting();
            all.messages += waiting.messages;
            all.bytes += waiting.bytes;
        }
        all
    }

    /// Whether a message could be sent now, or is sent and not acknowledged.
    pub(crate) fn is_under_way(&self, shared: &NodeState) -> bool {
        let all: Vec<_> = read(&self.by_ends).values().cloned().collect();
        all.iter().any(|entry| {
            lock(&entry.state).conversation.is_under_way() && route(shared, entry.peer()).is_some()
        })
    }

    /// The peers with which `local` has conversations.
    pub(crate) fn peers_of(&self, local: &Address) -> BTreeSet<Address> {
        let all = read(&self.by_ends);
        all.keys().filter(|ends| ends.1 == *local).map(|ends| ends.0).collect()
    }

    /// The peers of all conversations.
    pub(crate) fn peers(&self) -> Vec<Address> {
        let mut peers: Vec<_> = read(&self.by_ends).keys().map(|ends| ends.0).collect();
        peers.dedup();
        peers
    }

    /// Ends all waits for room and for receipts.
    pub(crate) fn close(&self) {
        let all: Vec<_> = read(&self.by_ends).values().cloned().collect();
        all.iter().for_each(|entry| entry.close());
    }

    /// Removes the conversations of an address that the node gives up.
    pub(crate) fn forget(&self, local: &Address) {
        let mut forgotten = Vec::new();
        write(&self.by_ends).retain(|ends, entry| {
            let keep = ends.1 != *local;
            if !keep {
                self.budget.release(entry);
                forgotten.push(entry.clone());
            }
            keep
        });
        forgotten.iter().for_each(|entry| entry.close());
    }

    /// The task of the conversations: it serves those whose deadline has come, and handles the changes of mailboxes.
    pub(crate) async fn run(shared: Arc<NodeState>) {
        let conversations = &shared.conversations;
        let mut alarm = crate::rt::Alarm::default();
        let mut work = DeferredWork::default();
        loop {
            let next = conversations.timers.read().first().map(|(time, _)| *time);
            alarm.set(next.map(|time| shared.instant(time)));
            let earlier = |timers: &BTreeSet<(Time, Arc<ConversationKey>)>| {
                let first = timers.first().map(|(time, _)| *time);
                (first.is_some() && (next.is_none() || first < next)).then_some(())
            };
            let any = |mailbox_changes: &BTreeSet<_>| (!mailbox_changes.is_empty()).then_some(());
            futures::select_biased! {
                () = futures::FutureExt::fuse(alarm.wait()) => {}
                () = std::pin::pin!(futures::FutureExt::fuse(conversations.timers.when(earlier))) => {}
                () = std::pin::pin!(futures::FutureExt::fuse(conversations.mailbox_changes.when(any))) => {}
            }
            // Done after every wake, so that deadlines in quick succession delay no receipt.
            for (local, peer) in conversations.take_mailbox_changes() {
                conversations.handle_mailbox_change(&shared, &local, &peer, &mut work);
            }
            let now = shared.now();
            for key in conversations.take_due(now) {
                let Some(entry) = read(&conversations.by_ends).get(&key).cloned() else { continue };
                let mut state = lock(&entry.state);
                state.registered = None;
                if state.conversation.next_deadline().is_some_and(|deadline| deadline <= now) {
                    state.conversation.handle_timeout(now);
                }
                drop(state);
                work.pump_later(&entry);
            }
            work.finish(&shared);
        }
    }

    /// Takes the changed inboxes.
    fn take_mailbox_changes(&self) -> BTreeSet<(Address, Address)> {
        // Read first, since a write would wake every waiter even when nothing changes.
        if self.mailbox_changes.read().is_empty() {
            return BTreeSet::new();
        }
        std::mem::take(&mut *self.mailbox_changes.write())
    }

    fn take_due(&self, now: Time) -> Vec<Arc<ConversationKey>> {
        if self.timers.read().first().is_none_or(|(time, _)| *time > now) {
            return Vec::new();
        }
        let mut timers = self.timers.write();
        let later = timers.split_off(&(now + Duration::from_nanos(1), lowest()));
        std::mem::replace(&mut *timers, later).into_iter().map(|(_, key)| key).collect()
    }
}

fn lowest() -> Arc<ConversationKey> {
    Arc::new((Address::from_bytes([0; 32]), Address::from_bytes([0; 32])))
}

impl EntryState {
    /// Whether this deadline is earlier than the one that the timers have.
    fn registers(&self, deadline: Time) -> bool {
        self.registered.is_none_or(|registered| deadline < registered)
    }

    /// Whether the entry can be removed without a loss: no application waits on it, and no message is between it and
    /// the mailbox.
    fn is_free(&self) -> bool {
        self.outcomes.as_ref().is_none_or(|outcomes| !outcomes.are_awaited())
            && self.held.is_empty()
            && !self.delivering
    }
}

#[cfg(test)]
mod tests;
