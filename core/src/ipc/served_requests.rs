//! The requests that a connection has fetched and not answered. When it ends, their requesters learn that no answer comes,
//! instead of waiting for their time-outs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::address::Address;
use crate::node::Node;
use crate::serving::SERVER_ENDED;
use crate::types::{Body, Message, MessageId, MessageKind, Outgoing, Service};

/// The most requests of one connection that are remembered. Beyond them the oldest is forgotten: its requester has most
/// likely given up.
const MAX_REMEMBERED: usize = 1024;

/// The time that the failure of a request waits for its requester. It is short, because an application that has given up
/// needs none.
const FAILURE_TTL: Duration = Duration::from_secs(60);

/// The requests that were fetched and not answered, without their bodies.
#[derive(Default)]
pub(super) struct ServedRequests(Mutex<BTreeMap<(Address, MessageId), Message>>);

impl ServedRequests {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Address, MessageId), Message>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a message that was fetched, if it is a request.
    pub(super) fn add(&self, message: &Message) {
        if message.kind != MessageKind::Request {
            return;
        }
        let mut requests = self.lock();
        if requests.len() >= MAX_REMEMBERED {
            let oldest = requests.iter().min_by_key(|(_, request)| request.received_at).map(|(key, _)| *key);
            oldest.and_then(|key| requests.remove(&key));
        }
        let request = Message { body: Body::default(), ..message.clone() };
        requests.insert((message.from, message.id), request);
    }

    /// Forgets a request of `requester`, because it has been answered or given back.
    pub(super) fn remove(&self, requester: Address, id: MessageId) {
        self.lock().remove(&(requester, id));
    }

    /// Lets all requests fail.
    pub(super) fn fail_all(&self, node: &Node) {
        let requests = std::mem::take(&mut *self.lock());
        requests.values().for_each(|request| fail(node, request));
    }
}

/// Lets the requests fail that wait for a service which no application has open.
pub(super) fn fail_unserved(node: &Node, address: &Address, service: &Service) {
    let unserved = node.mailbox(address).map(|mailbox| mailbox.take_unserved(service));
    unserved.iter().flatten().for_each(|request| fail(node, request));
}

fn fail(node: &Node, request: &Message) {
    let failure = Outgoing::failure(request, SERVER_ENDED).ttl(FAILURE_TTL).volatile();
    // Without room for it, the requester waits for its time-out, as one whose answer is lost.
    let _ = node.try_send(failure);
}
