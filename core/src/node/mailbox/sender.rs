//! The inbox of one sender, and the messages in it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::address::Address;
use crate::inbox::{Full, Inbox};
use crate::types::{
    Attributes, Body, Message, MessageId, MessageKind, Protection, Queued, Service, Timestamp,
};

/// Bytes in one sender's inbox: two of the longest messages, so that one can arrive while another is read.
pub(super) const BYTES_PER_SENDER: usize = 32 << 20;

/// The messages of one sender that name no service, or those for one service.
pub(super) struct SenderInbox {
    /// Boxed messages, so that the slots of an empty inbox are small: any node can make this one allocate an inbox.
    pub(super) inbox: Inbox<Box<StoredMessage>>,
    pub(super) address: Address,
    /// Whether its token is in the queue.
    pub(super) has_token: AtomicBool,
    /// Whether messages wait outside for room in this inbox. It changes with `SenderInboxes::stalled`, under that lock.
    pub(super) stalled: AtomicBool,
    /// The messages of this sender that wait for services, which share its room.
    pub(super) elsewhere: ServiceMessages,
    /// For a service: the inbox of the same sender for the messages that name none, which has the counts of both.
    pub(super) home: Option<Arc<SenderInbox>>,
    /// The service whose queue has the token.
    pub(super) service: Weak<OpenService>,
}

/// The number and the bytes of messages that wait for services.
#[derive(Default)]
pub(super) struct ServiceMessages {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

impl ServiceMessages {
    pub(super) fn add(&self, messages: usize, bytes: usize) {
        self.messages.fetch_add(messages, SeqCst);
        self.bytes.fetch_add(bytes, SeqCst);
    }

    pub(super) fn remove(&self, messages: usize, bytes: usize) {
        self.messages.fetch_sub(messages, SeqCst);
        self.bytes.fetch_sub(bytes, SeqCst);
    }

    pub(super) fn messages(&self) -> usize {
        self.messages.load(SeqCst)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(SeqCst)
    }
}

impl SenderInbox {
    /// The inbox of the messages that name no service.
    pub(super) fn home(address: Address, messages: usize) -> Self {
        let inbox = Inbox::<Box<StoredMessage>>::with_bytes(
            messages,
            BYTES_PER_SENDER,
            |message| message.body.len(),
            Full::Wait,
        );
        SenderInbox { inbox, home: None, ..Self::of_service(address, None, Weak::new()) }
    }

    /// The inbox of a service. Its room is that of `home`.
    pub(super) fn of_service(
        address: Address,
        home: Option<Arc<SenderInbox>>,
        service: Weak<OpenService>,
    ) -> Self {
        SenderInbox {
            inbox: Inbox::with_bytes(
                usize::MAX,
                usize::MAX,
                |message| message.body.len(),
                Full::RefuseNewest,
            ),
            address,
            has_token: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            elsewhere: ServiceMessages::default(),
            home,
            service,
        }
    }

    /// Whether no message of the sender waits, for no service.
    pub(super) fn is_empty(&self) -> bool {
        self.inbox.is_empty() && self.elsewhere.messages() == 0
    }

    /// The messages in this inbox.
    pub(super) fn queued(&self) -> Queued {
        Queued {
            messages: self.inbox.len() as u64,
            bytes: self.inbox.bytes() as u64,
            oldest: self.inbox.peek(|message| message.received_at),
        }
    }
}

/// The part of a message that is stored. Sender and recipient follow from the inbox that it is in.
pub(super) struct StoredMessage {
    id: MessageId,
    sent_at: Timestamp,
    pub(super) received_at: Timestamp,
    protection: Protection,
    /// `None` for the default ones, so that most messages pay for none.
    attributes: Option<Box<Attributes>>,
    pub(super) body: Body,
}

impl StoredMessage {
    pub(super) fn new(message: Message) -> Box<Self> {
        let Message { id, sent_at, received_at, protection, service, in_reply_to, kind, body, .. } = message;
        let attributes = Attributes { service, in_reply_to, kind, durable: false };
        let attributes = (!attributes.is_default()).then(|| Box::new(attributes));
        Box::new(StoredMessage { id, sent_at, received_at, protection, attributes, body })
    }

    pub(super) fn message(self, from: Address, to: Address) -> Message {
        let StoredMessage { id, sent_at, received_at, protection, attributes, body } = self;
        let attributes = attributes.map(|boxed| *boxed).unwrap_or_default();
        let Attributes { service, in_reply_to, kind, .. } = attributes;
        let deliveries = 1;
        Message {
            id,
            from,
            to,
            sent_at,
            received_at,
            protection,
            service,
            in_reply_to,
            kind,
            deliveries,
            body,
        }
    }

    /// Whether it is a request to this service.
    pub(super) fn is_request_to(&self, service: &Service) -> bool {
        self.is_for(service)
            && self.attributes.as_ref().is_some_and(|attributes| attributes.kind == MessageKind::Request)
    }

    /// Whether it is addressed to this service.
    pub(super) fn is_for(&self, service: &Service) -> bool {
        self.attributes.as_ref().is_some_and(|attributes| attributes.service == *service)
    }
}

/// The messages for one service, while it is open.
pub(super) struct OpenService {
    pub(super) name: Service,
    /// The senders that have messages, as in the mailbox of messages that name no service.
    pub(super) tokens: Inbox<Arc<SenderInbox>>,
    pub(super) senders: Mutex<BTreeMap<Address, Arc<SenderInbox>>>,
    /// Whether it was closed. A message that is put there nevertheless has to be parked.
    pub(super) is_retired: AtomicBool,
}

impl OpenService {
    pub(super) fn new(name: Service) -> Self {
        OpenService {
            name,
            tokens: Inbox::new(usize::MAX, Full::RefuseNewest),
            senders: Mutex::default(),
            is_retired: AtomicBool::new(false),
        }
    }

    pub(super) fn senders(&self) -> MutexGuard<'_, BTreeMap<Address, Arc<SenderInbox>>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the token of a sender that is removed, since it would keep the inbox of the sender.
    pub(super) fn forget_token(&self, sender: &Arc<SenderInbox>) {
        let mut tokens = Vec::new();
        let _ = self.tokens.try_recv_batch(&mut tokens, usize::MAX);
        tokens.retain(|token| !Arc::ptr_eq(token, sender));
        tokens.into_iter().rev().for_each(|token| self.tokens.push_front(token));
    }

    /// The inbox of the sender whose inbox for messages without a service is `home`.
    pub(super) fn sender(self: &Arc<Self>, home: Arc<SenderInbox>) -> Arc<SenderInbox> {
        let (address, is_closed) = (home.address, home.inbox.is_closed());
        let make = || {
            let sender = SenderInbox::of_service(address, Some(home), Arc::downgrade(self));
            if is_closed {
                sender.inbox.close();
            }
            Arc::new(sender)
        };
        self.senders().entry(address).or_insert_with(make).clone()
    }
}
