//! Mailboxes: messages wait here for the application, in an inbox for each sender so that one sender cannot fill the
//! room of another.
//!
//! `recv_from(peer)` waits on that sender's inbox. `recv()` waits on a queue of *tokens*: a sender has one token there
//! from the moment its inbox has a message until a `recv` has found it empty. A `recv` takes a token and one message of
//! its sender and, if there is more, puts the token back at the end. So senders take turns, and there are never more
//! tokens than senders. All of that happens in one poll, so that a dropped future loses nothing.
//!
//! Messages that an application has taken are recorded with one lock for a batch, and the task of the conversations
//! sends the receipts. It is woken for the first message of a sender that it has not handled yet. So it sends many
//! receipts at once where messages are taken fast, and no application waits for the lock of a conversation.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::Stream;

use crate::address::Address;
use crate::inbox::{Full, Inbox};
use crate::notify::Notify;
use crate::types::{Attributes, Body, Message, MessageId, Protection, Queued, Timestamp};
use taken::MailboxReceipts;

mod cleanup;
pub(crate) mod delivery;
pub(crate) mod receipts;
pub(crate) mod taken;
#[cfg(test)]
mod tests;

/// The node has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is stopped")]
pub struct Stopped;

/// Bytes in one sender's inbox: two of the longest messages, so that one can arrive while another is read.
const BYTES_PER_SENDER: usize = 32 << 20;
/// Bytes of a mailbox, shared by all senders. Each may use half of what is left and [`BYTES_IN_ANY_CASE`], so that
/// senders whose messages are never received keep no others out.
const BYTES: usize = 256 << 20;
const BYTES_IN_ANY_CASE: usize = 64 << 10;
/// Bytes taken after which the senders that wait for shared bytes are woken. A smaller step would wake all of them for
/// every message.
const NOTABLE: usize = 4 << 20;

/// The mailbox and the sender of each inbox that has changed: it was full and has room again, or messages were taken
/// from it. A set, so that an inbox is handled once however many messages were taken.
pub(crate) type MailboxChanges = Notify<BTreeSet<(Address, Address)>>;

struct SenderInbox {
    /// Boxed messages, so that the slots of an empty inbox are small: any node can make this one allocate an inbox.
    inbox: Inbox<Box<StoredMessage>>,
    address: Address,
    /// Whether its token is in the queue.
    has_token: AtomicBool,
    /// Whether messages wait outside for room in this inbox. It changes with [`SenderInboxes::stalled`], under that lock.
    stalled: AtomicBool,
}

/// The part of a message that is stored. Sender and recipient follow from the inbox that it is in.
struct StoredMessage {
    id: MessageId,
    sent_at: Timestamp,
    received_at: Timestamp,
    protection: Protection,
    /// `None` for the default ones, so that most messages pay for none.
    attributes: Option<Box<Attributes>>,
    body: Body,
}

impl StoredMessage {
    fn new(message: Message) -> Box<Self> {
        let Message { id, sent_at, received_at, protection, service, in_reply_to, kind, body, .. } = message;
        let attributes = Attributes { service, in_reply_to, kind };
        let attributes = (!attributes.is_default()).then(|| Box::new(attributes));
        Box::new(StoredMessage { id, sent_at, received_at, protection, attributes, body })
    }

    fn message(self, from: Address, to: Address) -> Message {
        let StoredMessage { id, sent_at, received_at, protection, attributes, body } = self;
        let Attributes { service, in_reply_to, kind } = attributes.map(|boxed| *boxed).unwrap_or_default();
        Message { id, from, to, sent_at, received_at, protection, service, in_reply_to, kind, body }
    }
}

/// The messages for one address of this node.
#[derive(Clone)]
pub struct Mailbox {
    shared: Arc<MailboxState>,
}

struct MailboxState {
    address: Address,
    per_sender: usize,
    /// The set to which changed inboxes are added, for the task of the conversations.
    mailbox_changes: Arc<MailboxChanges>,
    senders: Mutex<SenderInboxes>,
    receipts: Mutex<MailboxReceipts>,
    /// Bytes of all messages in the mailbox. It may briefly be negative, since `recv` can subtract a message before
    /// `push` has added it.
    bytes: AtomicIsize,
    /// Bytes taken since the senders that wait for shared bytes were last woken.
    freed: AtomicUsize,
    tokens: Inbox<Arc<SenderInbox>>,
    /// Senders that were removed and may have a token in the queue.
    dropped: AtomicUsize,
}

#[derive(Default)]
struct SenderInboxes {
    by_address: BTreeMap<Address, Arc<SenderInbox>>,
    /// The senders whose messages wait for room. A message that is taken looks at these alone: any node can make this one
    /// allocate an inbox, and a look at all of them for each message would multiply its cost.
    stalled: BTreeSet<Address>,
    /// Whether the mailbox is closed. A sender that is added later gets a closed inbox, so that nothing waits there for
    /// ever.
    closed: bool,
}

