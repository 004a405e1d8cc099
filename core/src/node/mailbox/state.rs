//! The state that the mailboxes of an address share.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicIsize, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::requests::PendingRequests;
use super::sender::{OpenService, SenderInbox, StoredMessage};
use super::stored::StoredMessages;
use super::taken::MailboxReceipts;
use crate::address::Address;
use crate::inbox::{Full, Inbox};
use crate::notify::Notify;
use crate::types::{Ends, Service};

/// Bytes taken after which the senders that wait for shared bytes are woken. A smaller step would wake all of them for
/// every message.
const NOTABLE: usize = 4 << 20;

/// The mailbox and the sender of each inbox that has changed: it was full and has room again, or messages were taken
/// from it. A set, so that an inbox is handled once however many messages were taken.
pub(crate) type MailboxChanges = Notify<BTreeSet<Ends>>;

pub(super) struct MailboxState {
    pub(super) address: Address,
    pub(super) per_sender: usize,
    /// The set to which changed inboxes are added, for the task of the conversations.
    pub(super) mailbox_changes: Arc<MailboxChanges>,
    pub(super) senders: Mutex<SenderInboxes>,
    pub(super) receipts: Mutex<MailboxReceipts>,
    /// Bytes of all messages in the mailbox. It may briefly be negative, since `recv` can subtract a message before
    /// `push` has added it.
    pub(super) bytes: AtomicIsize,
    /// Bytes taken since the senders that wait for shared bytes were last woken.
    pub(super) freed: AtomicUsize,
    pub(super) tokens: Inbox<Arc<SenderInbox>>,
    pub(super) services: Mutex<Services>,
    /// Counts messages that were taken from services, for those of this node that wait for room there.
    pub(super) service_room: Notify<u64>,
    /// The requests of this address that wait for their answers.
    pub(super) requests: Arc<PendingRequests>,
    /// Senders that were removed and may have a token in the queue.
    pub(super) dropped: AtomicUsize,
    /// The messages that wait in the journal; `None` without one.
    pub(super) stored: Option<StoredMessages>,
}

#[derive(Default)]
pub(super) struct SenderInboxes {
    pub(super) by_address: BTreeMap<Address, Arc<SenderInbox>>,
    /// The senders whose messages wait for room. A message that is taken looks at these alone: any node can make this one
    /// allocate an inbox, and a look at all of them for each message would multiply its cost.
    pub(super) stalled: BTreeSet<Address>,
    /// Whether the mailbox is closed. A sender that is added later gets a closed inbox, so that nothing waits there for
    /// ever.
    pub(super) closed: bool,
}

impl SenderInboxes {
    /// Ends the wait of this sender for room. Returns it if it waited.
    pub(super) fn resume(&mut self, sender: &SenderInbox) -> BTreeSet<Address> {
        sender.stalled.store(false, SeqCst);
        self.stalled.take(&sender.address).into_iter().collect()
    }

    /// Ends the waits of all senders for room.
    pub(super) fn resume_all(&mut self) -> BTreeSet<Address> {
        let stalled = std::mem::take(&mut self.stalled);
        for sender in stalled.iter().filter_map(|address| self.by_address.get(address)) {
            sender.stalled.store(false, SeqCst);
        }
        stalled
    }
}

/// Keeps a service open. Clones of a mailbox share it.
pub(super) struct ServiceHandle {
    pub(super) shared: Arc<MailboxState>,
    pub(super) open: Arc<OpenService>,
}

impl Drop for ServiceHandle {
    fn drop(&mut self) {
        self.shared.retire(&self.open);
    }
}

/// The services of an address.
#[derive(Default)]
pub(super) struct Services {
    pub(super) open: BTreeMap<Service, (Weak<ServiceHandle>, Arc<OpenService>)>,
    /// The messages for services that are not open, by sender.
    pub(super) parked: BTreeMap<Address, VecDeque<Box<StoredMessage>>>,
    pub(super) is_closed: bool,
}

impl Services {
    pub(super) fn get(&self, service: &Service) -> Option<Arc<OpenService>> {
        self.open.get(service).map(|(_, open)| open.clone())
    }

