//! Requests and their answers.

use std::sync::Arc;
use std::time::Duration;

use super::mailbox::Stopped;
use super::mailbox::requests::MAX_REQUESTS;
use super::{Mailbox, Node, Sent, send};
use crate::address::Address;
use crate::node::state::NodeState;
use crate::node::state::locks::read;
use crate::serving::{MAX_SERVED, RequestSource, serve};
use crate::types::{Body, Message, MessageKind, Outgoing, RequestError, SendError, ServiceTooLong};

/// Withdraws a request whose future was dropped before its answer arrived, because no program waits for the answer any more.
struct Withdrawal {
    shared: Arc<NodeState>,
    sent: Sent,
    is_answered: bool,
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        if !self.is_answered {
            self.sent.withdraw(&self.shared);
        }
    }
}

impl Node {
    /// Sends a request to a service of `peer`, and returns the answer. When the future is dropped, the request is
    /// withdrawn. A request that has reached a service may be served even if this returns an error.
    ///
    /// # Errors
    /// [`RequestError`]: no program serves the service at the peer, which is known at once, the service has failed, or no
    /// answer arrived within `timeout`.
    pub async fn request(
        &self,
        peer: &Address,
        service: &str,
        body: impl Into<Body>,
        timeout: Duration,
    ) -> Result<Message, RequestError> {
        self.submit_request(Outgoing::new(*peer, body).service(service), timeout).await
    }

    /// Sends a request with options: its sender, and the message to which it replies.
    ///
    /// # Errors
    /// As [`Node::request`].
    pub async fn submit_request(
        &self,
        message: Outgoing,
        timeout: Duration,
    ) -> Result<Message, RequestError> {
        let (peer, service) = (message.to, message.attributes()?.service);
        let answered = self.await_answer(message.request(timeout));
        let answer = crate::rt::timeout(timeout, answered).await.ok_or(RequestError::TimedOut(peer))??;
        match answer.kind {
            MessageKind::Refused => Err(RequestError::NoSuchService { peer, service }),
            MessageKind::Failed => {
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                Err(RequestError::Failed { peer, service, text })
            }
            _ => Ok(answer),
        }
    }

    /// Sends a request and waits for its answer. The place for the answer is taken first, since the answer may arrive before the
    /// call that sends the request has returned.
    async fn await_answer(&self, message: Outgoing) -> Result<Message, RequestError> {
        let from = message.from.unwrap_or_else(|| self.address());
        let mailbox = self.mailbox(&from).ok_or(SendError::NotOurs(from))?;
        let mut place = mailbox.request_place().ok_or(RequestError::TooMany(MAX_REQUESTS as u64))?;
        let sent = send::submit_request(&self.shared, message, &mut place).await?;
        let mut withdrawal = Withdrawal { shared: self.shared.clone(), sent, is_answered: false };
        let answer = place.answer().await.ok_or(SendError::Stopped)?;
        withdrawal.is_answered = true;
        Ok(answer)
    }

    /// Replies to a message: the answer of a request goes to the program that waits for it, another reply to the mailbox
    /// of the same service at the sender.
    ///
    /// # Errors
    /// As [`Node::submit`].
    pub async fn reply(&self, message: &Message, body: impl Into<Body>) -> Result<Sent, SendError> {
        self.submit(Outgoing::reply(message, body)).await
    }

    /// The mailbox of a service of the node's first address. The service is open as long as a clone of the result exists;
    /// requests to a service that is not open are refused.
    ///
    /// # Errors
    /// [`ServiceTooLong`] when the name is longer than [`Service::MAX`](crate::types::Service::MAX).
    pub fn service(&self, name: impl AsRef<str>) -> Result<Mailbox, ServiceTooLong> {
        let mailbox = read(&self.shared.mailboxes).get(&self.address()).cloned();
        mailbox.unwrap_or_else(|| super::unreachable_mailbox(&self.shared)).service(name)
    }

    /// Serves the requests to a service of the node's first address, up to 64 at a time, until the node stops or the
    /// future is dropped. The handler gets each message of the service; its result is the answer of a request, and an
    /// error is a text that the requester gets at once.
    ///
    /// # Errors
    /// [`SendError::Stopped`] when the node is stopped, and [`SendError::ServiceTooLong`].
    pub async fn serve<F, B>(&self, service: &str, handler: impl Fn(Message) -> F) -> Result<(), SendError>
    where
        F: Future<Output = Result<B, String>>,
        B: Into<Body>,
    {
        let mailbox = self.service(service).map_err(|ServiceTooLong| SendError::ServiceTooLong)?;
        let source = ServedMailbox { node: self, mailbox };
        serve(MAX_SERVED, &source, handler).await
    }
}

/// A service of a node that a handler serves.
struct ServedMailbox<'a> {
    node: &'a Node,
    mailbox: Mailbox,
}

impl RequestSource for ServedMailbox<'_> {
    type Error = SendError;

    async fn next(&self) -> Result<Message, SendError> {
        self.mailbox.recv().await.map_err(|Stopped| SendError::Stopped)
    }

    async fn answer(&self, answer: Outgoing) -> Result<(), SendError> {
        self.node.submit(answer).await.map(drop)
    }

    // Volatile, since an answer without its requester is worth no place in the journal. Without room for it, the requester
    // waits for its time-out.
    fn abandon(&self, failure: Outgoing) {
        drop(self.node.try_send(failure.volatile()));
    }
}
