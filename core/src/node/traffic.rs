//! Conversations at work: the pure message layer, between applications' mailboxes and the routes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, OnceLock, RwLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;

mod conv;
mod fates;
mod keeping;
mod receipts;
mod room;

use super::Limits;
use super::forward::{Work, route, send_part};
use super::mailbox::{Mailbox, Roomy, Taken};
use super::routing::Hint;
use super::shared::{Shared, lock, read, write};
use crate::address::Address;
use crate::message::{self, Conversation, ConversationEvent};
use crate::notify::Notify;
use crate::route::Location;
use crate::stats::{Counter, DropCause};
use crate::time::Time;
use crate::types::{Event, Message, MessageId, Outgoing, Receipt, SendError, Timestamp, Waiting};
use fates::{Fates, Waiter};
use keeping::Unproven;
use room::{Charge, Room};

/// Peer first, so that all conversations with one peer stand together.
pub(crate) type Key = message::Ends;

/// Packets that one conversation sends before others have their turn.
const PORTION: usize = 64;
/// How often a conversation that has to wait for its link or its route looks at its deadlines.
const WAITING: Duration = Duration::from_millis(20);
/// A conversation idle for so long may make room for another.
const EVICT_AFTER: Duration = Duration::from_secs(60);
/// One conversation: a local address and a peer.
pub(crate) struct Conv {
    ends: Arc<Key>,
    state: Mutex<State>,
    /// Written when a full queue has room again. There is none before somebody looks.
    room: OnceLock<Box<Notify<u64>>>,
}

struct State {
    conversation: Conversation,
    fates: Option<Box<Fates>>,
    /// Taken from the conversation, but refused by a mailbox that had filled up meanwhile.
    held: VecDeque<Message>,
    /// A thread moves messages into the mailbox.
    delivering: bool,
    /// The deadline that the timers know.
    registered: Option<Time>,
    used: Time,
    /// What it is counted with in [`Room`], and the account of the neighbour that its last packet came from.
    charge: Charge,
    from: Location,
    /// It is no more among all conversations, and counts nothing.
    gone: bool,
    /// The neighbour that packets were last given to.
    via: Option<u32>,
    closed: bool,
}

/// What will become, or has become, of a message.
pub(crate) enum Outlook {
    Pending(oneshot::Receiver<Result<Receipt, SendError>>),
    Delivered,
    Expired,
    Stopped,
}

/// All conversations of a node.
pub(crate) struct Traffic {
    limit: usize,
    config: message::Config,
    room: Room,
    /// Whoever invents senders has an entry made for each: what they go by is there once.
    conversations: RwLock<BTreeMap<Arc<Key>, Arc<Conv>>>,
    timers: Notify<BTreeSet<(Time, Arc<Key>)>>,
    unproven: Mutex<Unproven>,
    /// Senders whose inbox was full and has room again, or of whose messages some were taken.
    pub(crate) roomy: Arc<Roomy>,
}

impl Traffic {
    pub(crate) fn new(limits: &Limits) -> Self {
        Traffic {
            limit: limits.senders,
            config: message::Config { credit_bytes: limits.reassembly / 16, ..message::Config::default() },
            room: Room::new(limits.reassembly),
            conversations: RwLock::default(),
            timers: Notify::new(BTreeSet::new()),
            unproven: Mutex::default(),
            roomy: Arc::default(),
        }
    }

    fn find(&self, local: &Address, peer: &Address) -> Option<Arc<Conv>> {
        read(&self.conversations).get(&(*peer, *local)).cloned()
    }

    /// The conversation of these two, made when there is none. `None` when there are too many.
    pub(crate) fn open(&self, shared: &Shared, local: &Address, peer: &Address) -> Option<Arc<Conv>> {
        self.open_from(shared, local, peer, None)
    }

