//! The requests of an address that wait for their answers.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::channel::oneshot;

use crate::address::Address;
use crate::node::reply::{ReplySender, reply};
use crate::types::{Message, MessageId};

/// The most requests of one address that wait for their answers.
pub(crate) const MAX_REQUESTS: usize = 4096;

/// The requests that wait, by the address that has to answer and the id of the request.
#[derive(Default)]
pub(crate) struct PendingRequests {
    places: AtomicUsize,
    waiting: Mutex<BTreeMap<(Address, MessageId), ReplySender<Message>>>,
}

/// The place of a request, from before it is sent until its answer is there. Its drop ends the wait.
pub(crate) struct RequestPlace {
    requests: Arc<PendingRequests>,
    waiting: Option<((Address, MessageId), oneshot::Receiver<Message>)>,
}

impl PendingRequests {
    fn waiting(&self) -> MutexGuard<'_, BTreeMap<(Address, MessageId), ReplySender<Message>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
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
        let Some(waiter) = key.and_then(|key| self.waiting().remove(&key)) else { return Some(message) };
        // The lock is released, since this wakes the application.
        waiter.send(message);
        None
    }

    /// Ends all waits: no answer arrives after the node has stopped.
    pub(super) fn close(&self) {
        // Dropped after the lock is released, because that wakes the applications.
        let _waiting = std::mem::take(&mut *self.waiting());
    }
}

impl RequestPlace {
    /// Waits for the answer of `peer` to this request from now on. It is called before the request can leave, since the
    /// answer could be missed otherwise.
    pub(crate) fn wait_for(&mut self, peer: Address, id: MessageId) {
        let (sender, receiver) = reply();
        self.requests.waiting().insert((peer, id), sender);
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
            let waiter = self.requests.waiting().remove(key);
            // After the lock is released, because the drop of a reply wakes.
            drop(waiter);
        }
    }
}
