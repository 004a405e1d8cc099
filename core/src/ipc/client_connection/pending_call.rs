//! A call under way, as the future of its reply or the stream of its items.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{AHEAD, ClientConnection};
use crate::ipc::error::ClientError;
use crate::ipc::protocol::{ClientFrame, Reply, StreamItem};

/// A call under way. Dropped, it is cancelled, and what came for it is given back.
#[derive(Debug)]
pub(in crate::ipc) struct PendingCall {
    pub(super) connection: Arc<ClientConnection>,
    pub(super) id: u64,
    /// Items taken since the daemon was last granted credit.
    pub(super) spent: u32,
}

impl PendingCall {
    /// Allows the first items of a stream.
    pub(in crate::ipc) fn open(self) -> Self {
        self.connection.mux.say(&ClientFrame::Credit { id: self.id, items: AHEAD });
        self
    }

    /// The next item of a stream; `None` at its end.
    pub(in crate::ipc) fn poll_item(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<StreamItem, ClientError>>> {
        let mut table = self.connection.mux.lock();
        let lost = table.lost.clone();
        let Some(call) = table.calls.get_mut(&self.id) else { return Poll::Ready(None) };
        if let Some(item) = call.items.pop_front() {
            let ended = call.end.is_some();
            drop(table);
            self.spent += 1;
            if self.spent >= AHEAD / 2 && !ended {
                self.connection.mux.say(&ClientFrame::Credit { id: self.id, items: self.spent });
                self.spent = 0;
            }
            return Poll::Ready(Some(Ok(item)));
        }
        match call.end.take() {
            Some(end) => {
                let call = table.calls.remove(&self.id);
                drop(table);
                drop(call);
                self.connection.mux.offer_room();
                Poll::Ready(end.err().map(|failure| Err(failure.into())))
            }
            None if lost.is_some() => {
                let call = table.calls.remove(&self.id);
                drop(table);
                drop(call);
                Poll::Ready(lost.map(Err))
            }
            None => {
                let stale = call.waker.replace(cx.waker().clone());
                drop(table);
                drop(stale);
                Poll::Pending
            }
        }
    }
}

impl Future for PendingCall {
    type Output = Result<Reply, ClientError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut table = self.connection.mux.lock();
        let lost = table.lost.clone();
        if let Some(call) = table.calls.get_mut(&self.id) {
            match call.end.take() {
                Some(end) => {
                    let call = table.calls.remove(&self.id);
                    drop(table);
                    drop(call);
                    self.connection.mux.offer_room();
                    return Poll::Ready(match end {
                        Ok(Some(reply)) => Ok(reply),
                        Ok(None) => Err(ClientError::Disconnected("an answer of the wrong kind".to_owned())),
                        Err(failure) => Err(failure.into()),
                    });
                }
                None if lost.is_none() => {
                    let stale = call.waker.replace(cx.waker().clone());
                    drop(table);
                    drop(stale);
                    return Poll::Pending;
                }
                None => {}
            }
        }
        drop(table);
        // Lost, or polled after its end.
        Poll::Ready(Err(self.connection.lost()))
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        let mut table = self.connection.mux.lock();
        let Some(call) = table.calls.remove(&self.id) else { return };
        table.bytes -= call.bytes;
        drop(table);
        match call.end {
            Some(end) => self.connection.mux.unwanted(end),
            None => self.connection.mux.say(&ClientFrame::Cancel { id: self.id }),
        }
        self.connection.mux.offer_room();
    }
}
