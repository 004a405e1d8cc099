//! The calls about the received messages in the journal of the node.

use super::waiting_messages::{MOST_LISTED, unreadable};
use crate::ipc::admin::{Admin, AdminError, Denial};
use crate::ipc::protocol::{Call, Failure, Reply};
use crate::ipc::session::ClientSession;
use crate::journal::InboxPart;
use crate::types::{Body, MessageId, UnreadMessage};

impl<A: Admin> ClientSession<A> {
    pub(super) async fn unread_messages(&self, call: Call) -> Result<Reply, Failure> {
        match call {
            Call::Inbox { dead, limit } => {
                let part = if dead { InboxPart::DeadLetters } else { InboxPart::Waiting };
                let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(MOST_LISTED);
                let mut all = self.node.inbox(part, limit).await.map_err(|error| unreadable(&error))?;
                all.retain(|message| self.may_use(&message.to).is_ok());
                Ok(Reply::Inbox(all))
            }
            Call::InboxMessage { id } => Ok(Reply::InboxMessage(Box::new(self.unread_message(&id).await?))),
            Call::ReviveMessage { id } => {
                // Only after it is certain that the message is one of this user.
                self.unread_message(&id).await?;
                match self.node.revive(&id).await.map_err(|error| unreadable(&error))? {
                    true => Ok(Reply::Done),
                    false => Err(no_dead_letter()),
                }
            }
            Call::Acknowledged => {
                self.node.acknowledged().await.map_err(|error| unreadable(&error))?;
                Ok(Reply::Done)
            }
            Call::DiscardMessage { id } => {
                self.unread_message(&id).await?;
                match self.node.discard(&id).await.map_err(|error| unreadable(&error))? {
                    true => Ok(Reply::Done),
                    false => Err(no_such_message()),
                }
            }
            _ => Ok(Reply::Done),
        }
    }

    /// A received message of this user.
    async fn unread_message(&self, id: &MessageId) -> Result<(UnreadMessage, Body), Failure> {
        let found = self.node.inbox_message(id).await.map_err(|error| unreadable(&error))?;
        // One of another user is treated like one that does not exist, so that its sender stays private.
        found.filter(|(message, _)| self.may_use(&message.to).is_ok()).ok_or_else(no_such_message)
    }
}

fn no_such_message() -> Failure {
    let text = "no received message with this id is in the journal";
    let hint = "an application may have acknowledged it meanwhile; `rouse inbox` lists those that wait";
    AdminError::new(Denial::NotFound, text, hint).into()
}

fn no_dead_letter() -> Failure {
    let text = "the message is no dead letter: it waits for an application";
    AdminError::new(Denial::NotFound, text, "`rouse inbox dead` lists the dead letters").into()
}
