//! The calls about the messages in the journal of the node.

use crate::ipc::admin::{Admin, AdminError, Denial};
use crate::ipc::protocol::{Call, Failure, Reply};
use crate::ipc::session::ClientSession;
use crate::journal::JournalError;
use crate::types::{Body, MessageId, WaitingMessage};

/// The most messages of one list.
pub(super) const MOST_LISTED: usize = 10_000;

pub(super) fn unreadable(error: &JournalError) -> Failure {
    AdminError::new(Denial::Failed, error.to_string(), "`rouse status` shows the state of the journal").into()
}

impl<A: Admin> ClientSession<A> {
    pub(super) async fn waiting_messages(&self, call: Call) -> Result<Reply, Failure> {
        match call {
            Call::Outbox { limit } => {
                let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(MOST_LISTED);
                let mut all = self.node.outbox(limit).await.map_err(|error| unreadable(&error))?;
                all.retain(|message| self.may_use(&message.from).is_ok());
                Ok(Reply::Outbox(all))
            }
            Call::OutboxMessage { id } => {
                Ok(Reply::OutboxMessage(Box::new(self.waiting_message(&id).await?)))
            }
            Call::CancelMessage { id } => {
                // Only after it is certain that the message is one of this user.
                self.waiting_message(&id).await?;
                match self.node.cancel(&id).await.map_err(|error| unreadable(&error))? {
                    true => Ok(Reply::Done),
                    false => Err(no_such_message()),
                }
            }
            _ => Ok(Reply::Done),
        }
    }

    /// A message of this user that is not delivered yet.
    async fn waiting_message(&self, id: &MessageId) -> Result<(WaitingMessage, Body), Failure> {
        let found = self.node.outbox_message(id).await.map_err(|error| unreadable(&error))?;
        // One of another user is treated like one that does not exist, so that its recipient stays private.
        found.filter(|(message, _)| self.may_use(&message.from).is_ok()).ok_or_else(no_such_message)
    }
}

fn no_such_message() -> Failure {
    let text = "no durable message with this id waits to be delivered";
    let hint = "it may have been delivered meanwhile; `rouse outbox` lists those that wait";
    AdminError::new(Denial::NotFound, text, hint).into()
}
