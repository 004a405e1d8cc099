//! The services of an address: each has a mailbox of its own, which is open while an application has a handle of it.
//!
//! Messages for a service that is not open are *parked* by sender, because any node can invent names of services, and an
//! inbox for each would cost more memory than the message. They move into the inboxes of the service when it is opened.
//! A service that is closed returns what was not taken. All messages of one sender share the sender's room, whatever
//! their services.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};

use super::sender::{OpenService, SenderInbox, StoredMessage};
use super::state::{MailboxState, ServiceHandle, Services};
use crate::address::Address;
use crate::types::{Message, Queued, Service};

impl MailboxState {
    /// Opens a service, or shares the handle of one that is open.
    pub(super) fn open_service(self: &Arc<Self>, name: Service) -> Arc<ServiceHandle> {
        let mut services = self.services();
        if let Some(handle) = services.open.get(&name).and_then(|(handle, _)| handle.upgrade()) {
            return handle;
        }
        let open = Arc::new(OpenService::new(name.clone()));
        if services.is_closed {
            open.tokens.close();
        }
        for (from, messages) in services.take_parked(|message| message.is_for(&name)) {
            let sender = open.sender(self.home(&from));
            // Into the front, since there was room for them before; no reader waits yet.
            messages.into_iter().rev().for_each(|message| sender.inbox.push_front(message));
            self.queue_token(sender);
        }
        let handle = Arc::new(ServiceHandle { shared: self.clone(), open: open.clone() });
        services.open.insert(name, (Arc::downgrade(&handle), open));
        handle
    }

    pub(super) fn is_open(&self, service: &Service) -> bool {
        self.services().open.contains_key(service)
    }

    fn services(&self) -> MutexGuard<'_, Services> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message of a service behind those of its sender. It is returned when the mailbox is closed.
    pub(super) fn place(&self, message: Message) -> Option<Message> {
        let (home, bytes) = (self.home(&message.from), message.body.len());
        home.elsewhere.add(1, bytes);
        let mut services = self.services();
        let Some(open) = services.get(&message.service) else {
            let parked = services.parked.entry(message.from).or_default();
            parked.push_back(StoredMessage::new(message));
            self.bytes.fetch_add(bytes.cast_signed(), SeqCst);
            return None;
        };
        drop(services);
        let sender = open.sender(home.clone());
        if let Err(refused) = sender.inbox.try_push(StoredMessage::new(message)) {
            home.elsewhere.remove(1, bytes);
            return Some(refused.into_inner().message(sender.address, self.address));
        }
        self.pushed(sender.clone(), bytes);
        if open.is_retired.load(SeqCst) {
            self.reclaim(&sender);
        }
        None
    }

    /// Puts a message of a service before those of its sender.
    pub(super) fn place_first(&self, message: Message) {
        let (home, bytes) = (self.home(&message.from), message.body.len());
        home.elsewhere.add(1, bytes);
        let mut services = self.services();
        let Some(open) = services.get(&message.service) else {
            let parked = services.parked.entry(message.from).or_default();
            parked.push_front(StoredMessage::new(message));
            self.bytes.fetch_add(bytes.cast_signed(), SeqCst);
            return;
        };
        drop(services);
        let sender = open.sender(home.clone());
        sender.inbox.push_front(StoredMessage::new(message));
        self.pushed(sender.clone(), bytes);
        if open.is_retired.load(SeqCst) {
            self.reclaim(&sender);
        }
    }

    /// Moves the messages of a closed service to the place where the next one that opens it finds them.
    fn reclaim(&self, sender: &SenderInbox) {
        let mut messages = Vec::new();
        let _ = sender.inbox.try_recv_batch(&mut messages, usize::MAX);
        let bytes = messages.iter().map(|message| message.body.len()).sum::<usize>();
        if let Some(home) = &sender.home {
            home.elsewhere.remove(messages.len(), bytes);
        }
        self.bytes.fetch_sub(bytes.cast_signed(), SeqCst);
        for message in messages.into_iter().rev() {
            self.place_first(message.message(sender.address, self.address));
        }
    }

