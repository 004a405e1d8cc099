//! A conversation of a local address with a peer: the pure state machine behind a lock, and the channels to the
//! applications that wait on it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures::channel::oneshot;

use crate::address::Address;
use crate::message::Conversation;
use crate::node::mailbox::delivery::InboxDelivery;
use crate::node::state::journaled::JournaledState;
use crate::node::state::locks::lock;
use crate::node::state::outcomes::{DeliveryOutcomes, OutcomeSender};
use crate::node::state::rare_queue::RareQueue;
use crate::node::state::send_line::SendLines;
use crate::notify::Notify;
use crate::route::Location;
use crate::rt;
use crate::time::Time;
use crate::types::{Ends, Message, MessageId, Receipt, SendError};

/// A conversation of a local address with a peer: the pure state machine behind a lock, and the channels to the
/// applications that wait on it.
pub(crate) struct ConversationEntry {
    pub(crate) ends: Arc<Ends>,
    pub(crate) state: Mutex<EntryState>,
    /// The count of times that a full queue had room again. It is created by the first caller that waits, since most
    /// conversations never fill their queue.
    pub(crate) room: OnceLock<Box<Notify<u64>>>,
    /// The senders that wait. Created by the first of them, for the same reason.
    pub(crate) lines: OnceLock<Box<SendLines>>,
}

/// The requests for a session that one neighbour in a row was given and that had no answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnansweredRequests {
    pub(crate) next_hop: u32,
    /// The time of the last one.
    pub(crate) at: Time,
    /// The number of those before it.
    pub(crate) count: u32,
}

pub(crate) struct EntryState {
    pub(crate) conversation: Conversation,
    /// The state towards the journal; `None` without one.
    pub(crate) journaled: Option<Box<JournaledState>>,
    pub(crate) outcomes: Option<Box<DeliveryOutcomes>>,
    /// Messages taken from the state machine that the mailbox then refused, because it had filled up meanwhile.
    pub(crate) held: RareQueue<Message>,
    /// The answers that there is no such service, until the peer has them. Boxed, since most conversations have none.
    pub(crate) refusals: Option<Box<PendingRefusals>>,
    /// Whether a thread is moving messages into the mailbox. Only one may, so that they stay in order.
    pub(crate) delivering: bool,
    /// The deadline that the timers have for it. It is kept here, so that the entry among the timers can be found and
    /// replaced.
    pub(crate) registered: Option<Time>,
    pub(crate) used: Time,
    /// The bytes charged to [`MemoryBudget`], and the account of the neighbour that its last packet arrived from.
    pub(crate) charge: Charge,
    pub(crate) from: Location,
    /// Whether it has been removed. A caller that still holds it must not use it, since its bytes are no longer
    /// counted.
    pub(crate) gone: bool,
    /// The neighbour that packets were last sent over. When it changes, the path's round-trip time does too.
    pub(crate) via: Option<u32>,
    /// The requests for a session that had no answer, until a session is there. Boxed, since a conversation that a peer
    /// began never requests one.
    pub(crate) requested: Option<Box<UnansweredRequests>>,
    /// Whether a session was requested, and the time before which none is.
    pub(crate) is_connecting: bool,
    pub(crate) connect_after: Time,
    pub(crate) closed: bool,
}

/// The answers to requests to missing services that a peer has not taken.
#[derive(Default)]
pub(crate) struct PendingRefusals {
    pub(crate) ids: VecDeque<MessageId>,
}

/// The state of the delivery of a message.
pub(crate) enum DeliveryState {
    Pending(oneshot::Receiver<Result<Receipt, SendError>>),
    Delivered,
    Expired {
        /// Whether a part of it had been sent.
        had_left: bool,
    },
    Stopped,
}

impl EntryState {
    /// Whether this deadline is earlier than the one that the timers have.
    pub(crate) fn registers(&self, deadline: Time) -> bool {
        self.registered.is_none_or(|registered| deadline < registered)
    }

    /// Whether a message that was queued now waits for further ones: packets are in flight, and the last ones left so recently
    /// that a packet for each message would cost more than the messages. A lone message never waits.
    pub(crate) fn gathers(&self, now: Time) -> bool {
        self.conversation.may_gather(now - GATHER_WITHIN, GATHERED)
    }

