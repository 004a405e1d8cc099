//! The way of messages from a mailbox to an application: from memory, or from the journal.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use futures::FutureExt;
use rouse_journal::{LeaseLimit, MailboxName};

use super::lending::{LeaseRequest, LendRequest, StoredService};
use super::sender::{SenderInbox, StoredMessage};
use super::stored::StoredMessages;
use super::{Mailbox, Stopped};
use crate::address::Address;
use crate::node::reply;
use crate::types::{Message, Service};

/// The bytes of bodies that one look at the journal lends. One message is lent whatever its length.
const LEASE_BYTES: usize = 4 << 20;

/// A reader of a service whose messages may be in the journal.
pub(super) struct StoredReader<'a> {
    stored: &'a StoredMessages,
    name: Service,
    service: Arc<StoredService>,
}

impl Mailbox {
    /// The way to the stored messages of this mailbox; `None` without a journal.
    pub(super) fn stored_reader(&self) -> Option<StoredReader<'_>> {
        let stored = self.shared.stored.as_ref()?;
        let name = self.service.as_ref().map(|handle| handle.open.name.clone()).unwrap_or_default();
        let service = stored.service(&name);
        Some(StoredReader { stored, name, service })
    }

    /// As [`Mailbox::recv_batch`], but the messages count as taken only from [`Mailbox::mark_taken`] on. [`Mailbox::unrecv`] gives
    /// one back. One of the two has to follow for each: other programs do not get the message before, and a durable one is given
    /// again after a restart of the node.
    ///
    /// # Errors
    /// As [`Mailbox::recv`].
    pub async fn fetch_batch(&self, limit: usize) -> Result<Vec<Message>, Stopped> {
        match self.stored_reader() {
            // Boxed, since a call that waits would hold the memory of both ways otherwise.
            Some(stored) => Box::pin(self.fetch_beside(stored, limit.max(1))).await,
            None => self.fetch_in_memory(limit.max(1)).await,
        }
    }

    async fn fetch_in_memory(&self, limit: usize) -> Result<Vec<Message>, Stopped> {
        let (tokens, mut batch) = (self.tokens(), Vec::new());
        while batch.is_empty() {
            // There is no await between taking a token and its messages, so that a dropped future cannot lose the token.
            self.take(tokens.recv().await.map_err(|_| Stopped)?, limit, &mut batch);
            self.take_ready(limit, &mut batch);
        }
        Ok(batch)
    }

    /// Fetches messages from memory or from the journal.
    async fn fetch_beside(&self, stored: StoredReader<'_>, limit: usize) -> Result<Vec<Message>, Stopped> {
        loop {
            // Read before both looks, so that a message which is stored after them ends the wait.
            let (seen, mut batch) = (stored.seen(), Vec::new());
            if !stored.is_first() {
                self.take_ready(limit, &mut batch);
            }
            if batch.is_empty() {
                batch = stored.take(None, limit).await;
                stored.note_memory(false);
                if batch.is_empty() {
                    self.take_ready(limit, &mut batch);
                    stored.note_memory(!batch.is_empty());
                }
            } else {
                stored.note_memory(true);
            }
            if !batch.is_empty() {
                return Ok(batch);
            }
            futures::select_biased! {
                token = pin!(self.tokens().recv().fuse()) => {
                    self.take(token.map_err(|_| Stopped)?, limit, &mut batch);
                    self.take_ready(limit, &mut batch);
                    stored.note_memory(true);
                    if !batch.is_empty() {
                        return Ok(batch);
                    }
                }
                () = pin!(stored.changed(seen).fuse()) => {}
            }
        }
    }

    /// Takes messages of the senders that are listed now.
    fn take_ready(&self, limit: usize, batch: &mut Vec<Message>) {
        while batch.len() < limit
            && let Ok(token) = self.tokens().try_recv()
        {
            self.take(token, limit.saturating_sub(batch.len()), batch);
        }
    }

    /// As [`Mailbox::recv_from`], but the message counts as taken only from [`Mailbox::mark_taken`] on.
    ///
    /// # Errors
    /// As [`Mailbox::recv`].
    pub async fn fetch_from(&self, peer: &Address) -> Result<Message, Stopped> {
        let sender = self.sender(peer);
        let Some(stored) = self.stored_reader() else {
            let kept = sender.inbox.recv().await.map_err(|_| Stopped)?;
            return Ok(self.taken_from(&sender, *kept));
        };
        loop {
            let seen = stored.seen();
            if !stored.is_first()
                && let Ok(kept) = sender.inbox.try_recv()
            {
                stored.note_memory(true);
                return Ok(self.taken_from(&sender, *kept));
            }
            let lent = Box::pin(stored.take(Some(*peer), 1)).await;
            stored.note_memory(false);
            if let Some(message) = lent.into_iter().next() {
                return Ok(message);
            }
            futures::select_biased! {
                kept = pin!(sender.inbox.recv().fuse()) => {
                    stored.note_memory(true);
                    return Ok(self.taken_from(&sender, *kept.map_err(|_| Stopped)?));
                }
                () = pin!(stored.changed(seen).fuse()) => {}
            }
        }
    }

    fn taken_from(&self, sender: &SenderInbox, kept: StoredMessage) -> Message {
        let message = kept.message(sender.address, self.shared.address);
        self.shared.on_taken(sender, 1, message.body.len());
        message
    }
}

impl StoredReader<'_> {
    /// The count to wait beyond. It is read before both looks, at the memory and at the journal.
    pub(super) fn seen(&self) -> u64 {
        self.service.changes()
    }

    pub(super) async fn changed(&self, seen: u64) {
        self.service.changed(seen).await;
    }

    /// Whether the journal is to be looked at before the memory.
    pub(super) fn is_first(&self) -> bool {
        self.service.was_memory.load(SeqCst) && self.service.may_have()
    }

    pub(super) fn note_memory(&self, was_memory: bool) {
        self.service.was_memory.store(was_memory, SeqCst);
    }

    /// The next stored messages of one sender or of all in turn, at most `limit`; none when none waits.
    pub(super) async fn take(&self, from: Option<Address>, limit: usize) -> Vec<Message> {
        if !self.service.may_have() {
            return Vec::new();
        }
        let turn = self.service.turn().await;
        let seen = self.service.changes();
        let mailbox = MailboxName { local: self.stored.local, service: self.name.clone() };
        let limit = LeaseLimit { messages: limit, bytes: LEASE_BYTES };
        let (reply, lent) = reply::reply();
        let request = LeaseRequest { mailbox, from, limit, turn, reply };
        self.stored.lending.request(LendRequest::Lease(request));
        // Without an answer the node has ended, and no message is lent any more.
        let batch = lent.await.ok();
        // A look for one sender shows nothing about the others, so it does not count.
        let is_empty = batch.as_ref().is_none_or(|batch| batch.leases.is_empty());
        if is_empty && (from.is_none() || batch.is_none()) {
            self.service.signal.write().empty_at = Some(seen);
        }
        batch.map(|batch| self.stored.lend(batch)).unwrap_or_default()
    }
}
