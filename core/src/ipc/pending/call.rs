//! A call under way, as the future of its reply or the stream of its items.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{AHEAD, Link};
use crate::ipc::error::ClientError;
use crate::ipc::proto::{Item, Reply, Up};

/// A call under way. Dropped, it is cancelled, and what came for it is given back.
#[derive(Debug)]
pub(in crate::ipc) struct Pending {
    pub(super) link: Arc<Link>,
    pub(super) id: u64,
    /// Items taken since the daemon was last granted credit.
    pub(super) spent: u32,
}

impl Pending {
    /// Allows the first items of a stream.
    pub(in crate::ipc) fn open(self) -> Self {
        self.link.wire.say(&Up::Credit { id: self.id, items: AHEAD });
        self
    }

    /// The next item of a stream; `None` at its end.
    pub(in crate::ipc) fn poll_item(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Item, ClientError>>> {
        let mut calls = self.link.wire.lock();
        let lost = calls.lost.clone();
        let Some(slot) = calls.slots.get_mut(&self.id) else { return Poll::Ready(None) };
        if let Some(item) = slot.items.pop_front() {
            let ended = slot.end.is_some();
            drop(calls);
            self.spent += 1;
            if self.spent >= AHEAD / 2 && !ended {
                self.link.wire.say(&Up::Credit { id: self.id, items: self.spent });
                self.spent = 0;
            }
            return Poll::Ready(Some(Ok(item)));
        }
        match slot.end.take() {
            Some(end) => {
                let slot = calls.slots.remove(&self.id);
                drop(calls);
                drop(slot);
                self.link.wire.offer_room();
                Poll::Ready(end.err().map(|failure| Err(failure.into())))
            }
            None if lost.is_some() => {
                let slot = calls.slots.remove(&self.id);
                drop(calls);
                drop(slot);
                Poll::Ready(lost.map(Err))
            }
            None => {
                let stale = slot.waker.replace(cx.waker().clone());
                drop(calls);
                drop(stale);
                Poll::Pending
            }
        }
    }
}

impl Future for Pending {
    type Output = Result<Reply, ClientError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut calls = self.link.wire.lock();
        let lost = calls.lost.clone();
        if let Some(slot) = calls.slots.get_mut(&self.id) {
            match slot.end.take() {
                Some(end) => {
                    let slot = calls.slots.remove(&self.id);
                    drop(calls);
                    drop(slot);
                    self.link.wire.offer_room();
                    return Poll::Ready(match end {
                        Ok(Some(reply)) => Ok(reply),
                        Ok(None) => Err(ClientError::Disconnected("an answer of the wrong kind".to_owned())),
                        Err(failure) => Err(failure.into()),
                    });
                }
                None if lost.is_none() => {
                    let stale = slot.waker.replace(cx.waker().clone());
                    drop(calls);
                    drop(stale);
                    return Poll::Pending;
                }
                None => {}
            }
        }
        drop(calls);
        // Lost, or polled after its end.
        Poll::Ready(Err(self.link.lost()))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut calls = self.link.wire.lock();
        let Some(slot) = calls.slots.remove(&self.id) else { return };
        calls.bytes -= slot.bytes;
        drop(calls);
        match slot.end {
            Some(end) => self.link.wire.unwanted(end),
            None => self.link.wire.say(&Up::Cancel { id: self.id }),
        }
        self.link.wire.offer_room();
    }
}
