//! Messages that a connection has fetched and not yet confirmed. They are still their inbox's.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ipc::protocol::{MAX_UNCONFIRMED, MAX_UNCONFIRMED_BYTES};
use crate::node::Node;
use crate::types::Message;

/// When it is dropped, what is in it goes back to the heads of the inboxes, in the order it was in.
pub(super) struct UnconfirmedMessages {
    node: Node,
    state: Mutex<UnconfirmedTable>,
}

#[derive(Default)]
struct UnconfirmedTable {
    next: u64,
    bytes: usize,
    messages: BTreeMap<u64, Message>,
}

impl UnconfirmedMessages {
    pub(super) fn new(node: Node) -> Self {
        UnconfirmedMessages { node, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, UnconfirmedTable> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the client has to confirm something before it may fetch more.
    pub(super) fn is_full(&self) -> bool {
        let state = self.lock();
        state.messages.len() >= MAX_UNCONFIRMED || state.bytes >= MAX_UNCONFIRMED_BYTES
    }

    /// Keeps a message until it is confirmed; returns its ticket. Bodies are shared, not copied.
    pub(super) fn hold(&self, message: &Message) -> u64 {
        let mut state = self.lock();
        let ticket = state.next;
        state.next += 1;
        state.bytes += message.body.len();
        state.messages.insert(ticket, message.clone());
        ticket
    }

    /// The client has these for good.
    pub(super) fn taken(&self, tickets: &[u64]) {
        let mut taken = Vec::with_capacity(tickets.len().min(MAX_UNCONFIRMED));
        {
            let mut state = self.lock();
            for ticket in tickets {
                if let Some(message) = state.messages.remove(ticket) {
                    state.bytes -= message.body.len();
                    taken.push(message);
                }
            }
        }
        // Only now their senders get receipts.
        for batch in taken.chunk_by(|one, next| one.to == next.to) {
            if let Some(mailbox) = batch.first().and_then(|first| self.node.mailbox(&first.to)) {
                mailbox.took(batch);
            }
        }
    }

    /// Gives these back.
    pub(super) fn returned(&self, mut tickets: Vec<u64>) {
        // The last one first, so that the first one ends up at the head.
        tickets.sort_unstable_by(|a, b| b.cmp(a));
        for ticket in tickets {
            let message = {
                let mut state = self.lock();
                let message = state.messages.remove(&ticket);
                state.bytes -= message.as_ref().map_or(0, |message| message.body.len());
                message
            };
            if let Some(message) = message {
                give_back(&self.node, message);
            }
        }
    }

    /// Gives everything back.
    pub(super) fn return_all(&self) {
        let tickets = self.lock().messages.keys().copied().collect();
        self.returned(tickets);
    }
}

impl Drop for UnconfirmedMessages {
    fn drop(&mut self) {
        self.return_all();
    }
}

/// Puts a message back to the head of its inbox.
pub(super) fn give_back(node: &Node, message: Message) {
    match node.mailbox(&message.to).filter(|_| message.to != node.address()) {
        Some(mailbox) => mailbox.unrecv(message),
        None => node.unrecv(message),
    }
}
