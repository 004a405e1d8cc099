//! A call under way: the future of its reply, or the stream of its items.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{ClientConnection, STREAM_CREDIT};
use crate::ipc::error::ClientError;
use crate::ipc::protocol::{ClientFrame, Reply, StreamItem};

/// A call under way. When it is dropped, it is cancelled, and the messages that came for it are given back.
#[derive(Debug)]
pub(in crate::ipc) struct PendingCall {
    pub(super) connection: Arc<ClientConnection>,
    pub(super) id: u64,
    /// The number of items taken since credit was last granted.
    pub(super) spent: u32,
}

impl PendingCall {
    /// Grants the credit for the first items of a stream.
    pub(in crate::ipc) fn open(self) -> Self {
        self.connection.mux.send(&ClientFrame::Credit { id: self.id, items: STREAM_CREDIT });
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
            if self.spent >= STREAM_CREDIT / 2 && !ended {
                self.connection.mux.send(&ClientFrame::Credit { id: self.id, items: self.spent });
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
                        Ok(None) => Err(ClientError::unexpected_reply()),
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
        // The connection is lost, or the call was polled after its end.
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
            None => self.connection.mux.send(&ClientFrame::Cancel { id: self.id }),
        }
        self.connection.mux.offer_room();
    }
}
