//! The sending of messages that are held in memory: into a conversation, or directly into a mailbox of this node.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::Shared as SharedFuture;

use crate::address::Address;
use crate::node::data_path::DeferredWork;
use crate::node::mailbox::Mailbox;
use crate::node::mailbox::answers::Dispatch;
use crate::node::mailbox::receipts::PendingLocalReceipt;
use crate::node::mailbox::requests::RequestPlace;
use crate::node::state::NodeState;
use crate::node::state::conversation::{ConversationEntry, DeliveryState};
use crate::node::state::locks::{lock, read};
use crate::node::state::send_line::Room;
use crate::node::state::send_turn::SendTurn;
use crate::rt;
use crate::stats::{Counter, DropCause};
use crate::types::{
    Attributes, Event, MAX_MESSAGE, Message, MessageId, MessageKind, Outgoing, Protection, Receipt, SendError,
};

/// A message that was accepted for sending.
pub struct Sent {
    /// The identifier of the message.
    pub id: MessageId,
    /// Whether the message would survive a crash of this node: it is in the journal.
    pub durable: bool,
    /// Its length in bytes.
    pub bytes: u64,
    at: Instant,
    to: Address,
    receipt_source: ReceiptSource,
}

/// The part of the node that learns the outcome of a message. A message to an address of this node crosses no network, so
/// no conversation knows of it.
enum ReceiptSource {
    Remote(Arc<ConversationEntry>),
    /// The mailbox of this node that the message is in: the future resolves to the microseconds until an application
    /// took the message. The duration is its time to live.
    Local(Option<SharedFuture<oneshot::Receiver<u64>>>, Duration),
    /// This node, which has the message on its disk or has given it to an application, after so many microseconds.
    Inbox(u64),
}

impl Sent {
    /// Waits until the message is delivered: the recipient has a durable one on its disk if it has a journal, or an application
    /// there has taken it. A message that waits in a mailbox is not delivered yet, because the recipient may lose it.
    ///
    /// # Errors
    /// [`SendError::Expired`] or [`SendError::Unknown`] when its time to live has run out, [`SendError::Stopped`] when the
    /// node stops.
    pub async fn delivered(&self) -> Result<Receipt, SendError> {
        let entry = match &self.receipt_source {
            ReceiptSource::Remote(entry) => entry,
            ReceiptSource::Local(receipt, ttl) => return self.delivered_here(receipt.as_ref(), *ttl).await,
            ReceiptSource::Inbox(elapsed_us) => return Ok(Receipt { id: self.id, elapsed_us: *elapsed_us }),
        };
        let elapsed_us = || u64::try_from(rt::elapsed(self.at).as_micros()).unwrap_or(u64::MAX);
        match entry.delivery_state(self.id) {
            DeliveryState::Delivered => Ok(Receipt { id: self.id, elapsed_us: elapsed_us() }),
            DeliveryState::Expired { had_left } => Err(SendError::expired(self.to, had_left)),
            DeliveryState::Stopped => Err(SendError::Stopped),
            DeliveryState::Pending(receipt) => receipt.await.unwrap_or(Err(SendError::Stopped)),
        }
    }

    /// Withdraws the message, which need not arrive any more.
    pub(crate) fn withdraw(&self, shared: &NodeState) {
        if let ReceiptSource::Remote(entry) = &self.receipt_source
            && lock(&entry.state).conversation.cancel(&self.id)
        {
            entry.wake_pump(shared);
        }
    }

    async fn delivered_here(
        &self,
        receipt: Option<&SharedFuture<oneshot::Receiver<u64>>>,
        ttl: Duration,
    ) -> Result<Receipt, SendError> {
        let receipt = receipt.ok_or(SendError::Stopped)?.clone();
        match rt::timeout(ttl.saturating_sub(rt::elapsed(self.at)), receipt).await {
            Some(Ok(elapsed_us)) => Ok(Receipt { id: self.id, elapsed_us }),
            Some(Err(oneshot::Canceled)) => Err(SendError::Stopped),
            None => Err(SendError::Expired(self.to)),
        }
    }
}

/// Messages of one conversation that are queued one after the other under one lock.
pub(super) struct SendRun {
    pub(super) entry: Arc<ConversationEntry>,
    at: Instant,
}

impl SendRun {
    /// Queues the first messages of `rest`, as long as they are between the same two addresses, are held in memory, and
    /// there is room. So they need
    /// no look-up and no lock of their own.
    pub(super) fn queue(self, shared: &NodeState, rest: &mut VecDeque<Outgoing>, sent: &mut Vec<Sent>) {
        let (local, peer) = (*self.entry.local(), *self.entry.peer());
        let first = shared.identity.address();
        let is_next = |message: &Outgoing| {
            message.to == peer && message.from.unwrap_or(first) == local && !is_stored(shared, message)
        };
        if !rest.front().is_some_and(is_next) || !self.entry.may_send(Room::Memory, None) {
            return;
        }
        self.entry.queue_run(shared, |queue| {
            while let Some(message) = rest.front().filter(|message| is_next(message))
                && let Some(id) = queue(message)
            {
                let bytes = message.body.len() as u64;
                let receipt_source = ReceiptSource::Remote(self.entry.clone());
                sent.push(Sent { id, durable: false, bytes, at: self.at, to: peer, receipt_source });
                rest.pop_front();
            }
        });
    }
}

