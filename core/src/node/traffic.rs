//! Conversations at work: the pure message layer, between applications' mailboxes and the routes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;

use super::Limits;
use super::forward::{Work, route, send_part};
use super::mailbox::{Mailbox, Roomy};
use super::routing::RouterEvent;
use super::shared::{Shared, lock, read, write};
use crate::address::Address;
use crate::message::{self, Conversation, ConversationEvent};
use crate::notify::Notify;
use crate::stats::{Counter, DropCause};
use crate::time::Time;
use crate::types::{Event, Message, MessageId, Outgoing, Receipt, SendError, Timestamp, Waiting};

/// Peer first, so that all conversations with one peer stand together.
pub(crate) type Key = (Address, Address);

/// Packets that one conversation sends before others have their turn.
const PORTION: usize = 64;
/// How often a conversation that has to wait for its link or its route looks at its deadlines.
const WAITING: Duration = Duration::from_millis(20);
/// A conversation idle for so long may make room for another.
const EVICT_AFTER: Duration = Duration::from_secs(60);
/// Runs of expired messages that a conversation remembers.
const EXPIRED: usize = 1024;

/// One conversation: a local address and a peer.
pub(crate) struct Conv {
    pub(crate) local: Address,
    pub(crate) peer: Address,
    state: Mutex<State>,
    /// Written when a full queue has room again.
    room: Notify<u64>,
}

struct State {
    conversation: Conversation,
    /// Who waits to hear of which message.
    receipts: HashMap<MessageId, Vec<Waiter>>,
    /// Taken from the conversation, but refused by a mailbox that had filled up meanwhile.
    held: Option<Message>,
    /// The deadline that the timers know.
    registered: Option<Time>,
    used: Time,
    /// The last messages that expired, so that who asks late learns it: first and last of those that follow on
    /// one another.
    expired: VecDeque<(u128, u128)>,
    closed: bool,
}

type Waiter = oneshot::Sender<Result<Receipt, SendError>>;

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
    conversations: RwLock<BTreeMap<Key, Arc<Conv>>>,
    timers: Notify<BTreeSet<(Time, Key)>>,
    /// Senders whose inbox was full and has room again.
    pub(crate) roomy: Arc<Roomy>,
}

impl Traffic {
    pub(crate) fn new(limits: &Limits) -> Self {
        Traffic {
            limit: limits.senders,
            config: message::Config { credit_bytes: limits.reassembly / 16, ..message::Config::default() },
            conversations: RwLock::default(),
            timers: Notify::new(BTreeSet::new()),
            roomy: Arc::default(),
        }
    }

    fn find(&self, local: &Address, peer: &Address) -> Option<Arc<Conv>> {
        read(&self.conversations).get(&(*peer, *local)).cloned()
    }

