//! A message that the daemon has accepted, and its receipt.

use std::sync::Arc;

use crate::ipc::client_connection::{ClientConnection, PendingCall};
use crate::ipc::error::ClientError;
use crate::ipc::protocol::{Call, Reply};
use crate::types::{MessageId, Receipt};

/// A message that the daemon has accepted for sending.
#[derive(Debug)]
pub struct ClientSent {
    /// Its identifier, which is the same at the recipient.
    pub id: MessageId,
    /// Whether it would survive a crash of the daemon.
    pub durable: bool,
    /// The length of its body, in bytes.
    pub bytes: u64,
    /// The ticket of its receipt, and the connection on which the ticket holds.
    pub(super) receipt: Option<(u64, Arc<ClientConnection>)>,
}

impl ClientSent {
    /// Waits until the message is delivered: the recipient has a durable one on its disk if it has a journal, or an application
    /// there has taken it. When this future is dropped, the message is still sent.
    ///
    /// # Errors
    /// [`SendError::Expired`](crate::SendError::Expired), or [`SendError::Unknown`](crate::SendError::Unknown) when a part of
    /// it had been sent, when its time to live ran out before.
    pub async fn delivered(mut self) -> Result<Receipt, ClientError> {
        let Some((ticket, connection)) = self.receipt.take() else { return Err(ClientError::Stopped) };
        match connection.call(Call::Delivered { ticket }).await? {
            Reply::Receipt(receipt) => Ok(receipt),
            _ => Err(ClientError::unexpected_reply()),
        }
    }
}

impl Drop for ClientSent {
    fn drop(&mut self) {
        if let Some((ticket, connection)) = self.receipt.take() {
            connection.forget(ticket);
        }
    }
}

/// Waits until the messages of a call are accepted.
pub(super) async fn accepted(
    pending: PendingCall,
    connection: Arc<ClientConnection>,
) -> Result<Vec<ClientSent>, ClientError> {
    let Reply::Sent(infos) = pending.await? else { return Err(ClientError::unexpected_reply()) };
    let sent = infos.into_iter().map(|info| ClientSent {
        id: info.id,
        durable: info.durable,
        bytes: info.bytes,
        receipt: Some((info.ticket, connection.clone())),
    });
    Ok(sent.collect())
}
