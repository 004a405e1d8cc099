//! The streams of a connection: receivers and subscriptions, which end when they are closed.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;

use futures::future::{AbortHandle, AbortRegistration, Abortable};
use rouse_core::notify::Notify;

use super::error::ApiError;

/// The most streams of a connection.
const MAX_STREAMS: usize = 64;

#[derive(Default)]
struct OpenStreams {
    by_number: BTreeMap<u64, AbortHandle>,
    last_number: u64,
}

/// The open streams of a connection.
pub(super) struct Streams(Notify<OpenStreams>);

impl Streams {
    pub(super) fn new() -> Self {
        Streams(Notify::new(OpenStreams::default()))
    }

    /// Opens a stream, which is open until it is dropped.
    pub(super) fn begin(&self) -> Result<Stream<'_>, ApiError> {
        let mut open = self.0.write();
        if open.by_number.len() >= MAX_STREAMS {
            let text = format!("a connection has at most {MAX_STREAMS} streams");
            return Err(ApiError::full(text, "close one with `receive.close` or `events.close`"));
        }
        open.last_number += 1;
        let number = open.last_number;
        let (handle, registration) = AbortHandle::new_pair();
        open.by_number.insert(number, handle);
        Ok(Stream { streams: self, number, registration: Some(registration) })
    }

    /// Closes a stream, and waits until it has ended. Returns whether there was one.
    pub(super) async fn close(&self, number: u64) -> bool {
        let handle = self.0.read().by_number.get(&number).cloned();
        let Some(handle) = handle else { return false };
        handle.abort();
        self.0.when(|open| (!open.by_number.contains_key(&number)).then_some(true)).await
    }

    pub(super) fn close_all(&self) {
        let handles: Vec<AbortHandle> = self.0.read().by_number.values().cloned().collect();
        handles.iter().for_each(AbortHandle::abort);
    }
}

/// An open stream.
pub(super) struct Stream<'a> {
    streams: &'a Streams,
    pub(super) number: u64,
    registration: Option<AbortRegistration>,
}

impl Stream<'_> {
    /// Runs `work` until it ends or the stream is closed.
    pub(super) async fn run(&mut self, work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
        let Some(registration) = self.registration.take() else { return Ok(()) };
        Abortable::new(work, registration).await.unwrap_or(Ok(()))
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        self.streams.0.write().by_number.remove(&self.number);
    }
}