impl SenderInboxes {
    /// Ends the wait of this sender for room. Returns it if it waited.
    fn resume(&mut self, sender: &SenderInbox) -> BTreeSet<Address> {
        sender.stalled.store(false, SeqCst);
        self.stalled.take(&sender.address).into_iter().collect()
    }

    /// Ends the waits of all senders for room.
    fn resume_all(&mut self) -> BTreeSet<Address> {
        let stalled = std::mem::take(&mut self.stalled);
        for sender in stalled.iter().filter_map(|address| self.by_address.get(address)) {
            sender.stalled.store(false, SeqCst);
        }
        stalled
    }
}

impl Mailbox {
    pub(crate) fn new(address: Address, per_sender: usize, mailbox_changes: Arc<MailboxChanges>) -> Self {
        Mailbox {
            shared: Arc::new(MailboxState {
                address,
                per_sender,
                mailbox_changes,
                senders: Mutex::default(),
                receipts: Mutex::default(),
                bytes: AtomicIsize::new(0),
                freed: AtomicUsize::new(0),
                // Unbounded, because there are never more tokens than senders, and the conversations bound those.
                tokens: Inbox::new(usize::MAX, Full::RefuseNewest),
                dropped: AtomicUsize::new(0),
            }),
        }
    }

    fn sender(&self, address: &Address) -> Arc<SenderInbox> {
        let mut senders = self.shared.senders.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = senders.closed;
        let make = || {
            let sender = Arc::new(SenderInbox {
                inbox: Inbox::with_bytes(
                    self.shared.per_sender,
                    BYTES_PER_SENDER,
                    |message| message.body.len(),
                    Full::Wait,
                ),
                address: *address,
                has_token: AtomicBool::new(false),
                stalled: AtomicBool::new(false),
            });
            if closed {
                sender.inbox.close();
            }
            sender
        };
        senders.by_address.entry(*address).or_insert_with(make).clone()
    }

    fn queue_token(&self, sender: Arc<SenderInbox>) {
        if !sender.has_token.swap(true, SeqCst)
            && let Err(refused) = self.shared.tokens.try_push(sender)
        {
            // The queue is closed. Senders take turns no more, but their messages can still be received.
            self.shared.tokens.push_front(refused.into_inner());
        }
    }

    /// The sender, if it has an inbox.
    fn existing_sender(&self, address: &Address) -> Option<Arc<SenderInbox>> {
        let senders = self.shared.senders.lock().unwrap_or_else(PoisonError::into_inner);
        senders.by_address.get(address).cloned()
    }

    /// Whether no message of this sender waits.
    pub(crate) fn is_empty_from(&self, from: &Address) -> bool {
        self.existing_sender(from).is_none_or(|sender| sender.inbox.is_empty())
    }

    /// The messages that wait.
    pub(crate) fn unread(&self) -> Queued {
        let senders = self.shared.senders.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Queued::default();
        for sender in senders.by_address.values() {
            all.add(Queued {
                messages: sender.inbox.len() as u64,
                bytes: sender.inbox.bytes() as u64,
                oldest: sender.inbox.peek(|message| message.received_at),
            });
        }
        all
    }

    /// Counts so many bytes that are in the inbox of `sender` now, and lists it.
    fn pushed(&self, sender: Arc<SenderInbox>, bytes: usize) {
        self.shared.bytes.fetch_add(bytes.cast_signed(), SeqCst);
        self.queue_token(sender);
    }

    /// Puts a message into its sender's inbox. It is returned when there is no room.
    #[must_use]
    pub(crate) fn push(&self, message: Message) -> Option<Message> {
        let (sender, bytes) = (self.sender(&message.from), message.body.len());
        if let Err(refused) = sender.inbox.try_push(StoredMessage::new(message)) {
            return Some(refused.into_inner().message(sender.address, self.shared.address));
        }
        self.pushed(sender, bytes);
        None
    }

    /// Puts a message into its sender's inbox; waits while that is full.
    pub(crate) async fn push_wait(&self, message: Message) -> Result<(), Stopped> {
        let (sender, bytes) = (self.sender(&message.from), message.body.len());
        sender.inbox.push(StoredMessage::new(message)).await.map_err(|_| Stopped)?;
        self.pushed(sender, bytes);
        Ok(())
    }

    /// Returns a message that was received to the head of its sender's inbox. Unless its receipt has been sent already,
    /// none is sent before the message is received again.
    pub fn unrecv(&self, message: Message) {
        let sender = self.sender(&message.from);
        self.undo_taken(&message);
        let bytes = message.body.len();
        sender.inbox.push_front(StoredMessage::new(message));
        self.pushed(sender, bytes);
    }

    pub(crate) fn close(&self) {
        self.shared.tokens.close();
        let all: Vec<_> = {
            let mut senders = self.shared.senders.lock().unwrap_or_else(PoisonError::into_inner);
            senders.closed = true;
            senders.by_address.values().cloned().collect()
        };
        for sender in all {
            sender.inbox.close();
        }
        self.close_receipts();
    }

