//! Messages coming in through the daemon.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use futures::future::{BoxFuture, FutureExt};

use crate::address::Address;
use crate::ipc::client_connection::ClientConnection;
use crate::ipc::error::ClientError;
use crate::ipc::protocol::{Call, Fetched, Reply};
use crate::types::Message;

/// So many messages a stream fetches at once.
const STREAM_BATCH: u32 = 64;

/// The inbox of one of the daemon's addresses. Several receivers compete: each message goes to one of them.
///
/// Every future here may be dropped: a message that had not been handed out goes back to the head of its inbox.
#[derive(Clone, Debug)]
pub struct Mailbox {
    pub(super) connection: Arc<ClientConnection>,
    pub(super) to: Option<Address>,
}

impl Mailbox {
    /// The next message. It is the caller's from the moment the future is ready.
    ///
    /// # Errors
    /// When the daemon stops, the connection is lost, or the address is another user's.
    pub async fn recv(&self) -> Result<Message, ClientError> {
        self.delivery(None).await.map(Delivery::done)
    }

    /// The next message from `peer`; others stay where they are.
    ///
    /// # Errors
    /// As for [`Mailbox::recv`].
    pub async fn recv_from(&self, peer: &Address) -> Result<Message, ClientError> {
        self.delivery(Some(peer)).await.map(Delivery::done)
    }

    /// The next messages, at least one and at most `limit` of them, in one round trip.
    ///
    /// # Errors
    /// As for [`Mailbox::recv`].
    pub async fn recv_batch(&self, limit: usize) -> Result<Vec<Message>, ClientError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let fetched = fetch(self.connection.clone(), self.to, None, limit).await?;
        // No await from here on: the batch is handed out in the poll that confirms it.
        self.connection.taken(fetched.iter().map(|fetched| fetched.ticket).collect());
        Ok(fetched.into_iter().map(|fetched| fetched.message).collect())
    }

    /// The next message (from `peer`, if one is named), still the inbox's until [`Delivery::done`]: for who wants to have
    /// finished with a message before it is gone from the inbox.
    ///
    /// # Errors
    /// As for [`Mailbox::recv`].
    pub async fn delivery(&self, peer: Option<&Address>) -> Result<Delivery, ClientError> {
        let mut fetched = fetch(self.connection.clone(), self.to, peer.copied(), 1).await?;
        match fetched.pop() {
            Some(Fetched { ticket, from_name, message }) if fetched.is_empty() => {
                Ok(Delivery { message, from_name, ticket: Some(ticket), connection: self.connection.clone() })
            }
            _ => Err(ClientError::Disconnected("a batch of the wrong size".to_owned())),
        }
    }

    /// The messages, as they come. The stream ends when the daemon stops or the connection is lost; dropped, it gives
    /// back what it had fetched ahead.
    pub fn messages(&self) -> Messages {
        Messages { mailbox: self.clone(), ready: VecDeque::new(), fetching: None }
    }
}

async fn fetch(
    connection: Arc<ClientConnection>,
    to: Option<Address>,
    from: Option<Address>,
    limit: u32,
) -> Result<Vec<Fetched>, ClientError> {
    match connection.call(Call::Receive { to, from, limit }).await? {
        Reply::Messages(fetched) => Ok(fetched),
        _ => Err(ClientError::Disconnected("an answer of the wrong kind".to_owned())),
    }
}

/// A message that is still its inbox's. Dropped, it goes back to the head.
#[derive(Debug)]
pub struct Delivery {
    message: Message,
    from_name: Option<String>,
    ticket: Option<u64>,
    connection: Arc<ClientConnection>,
}

impl Delivery {
    /// The message.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// What the daemon's address book calls the sender.
    pub fn from_name(&self) -> Option<&str> {
        self.from_name.as_deref()
    }

    /// Takes the message for good. The daemon hears of it with the next write;
    /// [`Client::flush`](crate::ipc::Client::flush) waits for that.
    pub fn done(mut self) -> Message {
        self.connection.taken(self.ticket.take().into_iter().collect());
        // The body is shared, not copied.
        self.message.clone()
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.connection.returned(vec![ticket]);
        }
    }
}

/// The messages of an inbox, as they come; see [`Mailbox::messages`].
pub struct Messages {
    mailbox: Mailbox,
    ready: VecDeque<Fetched>,
    fetching: Option<BoxFuture<'static, Result<Vec<Fetched>, ClientError>>>,
}

impl Stream for Messages {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let this = self.get_mut();
        loop {
            if let Some(Fetched { ticket, message, .. }) = this.ready.pop_front() {
                this.mailbox.connection.taken(vec![ticket]);
                return Poll::Ready(Some(message));
            }
            let Mailbox { connection, to } = &this.mailbox;
            let fetching = this
                .fetching
                .get_or_insert_with(|| fetch(connection.clone(), *to, None, STREAM_BATCH).boxed());
            match std::task::ready!(fetching.poll_unpin(cx)) {
                Ok(fetched) => {
                    this.fetching = None;
                    this.ready.extend(fetched);
                }
                Err(_) => {
                    this.fetching = None;
                    return Poll::Ready(None);
                }
            }
        }
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        if !self.ready.is_empty() {
            self.mailbox.connection.returned(self.ready.iter().map(|fetched| fetched.ticket).collect());
        }
    }
}
