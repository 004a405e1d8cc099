//! Sending: from the application to the conversation, or straight into a mailbox of this node.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::Shared as SharedFuture;

use super::forward::Work;
use super::mailbox::{Expected, Mailbox};
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
    fate: Fate,
}

/// Where it is known what becomes of a message.
enum Fate {
    There(Arc<Conv>),
    /// With the mailbox of this node that it is in, which says how many microseconds it took until the message was taken; and how
    /// long it may take.
    Here(Option<SharedFuture<oneshot::Receiver<u64>>>, Duration),
}

impl Sent {
    /// Waits until an application of the recipient has taken the message: one that waits in a mailbox is not delivered yet.
    ///
    /// # Errors
    /// [`SendError::Expired`] when its time to live has run out, [`SendError::Stopped`] when the node stops.
    pub async fn delivered(&self) -> Result<Receipt, SendError> {
        let conv = match &self.fate {
            Fate::There(conv) => conv,
            Fate::Here(receipt, ttl) => return self.delivered_here(receipt.as_ref(), *ttl).await,
        };
        let elapsed_us = || u64::try_from(self.at.elapsed().as_micros()).unwrap_or(u64::MAX);
        match conv.outlook(self.id) {
            Outlook::Delivered => Ok(Receipt { id: self.id, elapsed_us: elapsed_us() }),
            Outlook::Expired => Err(SendError::Expired(self.to)),
            Outlook::Stopped => Err(SendError::Stopped),
            Outlook::Pending(receipt) => receipt.await.unwrap_or(Err(SendError::Stopped)),
        }
    }

    async fn delivered_here(
        &self,
        receipt: Option<&SharedFuture<oneshot::Receiver<u64>>>,
        ttl: Duration,
    ) -> Result<Receipt, SendError> {
        let receipt = receipt.ok_or(SendError::Stopped)?.clone();
        match crate::rt::timeout(ttl.saturating_sub(self.at.elapsed()), receipt).await {
            Some(Ok(elapsed_us)) => Ok(Receipt { id: self.id, elapsed_us }),
            Some(Err(oneshot::Canceled)) => Err(SendError::Stopped),
            None => Err(SendError::Expired(self.to)),
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
    /// Into a mailbox of this node, with its time to live.
    Here(Mailbox, Message, Duration),
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
        let (now, ttl) = (Timestamp::now(), Duration::from_millis(message.ttl_ms));
        let message = Message {
            id: MessageId(local_id()),
            from,
            to: message.to,
            sent_at: now,
            received_at: now,
            protection: Protection::Local,
            body: message.body,
        };
        return Ok(Way::Here(mailbox, message, ttl));
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

/// A message on its way into a mailbox of this node.
struct Arriving {
    sent: Sent,
    expected: Expected,
    event: Event,
}

impl Arriving {
    fn new(shared: &Shared, mailbox: &Mailbox, message: &Message, ttl: Duration) -> Self {
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
            fate: Fate::Here(None, ttl),
        };
        Arriving { sent, expected: mailbox.expect(message), event }
    }

    /// It is in the mailbox.
    fn arrived(self, shared: &Shared) -> Sent {
        let mut sent = self.sent;
        if let Fate::Here(receipt, _) = &mut sent.fate {
            *receipt = self.expected.keep().map(FutureExt::shared);
        }
        shared.stats.count(Counter::MessagesReceived, 1);
        shared.publish(self.event);
        sent
    }
}

/// Queues one message; waits for room. What is to be sent next is left in `work`.
async fn queue(shared: &Shared, message: Outgoing, work: &mut Work) -> Result<Sent, SendError> {
    let (conv, mut message) = match way(shared, message)? {
        Way::There(conv, message) => (conv, message),
        Way::Here(mailbox, message, ttl) => {
            let arriving = Arriving::new(shared, &mailbox, &message, ttl);
            if let Some(message) = mailbox.push(message) {
                // What goes elsewhere must not wait for this.
                work.finish(shared);
                mailbox.push_wait(message).await.map_err(|_| SendError::Stopped)?;
            }
            return Ok(arriving.arrived(shared));
        }
    };
    let (to, bytes) = (message.to, message.body.len() as u64);
    loop {
        let seen = conv.room_count();
        message = match conv.try_queue(shared, message) {
            Ok(id) => {
                work.pump_later(&conv);
                return Ok(Sent {
                    id,
                    durable: false,
                    bytes,
                    at: Instant::now(),
                    to,
                    fate: Fate::There(conv),
                });
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
        Way::Here(mailbox, message, ttl) => {
            let arriving = Arriving::new(shared, &mailbox, &message, ttl);
            if mailbox.push(message).is_some() {
                return Err(SendError::Full(to));
            }
            Ok(arriving.arrived(shared))
        }
        Way::There(conv, message) => {
            let bytes = message.body.len() as u64;
            let id = conv.try_queue(shared, message).map_err(|_| SendError::Full(to))?;
            conv.wake_pump(shared);
            Ok(Sent { id, durable: false, bytes, at: Instant::now(), to, fate: Fate::There(conv) })
        }
    }
}
