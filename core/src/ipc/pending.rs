//! The client's end of the wire: which calls are under way, and what has come back for them.
//!
//! Two small tasks run for each connection, one reads and one writes, so that a future may be dropped at any moment
//! without a half-read or half-written frame. What comes for a call that nobody waits for any more is given back.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_io::Async;
use futures::io::AsyncRead;

use crate::address::Address;
use crate::inbox::{Full, Inbox};
use crate::ipc::error::ClientError;
use crate::ipc::frame::{FrameError, Frames};
use crate::ipc::outbox::{Outbox, OutboxError};
use crate::ipc::proto::*;
use crate::notify::Notify;
use crate::rt;
use crate::types::SendError;
use crate::wire::codec;

mod call;
#[cfg(test)]
mod tests;

pub(super) use call::Pending;

/// How long the daemon may take nothing of what is written to it.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// So many sent messages are forgotten with one frame.
const FORGET_AT: usize = 64;

/// So many items of a stream the daemon may send ahead.
const AHEAD: u32 = 256;

/// A connection, shared by all that came from one client. When the last of them is gone, what waits to be written is
/// written, and the connection closed.
#[derive(Debug)]
pub(super) struct Link {
    wire: Arc<Wire>,
    /// The address that is used when none is named.
    pub(super) address: Address,
    /// The daemon's version.
    pub(super) version: String,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.flush_forgotten();
        self.wire.outbox.close();
    }
}

/// What the reading task reads from.
#[derive(Debug)]
pub(super) struct ReadHalf(pub(super) Arc<Async<UnixStream>>);

impl AsyncRead for ReadHalf {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.0).poll_read(cx, bytes)
    }
}

#[derive(Debug)]
struct Wire {
    outbox: Outbox,
    calls: Mutex<Calls>,
    /// A token for the first task that waits to begin a call, written when there may be room for one; closed when the
    /// connection is lost. A task that finds room hands a token on.
    room: Inbox<()>,
    lost: Notify<bool>,
}

#[derive(Debug, Default)]
struct Calls {
    next: u64,
    slots: HashMap<u64, Slot>,
    bytes: usize,
    forgotten: Vec<u64>,
    lost: Option<ClientError>,
}

#[derive(Debug)]
struct Slot {
    bytes: usize,
    waker: Option<Waker>,
    items: VecDeque<Item>,
    /// How it ended; `Ok(None)` is the end of a stream.
    end: Option<Result<Option<Reply>, Failure>>,
}

impl Default for Wire {
    fn default() -> Self {
        let room = Inbox::new(1, Full::RefuseNewest);
        Wire { outbox: Outbox::default(), calls: Mutex::default(), room, lost: Notify::new(false) }
    }
}

// Each waker here is an application's: it is called, and dropped, when no lock is held, since it may use the connection.
impl Wire {
    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, mut frames: Frames<ReadHalf>) {
        let reason = loop {
            match frames.next().await {
                Ok(bytes) => match codec::decode::<Down>(bytes) {
                    Ok(down) => self.take(down),
                    Err(_) => break "the daemon sent a malformed frame".to_owned(),
                },
                Err(FrameError::Closed) => break "the daemon closed it".to_owned(),
                Err(error) => break error.to_string(),
            }
        };
        self.lose(ClientError::Disconnected(reason));
    }

    fn take(&self, down: Down) {
        match down {
            Down::Welcome { .. } => {}
            Down::Reply { id, reply } => self.end(id, Ok(Some(reply))),
            Down::Failed { id, failure } => self.end(id, Err(failure)),
            Down::End { id } => self.end(id, Ok(None)),
            Down::Item { id, item } => {
                let mut calls = self.lock();
                let Some(slot) = calls.slots.get_mut(&id) else { return };
                slot.items.push_back(item);
                let waker = slot.waker.take();
                drop(calls);
                waker.into_iter().for_each(Waker::wake);
            }
        }
    }

    fn end(&self, id: u64, end: Result<Option<Reply>, Failure>) {
        let mut calls = self.lock();
        let Some(slot) = calls.slots.get_mut(&id) else {
            drop(calls);
            return self.unwanted(end);
        };
        slot.end = Some(end);
        let waker = slot.waker.take();
        // The daemon counts it no more.
        let bytes = std::mem::take(&mut slot.bytes);
        calls.bytes -= bytes;
        drop(calls);
        waker.into_iter().for_each(Waker::wake);
        self.offer_room();
    }

    /// Lets a task look that waits to begin a call. One token is enough: the task that takes it hands on what it leaves.
    fn offer_room(&self) {
        let _ = self.room.try_push(());
    }

    /// Gives back what came for somebody who has gone.
    fn unwanted(&self, end: Result<Option<Reply>, Failure>) {
        let word = match end {
            Ok(Some(Reply::Messages(fetched))) => {
                Up::Returned { tickets: fetched.iter().map(|fetched| fetched.ticket).collect() }
            }
            Ok(Some(Reply::Sent(sent))) => {
                Up::Forget { tickets: sent.iter().map(|sent| sent.ticket).collect() }
            }
            _ => return,
        };
        self.say(&word);
    }

    /// Says something that needs no reply. A closed connection gives back and forgets by itself.
    fn say(&self, word: &Up) {
        let _ = self.outbox.push(word);
    }

    fn lose(&self, reason: ClientError) {
        self.outbox.kill();
        let mut calls = self.lock();
        calls.lost.get_or_insert(reason);
        let wakers: Vec<Waker> = calls.slots.values_mut().filter_map(|slot| slot.waker.take()).collect();
        drop(calls);
        wakers.into_iter().for_each(Waker::wake);
        self.room.close();
        *self.lost.write() = true;
    }
}

