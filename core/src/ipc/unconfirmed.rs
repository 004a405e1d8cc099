//! Messages that a connection has fetched and not yet confirmed. They still belong to their inboxes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ipc::protocol::{MAX_UNCONFIRMED, MAX_UNCONFIRMED_BYTES};
use crate::ipc::served_requests::ServedRequests;
use crate::node::Node;
use crate::types::Message;

/// The unconfirmed messages of one connection. When it is dropped, they go back to the heads of their inboxes, in the
/// order in which they arrived.
pub(super) struct UnconfirmedMessages {
    node: Node,
    table: Mutex<UnconfirmedTable>,
    /// The requests that were fetched and not answered, confirmed or not.
    pub(super) served: ServedRequests,
}

#[derive(Default)]
struct UnconfirmedTable {
    next_ticket: u64,
    /// The length of all bodies.
    bytes: usize,
    by_ticket: BTreeMap<u64, Message>,
}

impl UnconfirmedMessages {
    pub(super) fn new(node: Node) -> Self {
        UnconfirmedMessages { node, table: Mutex::default(), served: ServedRequests::default() }
    }

    fn lock(&self) -> MutexGuard<'_, UnconfirmedTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the client has to confirm messages before it may fetch more.
    pub(super) fn is_full(&self) -> bool {
        let table = self.lock();
        table.by_ticket.len() >= MAX_UNCONFIRMED || table.bytes >= MAX_UNCONFIRMED_BYTES
    }

    /// Keeps a message until it is confirmed, and returns its ticket. The body is shared, not copied.
    pub(super) fn add(&self, message: &Message) -> u64 {
        self.served.add(message);
        let mut table = self.lock();
        let ticket = table.next_ticket;
        table.next_ticket += 1;
        table.bytes += message.body.len();
        table.by_ticket.insert(ticket, message.clone());
        ticket
    }

    /// Hands the messages over to the client. Their senders get receipts only now.
    pub(super) fn confirm(&self, tickets: &[u64]) {
        let mut confirmed = Vec::with_capacity(tickets.len().min(MAX_UNCONFIRMED));
        {
            let mut table = self.lock();
            for ticket in tickets {
                if let Some(message) = table.by_ticket.remove(ticket) {
                    table.bytes -= message.body.len();
                    confirmed.push(message);
                }
            }
        }
        for batch in confirmed.chunk_by(|one, next| one.to == next.to) {
            if let Some(mailbox) = batch.first().and_then(|first| self.node.mailbox(&first.to)) {
                mailbox.mark_taken(batch);
            }
        }
    }

    /// Puts the messages back to the heads of their inboxes. `is_seen` decides for each whether the attempt to deliver it
    /// counts.
    pub(super) fn give_back(&self, mut tickets: Vec<u64>, mut is_seen: impl FnMut(&Message) -> bool) {
        // Messages that arrived in one millisecond have the order of their tickets.
        tickets.sort_unstable_by(|a, b| b.cmp(a));
        let mut messages: Vec<Message> = {
            let mut table = self.lock();
            let messages =
                tickets.iter().filter_map(|ticket| table.by_ticket.remove(ticket)).collect::<Vec<_>>();
            table.bytes -= messages.iter().map(|message| message.body.len()).sum::<usize>();
            messages
        };
        // The last one goes back first, so that the first one ends up at the head. The tickets do not have that order: a
        // message that was given back once may have been fetched again after those that follow it.
        messages.sort_by_key(|message| std::cmp::Reverse(message.received_at));
        for message in messages {
            self.served.remove(message.from, message.id);
            let is_seen = is_seen(&message);
            give_back(&self.node, message, is_seen);
        }
    }

    /// Puts all messages back, because the client has gone. Only the first one for each service counts an attempt: a client
    /// that fails on one message has not looked at those behind it.
    pub(super) fn return_all(&self) {
        let (tickets, first): (Vec<u64>, BTreeMap<_, _>) = {
            let table = self.lock();
            let mut first = BTreeMap::new();
            for message in table.by_ticket.values() {
                first.entry((message.to, message.service.clone())).or_insert(message.id);
            }
            (table.by_ticket.keys().copied().collect(), first)
        };
        self.give_back(tickets, |message| {
            first.get(&(message.to, message.service.clone())) == Some(&message.id)
        });
    }
}

impl Drop for UnconfirmedMessages {
    fn drop(&mut self) {
        self.return_all();
    }
}

/// Puts a message back to the head of its inbox. The attempt to deliver it counts if the application has seen it.
pub(super) fn give_back(node: &Node, message: Message, is_seen: bool) {
    let Some(mailbox) = node.mailbox(&message.to) else { return };
    match is_seen {
        true => mailbox.unrecv(message),
        false => mailbox.unfetch(message),
    }
}