impl Sent {
    /// The run of messages that begins with this one; `None` when it is for an address of this node.
    pub(super) fn run(&self) -> Option<SendRun> {
        match &self.receipt_source {
            ReceiptSource::Remote(entry) => Some(SendRun { entry: entry.clone(), at: self.at }),
            ReceiptSource::Local(..) | ReceiptSource::Inbox(_) => None,
        }
    }
}

/// Whether a message is to be stored. A request and its answer are of no use after a crash of the program that waits for
/// them.
pub(super) fn is_stored(shared: &NodeState, message: &Outgoing) -> bool {
    let is_plain = message.attributes().is_ok_and(|attributes| attributes.kind == MessageKind::Plain);
    shared.journal.is_some() && is_plain && !message.is_volatile
}

impl Sent {
    /// A message that is in the journal.
    pub(super) fn stored(id: MessageId, to: Address, bytes: u64, entry: Arc<ConversationEntry>) -> Self {
        let receipt_source = ReceiptSource::Remote(entry);
        Sent { id, durable: true, bytes, at: rt::now(), to, receipt_source }
    }
}

impl Sent {
    /// A message to this node itself that is in the inbox of its journal since now.
    pub(super) fn in_inbox(id: MessageId, to: Address, bytes: u64, at: Instant) -> Self {
        let elapsed_us = u64::try_from(rt::elapsed(at).as_micros()).unwrap_or(u64::MAX);
        Sent { id, durable: true, bytes, at, to, receipt_source: ReceiptSource::Inbox(elapsed_us) }
    }
}