    /// The conversation of these two, made when there is none. `None` when there are too many.
    pub(crate) fn open(&self, shared: &Shared, local: &Address, peer: &Address) -> Option<Arc<Conv>> {
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
            let evict = conversations
                .iter()
                .filter(|(_, conv)| conv.is_idle(shared, now))
                .min_by_key(|(_, conv)| lock(&conv.state).used)
                .map(|(key, _)| *key)?;
            conversations.remove(&evict);
        }
        let conv = conversations.entry((*peer, *local)).or_insert_with(|| {
            let incarnation = getrandom::u64().unwrap_or(now.as_nanos());
            let mut conversation = Conversation::new(self.config, *local, *peer, incarnation);
            conversation.set_reachable(now, route(shared, peer).is_some());
            Arc::new(Conv {
                local: *local,
                peer: *peer,
                state: Mutex::new(State {
                    conversation,
                    receipts: HashMap::new(),
                    held: None,
                    registered: None,
                    used: now,
                    expired: VecDeque::new(),
                    closed: false,
                }),
                room: Notify::new(0),
            })
        });
        let conv = conv.clone();
        drop(conversations);
        // A hint to the router, which may be too busy for hints.
        let _ = shared.router_events.try_push(RouterEvent::Want { destination: *peer });
        Some(conv)
    }

    /// Takes a part of a conversation that has arrived for `local`.
    pub(crate) fn handle(&self, shared: &Shared, local: Address, payload: &Bytes, work: &mut Work) {
        let Some(peer) = message::source(payload) else {
            return shared.stats.drop(DropCause::MalformedMessage);
        };
        let Some(conv) = self.open(shared, &local, &peer) else {
            return shared.stats.drop(DropCause::SenderLimit);
        };
        let now = shared.now();
        let mut state = lock(&conv.state);
        state.used = now;
        if let Err(cause) = state.conversation.handle(now, payload) {
            shared.stats.drop(cause);
        }
        conv.deliver(shared, &mut state);
        drop(state);
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
        let range = all.range((Bound::Included(first), Bound::Unbounded));
        range.take_while(|((with, _), _)| with == peer).map(|(_, conv)| conv.clone()).collect()
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

    /// Whether something waits that could be delivered now.
    pub(crate) fn is_under_way(&self, shared: &Shared) -> bool {
        let all: Vec<_> = read(&self.conversations).values().cloned().collect();
        all.iter().any(|conv| {
            lock(&conv.state).conversation.waiting().messages > 0 && route(shared, &conv.peer).is_some()
        })
    }

    /// The peers that `local` has conversations with.
    pub(crate) fn peers_of(&self, local: &Address) -> BTreeSet<Address> {
        let all = read(&self.conversations);
        all.keys().filter(|(_, ours)| ours == local).map(|(peer, _)| *peer).collect()
    }

    /// Whom there are conversations with.
    pub(crate) fn peers(&self) -> Vec<Address> {
        let mut peers: Vec<_> = read(&self.conversations).keys().map(|(peer, _)| *peer).collect();
        peers.dedup();
        peers
    }

    /// Ends all that wait for room or for a receipt.
    pub(crate) fn close(&self) {
        for conv in read(&self.conversations).values() {
            conv.close();
        }
    }

    /// Forgets the conversations of an address that this node gives up.
    pub(crate) fn forget(&self, local: &Address) {
        let mut conversations = write(&self.conversations);
        conversations.retain(|(_, ours), conv| {
            let keep = ours != local;
            if !keep {
                conv.close();
            }
            keep
        });
    }

    /// The task of the timers: conversations whose deadline has come, and mailboxes that have room again.
    pub(crate) async fn run(shared: Arc<Shared>) {
        let traffic = &shared.traffic;
        let mut alarm = crate::rt::Alarm::default();
        let mut work = Work::default();
        loop {
            let next = traffic.timers.read().first().map(|(time, _)| *time);
            alarm.set(next.map(|time| shared.instant(time)));
            let earlier = |timers: &BTreeSet<(Time, Key)>| {
                let first = timers.first().map(|(time, _)| *time);
                (first.is_some() && (next.is_none() || first < next)).then_some(())
            };
            let take = |roomy: &mut BTreeSet<_>| (!roomy.is_empty()).then(|| std::mem::take(roomy));
            let mut roomy = BTreeSet::new();
            futures::select_biased! {
                () = futures::FutureExt::fuse(alarm.wait()) => {}
                () = std::pin::pin!(futures::FutureExt::fuse(traffic.timers.when(earlier))) => {}
                taken = std::pin::pin!(futures::FutureExt::fuse(traffic.roomy.take_when(take))) => roomy = taken,
            }
            for (local, peer) in roomy {
                if let Some(conv) = traffic.find(&local, &peer) {
                    conv.deliver(&shared, &mut lock(&conv.state));
                    work.pump_later(&conv);
                }
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

    fn take_due(&self, now: Time) -> Vec<Key> {
        if self.timers.read().first().is_none_or(|(time, _)| *time > now) {
            return Vec::new();
        }
        let mut timers = self.timers.write();
        let later = timers.split_off(&(now + Duration::from_nanos(1), lowest()));
        std::mem::replace(&mut *timers, later).into_iter().map(|(_, key)| key).collect()
    }
}

fn lowest() -> Key {
    (Address::from_bytes([0; 32]), Address::from_bytes([0; 32]))
}

impl State {
    fn tell(&mut self, id: MessageId, fate: Result<Receipt, SendError>) {
        for waiter in self.receipts.remove(&id).into_iter().flatten() {
            // Who asked may have gone.
            let _ = waiter.send(fate.clone());
        }
    }

    fn remember_expired(&mut self, id: MessageId) {
        let number = u128::from_be_bytes(id.0);
        match self.expired.back_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => {
                if self.expired.len() >= EXPIRED {
                    self.expired.pop_front();
                }
                self.expired.push_back((number, number));
            }
        }
    }

    fn has_expired(&self, id: MessageId) -> bool {
        let number = u128::from_be_bytes(id.0);
        self.expired.iter().any(|(first, last)| (*first..=*last).contains(&number))
    }
}

impl Conv {
    fn is_idle(&self, shared: &Shared, now: Time) -> bool {
        let state = lock(&self.state);
        now.since(state.used) > EVICT_AFTER
            && state.conversation.is_idle(now)
            && state.receipts.is_empty()
            && state.held.is_none()
            && read(&shared.mailboxes)
                .get(&self.local)
                .is_none_or(|mailbox| mailbox.is_empty_from(&self.peer))
    }

    /// Moves what has arrived in order into the application's mailbox, as far as that has room.
    fn deliver(&self, shared: &Shared, state: &mut State) {
        let Some(mailbox) = read(&shared.mailboxes).get(&self.local).cloned() else { return };
        loop {
            if state.held.is_none() {
                if !state.conversation.has_message() {
                    return;
                }
                if !mailbox.has_room(&self.peer) {
                    mailbox.report_room(&self.peer);
                    // Somebody may have made room between the two lines above.
                    if !mailbox.has_room(&self.peer) {
                        return;
                    }
                }
            }
            let held = state.held.take();
            let Some(message) = held.or_else(|| state.conversation.next_message(Timestamp::now())) else {
                return;
            };
            if let Some(message) = self.hand_in(shared, &mailbox, message) {
                // Too long for the room that there is, or the mailbox is closed.
                mailbox.report_room(&self.peer);
                state.held = self.hand_in(shared, &mailbox, message);
                if state.held.is_some() {
                    return;
                }
            }
        }
    }

    fn hand_in(&self, shared: &Shared, mailbox: &Mailbox, message: Message) -> Option<Message> {
        let event = Event::MessageReceived {
            id: message.id,
            from: message.from,
            to: message.to,
            bytes: message.body.len() as u64,
        };
        let refused = mailbox.push(message);
        if refused.is_none() {
            shared.stats.count(Counter::MessagesReceived, 1);
            shared.publish(event);
        }
        refused
    }

    /// Sends what the conversation has to say, up to a portion. Returns whether there is more.
    pub(crate) fn pump(self: &Arc<Self>, shared: &Shared, work: &mut Work) -> bool {
        let hop = route(shared, &self.peer).filter(|hop| !hop.best().makes_wait(self));
        let now = shared.now();
        let mut state = lock(&self.state);
        let mut sent = 0;
        let waits = hop.is_none();
        if let Some(hop) = hop {
            while sent < PORTION {
                let fill = |most: usize, out: &mut Vec<u8>| state.conversation.poll_transmit(now, most, out);
                if !send_part(shared, &hop, &self.peer, fill, work) {
                    break;
                }
                sent += 1;
            }
            if sent > 0 {
                work.flush_later(hop.best());
            }
        }
        self.settle(shared, &mut state);
        if let Some(deadline) = state.conversation.next_deadline() {
            // What is due but has to wait stays due: it must not keep the timers busy.
            let soonest = if waits { now + WAITING } else { Time::ZERO };
            self.register_at(shared, &mut state, deadline.max(soonest));
        }
        sent == PORTION
    }

    /// Reports what has become of messages.
    fn settle(&self, shared: &Shared, state: &mut State) {
        while let Some(event) = state.conversation.poll_event() {
            match event {
                ConversationEvent::Delivered { id, elapsed } => {
                    shared.stats.count(Counter::MessagesDelivered, 1);
                    let elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
                    state.tell(id, Ok(Receipt { id, elapsed_us }));
                    shared.publish(Event::MessageDelivered { id, to: self.peer, elapsed_us });
                }
                ConversationEvent::Expired { id } => {
                    shared.stats.drop(DropCause::Expired);
                    state.tell(id, Err(SendError::Expired(self.peer)));
                    state.remember_expired(id);
                    shared.publish(Event::MessageExpired { id, to: self.peer });
                }
                ConversationEvent::Room => *self.room.write() += 1,
            }
        }
        let counters = state.conversation.counters();
        shared.stats.count(Counter::Retransmits, counters.retransmits);
        shared.stats.drop_n(DropCause::Duplicate, counters.duplicates);
        shared.stats.drop_n(DropCause::Expired, counters.expired);
    }

    /// Lets the timers know of an earlier deadline. A later one is found when the earlier has come.
    fn register(&self, shared: &Shared, state: &mut State) {
        if let Some(deadline) = state.conversation.next_deadline() {
            self.register_at(shared, state, deadline);
        }
    }

    fn register_at(&self, shared: &Shared, state: &mut State, deadline: Time) {
        if state.registered.is_none_or(|registered| deadline < registered) {
            let mut timers = shared.traffic.timers.write();
            if let Some(registered) = state.registered {
                timers.remove(&(registered, (self.peer, self.local)));
            }
            timers.insert((deadline, (self.peer, self.local)));
            state.registered = Some(deadline);
        }
    }

    /// Takes a message for sending. Gives the body back when the queue is full.
    pub(crate) fn try_queue(&self, shared: &Shared, message: Outgoing) -> Result<MessageId, Outgoing> {
        let now = shared.now();
        let mut state = lock(&self.state);
        state.used = now;
        let ttl = Duration::from_millis(message.ttl_ms);
        let result = state.conversation.send(now, Timestamp::now(), ttl, message.body.0.clone());
        match result {
            Ok(id) => {
                shared.stats.count(Counter::MessagesQueued, 1);
                self.register(shared, &mut state);
                Ok(id)
            }
            Err(_) => Err(message),
        }
    }

    /// Has the timers' task send what was queued here.
    pub(crate) fn wake_pump(&self, shared: &Shared) {
        let mut state = lock(&self.state);
        let now = shared.now();
        self.register_at(shared, &mut state, now);
    }

    /// The count that moves on when there is room again.
    pub(crate) fn room_count(&self) -> u64 {
        *self.room.read()
    }

    /// Waits until there is room again after `seen`.
    pub(crate) async fn room_after(&self, seen: u64) {
        self.room.when(|count| (*count != seen).then_some(())).await;
    }

    /// What will become of a message that was taken for sending.
    pub(crate) fn outlook(&self, id: MessageId) -> Outlook {
        let mut state = lock(&self.state);
        if state.conversation.is_pending(&id) {
            if state.closed {
                return Outlook::Stopped;
            }
            let (sender, receiver) = oneshot::channel();
            let waiters = state.receipts.entry(id).or_default();
            // Who has lost patience and asks again must not pile up.
            waiters.retain(|waiter| !waiter.is_canceled());
            waiters.push(sender);
            return Outlook::Pending(receiver);
        }
        if state.has_expired(id) { Outlook::Expired } else { Outlook::Delivered }
    }

    fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.receipts.clear();
        drop(state);
        *self.room.write() += 1;
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }
}