impl Link {
    /// Starts the tasks of a connection that has been greeted and welcomed.
    pub(super) fn start(
        stream: Arc<Async<UnixStream>>,
        frames: Frames<ReadHalf>,
        address: Address,
        version: String,
    ) -> Self {
        let wire = Arc::new(Wire::default());
        // Both end with the connection: the writer when the link is dropped or the daemon takes nothing, the reader
        // when the daemon closes its side, which it does as soon as the writer has closed ours.
        let reader = wire.clone();
        drop(rt::spawn(async move { reader.read(frames).await }));
        let writer = wire.clone();
        drop(rt::spawn(async move {
            let written = writer.outbox.write_to(&*stream, WRITE_PATIENCE).await;
            // When it is closed already there is nothing left to close.
            let _ = stream.get_ref().shutdown(std::net::Shutdown::Both);
            if let Err(error) = written {
                writer.lose(ClientError::Disconnected(error.to_string()));
            }
        }));
        Link { wire, address, version }
    }

    /// Begins a call of about `bytes` bytes, as soon as fewer than the allowed number are under way.
    pub(super) async fn begin(self: &Arc<Self>, call: Call, bytes: usize) -> Result<Pending, ClientError> {
        let pending = loop {
            if let Some(pending) = self.enter_if_room(bytes)? {
                self.wire.offer_room();
                break pending;
            }
            // An error when the connection is lost, which the next look reports.
            let _ = self.wire.room.recv().await;
        };
        let said = self.wire.outbox.send(&Up::Call { id: pending.id, call }).await;
        said.map_err(|error| self.refused(error, bytes))?;
        Ok(pending)
    }

    fn enter_if_room(self: &Arc<Self>, bytes: usize) -> Result<Option<Pending>, ClientError> {
        let mut calls = self.wire.lock();
        if let Some(lost) = &calls.lost {
            return Err(lost.clone());
        }
        // Half of what the daemon allows: the other half is for calls that it has not yet seen cancelled.
        let fits = calls.bytes == 0 || calls.bytes.saturating_add(bytes) <= MAX_CALL_BYTES / 2;
        let room = fits && calls.slots.len() < MAX_CALLS / 2;
        Ok(room.then(|| self.enter(&mut calls, bytes)))
    }

    /// Begins a call at once, for what is small and rare.
    pub(super) fn begin_now(self: &Arc<Self>, call: Call) -> Pending {
        let pending = self.enter(&mut self.wire.lock(), 0);
        // When the connection is closed, who waits is told so.
        self.wire.say(&Up::Call { id: pending.id, call });
        pending
    }

    fn enter(self: &Arc<Self>, calls: &mut Calls, bytes: usize) -> Pending {
        let id = calls.next;
        calls.next += 1;
        calls.bytes += bytes;
        calls.slots.insert(id, Slot { bytes, waker: None, items: VecDeque::new(), end: None });
        Pending { link: self.clone(), id, spent: 0 }
    }

    fn refused(&self, error: OutboxError, bytes: usize) -> ClientError {
        match error {
            OutboxError::TooLong => ClientError::Send(SendError::TooLong { length: bytes as u64 }),
            OutboxError::Closed => self.lost(),
        }
    }

    fn lost(&self) -> ClientError {
        let lost = self.wire.lock().lost.clone();
        lost.unwrap_or_else(|| ClientError::Disconnected("it was closed".to_owned()))
    }

    /// Does a call from beginning to end.
    pub(super) async fn call(self: &Arc<Self>, call: Call) -> Result<Reply, ClientError> {
        self.begin(call, 256).await?.await
    }

    /// These messages are the application's now.
    pub(super) fn taken(&self, tickets: Vec<u64>) {
        self.wire.say(&Up::Taken { tickets });
    }

    /// These messages go back.
    pub(super) fn returned(&self, tickets: Vec<u64>) {
        self.wire.say(&Up::Returned { tickets });
    }

    /// Nobody will ask for the fate of this message. The daemon hears of it in company.
    pub(super) fn forget(&self, ticket: u64) {
        let mut calls = self.wire.lock();
        calls.forgotten.push(ticket);
        let enough = calls.forgotten.len() >= FORGET_AT;
        drop(calls);
        if enough {
            self.flush_forgotten();
        }
    }

    fn flush_forgotten(&self) {
        let tickets = std::mem::take(&mut self.wire.lock().forgotten);
        if !tickets.is_empty() {
            self.wire.say(&Up::Forget { tickets });
        }
    }

    /// Waits until the system has taken all that was to be written; whether it did.
    pub(super) async fn flushed(&self) -> bool {
        self.wire.outbox.flushed().await
    }

    /// Waits until the daemon has closed the connection.
    pub(super) async fn closed(&self) {
        self.wire.lost.when(|lost| lost.then_some(())).await;
    }
}
