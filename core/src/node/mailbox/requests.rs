//! The requests of an address that wait for their answers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::channel::oneshot;

use crate::address::Address;
use crate::node::reply::{ReplySender, reply};
use crate::types::{Message, MessageId};

/// The most requests of one address that wait for their answers.
pub(crate) const MAX_REQUESTS: usize = 4096;

/// The requests that have ended and are remembered. A further reply to an older one counts as an ordinary message.
const MAX_ENDED: usize = 1024;

/// A request, by the address that has to answer and its id.
type RequestKey = (Address, MessageId);

/// The requests that wait, and those that have ended.
#[derive(Default)]
pub(crate) struct PendingRequests {
    places: AtomicUsize,
    table: Mutex<RequestTable>,
}

#[derive(Default)]
struct RequestTable {
    waiting: BTreeMap<RequestKey, ReplySender<Message>>,
    ended: BTreeSet<RequestKey>,
    /// The same requests, from the first that has ended to the last.
    ended_order: VecDeque<RequestKey>,
}

impl RequestTable {
    /// Ends a request, and remembers it, since its peer may reply again. Its waiter is returned, because its use and its drop wake, which needs the lock released.
    fn end(&mut self, key: &RequestKey) -> Option<ReplySender<Message>> {
        let waiter = self.waiting.remove(key)?;
        if self.ended_order.len() >= MAX_ENDED {
            self.ended_order.pop_front().map(|oldest| self.ended.remove(&oldest));
        }
        if self.ended.insert(*key) {
            self.ended_order.push_back(*key);
        }
        Some(waiter)
    }
}

/// The place of a request, from before it is sent until its answer is there. Its drop ends the wait.
pub(crate) struct RequestPlace {
    requests: Arc<PendingRequests>,
    waiting: Option<(RequestKey, oneshot::Receiver<Message>)>,
}

impl PendingRequests {
    fn table(&self) -> MutexGuard<'_, RequestTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more request; `None` when there are too many.
    pub(super) fn place(self: &Arc<Self>) -> Option<RequestPlace> {
        let place = RequestPlace { requests: self.clone(), waiting: None };
        // The place counts from here on, so that its drop gives it back also when there are too many.
        (self.places.fetch_add(1, SeqCst) < MAX_REQUESTS).then_some(place)
    }

    /// Gives an answer to the request that waits for it. It is returned when none does.
    pub(super) fn answer(&self, message: Message) -> Option<Message> {
        let key = message.in_reply_to.map(|id| (message.from, id));
        let Some(waiter) = key.and_then(|key| self.table().end(&key)) else { return Some(message) };
        // The lock is released, since this wakes the application.
        waiter.send(message);
        None
    }

    /// Whether a message replies to a request that has ended, so that no application needs it.
    pub(super) fn is_over(&self, message: &Message) -> bool {
        let table = self.table();
        message.in_reply_to.is_some_and(|id| table.ended.contains(&(message.from, id)))
    }

    /// Ends all waits: no answer arrives after the node has stopped.
    pub(super) fn close(&self) {
        // Dropped after the lock is released, because that wakes the applications.
        let _waiting = std::mem::take(&mut self.table().waiting);
    }
}

impl RequestPlace {
    /// Waits for the answer of `peer` to this request from now on. It is called before the request can leave, since the
    /// answer could be missed otherwise.
    pub(crate) fn wait_for(&mut self, peer: Address, id: MessageId) {
        let (sender, receiver) = reply();
        self.requests.table().waiting.insert((peer, id), sender);
        self.waiting = Some(((peer, id), receiver));
    }

    /// The answer; `None` when the node has stopped.
    pub(crate) async fn answer(&mut self) -> Option<Message> {
        let (_, receiver) = self.waiting.as_mut()?;
        receiver.await.ok()
    }
}

impl Drop for RequestPlace {
    fn drop(&mut self) {
        self.requests.places.fetch_sub(1, SeqCst);
        if let Some((key, _)) = &self.waiting {
            let waiter = self.requests.table().end(key);
            // After the lock is released, because the drop of a reply wakes.
            drop(waiter);
        }
    }
}
