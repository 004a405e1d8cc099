//! The messages of a mailbox that wait in the journal: they are lent to applications that ask for them, and are nowhere in
//! memory before.
//!
//! A reader looks at the journal when it finds no message in memory. [`StoredService::changes`] is read before the look and
//! grows after each commit that adds a message, so that a message which is stored meanwhile makes the reader look again. A
//! service without a reader has no entry here, since any node can invent names of services.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rouse_journal::{InboxKey, Lease};

use super::lending::{LendQueue, LendRequest, LentBatch, StoredService};
use crate::address::Address;
use crate::types::{Ends, Message, MessageId, MessageKind, Service};

/// The stored messages of all services of an address.
pub(crate) struct StoredMessages {
    pub(super) local: Address,
    pub(super) lending: Arc<LendQueue>,
    services: Mutex<BTreeMap<Service, Arc<StoredService>>>,
    /// The messages that applications have, by sender and id.
    lent: Mutex<HashMap<(Address, MessageId), LentMessage>>,
    /// The number of them, so that a message that was never stored needs no lock.
    lent_count: AtomicUsize,
}

struct LentMessage {
    key: InboxKey,
    service: Service,
}

impl StoredMessages {
    pub(crate) fn new(local: Address, lending: Arc<LendQueue>) -> Self {
        let (services, lent, lent_count) = Default::default();
        StoredMessages { local, lending, services, lent, lent_count }
    }

    fn services(&self) -> MutexGuard<'_, BTreeMap<Service, Arc<StoredService>>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The messages of a service that has a reader.
    pub(super) fn service(&self, name: &Service) -> Arc<StoredService> {
        self.services().entry(name.clone()).or_default().clone()
    }

    /// Messages for this service were stored.
    pub(crate) fn note_stored(&self, name: &Service) {
        // Taken out of the table, because the wake runs applications, which may open a service.
        let service = self.services().get(name).cloned();
        if let Some(service) = service {
            service.note_change();
        }
    }

    /// The service has no reader any more.
    pub(super) fn forget_service(&self, name: &Service) {
        self.services().retain(|known, service| known != name || Arc::strong_count(service) > 1);
    }

    /// Notes that applications have these messages, and returns them.
    pub(super) fn lend(&self, mut batch: LentBatch) -> Vec<Message> {
        let leases = mem::take(&mut batch.leases);
        let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        let messages = leases.into_iter().map(|(lease, protection)| {
            let Lease { key, id, pair, deliveries, message } = lease;
            let note = LentMessage { key, service: message.service.clone() };
            if lent.insert((pair.peer, id), note).is_none() {
                self.lending.count_lent(1);
            }
            Message {
                id,
                from: pair.peer,
                to: pair.local,
                sent_at: message.sent_at,
                received_at: message.received_at,
                protection,
                service: message.service,
                in_reply_to: message.in_reply_to,
                kind: MessageKind::Plain,
                deliveries,
                body: message.body.into(),
            }
        });
        let messages: Vec<_> = messages.collect();
        self.lent_count.store(lent.len(), SeqCst);
        messages
    }

    /// Takes the note of a message that an application had; `None` when it was not lent by the journal.
    fn end_lease(&self, message: &Message) -> Option<LentMessage> {
        if self.lent_count.load(SeqCst) == 0 {
            return None;
        }
        let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        let found = lent.remove(&(message.from, message.id)).inspect(|_| self.lending.count_lent(-1));
        self.lent_count.store(lent.len(), SeqCst);
        found
    }

    /// Applications have dealt with those of the messages that were lent: they are removed from the journal. Returns the
    /// others.
    pub(super) fn acknowledge<'a>(&self, messages: Vec<&'a Message>) -> Vec<&'a Message> {
        // Without a lock, since most messages of a busy node may be held in memory.
        if self.lent_count.load(SeqCst) == 0 {
            return messages;
        }
        let (mut keys, mut conversations, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for message in messages {
            let Some(lent) = self.end_lease(message) else {
                rest.push(message);
                continue;
            };
            keys.push(lent.key);
            let ends = Ends { peer: message.from, local: self.local };
            if conversations.last() != Some(&ends) {
                conversations.push(ends);
            }
        }
        if !keys.is_empty() {
            self.lending.request(LendRequest::Acknowledge { keys, conversations });
        }
        rest
    }

    /// Gives a message back to the head of its service. `is_seen`: an application had it, so that the attempt counts. Returns
    /// false when it was not lent.
    pub(super) fn give_back(&self, message: &Message, is_seen: bool) -> bool {
        let Some(LentMessage { key, service }) = self.end_lease(message) else { return false };
        let service = self.service(&service);
        service.begin_return();
        self.lending.request(LendRequest::GiveBack { keys: vec![key], service, is_seen });
        true
    }
}
