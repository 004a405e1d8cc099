//! Mailboxes: messages wait here for the application, in an inbox for each sender so that one sender cannot fill the
//! room of another. Each service of an address has a mailbox of its own, see `services`.
//!
//! `recv_from(peer)` waits on that sender's inbox. `recv()` waits on a queue of *tokens*: a sender has one token there
//! from the moment its inbox has a message until a `recv` has found it empty. A `recv` takes a token and one message of
//! its sender and, if there is more, puts the token back at the end. So senders take turns, and there are never more
//! tokens than senders. All of that happens in one poll, so that a dropped future loses nothing.
//!
//! Messages that an application has taken are recorded with one lock for a batch, and the task of the conversations
//! sends the receipts. It is woken for the first message of a sender that it has not handled yet. So it sends many
//! receipts at once where messages are taken fast, and no application waits for the lock of a conversation.

use std::pin::Pin;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

use futures::Stream;

use crate::address::Address;
use crate::inbox::Inbox;
use crate::types::{Message, Queued, Service, ServiceTooLong};
use lending::LendQueue;
use sender::{SenderInbox, StoredMessage};
pub(crate) use state::MailboxChanges;
use state::{MailboxState, ServiceHandle};
use stored::StoredMessages;

pub(crate) mod answers;
mod cleanup;
pub(crate) mod delivery;
mod fetch;
pub(crate) mod lending;
pub(crate) mod receipts;
pub(crate) mod requests;
mod sender;
mod services;
mod state;
pub(crate) mod stored;
pub(crate) mod taken;
#[cfg(test)]
mod tests;

/// The node has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is stopped")]
pub struct Stopped;

/// The messages for one address of this node, or for one service of it. The service is open as long as a clone of its
/// mailbox exists: until then its messages wait, and requests to it are refused.
#[derive(Clone)]
pub struct Mailbox {
    shared: Arc<MailboxState>,
    /// `None` for the messages that name no service.
    service: Option<Arc<ServiceHandle>>,
}

impl Mailbox {
    pub(crate) fn new(address: Address, per_sender: usize, mailbox_changes: Arc<MailboxChanges>) -> Self {
        Self::beside(None, address, per_sender, mailbox_changes)
    }

    /// As [`Mailbox::new`], with messages that wait in a journal.
    pub(crate) fn beside(
        lending: Option<Arc<LendQueue>>,
        address: Address,
        per_sender: usize,
        mailbox_changes: Arc<MailboxChanges>,
    ) -> Self {
        let stored = lending.map(|lending| StoredMessages::new(address, lending));
        let shared = MailboxState { stored, ..MailboxState::new(address, per_sender, mailbox_changes) };
        Mailbox { shared: Arc::new(shared), service: None }
    }

    /// The messages that wait in the journal; `None` without one.
    pub(crate) fn stored(&self) -> Option<&StoredMessages> {
        self.shared.stored.as_ref()
    }

    /// The inbox of this sender in this mailbox.
    fn sender(&self, address: &Address) -> Arc<SenderInbox> {
        match &self.service {
            None => self.shared.home(address),
            Some(handle) => handle.open.sender(self.shared.home(address)),
        }
    }

    /// The mailbox of a service of the same address, which is open from now on, as long as a clone of the result exists.
    /// The empty name is that of messages that name no service.
    ///
    /// # Errors
    /// [`ServiceTooLong`] when the name is longer than [`Service::MAX`].
    pub fn service(&self, name: impl AsRef<str>) -> Result<Mailbox, ServiceTooLong> {
        let (shared, name) = (&self.shared, Service::new(name.as_ref()).ok_or(ServiceTooLong)?);
        if name.is_default() {
            return Ok(Mailbox { shared: shared.clone(), service: None });
        }
        let handle = shared.open_service(name);
        Ok(Mailbox { shared: shared.clone(), service: Some(handle) })
    }

    /// Whether an application reads or serves this service.
    pub(crate) fn is_open(&self, service: &Service) -> bool {
        service.is_default() || self.shared.is_open(service)
    }

    fn tokens(&self) -> &Inbox<Arc<SenderInbox>> {
        self.service.as_ref().map_or(&self.shared.tokens, |handle| &handle.open.tokens)
    }

    /// Whether no message of this sender waits, for no service.
    pub(crate) fn is_empty_from(&self, from: &Address) -> bool {
        let senders = self.shared.senders.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = senders.by_address.get(from).cloned();
        drop(senders);
        sender.is_none_or(|sender| sender.is_empty())
    }

