//! Sending: from the application to the conversation, or straight into a mailbox of this node.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::forward::Work;
use super::mailbox::Mailbox;
use super::shared::{Shared, read};
use super::traffic::{Conv, Outlook};
use crate::address::Address;
use crate::stats::Counter;
use crate::types::{
    Event, MAX_MESSAGE, Message, MessageId, Outgoing, Protection, Receipt, SendError, Timestamp,
};

/// A message that was accepted for sending.
pub struct Sent {
    /// The message's name.
    pub id: MessageId,
    /// Whether it would survive a crash of this node. Not yet: messages wait in memory.
    pub durable: bool,
    /// Its length in bytes.
    pub bytes: u64,
    at: Instant,
    to: Address,
    /// `None` for a message that never left the node, and so is delivered.
    conv: Option<Arc<Conv>>,
}

impl Sent {
    /// Waits until the recipient has the message in its inbox.
    ///
    /// # Errors
    /// [`SendError::Expired`] when its time to live has run out, [`SendError::Stopped`] when the node stops.
    pub async fn delivered(&self) -> Result<Receipt, SendError> {
        let elapsed_us = || u64::try_from(self.at.elapsed().as_micros()).unwrap_or(u64::MAX);
        match self.conv.as_ref().map_or(Outlook::Delivered, |conv| conv.outlook(self.id)) {
            Outlook::Delivered => Ok(Receipt { id: self.id, elapsed_us: elapsed_us() }),
            Outlook::Expired => Err(SendError::Expired(self.to)),
            Outlook::Stopped => Err(SendError::Stopped),
            Outlook::Pending(receipt) => receipt.await.unwrap_or(Err(SendError::Stopped)),
        }
    }
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sent").field("id", &self.id).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Where a message goes.
enum Way {
    /// Into a mailbox of this node.
    Here(Mailbox, Message),
    There(Arc<Conv>, Outgoing),
}

fn way(shared: &Shared, message: Outgoing) -> Result<Way, SendError> {
    if shared.is_stopping() {
        return Err(SendError::Stopped);
    }
    if message.body.len() > MAX_MESSAGE {
        return Err(SendError::TooLong { length: message.body.len() as u64 });
    }
    let from = message.from.unwrap_or_else(|| shared.identity.address());
    if !shared.is_ours(&from) {
        return Err(SendError::NotOurs(from));
    }
    if let Some(mailbox) = read(&shared.mailboxes).get(&message.to).cloned() {
        let now = Timestamp::now();
        let message = Message {
            id: MessageId(local_id()),
            from,
            to: message.to,
            sent_at: now,
            received_at: now,
            protection: Protection::Local,
            body: message.body,
        };
        return Ok(Way::Here(mailbox, message));
    }
    let conv = shared
        .traffic
        .open(shared, &from, &message.to)
        .ok_or(SendError::TooManyPeers(shared.limits().senders as u64))?;
    Ok(Way::There(conv, message))
}

fn local_id() -> [u8; 16] {
    let mut id = [0; 16];
    // Without randomness there is the clock, which is as good within one node.
    if getrandom::fill(&mut id).is_err() {
        id[..8].copy_from_slice(&Timestamp::now().0.to_be_bytes());
    }
    id
}

fn sent_here(shared: &Shared, message: &Message) -> (Sent, Event) {
    let event = Event::MessageReceived {
        id: message.id,
        from: message.from,
        to: message.to,
        bytes: message.body.len() as u64,
    };
    shared.stats.count(Counter::MessagesQueued, 1);
    let sent = Sent {
        id: message.id,
        durable: false,
        bytes: message.body.len() as u64,
        at: Instant::now(),
        to: message.to,
        conv: None,
    };
    (sent, event)
}

fn arrived_here(shared: &Shared, event: Event) {
    shared.stats.count(Counter::MessagesReceived, 1);
    shared.stats.count(Counter::MessagesDelivered, 1);
    shared.publish(event);
}

/// Queues one message; waits for room. What is to be sent next is left in `work`.
async fn queue(shared: &Shared, message: Outgoing, work: &mut Work) -> Result<Sent, SendError> {
    let (conv, mut message) = match way(shared, message)? {
        Way::There(conv, message) => (conv, message),
        Way::Here(mailbox, message) => {
            let (sent, event) = sent_here(shared, &message);
            if let Some(message) = mailbox.push(message) {
                // What goes elsewhere must not wait for this.
                work.finish(shared);
                mailbox.push_wait(message).await.map_err(|_| SendError::Stopped)?;
            }
            arrived_here(shared, event);
            return Ok(sent);
        }
    };
    let (to, bytes) = (message.to, message.body.len() as u64);
    loop {
        let seen = conv.room_count();
        message = match conv.try_queue(shared, message) {
            Ok(id) => {
                work.pump_later(&conv);
                return Ok(Sent { id, durable: false, bytes, at: Instant::now(), to, conv: Some(conv) });
            }
            Err(message) => message,
        };
        if shared.is_stopping() || conv.is_closed() {
            return Err(SendError::Stopped);
        }
        work.pump_later(&conv);
        work.finish(shared);
        conv.room_after(seen).await;
    }
}

pub(crate) async fn submit(shared: &Shared, message: Outgoing) -> Result<Sent, SendError> {
    let mut work = Work::default();
    let sent = queue(shared, message, &mut work).await?;
    work.finish(shared);
    Ok(sent)
}

pub(crate) async fn send_batch(shared: &Shared, batch: Vec<Outgoing>) -> Result<Vec<Sent>, SendError> {
    let mut work = Work::default();
    let mut sent = Vec::with_capacity(batch.len());
    let mut result = Ok(());
    for message in batch {
        match queue(shared, message, &mut work).await {
            Ok(one) => sent.push(one),
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    work.finish(shared);
    result.map(|()| sent)
}

pub(crate) fn try_send(shared: &Arc<Shared>, message: Outgoing) -> Result<Sent, SendError> {
    let to = message.to;
    match way(shared, message)? {
        Way::Here(mailbox, message) => {
            let (sent, event) = sent_here(shared, &message);
            if mailbox.push(message).is_some() {
                return Err(SendError::Full(to));
            }
            arrived_here(shared, event);
            Ok(sent)
        }
        Way::There(conv, message) => {
            let bytes = message.body.len() as u64;
            let id = conv.try_queue(shared, message).map_err(|_| SendError::Full(to))?;
            conv.wake_pump(shared);
            Ok(Sent { id, durable: false, bytes, at: Instant::now(), to, conv: Some(conv) })
        }
    }
}
