//! The output of a connection: whole documents, one after the other.

use std::io;
use std::time::Duration;

use async_io::Timer;
use futures::future::{Either, select};
use futures::io::{AsyncWrite, AsyncWriteExt};
use futures::lock::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;

use super::error::ApiError;
use crate::cli::json;

/// The time after which a connection ends when its peer reads nothing of a document.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Writes documents, each in one piece. Those that wait are formed later, so that only one is in memory.
pub(super) struct DocumentWriter<W> {
    output: Mutex<W>,
}

impl<W: AsyncWrite + Unpin> DocumentWriter<W> {
    pub(super) fn new(output: W) -> Self {
        DocumentWriter { output: Mutex::new(output) }
    }

    /// Answers the call `id` by the document of its result.
    pub(super) async fn answer(&self, id: &RawValue, result: Result<Vec<u8>, ApiError>) -> io::Result<()> {
        match result {
            Ok(document) => {
                let head = format!(r#"{{"jsonrpc":"2.0","id":{},"result":"#, id.get());
                self.write(&head, || Ok(document)).await
            }
            Err(error) => self.failure(Some(id), &error).await,
        }
    }

    /// Answers a call by an error; `id` is `None` when the call is not known.
    pub(super) async fn failure(&self, id: Option<&RawValue>, error: &ApiError) -> io::Result<()> {
        let id = id.map_or("null", RawValue::get);
        let head = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":"#);
        self.write(&head, || json::document(error)).await
    }

    /// Writes a notification.
    pub(super) async fn notify(&self, method: &str, params: &impl Serialize) -> io::Result<()> {
        let head = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":"#);
        self.write(&head, || json::document(params)).await
    }

    /// Writes `head`, a document that is formed when its turn has come, and the end of both.
    async fn write(&self, head: &str, form: impl FnOnce() -> serde_json::Result<Vec<u8>>) -> io::Result<()> {
        let mut output = self.output.lock().await;
        let mut bytes = head.as_bytes().to_vec();
        bytes.append(&mut form()?);
        bytes.extend_from_slice(b"}\n");
        for chunk in bytes.chunks(64 << 10) {
            let written = std::pin::pin!(async {
                output.write_all(chunk).await?;
                output.flush().await
            });
            match select(written, Timer::after(WRITE_TIMEOUT)).await {
                Either::Left((written, _)) => written?,
                Either::Right(_) => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "the peer does not read its answers",
                    ));
                }
            }
        }
        Ok(())
    }
}