/// Gives an answer of this node to its own request that waits for it. Another message is returned.
pub(super) fn answer_here(
    shared: &NodeState,
    mailbox: &Mailbox,
    message: Message,
) -> Result<Sent, Box<Message>> {
    if !Mailbox::needs_dispatch(&message) {
        return Err(Box::new(message));
    }
    let (id, to, bytes) = (message.id, message.to, message.body.len() as u64);
    let event = Event::MessageReceived { id, from: message.from, to, bytes };
    match mailbox.dispatch(message) {
        Dispatch::Deliver(message) => Err(Box::new(message)),
        dispatched => {
            if !matches!(dispatched, Dispatch::Answered) {
                shared.stats.drop(DropCause::Unrequested);
            }
            shared.stats.count(Counter::MessagesQueued, 1);
            shared.stats.count(Counter::MessagesReceived, 1);
            shared.publish(event);
            let receipt_source = ReceiptSource::Inbox(0);
            Ok(Sent { id, durable: false, bytes, at: rt::now(), to, receipt_source })
        }
    }
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sent").field("id", &self.id).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// The recipient of a message.
pub(super) enum Recipient {
    /// A mailbox of this node, with the time to live of the message.
    Local(Mailbox, Message, Duration),
    Remote(Arc<ConversationEntry>, Outgoing),
}

pub(super) fn recipient(shared: &NodeState, message: Outgoing) -> Result<Recipient, SendError> {
    if shared.is_stopping() {
        return Err(SendError::Stopped);
    }
    if message.body.len() > MAX_MESSAGE {
        return Err(SendError::TooLong { length: message.body.len() as u64 });
    }
    let attributes = message.attributes()?;
    let from = message.from.unwrap_or_else(|| shared.identity.address());
    if !shared.is_ours(&from) {
        return Err(SendError::NotOurs(from));
    }
    if let Some(mailbox) = read(&shared.mailboxes).get(&message.to).cloned() {
        let (now, ttl) = (rt::wall_clock(), Duration::from_millis(message.ttl_ms));
        let Attributes { service, in_reply_to, kind, .. } = attributes;
        let message = Message {
            id: shared.local_ids.next(),
            from,
            to: message.to,
            sent_at: now,
            received_at: now,
            protection: Protection::Local,
            service,
            in_reply_to,
            kind,
            deliveries: 1,
            body: message.body,
        };
        return Ok(Recipient::Local(mailbox, message, ttl));
    }
    let entry = shared
        .conversations
        .open(shared, &from, &message.to)
        .ok_or(SendError::TooManyPeers(shared.limits().senders as u64))?;
    Ok(Recipient::Remote(entry, message))
}

/// A message that is about to be put into a mailbox of this node.
struct Arriving {
    sent: Sent,
    expected: PendingLocalReceipt,
    event: Event,
}

impl Arriving {
    fn new(shared: &NodeState, mailbox: &Mailbox, message: &Message, ttl: Duration) -> Self {
        let event = Event::MessageReceived {
            id: message.id,
            from: message.from,
            to: message.to,
            bytes: message.body.len() as u64,
        };
        shared.stats.count(Counter::MessagesQueued, 1);
        let sent = Sent {
            id: message.id,
            durable: false,
            bytes: message.body.len() as u64,
            at: rt::now(),
            to: message.to,
            receipt_source: ReceiptSource::Local(None, ttl),
        };
        Arriving { sent, expected: mailbox.expect(message), event }
    }

    /// Completes the message once it is in the mailbox.
    fn arrived(self, shared: &NodeState) -> Sent {
        let mut sent = self.sent;
        if let ReceiptSource::Local(receipt, _) = &mut sent.receipt_source {
            *receipt = self.expected.keep().map(FutureExt::shared);
        }
        shared.stats.count(Counter::MessagesReceived, 1);
        shared.publish(self.event);
        sent
    }
}

/// Handles a message from this node that does not just wait in a mailbox, and returns another one.
fn dispatch(shared: &NodeState, mailbox: &Mailbox, message: Message) -> Option<Message> {
    if !Mailbox::needs_dispatch(&message) {
        return Some(message);
    }
    match mailbox.dispatch(message) {
        Dispatch::Deliver(message) => return Some(message),
        Dispatch::Answered => {}
        Dispatch::Unrequested(answer) => {
            shared.stats.drop(DropCause::Unrequested);
            mailbox.mark_taken([&answer]);
        }
        Dispatch::NoSuchService(request) => {
            // The requester is here, and waits for this answer unless it has just given up.
            if let Ok(Recipient::Local(requester, refusal, _)) =
                recipient(shared, Outgoing::refusal(&request))
            {
                requester.dispatch(refusal);
            }
            mailbox.mark_taken([&request]);
        }
    }
    None
}

/// Queues one message; waits while the queue is full. The conversation to serve next is added to `work`.
pub(super) async fn queue(
    shared: &NodeState,
    message: Outgoing,
    mut place: Option<&mut RequestPlace>,
    work: &mut DeferredWork,
) -> Result<Sent, SendError> {
    let (entry, message) = match recipient(shared, message)? {
        Recipient::Remote(entry, message) => (entry, message),
        Recipient::Local(mailbox, message, ttl) => {
            if let Some(place) = place {
                place.wait_for(message.to, message.id);
            }
            let arriving = Arriving::new(shared, &mailbox, &message, ttl);
            let waits = dispatch(shared, &mailbox, message).and_then(|message| mailbox.push(message));
            if let Some(message) = waits {
                // Messages to other nodes are sent first, since they must not wait for this mailbox.
                work.finish(shared);
                // Boxed, because most calls need no room for this wait.
                Box::pin(mailbox.push_wait(message)).await.map_err(|_| SendError::Stopped)?;
            }
            return Ok(arriving.arrived(shared));
        }
    };
    let (to, bytes) = (message.to, message.body.len() as u64);
    let mut turn: Option<SendTurn> = None;
    loop {
        let seen = entry.room_count();
        let expect_answer = |id| {
            if let Some(place) = &mut place {
                place.wait_for(to, id);
            }
        };
        let may_send = entry.may_send(Room::Memory, turn.as_ref());
        let gathered = may_send.then(|| entry.try_gather(shared, &message, expect_answer)).flatten();
        if let Some((id, is_sent_here)) = gathered {
            if is_sent_here {
                work.pump_later(&entry);
            }
            let receipt_source = ReceiptSource::Remote(entry);
            return Ok(Sent { id, durable: false, bytes, at: rt::now(), to, receipt_source });
        }
        if shared.is_stopping() || entry.is_closed() {
            return Err(SendError::Stopped);
        }
        work.pump_later(&entry);
        work.finish(shared);
        entry.wait_in_line(Room::Memory, &mut turn, seen).await;
    }
}

/// Sends a request, whose answer comes to `place`.
pub(crate) async fn submit_request(
    shared: &NodeState,
    message: Outgoing,
    place: &mut RequestPlace,
) -> Result<Sent, SendError> {
    let mut work = DeferredWork::default();
    let sent = queue(shared, message, Some(place), &mut work).await?;
    work.finish(shared);
    Ok(sent)
}

pub(crate) fn try_send(shared: &Arc<NodeState>, message: Outgoing) -> Result<Sent, SendError> {
    let to = message.to;
    match recipient(shared, message)? {
        Recipient::Local(mailbox, message, ttl) => {
            let arriving = Arriving::new(shared, &mailbox, &message, ttl);
            let refused = dispatch(shared, &mailbox, message).and_then(|message| mailbox.push(message));
            if refused.is_some() {
                return Err(SendError::Full(to));
            }
            Ok(arriving.arrived(shared))
        }
        Recipient::Remote(entry, message) => {
            let bytes = message.body.len() as u64;
            let id = entry.try_queue(shared, &message).ok_or(SendError::Full(to))?;
            entry.wake_pump(shared);
            Ok(Sent {
                id,
                durable: false,
                bytes,
                at: rt::now(),
                to,
                receipt_source: ReceiptSource::Remote(entry),
            })
        }
    }
}
