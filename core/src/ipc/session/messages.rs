//! Receptions and requests of one connection.

use std::time::Duration;

use super::ClientSession;
use crate::address::Address;
use crate::ipc::admin::Admin;
use crate::ipc::protocol::{DaemonFrame, Failure, Fetched, MAX_BATCH, MAX_REPLY_BODIES, Reply};
use crate::ipc::unconfirmed::give_back;
use crate::node::Stopped;
use crate::types::{Message, Outgoing, Service};

/// The bytes that a message is counted with in a reply, beside its body.
const FETCHED_OVERHEAD: usize = 512;

impl<A: Admin> ClientSession<A> {
    /// Fetches messages. There is no await between the moment at which they leave the inbox and the moment at which
    /// they are kept as unconfirmed, so that a dropped future loses none.
    pub(super) async fn receive(
        &self,
        id: u64,
        to: Option<Address>,
        service: Service,
        from: Option<Address>,
        limit: u32,
    ) -> Result<(), Failure> {
        let to = self.address(to)?;
        self.outbox.room().await;
        if self.unconfirmed.is_full() {
            return Err(Failure::Busy);
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).clamp(1, MAX_BATCH);
        let fetched = match (self.services.mailbox(&self.node, &to, service)?, from) {
            (Some(mailbox), Some(peer)) => mailbox.fetch_from(&peer).await.map(|message| vec![message]),
            (Some(mailbox), None) => mailbox.fetch_batch(limit).await,
            (None, _) => Err(Stopped),
        };
        let mut messages = fetched.map_err(|Stopped| match self.admin.owner(&to) {
            Some(_) => Failure::Stopped,
            None => Failure::NoSuchAddress(to),
        })?;
        let fitting = fitting(&messages);
        for message in messages.drain(fitting..).rev() {
            give_back(&self.node, message, false);
        }
        let fetched = messages.into_iter().map(|message| Fetched {
            ticket: self.unconfirmed.add(&message),
            from_name: self.admin.name_of(&message.from),
            message,
        });
        let reply = Reply::Messages(fetched.collect());
        // An error means that the connection is closed, and it gives back its unconfirmed messages by itself.
        let _ = self.outbox.push(&DaemonFrame::Reply { id, reply });
        Ok(())
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn request(&self, message: Outgoing, timeout: Duration) -> Result<Reply, Failure> {
        let from = self.address(message.from)?;
        let answered = self.node.submit_request(message.from(from), timeout).await;
        answered
            .map(|answer| Reply::Answer(Box::new(answer)))
            .map_err(|error| Failure::Request(Box::new(error)))
    }
}

/// The number of messages that fit into one reply, which is at least one.
fn fitting(messages: &[Message]) -> usize {
    let mut bytes = 0;
    let beyond = messages.iter().position(|message| {
        bytes += message.body.len() + FETCHED_OVERHEAD;
        bytes > MAX_REPLY_BODIES
    });
    beyond.unwrap_or(messages.len()).max(1).min(messages.len())
}
