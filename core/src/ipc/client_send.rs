//! The sending of messages whose order counts, for a client with many calls under way.

use crate::ipc::client::{Client, expect_reply, size};
use crate::ipc::error::ClientError;
use crate::ipc::protocol::Call;
use crate::ipc::sent::{ClientSent, accepted};
use crate::types::Outgoing;

impl Client {
    /// Begins to send a message. When this returns, the message is on its way to the daemon, which accepts it before those to
    /// the same recipient whose sending is begun later; the future that it returns waits until it is accepted.
    ///
    /// # Errors
    /// [`ClientError::Send`] when it is too long, and when the connection is lost.
    pub async fn begin_send(
        &self,
        message: Outgoing,
    ) -> Result<impl Future<Output = Result<ClientSent, ClientError>> + Send + use<>, ClientError> {
        let bytes = size(&message)?;
        let call = Call::Submit { messages: vec![message], wait: true };
        let pending = self.connection().begin(call, bytes).await?;
        let connection = self.connection().clone();
        Ok(async move {
            let mut sent = accepted(pending, connection).await?;
            expect_reply!(sent.pop(), Some(sent) => sent)
        })
    }
}