    /// The next message from any sender. Senders take turns.
    ///
    /// # Errors
    /// [`Stopped`] when the node is stopped and nothing is left.
    pub async fn recv(&self) -> Result<Message, Stopped> {
        loop {
            if let Some(message) = self.recv_batch(1).await?.pop() {
                return Ok(message);
            }
        }
    }

    /// The next messages from any sender: waits for one, then takes up to `limit` of those that are there.
    ///
    /// # Errors
    /// As [`Mailbox::recv`].
    pub async fn recv_batch(&self, limit: usize) -> Result<Vec<Message>, Stopped> {
        let batch = self.fetch_batch(limit).await?;
        self.mark_taken(&batch);
        Ok(batch)
    }

    /// As [`Mailbox::recv_batch`], but the messages count as taken only from [`Mailbox::mark_taken`] on.
    pub(crate) async fn fetch_batch(&self, limit: usize) -> Result<Vec<Message>, Stopped> {
        let (tokens, mut batch) = (&self.shared.tokens, Vec::new());
        while batch.is_empty() {
            // There is no await between taking a token and its messages, so that a dropped future cannot lose the token.
            self.take(tokens.recv().await.map_err(|_| Stopped)?, limit.max(1), &mut batch);
            while batch.len() < limit
                && let Ok(token) = tokens.try_recv()
            {
                self.take(token, limit.saturating_sub(batch.len()), &mut batch);
            }
        }
        Ok(batch)
    }

    /// Takes one message of the sender whose token was taken, or up to `most` while no other sender waits for its turn.
    fn take(&self, token: Arc<SenderInbox>, most: usize, batch: &mut Vec<Message>) {
        // The mark is cleared before the inbox is read, so that a message that is put there after the read queues the
        // token again.
        token.has_token.store(false, SeqCst);
        let mut taken = Vec::new();
        let most = if self.shared.tokens.is_empty() { most } else { 1 };
        // The inbox is empty when another call has taken all of it.
        let _ = token.inbox.try_recv_batch(&mut taken, most);
        self.on_taken(&token, taken.iter().map(|message| message.body.len()).sum());
        batch.extend(taken.into_iter().map(|kept| kept.message(token.address, self.shared.address)));
        if !token.inbox.is_empty() {
            self.queue_token(token);
        }
    }

    /// The next message from `peer`. It wakes as soon as the message is written.
    ///
    /// # Errors
    /// As [`Mailbox::recv`].
    pub async fn recv_from(&self, peer: &Address) -> Result<Message, Stopped> {
        let message = self.fetch_from(peer).await?;
        self.mark_taken([&message]);
        Ok(message)
    }

    /// As [`Mailbox::recv_from`], but the message counts as taken only from [`Mailbox::mark_taken`] on.
    pub(crate) async fn fetch_from(&self, peer: &Address) -> Result<Message, Stopped> {
        let sender = self.sender(peer);
        let kept = sender.inbox.recv().await.map_err(|_| Stopped)?;
        let message = kept.message(sender.address, self.shared.address);
        self.on_taken(&sender, message.body.len());
        Ok(message)
    }

    /// Reports the room that taken messages of `bytes` bytes have made: to their sender's conversation, and after
    /// [`NOTABLE`] bytes to all that wait, since they share the bytes of the mailbox.
    fn on_taken(&self, sender: &SenderInbox, bytes: usize) {
        let shared = &self.shared;
        let left = shared.bytes.fetch_sub(bytes.cast_signed(), SeqCst).wrapping_sub(bytes.cast_signed());
        let freed = shared.freed.fetch_add(bytes, SeqCst) + bytes;
        let for_all = bytes > 0 && (freed >= NOTABLE || left <= 0);
        if !for_all && !sender.stalled.load(SeqCst) {
            return;
        }
        let mut senders = shared.senders.lock().unwrap_or_else(PoisonError::into_inner);
        let resumed = match for_all {
            true => senders.resume_all(),
            false if shared.room(sender, usize::MAX).fits(0, 0) => senders.resume(sender),
            false => return,
        };
        drop(senders);
        if for_all {
            shared.freed.store(0, SeqCst);
        }
        if !resumed.is_empty() {
            shared.mailbox_changes.write().extend(resumed.into_iter().map(|sender| (shared.address, sender)));
        }
    }

    /// All messages, as a stream that ends when the node stops.
    pub fn messages(&self) -> Messages {
        let next =
            |mailbox: Mailbox| async move { mailbox.recv().await.ok().map(|message| (message, mailbox)) };
        Messages { stream: Box::pin(futures::stream::unfold(self.clone(), next)) }
    }
}

/// The messages of a mailbox as they arrive. See [`Mailbox::messages`].
pub struct Messages {
    stream: Pin<Box<dyn Stream<Item = Message> + Send>>,
}

impl Stream for Messages {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.stream.as_mut().poll_next(cx)
    }
}