    /// Closes a service whose last handle was dropped.
    pub(super) fn retire(&self, open: &Arc<OpenService>) {
        {
            let mut services = self.services();
            // Another handle may have been made since the last one was dropped.
            if services.open.get(&open.name).is_some_and(|(_, present)| Arc::ptr_eq(present, open)) {
                services.open.remove(&open.name);
            }
            open.is_retired.store(true, SeqCst);
        }
        let senders = std::mem::take(&mut *open.senders());
        let _ = open.tokens.try_recv_batch(&mut Vec::new(), usize::MAX);
        senders.values().for_each(|sender| self.reclaim(sender));
        if let Some(stored) = &self.stored {
            stored.forget_service(&open.name);
        }
    }

    /// Removes the requests that wait for a service, unless it is open.
    pub(super) fn take_parked_requests(&self, service: &Service) -> Vec<Message> {
        let taken = {
            let mut services = self.services();
            if services.open.contains_key(service) {
                return Vec::new();
            }
            services.take_parked(|message| message.is_request_to(service))
        };
        let mut requests = Vec::new();
        // After the lock is released, since the report of the room takes others.
        for (from, messages) in taken {
            let bytes = messages.iter().map(|message| message.body.len()).sum();
            let sender = SenderInbox::of_service(from, Some(self.home(&from)), Weak::new());
            self.on_taken(&sender, messages.len(), bytes);
            requests.extend(messages.into_iter().map(|message| message.message(from, self.address)));
        }
        requests
    }

    /// The messages that wait for services.
    pub(super) fn services_unread(&self) -> Queued {
        let services = self.services();
        let mut all = Queued::default();
        for (_, open) in services.open.values() {
            open.senders().values().for_each(|sender| all.add(sender.queued()));
        }
        for messages in services.parked.values() {
            all.add(Queued {
                messages: messages.len() as u64,
                bytes: messages.iter().map(|message| message.body.len() as u64).sum(),
                oldest: messages.front().map(|message| message.received_at),
            });
        }
        all
    }

    /// Removes the inboxes of services that are empty and that no caller waits on.
    pub(super) fn forget_in_services(&self) {
        for (_, open) in self.services().open.values() {
            open.senders().retain(|_, sender| Arc::strong_count(sender) > 1 || !sender.inbox.is_empty());
        }
    }

    /// Closes the queues of all services, which can still be read.
    pub(super) fn close_services(&self) {
        let open: Vec<_> = {
            let mut services = self.services();
            services.is_closed = true;
            services.open.values().map(|(_, open)| open.clone()).collect()
        };
        for open in open {
            open.tokens.close();
            let senders: Vec<_> = open.senders().values().cloned().collect();
            senders.iter().for_each(|sender| _ = sender.inbox.close());
        }
        *self.service_room.write() += 1;
    }

    /// Locks the services in order to remove the messages of a sender.
    pub(super) fn lock_services_of(&self, from: &Address) -> SenderInServices<'_> {
        let services = self.services();
        let open = services.open.values().map(|(_, open)| open);
        let found = open.filter_map(|open| Some((open.clone(), open.senders().get(from)?.clone())));
        SenderInServices { from: *from, inboxes: found.collect(), services }
    }
}

/// The messages of one sender for services. No service is opened or closed meanwhile.
pub(super) struct SenderInServices<'a> {
    from: Address,
    inboxes: Vec<(Arc<OpenService>, Arc<SenderInbox>)>,
    services: MutexGuard<'a, Services>,
}

impl SenderInServices<'_> {
    pub(super) fn inboxes(&self) -> usize {
        self.inboxes.len()
    }

    pub(super) fn messages(&self) -> usize {
        let parked = self.services.parked.get(&self.from).map_or(0, VecDeque::len);
        self.inboxes.iter().map(|(_, sender)| sender.inbox.len()).sum::<usize>().saturating_add(parked)
    }

    /// Whether a caller may wait on one of the inboxes: it is held beside the table, this list and the queue of tokens.
    pub(super) fn is_held(&self) -> bool {
        let token = |sender: &SenderInbox| usize::from(sender.has_token.load(SeqCst));
        self.inboxes.iter().any(|(_, sender)| Arc::strong_count(sender) > 2 + token(sender))
    }

    /// Removes the inboxes, and returns the messages in them.
    pub(super) fn remove(mut self) -> VecDeque<Box<StoredMessage>> {
        let mut dropped: Vec<_> = self.services.parked.remove(&self.from).unwrap_or_default().into();
        for (open, sender) in &self.inboxes {
            let _ = sender.inbox.try_recv_batch(&mut dropped, usize::MAX);
            open.senders().remove(&self.from);
            open.forget_token(sender);
        }
        dropped.into()
    }
}