    /// Whether the entry can be removed without a loss: no application waits on it, and no message is between it and
    /// the mailbox.
    pub(crate) fn is_free(&self) -> bool {
        self.outcomes.as_ref().is_none_or(|outcomes| !outcomes.are_awaited())
            && self.held.is_empty()
            && !self.delivering
            && !self.is_opening()
            && !self.journaled.as_ref().is_some_and(|journaled| journaled.is_storing)
    }
}

/// The bytes that a conversation was charged with, and the account that they were charged to.
#[derive(Clone, Copy, Default)]
pub(crate) struct Charge {
    pub(crate) bytes: usize,
    pub(crate) from: Location,
}

/// Packets that one conversation sends before others have their turn, since a long message would otherwise delay all
/// others by its whole length.
pub(crate) const PORTION: usize = 64;
/// The time after packets left in which further messages are gathered. At lower rates each message leaves at once.
const GATHER_WITHIN: Duration = Duration::from_micros(200);
/// The bytes that are sent at once although packets are in flight: about a train.
const GATHERED: u64 = 48 << 10;
/// Messages in the mailbox from a sender that no application here has answered. A message there occupies some 150 bytes
/// beside its body, and four in the packet that brought it, so messages of an invented identity stay in their packets.
const UNANSWERED_MESSAGES: usize = 16;
/// The answers to requests to missing services from which on no more messages of their sender are taken.
const MAX_REFUSALS: usize = 64;

impl ConversationEntry {
    /// The entry of a conversation that was not used yet. With a journal it opens once its state was read from there, because
    /// the handshake of a session names its incarnation.
    pub(crate) fn new(ends: Arc<Ends>, conversation: Conversation, now: Time, has_journal: bool) -> Self {
        let opening = || Box::new(JournaledState { is_opening: true, ..JournaledState::default() });
        ConversationEntry {
            ends,
            state: Mutex::new(EntryState {
                conversation,
                journaled: has_journal.then(opening),
                outcomes: None,
                held: RareQueue::default(),
                refusals: None,
                delivering: false,
                registered: None,
                used: now,
                charge: Charge::default(),
                from: Location::default(),
                gone: false,
                via: None,
                requested: None,
                is_connecting: false,
                connect_after: Time::ZERO,
                closed: false,
            }),
            room: OnceLock::new(),
            lines: OnceLock::new(),
        }
    }

    pub(crate) fn peer(&self) -> &Address {
        &self.ends.peer
    }

    pub(crate) fn local(&self) -> &Address {
        &self.ends.local
    }

    /// Takes the messages for which the inbox has room. The rest stays in the conversation, so that it counts against the
    /// credit of the sender.
    pub(crate) fn collect(inbox: &InboxDelivery<'_>, state: &mut EntryState, batch: &mut Vec<Message>) {
        if state.has_many_refusals() {
            return;
        }
        let most = if state.conversation.is_answered() { usize::MAX } else { UNANSWERED_MESSAGES };
        let (now, mut room, mut bytes) = (rt::wall_clock(), inbox.room(most), 0);
        while batch.len() < PORTION {
            let next = state.held.front().map(|message| message.body.len());
            if next.is_none() && state.is_next_stored() {
                // The task of the inbox takes it.
                return;
            }
            let Some(next) = next.or_else(|| state.conversation.next_bytes()) else { return };
            if !room.fits(batch.len(), bytes + next) {
                inbox.report_room();
                // Room may have been made between the two statements above.
                room = inbox.room(most);
                if !room.fits(batch.len(), bytes + next) {
                    return;
                }
            }
            let held = state.held.pop_front();
            let Some(message) = held.or_else(|| state.conversation.next_message(now)) else { return };
            bytes += next;
            batch.push(message);
        }
    }

    pub(crate) fn room_notify(&self) -> &Notify<u64> {
        self.room.get_or_init(Box::default)
    }

    pub(crate) fn announce_room(&self) {
        if let Some(room) = self.room.get() {
            *room.write() += 1;
        }
    }