    /// The messages that wait, for all services of the address.
    pub(crate) fn unread(&self) -> Queued {
        let mut all = self.shared.services_unread();
        let senders = self.shared.senders.lock().unwrap_or_else(PoisonError::into_inner);
        for sender in senders.by_address.values() {
            all.add(sender.queued());
        }
        all
    }

    /// Puts a message into its sender's inbox. It is returned when there is no room.
    #[must_use]
    pub(crate) fn push(&self, message: Message) -> Option<Message> {
        let (sender, bytes) = (self.shared.home(&message.from), message.body.len());
        if !message.service.is_default() {
            let room = self.shared.room(&sender, usize::MAX);
            return if room.fits(0, bytes) { self.shared.place(message) } else { Some(message) };
        }
        if let Err(refused) = sender.inbox.try_push(StoredMessage::new(message)) {
            return Some(refused.into_inner().message(sender.address, self.shared.address));
        }
        self.shared.pushed(sender, bytes);
        None
    }

    /// Puts a message for which there is room into its sender's inbox. It is returned when the mailbox is closed.
    fn push_within_room(&self, message: Message) -> Option<Message> {
        if message.service.is_default() { self.push(message) } else { self.shared.place(message) }
    }

    /// Puts a message into its sender's inbox; waits while that is full.
    pub(crate) async fn push_wait(&self, mut message: Message) -> Result<(), Stopped> {
        while !message.service.is_default() {
            let seen = *self.shared.service_room.read();
            let Some(refused) = self.push(message) else { return Ok(()) };
            message = refused;
            if self.shared.is_closed() {
                return Err(Stopped);
            }
            self.shared.service_room.when(|count| (*count != seen).then_some(())).await;
        }
        let (sender, bytes) = (self.shared.home(&message.from), message.body.len());
        sender.inbox.push(StoredMessage::new(message)).await.map_err(|_| Stopped)?;
        self.shared.pushed(sender, bytes);
        Ok(())
    }

    /// Whether the node has stopped or has given up the address.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// Returns a message that was received to the head of its sender's inbox. Unless its receipt has been sent already,
    /// none is sent before the message is received again. One that was stored counts another attempt to deliver it, and is a
    /// dead letter after [`MAX_DELIVERIES`](crate::journal::MAX_DELIVERIES).
    pub fn unrecv(&self, message: Message) {
        self.put_back(message, true);
    }

    /// As [`Mailbox::unrecv`], for a message that no application has seen, so that no attempt counts.
    pub(crate) fn unfetch(&self, message: Message) {
        self.put_back(message, false);
    }

    fn put_back(&self, message: Message, is_seen: bool) {
        if self.shared.stored.as_ref().is_some_and(|stored| stored.give_back(&message, is_seen)) {
            return;
        }
        self.undo_taken(&message);
        if !message.service.is_default() {
            return self.shared.place_first(message);
        }
        let (sender, bytes) = (self.shared.home(&message.from), message.body.len());
        sender.inbox.push_front(StoredMessage::new(message));
        self.shared.pushed(sender, bytes);
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
        self.shared.close_services();
        self.close_receipts();
        self.shared.requests.close();
    }

    /// The next message from any sender. Senders take turns. A durable message is acknowledged as the future is ready: its removal
    /// from the journal is under way. [`Mailbox::fetch_batch`] is for programs that acknowledge a message after they have dealt
    /// with it.
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

    /// Takes one message of the sender whose token was taken, or up to `most` while no other sender waits for its turn.
    fn take(&self, token: Arc<SenderInbox>, most: usize, batch: &mut Vec<Message>) {
        // The mark is cleared before the inbox is read, so that a message that is put there after the read queues the
        // token again.
        token.has_token.store(false, SeqCst);
        let mut taken = Vec::new();
        let most = if self.tokens().is_empty() { most } else { 1 };
        // The inbox is empty when another call has taken all of it.
        let _ = token.inbox.try_recv_batch(&mut taken, most);
        self.shared.on_taken(&token, taken.len(), taken.iter().map(|message| message.body.len()).sum());
        batch.extend(taken.into_iter().map(|kept| kept.message(token.address, self.shared.address)));
        if !token.inbox.is_empty() {
            self.shared.queue_token(token);
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
