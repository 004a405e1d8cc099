//! The durable messages that are not delivered yet.

use futures::io::AsyncWrite;
use serde_json::json;

use super::{Calls, Request, document};
use crate::api::error::ApiError;
use crate::api::params;
use crate::cli::outbox::{MOST_LISTED, ShownMessage};

impl<W: AsyncWrite + Unpin + Send> Calls<'_, W> {
    pub(super) async fn outbox(&self, request: &Request<'_>) -> Result<Vec<u8>, ApiError> {
        let client = self.client;
        match request.method.as_str() {
            "outbox.list" => {
                let params::OutboxParams { limit } = request.params()?;
                document(&client.outbox(limit.unwrap_or(MOST_LISTED).min(MOST_LISTED)).await?)
            }
            "outbox.show" => {
                let params::WaitingParams { id } = request.params()?;
                let (message, body) = client.outbox_message(&id).await?;
                document(&ShownMessage::of(&message, &body))
            }
            _ => {
                let params::WaitingParams { id } = request.params()?;
                client.cancel(&id).await?;
                document(&json!({ "cancelled": id }))
            }
        }
    }
}
