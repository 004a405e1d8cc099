//! The received messages in the journal that no application has acknowledged.

use futures::io::AsyncWrite;
use serde_json::json;

use super::{Calls, Request, document};
use crate::api::error::ApiError;
use crate::api::params;
use crate::cli::inbox::UnreadWithBody;
use crate::cli::outbox::MOST_LISTED;

impl<W: AsyncWrite + Unpin + Send> Calls<'_, W> {
    pub(super) async fn inbox(&self, request: &Request<'_>) -> Result<Vec<u8>, ApiError> {
        let client = self.client;
        match request.method.as_str() {
            "inbox.list" | "inbox.dead" => {
                let params::OutboxParams { limit } = request.params()?;
                let limit = limit.unwrap_or(MOST_LISTED).min(MOST_LISTED);
                document(&client.inbox(request.method == "inbox.dead", limit).await?)
            }
            "inbox.peek" => {
                let params::WaitingParams { id } = request.params()?;
                let (message, body) = client.inbox_message(&id).await?;
                document(&UnreadWithBody::of(&message, &body))
            }
            "inbox.revive" => {
                let params::WaitingParams { id } = request.params()?;
                client.revive_message(&id).await?;
                document(&json!({ "revived": id }))
            }
            _ => {
                let params::WaitingParams { id } = request.params()?;
                client.discard_message(&id).await?;
                document(&json!({ "discarded": id }))
            }
        }
    }
}
