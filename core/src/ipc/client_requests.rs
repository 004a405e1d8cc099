//! Services and requests, as a client of the daemon uses them: the verbs are those of a node.

use std::time::Duration;

use crate::address::Address;
use crate::ipc::client::{Client, expect_reply, micros, size};
use crate::ipc::error::ClientError;
use crate::ipc::mailbox::ClientMailbox;
use crate::ipc::protocol::{Call, Reply};
use crate::ipc::sent::ClientSent;
use crate::serving::{MAX_SERVED, RequestSource, serve};
use crate::types::{Body, Message, Outgoing, SendError, ServiceTooLong};

impl Client {
    /// Sends a request to a service of `peer`, and returns the answer. When the future is dropped, the request is
    /// withdrawn. A request that has reached a service may be served even if this returns an error.
    ///
    /// # Errors
    /// [`ClientError::Request`]: no program serves the service at the peer, which is known at once, the service has
    /// failed, or no answer arrived within `timeout`.
    pub async fn request(
        &self,
        peer: &Address,
        service: &str,
        body: impl Into<Body>,
        timeout: Duration,
    ) -> Result<Message, ClientError> {
        self.submit_request(Outgoing::new(*peer, body).service(service), timeout).await
    }

    /// Sends a request with options: its sender, and the message to which it replies.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn submit_request(&self, message: Outgoing, timeout: Duration) -> Result<Message, ClientError> {
        let bytes = size(&message)?;
        let call = Call::Request { message: Box::new(message), timeout_us: micros(timeout) };
        let pending = self.connection().begin(call, bytes).await?;
        expect_reply!(pending.await?, Reply::Answer(answer) => *answer)
    }

    /// Replies to a message: the answer of a request goes to the program that waits for it, another reply to the mailbox
    /// of the same service at the sender.
    ///
    /// # Errors
    /// As [`Client::submit`].
    pub async fn reply(&self, message: &Message, body: impl Into<Body>) -> Result<ClientSent, ClientError> {
        self.submit(Outgoing::reply(message, body)).await
    }

    /// The inbox of a service of [`Client::address`]. The service is open from the first reception on, as long as the
    /// connection exists; requests to a service that is not open are refused.
    ///
    /// # Errors
    /// [`ServiceTooLong`] when the name is longer than [`Service::MAX`](crate::types::Service::MAX).
    pub fn service(&self, name: impl AsRef<str>) -> Result<ClientMailbox, ServiceTooLong> {
        self.own_inbox().service(name)
    }

    /// Serves the requests to a service of [`Client::address`], up to 64 at a time, until the future is dropped. The
    /// handler gets each message of the service; its result is the answer of a request, and an error is a text that the
    /// requester gets at once.
    ///
    /// # Errors
    /// When the daemon stops or the connection is lost, and when the name of the service is too long.
    pub async fn serve<F, B>(&self, service: &str, handler: impl Fn(Message) -> F) -> Result<(), ClientError>
    where
        F: Future<Output = Result<B, String>>,
        B: Into<Body>,
    {
        let inbox =
            self.service(service).map_err(|ServiceTooLong| ClientError::Send(SendError::ServiceTooLong))?;
        self.serve_inbox(&inbox, MAX_SERVED, handler).await
    }

    /// As [`Client::serve`], for the inbox of a service of any address, and up to `limit` requests at a time.
    ///
    /// # Errors
    /// As [`Client::serve`].
    pub async fn serve_inbox<F, B>(
        &self,
        inbox: &ClientMailbox,
        limit: usize,
        handler: impl Fn(Message) -> F,
    ) -> Result<(), ClientError>
    where
        F: Future<Output = Result<B, String>>,
        B: Into<Body>,
    {
        serve(limit, &ServedInbox { client: self, inbox }, handler).await
    }
}

/// An inbox of a client that a handler serves.
struct ServedInbox<'a> {
    client: &'a Client,
    inbox: &'a ClientMailbox,
}

impl RequestSource for ServedInbox<'_> {
    type Error = ClientError;

    async fn next(&self) -> Result<Message, ClientError> {
        self.inbox.recv().await
    }

    async fn answer(&self, answer: Outgoing) -> Result<(), ClientError> {
        self.client.submit(answer).await.map(drop)
    }

    // The daemon lets unanswered requests fail when the connection ends.
    fn abandon(&self, _failure: Outgoing) {}
}