    /// The count that increases when there is room again. A count and not a flag, so that no caller misses room that was
    /// made and taken between two looks.
    pub(crate) fn room_count(&self) -> u64 {
        *self.room_notify().read()
    }

    /// Waits until there is room again after the count was `seen`.
    pub(crate) async fn room_after(&self, seen: u64) {
        self.room_notify().when(|count| (*count != seen).then_some(())).await;
    }

    /// The state of the delivery of a message that was queued here.
    pub(crate) fn delivery_state(&self, id: MessageId) -> DeliveryState {
        let mut state = lock(&self.state);
        let id = state.conversation.present_id(&id);
        if state.conversation.is_pending(&id) {
            if state.closed {
                return DeliveryState::Stopped;
            }
            let (sender, receiver) = crate::node::reply::reply();
            state.await_outcome(id, sender);
            return DeliveryState::Pending(receiver);
        }
        state.expired(id).map_or(DeliveryState::Delivered, |had_left| DeliveryState::Expired { had_left })
    }

    pub(crate) fn close(&self) {
        let receipts = {
            let mut state = lock(&self.state);
            state.closed = true;
            state.take_all_waiters()
        };
        // Dropping the channels wakes the applications that wait, so it comes after the lock.
        drop(receipts);
        self.announce_room();
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }
}

impl EntryState {
    /// Whether the peer makes requests to missing services and does not take the answers. Its messages stay in the
    /// conversation meanwhile, since it could let this node queue answers without end otherwise.
    fn has_many_refusals(&mut self) -> bool {
        let Some(refusals) = &mut self.refusals else { return false };
        while refusals.ids.front().is_some_and(|first| !self.conversation.is_pending(first)) {
            refusals.ids.pop_front();
        }
        let are_many = refusals.ids.len() >= MAX_REFUSALS;
        if refusals.ids.is_empty() {
            self.refusals = None;
        }
        are_many
    }

    /// Adds a channel for the outcome of a message.
    pub(crate) fn await_outcome(&mut self, id: MessageId, waiter: OutcomeSender) {
        let waiters = self.outcomes.get_or_insert_default().waiters.entry(id).or_default();
        // Removed here, so that an application that gives up and waits again and again does not accumulate channels.
        waiters.retain(|waiter| !waiter.is_canceled());
        waiters.push(waiter);
    }

    /// Takes the channels that wait for this message, whose outcome is known now.
    pub(crate) fn take_waiters(&mut self, id: &MessageId) -> Option<Vec<OutcomeSender>> {
        let waiters = &mut self.outcomes.as_mut()?.waiters;
        // Mostly no application waits for any message, and the identifier need not be hashed then.
        if waiters.is_empty() { None } else { waiters.remove(id) }
    }

    /// Takes the channels that wait for any message.
    pub(crate) fn take_all_waiters(&mut self) -> HashMap<MessageId, Vec<OutcomeSender>> {
        self.outcomes.as_mut().map(|outcomes| std::mem::take(&mut outcomes.waiters)).unwrap_or_default()
    }

    /// Takes the channels that wait for the messages before this one, which belong to the same incarnation.
    pub(crate) fn take_waiters_below(&mut self, below: &MessageId) -> Vec<(MessageId, Vec<OutcomeSender>)> {
        let Some(outcomes) = &mut self.outcomes else { return Vec::new() };
        let is_passed = |id: &MessageId| id.0.first_chunk::<8>() == below.0.first_chunk() && id.0 < below.0;
        outcomes.waiters.extract_if(|id, _| is_passed(id)).collect()
    }

    /// Files the channels under the present identifiers of their messages.
    pub(crate) fn rename_waiters(&mut self) {
        for (id, waiters) in self.take_all_waiters() {
            let id = self.conversation.present_id(&id);
            self.outcomes.get_or_insert_default().waiters.insert(id, waiters);
        }
    }

    pub(crate) fn remember_expired(&mut self, id: MessageId, had_left: bool) {
        self.outcomes.get_or_insert_default().remember_expired(id, had_left);
    }

    /// Whether a part of this message had been sent before it expired; `None` when it has not expired.
    pub(crate) fn expired(&self, id: MessageId) -> Option<bool> {
        self.outcomes.as_ref().and_then(|outcomes| outcomes.expired(id))
    }
}
