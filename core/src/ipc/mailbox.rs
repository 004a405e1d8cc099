//! The inboxes of the daemon, as a client receives from them.

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
use crate::types::{Message, Service, ServiceTooLong};

/// The number of messages that a stream fetches at once.
const STREAM_BATCH: u32 = 64;

/// The inbox of one of the daemon's addresses. Several receivers compete: each message goes to one of them.
///
/// Every future may be dropped: a message that it has not returned goes back to the head of its inbox.
#[derive(Clone, Debug)]
pub struct ClientMailbox {
    pub(super) connection: Arc<ClientConnection>,
    pub(super) to: Option<Address>,
    pub(super) service: Service,
}

impl ClientMailbox {
    /// The inbox of a service of the same address; see [`Client::service`](crate::ipc::Client::service).
    ///
    /// # Errors
    /// [`ServiceTooLong`] when the name is longer than [`Service::MAX`].
    pub fn service(&self, name: impl AsRef<str>) -> Result<ClientMailbox, ServiceTooLong> {
        let service = Service::new(name.as_ref()).ok_or(ServiceTooLong)?;
        Ok(ClientMailbox { service, ..self.clone() })
    }

    /// Receives the next message. It has left its inbox when the future is ready.
    ///
    /// # Errors
    /// When the daemon stops, the connection is lost, or the address is another user's.
    pub async fn recv(&self) -> Result<Message, ClientError> {
        self.delivery(None).await.map(Delivery::done)
    }

    /// Receives the next message from `peer`. The messages of other senders stay in the inbox.
    ///
    /// # Errors
    /// As for [`ClientMailbox::recv`].
    pub async fn recv_from(&self, peer: &Address) -> Result<Message, ClientError> {
        self.delivery(Some(peer)).await.map(Delivery::done)
    }

    /// Receives the next messages, at least one and at most `limit`, in one round trip.
    ///
    /// # Errors
    /// As for [`ClientMailbox::recv`].
    pub async fn recv_batch(&self, limit: usize) -> Result<Vec<Message>, ClientError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let fetched = self.clone().fetch(None, limit).await?;
        // There is no await from here on, so that the poll that confirms the batch also returns it.
        self.connection.confirm(fetched.iter().map(|fetched| fetched.ticket).collect());
        Ok(fetched.into_iter().map(|fetched| fetched.message).collect())
    }

    /// Receives the next message (from `peer`, if one is named), which stays in its inbox until [`Delivery::done`].
    /// This is for programs that process a message before they confirm it.
    ///
    /// # Errors
    /// As for [`ClientMailbox::recv`].
    pub async fn delivery(&self, peer: Option<&Address>) -> Result<Delivery, ClientError> {
        let mut fetched = self.clone().fetch(peer.copied(), 1).await?;
        match fetched.pop() {
            Some(Fetched { ticket, from_name, message }) if fetched.is_empty() => {
                Ok(Delivery { message, from_name, ticket: Some(ticket), connection: self.connection.clone() })
            }
            _ => Err(ClientError::unexpected_reply()),
        }
    }

    /// As [`ClientMailbox::delivery`], but receives up to `limit` messages in one round trip.
    ///
    /// # Errors
    /// As for [`ClientMailbox::recv`].
    pub async fn deliveries(
        &self,
        peer: Option<&Address>,
        limit: usize,
    ) -> Result<Vec<Delivery>, ClientError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let fetched = self.clone().fetch(peer.copied(), limit).await?;
        let delivery = |Fetched { ticket, from_name, message }| Delivery {
            message,
            from_name,
            ticket: Some(ticket),
            connection: self.connection.clone(),
        };
        Ok(fetched.into_iter().map(delivery).collect())
    }

    async fn fetch(self, from: Option<Address>, limit: u32) -> Result<Vec<Fetched>, ClientError> {
        let call = Call::Receive { to: self.to, service: self.service, from, limit };
        match self.connection.call(call).await? {
            Reply::Messages(fetched) => Ok(fetched),
            _ => Err(ClientError::unexpected_reply()),
        }
    }

    /// A stream of the messages, as they come. It ends when the daemon stops or the connection is lost. When it is
    /// dropped, the messages that it had fetched ahead go back to the inbox.
    pub fn messages(&self) -> ClientMessages {
        ClientMessages { mailbox: self.clone(), ready: VecDeque::new(), fetching: None }
    }
}

/// A message that is not yet confirmed. When it is dropped, the message goes back to the head of its inbox. A durable one
/// counts the attempt to deliver it, and becomes a dead letter after the last one that is allowed.
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

    /// The name of the sender in the daemon's address book.
    pub fn from_name(&self) -> Option<&str> {
        self.from_name.as_deref()
    }

    /// Confirms the message, which leaves its inbox. The confirmation is sent with the next write;
    /// [`Client::flush`](crate::ipc::Client::flush) waits for that.
    pub fn done(mut self) -> Message {
        self.connection.confirm(self.ticket.take().into_iter().collect());
        // The body is shared, not copied.
        self.message.clone()
    }
}

impl Delivery {
    /// Gives the message back without an attempt, because it was not looked at.
    pub fn release(mut self) {
        self.connection.give_back(self.ticket.take().into_iter().collect(), false);
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.connection.give_back(vec![ticket], true);
        }
    }
}

/// The messages of an inbox, as they come; see [`ClientMailbox::messages`].
pub struct ClientMessages {
    mailbox: ClientMailbox,
    ready: VecDeque<Fetched>,
    fetching: Option<BoxFuture<'static, Result<Vec<Fetched>, ClientError>>>,
}

impl Stream for ClientMessages {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let this = self.get_mut();
        loop {
            if let Some(Fetched { ticket, message, .. }) = this.ready.pop_front() {
                this.mailbox.connection.confirm(vec![ticket]);
                return Poll::Ready(Some(message));
            }
            let mailbox = &this.mailbox;
            let fetching =
                this.fetching.get_or_insert_with(|| mailbox.clone().fetch(None, STREAM_BATCH).boxed());
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

impl Drop for ClientMessages {
    fn drop(&mut self) {
        if !self.ready.is_empty() {
            let tickets = self.ready.iter().map(|fetched| fetched.ticket).collect();
            self.mailbox.connection.give_back(tickets, false);
        }
    }
}
