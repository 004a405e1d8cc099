//! A conversation at work: received messages go into the mailbox, queued messages into packets.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use crate::message::ConversationEvent;
use crate::node::data_path::{DeferredWork, route, send_portion};
use crate::node::mailbox::Mailbox;
use crate::node::state::NodeState;
use crate::node::state::conversation::{ConversationEntry, EntryState, PORTION};
use crate::node::state::journal::JournalRequest;
use crate::node::state::locks::{lock, read};
use crate::node::state::outcomes::OutcomeSender;
use crate::node::state::router_inputs::RouterHint;
use crate::rt;
use crate::stats::{Counter, DropCause};
use crate::time::Time;
use crate::types::{Event, Message, MessageId, Outgoing, Receipt, SendError, Timestamp};

/// The period in which a conversation that waits for its link or its route examines its deadlines. Their own time is
/// too early, because nothing can be sent then.
const WAITING: Duration = Duration::from_millis(20);

/// The idle time after which a conversation may be removed for another.
const EVICT_AFTER: Duration = Duration::from_secs(60);

/// The effects of a step that wake others. They run after all locks are released, because a woken application may call
/// the node at once.
#[derive(Default)]
pub(super) struct DeferredEffects {
    journal: Vec<JournalRequest>,
    outcomes: Vec<(Vec<OutcomeSender>, Result<Receipt, SendError>)>,
    events: Vec<Event>,
    /// Whether a message was delivered.
    has_delivered: bool,
    has_room: bool,
}

impl DeferredEffects {
    pub(super) fn run(self, shared: &NodeState, entry: &ConversationEntry) {
        for (waiters, fate) in self.outcomes {
            for waiter in waiters {
                // The receiver of the reply may have been dropped.
                waiter.send(fate.clone());
            }
        }
        for event in self.events {
            shared.publish(event);
        }
        if self.has_room {
            entry.announce_room();
        }
        if let Some(journal) = &shared.journal {
            journal.request(self.journal);
        }
    }
}

/// Messages on their way from the state machine to the mailbox. Its drop returns those that are left and lets other
/// threads deliver, because the waker of an application may panic midway.
struct DeliveryBatch<'a> {
    entry: &'a ConversationEntry,
    batch: Vec<Message>,
}

impl Drop for DeliveryBatch<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.entry.state);
        state.delivering = false;
        // Put in front of those that are there, since those arrived later.
        self.batch.drain(..).rev().for_each(|message| state.held.push_front(message));
    }
}

impl ConversationEntry {
    pub(super) fn is_idle(&self, shared: &NodeState, now: Time) -> bool {
        let state = lock(&self.state);
        now.since(state.used) > EVICT_AFTER
            && state.conversation.is_idle(now)
            && state.is_free()
            && read(&shared.mailboxes)
                .get(self.local())
                .is_none_or(|mailbox| mailbox.is_empty_from(self.peer()))
    }

    /// Moves received messages in their order into the mailbox as far as it has room. Only one thread at a time does
    /// so, so that the order is kept; no lock is held while the application is woken.
    /// A message that is to be stored waits for the task of the inbox instead.
    pub(crate) fn deliver(self: &Arc<Self>, shared: &NodeState) {
        self.deliver_in_memory(shared);
        // Also when another thread delivers, since that one may have looked before the message was there.
        self.list(shared);
    }

    fn deliver_in_memory(&self, shared: &NodeState) {
        let Some(mailbox) = read(&shared.mailboxes).get(self.local()).cloned() else { return };
        // Looked up for the first message: most packets bring none.
        let delivery = OnceCell::new();
        let inbox = || delivery.get_or_init(|| mailbox.delivery(self.peer()));
        loop {
            let mut batch = Vec::new();
            {
                let mut state = lock(&self.state);
                if state.gone || std::mem::replace(&mut state.delivering, true) {
                    // The thread that delivers looks again before it ends.
                    return;
                }
                let has_message = state.conversation.has_message() && !state.is_next_stored();
                if !state.held.is_empty() || has_message {
                    Self::collect(inbox(), &mut state, &mut batch);
                }
                shared.conversations.budget.charge(&mut state);
                if batch.is_empty() {
                    state.delivering = false;
                    return;
                }
            }
            let mut delivering = DeliveryBatch { entry: self, batch };
            let batch = &mut delivering.batch;
            if batch.iter().any(Mailbox::needs_dispatch) {
                self.dispatch(shared, &mailbox, batch);
                if batch.is_empty() {
                    continue;
                }
            }
            let events: Vec<_> = match shared.event_bus.has_subscriber() {
                true => batch.iter().map(received).collect(),
                false => Vec::new(),
            };
            let count = batch.len();
            inbox().push_batch(batch);
            let arrived = count - batch.len();
            shared.stats.count(Counter::MessagesReceived, arrived as u64);
            events.into_iter().take(arrived).for_each(|event| shared.publish(event));
            // A message is too long for the room that is left, or the mailbox is closed.
            let is_refused = !batch.is_empty();
            drop(delivering);
            // A message may have been taken just before the report was requested. Then the delivery is tried once more,
            // or else nothing would wake it.
            if is_refused && inbox().report_room() && arrived == 0 {
                return;
            }
        }
    }