    /// Removes these messages of those that wait for services which are not open.
    pub(super) fn take_parked(
        &mut self,
        is_wanted: impl Fn(&StoredMessage) -> bool,
    ) -> Vec<(Address, VecDeque<Box<StoredMessage>>)> {
        let mut taken = Vec::new();
        self.parked.retain(|from, messages| {
            if messages.iter().any(|message| is_wanted(message)) {
                let all = std::mem::take(messages);
                let (wanted, rest) =
                    all.into_iter().partition::<VecDeque<_>, _>(|message| is_wanted(message));
                *messages = rest;
                taken.push((*from, wanted));
            }
            !messages.is_empty()
        });
        taken
    }
}

impl MailboxState {
    pub(super) fn new(address: Address, per_sender: usize, mailbox_changes: Arc<MailboxChanges>) -> Self {
        MailboxState {
            address,
            per_sender,
            mailbox_changes,
            senders: Mutex::default(),
            receipts: Mutex::default(),
            bytes: AtomicIsize::new(0),
            freed: AtomicUsize::new(0),
            // Unbounded, because there are never more tokens than senders, and the conversations bound those.
            tokens: Inbox::new(usize::MAX, Full::RefuseNewest),
            services: Mutex::default(),
            service_room: Notify::new(0),
            requests: Arc::default(),
            dropped: AtomicUsize::new(0),
            stored: None,
        }
    }

    /// The inbox of this sender for the messages that name no service.
    pub(super) fn home(&self, address: &Address) -> Arc<SenderInbox> {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = senders.closed;
        let make = || {
            let sender = Arc::new(SenderInbox::home(*address, self.per_sender));
            if closed {
                sender.inbox.close();
            }
            sender
        };
        senders.by_address.entry(*address).or_insert_with(make).clone()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).closed
    }

    pub(super) fn queue_token(&self, sender: Arc<SenderInbox>) {
        if sender.has_token.swap(true, SeqCst) {
            return;
        }
        let service = sender.service.upgrade();
        let tokens = match (&sender.home, &service) {
            (None, _) => &self.tokens,
            (Some(_), Some(service)) => &service.tokens,
            // The service was closed, and its messages wait for the next one that opens it.
            (Some(_), None) => return,
        };
        if let Err(refused) = tokens.try_push(sender) {
            // The queue is closed. Senders take turns no more, but their messages can still be received.
            tokens.push_front(refused.into_inner());
        }
    }

    /// Counts so many bytes that are in the inbox of `sender` now, and lists it.
    pub(super) fn pushed(&self, sender: Arc<SenderInbox>, bytes: usize) {
        self.bytes.fetch_add(bytes.cast_signed(), SeqCst);
        self.queue_token(sender);
    }

    /// Reports the room that `count` taken messages of `bytes` bytes have made: to their sender's conversation, and after
    /// [`NOTABLE`] bytes to all that wait, since they share the bytes of the mailbox.
    pub(super) fn on_taken(&self, sender: &SenderInbox, count: usize, bytes: usize) {
        let left = self.bytes.fetch_sub(bytes.cast_signed(), SeqCst).wrapping_sub(bytes.cast_signed());
        let freed = self.freed.fetch_add(bytes, SeqCst) + bytes;
        let sender = match &sender.home {
            None => sender,
            Some(home) => {
                home.elsewhere.remove(count, bytes);
                *self.service_room.write() += 1;
                home
            }
        };
        let for_all = bytes > 0 && (freed >= NOTABLE || left <= 0);
        if !for_all && !sender.stalled.load(SeqCst) {
            return;
        }
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        let resumed = match for_all {
            true => senders.resume_all(),
            false if self.room(sender, usize::MAX).fits(0, 0) => senders.resume(sender),
            false => return,
        };
        drop(senders);
        if for_all {
            self.freed.store(0, SeqCst);
        }
        if !resumed.is_empty() {
            let ends = resumed.into_iter().map(|peer| Ends { peer, local: self.address });
            self.mailbox_changes.write().extend(ends);
        }
    }
}