    /// As [`Self::open`], for a packet that this neighbour has brought.
    fn open_from(
        &self,
        shared: &Shared,
        local: &Address,
        peer: &Address,
        from: Option<Location>,
    ) -> Option<Arc<Conv>> {
        let now = shared.now();
        {
            let conversations = read(&self.conversations);
            if let Some(known) = conversations.get(&(*peer, *local)) {
                // Under the lock of all, so that it is not evicted between being found and being used.
                lock(&known.state).used = now;
                return Some(known.clone());
            }
        }
        let mut conversations = write(&self.conversations);
        if conversations.len() >= self.limit {
            self.make_place(shared, &mut conversations, from, now)?;
        }
        let ends = Arc::new((*peer, *local));
        let conv = conversations.entry(ends.clone()).or_insert_with(|| {
            let incarnation = getrandom::u64().unwrap_or(now.as_nanos());
            let mut conversation = Conversation::between(self.config, ends.clone(), incarnation);
            conversation.set_reachable(now, route(shared, peer).is_some());
            Arc::new(Conv {
                ends,
                state: Mutex::new(State {
                    conversation,
                    fates: None,
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
        let conv = conv.clone();
        drop(conversations);
        if let Some(from) = from {
            lock(&self.unproven).note(from, &conv);
        }
        shared.router.hint(Hint::Want { destination: *peer });
        Some(conv)
    }

    /// The incarnation of a conversation here, if there is one.
    #[cfg(feature = "internals")]
    pub(crate) fn incarnation(&self, local: &Address, peer: &Address) -> Option<u64> {
        self.find(local, peer).map(|conv| lock(&conv.state).conversation.incarnation())
    }

    /// Takes a part of a conversation that has arrived for `local`.
    pub(crate) fn handle(&self, shared: &Shared, local: Address, payload: &Bytes, work: &mut Work) {
        let Some(peer) = message::source(payload) else {
            return shared.stats.drop(DropCause::MalformedMessage);
        };
        let Some(conv) = self.open_from(shared, &local, &peer, Some(work.from)) else {
            return shared.stats.drop(DropCause::SenderLimit);
        };
        if self.room.left(work.from) < payload.len() {
            self.make_room(shared, work.from);
        }
        let now = shared.now();
        let mut state = lock(&conv.state);
        if state.gone {
            // It has just made room itself. What it would take now, its successor would take again.
            return shared.stats.drop(DropCause::ReassemblyLimit);
        }
        (state.used, state.from) = (now, work.from);
        state.conversation.set_room(self.room.left(work.from));
        if let Err(cause) = state.conversation.handle(now, payload) {
            shared.stats.drop(cause);
        }
        drop(state);
        conv.deliver(shared);
        work.pump_later(&conv);
    }

    /// The route to a destination has come, changed or gone.
    pub(crate) fn route_changed(&self, shared: &Shared, peer: &Address, reachable: bool, work: &mut Work) {
        let conversations: Vec<_> = self.with_peer(peer);
        for conv in conversations {
            lock(&conv.state).conversation.set_reachable(shared.now(), reachable);
            work.pump_later(&conv);
        }
    }

    fn with_peer(&self, peer: &Address) -> Vec<Arc<Conv>> {
        let first = (*peer, Address::from_bytes([0; 32]));
        let all = read(&self.conversations);
        let range = all.range::<Key, _>((Bound::Included(&first), Bound::Unbounded));
        range.take_while(|(ends, _)| ends.0 == *peer).map(|(_, conv)| conv.clone()).collect()
    }

    /// What waits to be delivered, in all conversations.
    pub(crate) fn waiting(&self) -> Waiting {
        let mut all = Waiting::default();
        for conv in read(&self.conversations).values() {
            let waiting = lock(&conv.state).conversation.waiting();
            all.messages += waiting.messages;
            all.bytes += waiting.bytes;
        }
        all
    }

    /// Whether something could leave now, or has left and not arrived.
    pub(crate) fn is_under_way(&self, shared: &Shared) -> bool {
        let all: Vec<_> = read(&self.conversations).values().cloned().collect();
        all.iter()
            .any(|conv| lock(&conv.state).conversation.is_under_way() && route(shared, conv.peer()).is_some())
    }

    /// The peers that `local` has conversations with.
    pub(crate) fn peers_of(&self, local: &Address) -> BTreeSet<Address> {
        let all = read(&self.conversations);
        all.keys().filter(|ends| ends.1 == *local).map(|ends| ends.0).collect()
    }

    /// Whom there are conversations with.
    pub(crate) fn peers(&self) -> Vec<Address> {
        let mut peers: Vec<_> = read(&self.conversations).keys().map(|ends| ends.0).collect();
        peers.dedup();
        peers
    }

    /// Ends all that wait for room or for a receipt.
    pub(crate) fn close(&self) {
        let all: Vec<_> = read(&self.conversations).values().cloned().collect();
        all.iter().for_each(|conv| conv.close());
    }

    /// Forgets the conversations of an address that this node gives up.
    pub(crate) fn forget(&self, local: &Address) {
        let mut forgotten = Vec::new();
        write(&self.conversations).retain(|ends, conv| {
            let keep = ends.1 != *local;
            if !keep {
                self.room.release(conv);
                forgotten.push(conv.clone());
            }
            keep
        });
        forgotten.iter().for_each(|conv| conv.close());
    }

    /// The task of the timers: conversations whose deadline has come, and mailboxes that have room again.
    pub(crate) async fn run(shared: Arc<Shared>) {
        let traffic = &shared.traffic;
        let mut alarm = crate::rt::Alarm::default();
        let mut work = Work::default();
        loop {
            let next = traffic.timers.read().first().map(|(time, _)| *time);
            alarm.set(next.map(|time| shared.instant(time)));
            let earlier = |timers: &BTreeSet<(Time, Arc<Key>)>| {
                let first = timers.first().map(|(time, _)| *time);
                (first.is_some() && (next.is_none() || first < next)).then_some(())
            };
            let any = |roomy: &BTreeSet<_>| (!roomy.is_empty()).then_some(());
            futures::select_biased! {
                () = futures::FutureExt::fuse(alarm.wait()) => {}
                () = std::pin::pin!(futures::FutureExt::fuse(traffic.timers.when(earlier))) => {}
                () = std::pin::pin!(futures::FutureExt::fuse(traffic.roomy.when(any))) => {}
            }
            // Whatever woke it: deadlines that come without end keep no receipt back.
            for (local, peer) in traffic.take_roomy() {
                traffic.look_into_mailbox(&shared, &local, &peer, &mut work);
            }
            let now = shared.now();
            for key in traffic.take_due(now) {
                let Some(conv) = read(&traffic.conversations).get(&key).cloned() else { continue };
                let mut state = lock(&conv.state);
                state.registered = None;
                if state.conversation.next_deadline().is_some_and(|deadline| deadline <= now) {
                    state.conversation.handle_timeout(now);
                }
                drop(state);
                work.pump_later(&conv);
            }
            work.finish(&shared);
        }
    }

    /// Mailboxes and senders in them, as [`Roomy`] has them.
    fn take_roomy(&self) -> BTreeSet<(Address, Address)> {
        // To look wakes nothing.
        if self.roomy.read().is_empty() {
            return BTreeSet::new();
        }
        std::mem::take(&mut *self.roomy.write())
    }

    fn take_due(&self, now: Time) -> Vec<Arc<Key>> {
        if self.timers.read().first().is_none_or(|(time, _)| *time > now) {
            return Vec::new();
        }
        let mut timers = self.timers.write();
        let later = timers.split_off(&(now + Duration::from_nanos(1), lowest()));
        std::mem::replace(&mut *timers, later).into_iter().map(|(_, key)| key).collect()
    }
}

fn lowest() -> Arc<Key> {
    Arc::new((Address::from_bytes([0; 32]), Address::from_bytes([0; 32])))
}

impl State {
    /// Whether this deadline is earlier than the one that the timers know.
    fn registers(&self, deadline: Time) -> bool {
        self.registered.is_none_or(|registered| deadline < registered)
    }

    /// Whether nobody waits for its word, and nothing is in between it and the mailbox.
    fn is_free(&self) -> bool {
        self.fates.as_ref().is_none_or(|fates| !fates.are_awaited())
            && self.held.is_empty()
            && !self.delivering
    }
}

#[cfg(test)]
mod tests;