    /// Sends up to a portion of the packets that the conversation has to send. Returns whether it has more.
    pub(crate) fn pump(self: &Arc<Self>, shared: &NodeState, work: &mut DeferredWork) -> bool {
        let hop = route(shared, self.peer()).filter(|hop| !hop.best().makes_wait(self));
        let now = shared.now();
        let mut state = lock(&self.state);
        if state.gone {
            return false;
        }
        let mut sent = 0;
        let waits = hop.is_none();
        let mut carrier = None;
        if let Some(hop) = &hop {
            let via = Some(hop.best().id);
            let before = std::mem::replace(&mut state.via, via);
            if before.is_some() && before != via {
                state.conversation.on_path_change(now);
            } else {
                carrier = Some(hop.best());
            }
            let fill = |most: usize, out: &mut Vec<u8>| {
                self.seal_next(shared, &mut state.conversation, now, most, out)
            };
            sent = send_portion(shared, hop, self.peer(), fill, work);
        }
        let retry = self.request_session(shared, &mut state, now, work);
        let score = state.via.zip(state.conversation.outcome(now));
        let after = self.settle(shared, &mut state);
        if let Some(carrier) = carrier.filter(|_| after.has_delivered) {
            carrier.note_delivery(now);
        }
        // A packet that cannot be sent yet stays due. A later deadline keeps the timers from firing for it all the
        // time.
        let soonest = if waits { now + WAITING } else { Time::ZERO };
        let deadline = state.conversation.next_deadline().map(|deadline| deadline.max(soonest));
        let deadline = deadline.into_iter().chain(retry).min();
        let deadline = deadline.filter(|deadline| state.registers(*deadline));
        drop(state);
        if let Some((next_hop, (delivered, lost))) = score {
            shared.router.hint(RouterHint::Score { destination: *self.peer(), next_hop, delivered, lost });
        }
        if let Some(deadline) = deadline {
            self.register_at(shared, deadline);
        }
        after.run(shared, self);
        shared.conversations.note_progress();
        sent == PORTION
    }

    /// Collects the outcomes of messages, to be reported once the lock is released.
    fn settle(self: &Arc<Self>, shared: &NodeState, state: &mut EntryState) -> DeferredEffects {
        let mut after = DeferredEffects::default();
        // Most messages have neither a subscriber nor an application that waits for them, so they are only counted.
        let (mut delivered, subscribed) = (0u64, OnceCell::new());
        let is_subscribed = || *subscribed.get_or_init(|| shared.event_bus.has_subscriber());
        while let Some(event) = state.conversation.poll_event() {
            match event {
                ConversationEvent::Delivered { id, elapsed } => {
                    delivered = delivered.saturating_add(1);
                    let elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
                    if let Some(waiters) = state.take_waiters(&id) {
                        after.outcomes.push((waiters, Ok(Receipt { id, elapsed_us })));
                    }
                    if is_subscribed() {
                        after.events.push(Event::MessageDelivered { id, to: *self.peer(), elapsed_us });
                    }
                }
                ConversationEvent::Expired { id, had_left } => {
                    shared.stats.drop(DropCause::Expired);
                    if let Some(waiters) = state.take_waiters(&id) {
                        after.outcomes.push((waiters, Err(SendError::expired(*self.peer(), had_left))));
                    }
                    state.remember_expired(id, had_left);
                    if is_subscribed() {
                        after.events.push(Event::MessageExpired { id, to: *self.peer() });
                    }
                }
                ConversationEvent::Passed { below } => {
                    for (id, waiters) in state.take_waiters_below(&below) {
                        after.outcomes.push((waiters, Ok(Receipt { id, elapsed_us: 0 })));
                    }
                }
                ConversationEvent::Room => after.has_room = true,
            }
        }
        after.has_delivered = delivered > 0;
        shared.stats.count(Counter::MessagesDelivered, delivered);
        self.journal_needs(state, &mut after.journal);
        let counters = state.conversation.counters();
        shared.stats.count(Counter::Retransmits, counters.retransmits);
        shared.stats.drop_n(DropCause::Duplicate, counters.duplicates);
        shared.stats.drop_n(DropCause::Expired, counters.expired);
        after
    }

