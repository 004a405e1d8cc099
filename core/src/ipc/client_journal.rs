//! The calls of a client about the messages in the daemon's journal.

use crate::ipc::client::{Client, expect_reply};
use crate::ipc::error::ClientError;
use crate::ipc::protocol::{Call, Reply};
use crate::types::{Body, MessageId, UnreadMessage, WaitingMessage};

impl Client {
    /// The messages in the daemon's journal that this user has sent and that are not delivered yet: at most `limit`.
    pub async fn outbox(&self, limit: usize) -> Result<Vec<WaitingMessage>, ClientError> {
        let call = Call::Outbox { limit: u32::try_from(limit).unwrap_or(u32::MAX) };
        expect_reply!(self.connection().call(call).await?, Reply::Outbox(list) => list)
    }

    /// A message in the daemon's journal that is not delivered yet, with its body.
    pub async fn outbox_message(&self, id: &MessageId) -> Result<(WaitingMessage, Body), ClientError> {
        let call = Call::OutboxMessage { id: *id };
        expect_reply!(self.connection().call(call).await?, Reply::OutboxMessage(found) => *found)
    }

    /// Cancels a message in the daemon's journal. One of which a part was sent may be received nevertheless.
    pub async fn cancel(&self, id: &MessageId) -> Result<(), ClientError> {
        self.command(Call::CancelMessage { id: *id }).await
    }

    /// The received messages in the daemon's journal for this user that no application has acknowledged, or the `dead`
    /// letters: at most `limit`.
    pub async fn inbox(&self, dead: bool, limit: usize) -> Result<Vec<UnreadMessage>, ClientError> {
        let call = Call::Inbox { dead, limit: u32::try_from(limit).unwrap_or(u32::MAX) };
        expect_reply!(self.connection().call(call).await?, Reply::Inbox(list) => list)
    }

    /// A received message in the daemon's journal with its body, waiting or dead. It stays there.
    pub async fn inbox_message(&self, id: &MessageId) -> Result<(UnreadMessage, Body), ClientError> {
        let call = Call::InboxMessage { id: *id };
        expect_reply!(self.connection().call(call).await?, Reply::InboxMessage(found) => *found)
    }

    /// Lets a dead letter in the daemon's journal wait for an application again.
    pub async fn revive_message(&self, id: &MessageId) -> Result<(), ClientError> {
        self.command(Call::ReviveMessage { id: *id }).await
    }

    /// Waits until all messages that this client has taken or confirmed before are off the disk of the daemon. A message
    /// whose acknowledgement is not there yet comes again if the daemon is killed now.
    pub async fn acknowledged(&self) -> Result<(), ClientError> {
        self.command(Call::Acknowledged).await
    }

    /// Removes a received message from the daemon's journal, waiting or dead.
    pub async fn discard_message(&self, id: &MessageId) -> Result<(), ClientError> {
        self.command(Call::DiscardMessage { id: *id }).await
    }
}