    /// Registers an earlier deadline with the timers. A later one is found when the earlier has come. The timers are
    /// locked first, so that their task is woken after both locks are released.
    fn register_at(&self, shared: &NodeState, deadline: Time) {
        let mut timers = shared.conversations.timers.write();
        let mut state = lock(&self.state);
        if !state.registers(deadline) {
            return;
        }
        if let Some(registered) = state.registered {
            timers.remove(&(registered, self.ends.clone()));
        }
        timers.insert((deadline, self.ends.clone()));
        state.registered = Some(deadline);
    }

    /// Queues a message for sending; `None` when the queue is full.
    pub(crate) fn try_queue(&self, shared: &NodeState, message: &Outgoing) -> Option<MessageId> {
        let mut queued = None;
        self.queue_run(shared, |queue| queued = queue(message));
        queued
    }

    /// As [`try_queue`](Self::try_queue), with whether the caller has to send it. If not, the task of the conversations does,
    /// together with the messages that are queued until it runs. `queued` is called before the message can leave.
    pub(crate) fn try_gather(
        &self,
        shared: &NodeState,
        message: &Outgoing,
        queued: impl FnOnce(MessageId),
    ) -> Option<(MessageId, bool)> {
        let now = shared.now();
        let mut state = lock(&self.state);
        state.used = now;
        let id = queue(&mut state, now, rt::wall_clock(), message)?;
        // Under the lock of the conversation, which sends nothing meanwhile.
        queued(id);
        let gathers = state.gathers(now);
        let deadline = if gathers { Some(now) } else { state.conversation.next_deadline() };
        let deadline = deadline.filter(|deadline| state.registers(*deadline));
        drop(state);
        shared.stats.count(Counter::MessagesQueued, 1);
        if let Some(deadline) = deadline {
            self.register_at(shared, deadline);
        }
        Some((id, !gathers))
    }

    /// Queues a run of messages under one lock: `run` passes each to the function that it is given, which returns the
    /// identifier, or `None` when the queue takes no more.
    pub(crate) fn queue_run(
        &self,
        shared: &NodeState,
        run: impl FnOnce(&mut dyn FnMut(&Outgoing) -> Option<MessageId>),
    ) {
        let (now, sent_at) = (shared.now(), rt::wall_clock());
        let mut state = lock(&self.state);
        state.used = now;
        let mut queued = 0u64;
        run(&mut |message| {
            let id = queue(&mut state, now, sent_at, message)?;
            queued = queued.saturating_add(1);
            Some(id)
        });
        let deadline = state.conversation.next_deadline().filter(|deadline| state.registers(*deadline));
        drop(state);
        shared.stats.count(Counter::MessagesQueued, queued);
        if let Some(deadline) = deadline {
            self.register_at(shared, deadline);
        }
    }

    /// Makes the task of the conversations send the queued messages.
    pub(crate) fn wake_pump(&self, shared: &NodeState) {
        self.register_at(shared, shared.now());
    }
}

/// Queues one message; `None` when there is no room for it.
fn queue(state: &mut EntryState, now: Time, sent_at: Timestamp, message: &Outgoing) -> Option<MessageId> {
    if state.is_opening() {
        return None;
    }
    let ttl = Duration::from_millis(message.ttl_ms);
    let attributes = message.attributes().ok()?;
    state.conversation.send_with(now, sent_at, ttl, attributes, message.body.0.clone()).ok()
}

pub(super) fn received(message: &Message) -> Event {
    Event::MessageReceived {
        id: message.id,
        from: message.from,
        to: message.to,
        bytes: message.body.len() as u64,
    }
}
