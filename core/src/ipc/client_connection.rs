//! The client's end of the mux: which calls are under way, and what has come back for them.
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
use crate::ipc::frame::{FrameError, FrameReader};
use crate::ipc::outbox::{Outbox, OutboxError};
use crate::ipc::protocol::*;
use crate::notify::Notify;
use crate::rt;
use crate::types::SendError;
use crate::wire::codec;

mod pending_call;
#[cfg(test)]
mod tests;

pub(super) use pending_call::PendingCall;

/// How long the daemon may take nothing of what is written to it.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// So many sent messages are forgotten with one frame.
const FORGET_AT: usize = 64;

/// So many items of a stream the daemon may send ahead.
const AHEAD: u32 = 256;

/// A connection, shared by all that came from one client. When the last of them is gone, what waits to be written is
/// written, and the connection closed.
#[derive(Debug)]
pub(super) struct ClientConnection {
    mux: Arc<Multiplexer>,
    /// The address that is used when none is named.
    pub(super) address: Address,
    /// The daemon's version.
    pub(super) version: String,
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        self.flush_forgotten();
        self.mux.outbox.close();
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
struct Multiplexer {
    outbox: Outbox,
    calls: Mutex<CallTable>,
    /// A token for the first task that waits to begin a call, written when there may be room for one; closed when the
    /// connection is lost. A task that finds room hands a token on.
    room: Inbox<()>,
    lost: Notify<bool>,
}

#[derive(Debug, Default)]
struct CallTable {
    next: u64,
    calls: HashMap<u64, CallState>,
    bytes: usize,
    forgotten: Vec<u64>,
    lost: Option<ClientError>,
}

#[derive(Debug)]
struct CallState {
    bytes: usize,
    waker: Option<Waker>,
    items: VecDeque<StreamItem>,
    /// How it ended; `Ok(None)` is the end of a stream.
    end: Option<Result<Option<Reply>, Failure>>,
}

impl Default for Multiplexer {
    fn default() -> Self {
        let room = Inbox::new(1, Full::RefuseNewest);
        Multiplexer { outbox: Outbox::default(), calls: Mutex::default(), room, lost: Notify::new(false) }
    }
}

// Each waker here is an application's: it is called, and dropped, when no lock is unconfirmed, since it may use the connection.
impl Multiplexer {
    fn lock(&self) -> MutexGuard<'_, CallTable> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, mut frames: FrameReader<ReadHalf>) {
        let reason = loop {
            match frames.next().await {
                Ok(bytes) => match codec::decode::<DaemonFrame>(bytes) {
                    Ok(down) => self.take(down),
                    Err(_) => break "the daemon sent a malformed frame".to_owned(),
                },
                Err(FrameError::Closed) => break "the daemon closed it".to_owned(),
                Err(error) => break error.to_string(),
            }
        };
        self.lose(ClientError::Disconnected(reason));
    }

    fn take(&self, down: DaemonFrame) {
        match down {
            DaemonFrame::Welcome { .. } => {}
            DaemonFrame::Reply { id, reply } => self.end(id, Ok(Some(reply))),
            DaemonFrame::Failed { id, failure } => self.end(id, Err(failure)),
            DaemonFrame::End { id } => self.end(id, Ok(None)),
            DaemonFrame::Item { id, item } => {
                let mut table = self.lock();
                let Some(call) = table.calls.get_mut(&id) else { return };
                call.items.push_back(item);
                let waker = call.waker.take();
                drop(table);
                waker.into_iter().for_each(Waker::wake);
            }
        }
    }

    fn end(&self, id: u64, end: Result<Option<Reply>, Failure>) {
        let mut table = self.lock();
        let Some(call) = table.calls.get_mut(&id) else {
            drop(table);
            return self.unwanted(end);
        };
        call.end = Some(end);
        let waker = call.waker.take();
        // The daemon counts it no more.
        let bytes = std::mem::take(&mut call.bytes);
        table.bytes -= bytes;
        drop(table);
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
                ClientFrame::Return { tickets: fetched.iter().map(|fetched| fetched.ticket).collect() }
            }
            Ok(Some(Reply::Sent(sent))) => {
                ClientFrame::Forget { tickets: sent.iter().map(|sent| sent.ticket).collect() }
            }
            _ => return,
        };
        self.say(&word);
    }

    /// Says something that needs no reply. A closed connection gives back and forgets by itself.
    fn say(&self, word: &ClientFrame) {
        let _ = self.outbox.push(word);
    }

    fn lose(&self, reason: ClientError) {
        self.outbox.kill();
        let mut table = self.lock();
        table.lost.get_or_insert(reason);
        let wakers: Vec<Waker> = table.calls.values_mut().filter_map(|call| call.waker.take()).collect();
        drop(table);
        wakers.into_iter().for_each(Waker::wake);
        self.room.close();
        *self.lost.write() = true;
    }
}

impl ClientConnection {
    /// Starts the tasks of a connection that has been greeted and welcomed.
    pub(super) fn start(
        stream: Arc<Async<UnixStream>>,
        frames: FrameReader<ReadHalf>,
        address: Address,
        version: String,
    ) -> Self {
        let mux = Arc::new(Multiplexer::default());
        // Both end with the connection: the writer when the connection is dropped or the daemon takes nothing, the reader
        // when the daemon closes its side, which it does as soon as the writer has closed ours.
        let reader = mux.clone();
        drop(rt::spawn(async move { reader.read(frames).await }));
        let writer = mux.clone();
        drop(rt::spawn(async move {
            let written = writer.outbox.write_to(&*stream, WRITE_PATIENCE).await;
            // When it is closed already there is nothing left to close.
            let _ = stream.get_ref().shutdown(std::net::Shutdown::Both);
            if let Err(error) = written {
                writer.lose(ClientError::Disconnected(error.to_string()));
            }
        }));
        ClientConnection { mux, address, version }
    }

    /// Begins a call of about `bytes` bytes, as soon as fewer than the allowed number are under way.
    pub(super) async fn begin(
        self: &Arc<Self>,
        call: Call,
        bytes: usize,
    ) -> Result<PendingCall, ClientError> {
        let pending = loop {
            if let Some(pending) = self.enter_if_room(bytes)? {
                self.mux.offer_room();
                break pending;
            }
            // An error when the connection is lost, which the next look reports.
            let _ = self.mux.room.recv().await;
        };
        let said = self.mux.outbox.send(&ClientFrame::Call { id: pending.id, call }).await;
        said.map_err(|error| self.refused(error, bytes))?;
        Ok(pending)
    }

    fn enter_if_room(self: &Arc<Self>, bytes: usize) -> Result<Option<PendingCall>, ClientError> {
        let mut table = self.mux.lock();
        if let Some(lost) = &table.lost {
            return Err(lost.clone());
        }
        // Half of what the daemon allows: the other half is for calls that it has not yet seen cancelled.
        let fits = table.bytes == 0 || table.bytes.saturating_add(bytes) <= MAX_CALL_BYTES / 2;
        let room = fits && table.calls.len() < MAX_CALLS / 2;
        Ok(room.then(|| self.enter(&mut table, bytes)))
    }

    /// Begins a call at once, for what is small and rare.
    pub(super) fn begin_now(self: &Arc<Self>, call: Call) -> PendingCall {
        let pending = self.enter(&mut self.mux.lock(), 0);
        // When the connection is closed, who waits is told so.
        self.mux.say(&ClientFrame::Call { id: pending.id, call });
        pending
    }

    fn enter(self: &Arc<Self>, table: &mut CallTable, bytes: usize) -> PendingCall {
        let id = table.next;
        table.next += 1;
        table.bytes += bytes;
        table.calls.insert(id, CallState { bytes, waker: None, items: VecDeque::new(), end: None });
        PendingCall { connection: self.clone(), id, spent: 0 }
    }

    fn refused(&self, error: OutboxError, bytes: usize) -> ClientError {
        match error {
            OutboxError::TooLong => ClientError::Send(SendError::TooLong { length: bytes as u64 }),
            OutboxError::Closed => self.lost(),
        }
    }

    fn lost(&self) -> ClientError {
        let lost = self.mux.lock().lost.clone();
        lost.unwrap_or_else(|| ClientError::Disconnected("it was closed".to_owned()))
    }

    /// Does a call from beginning to end.
    pub(super) async fn call(self: &Arc<Self>, call: Call) -> Result<Reply, ClientError> {
        self.begin(call, 256).await?.await
    }

    /// These messages are the application's now.
    pub(super) fn taken(&self, tickets: Vec<u64>) {
        self.mux.say(&ClientFrame::Confirm { tickets });
    }

    /// These messages go back.
    pub(super) fn returned(&self, tickets: Vec<u64>) {
        self.mux.say(&ClientFrame::Return { tickets });
    }

    /// Nobody will ask for the fate of this message. The daemon hears of it in company.
    pub(super) fn forget(&self, ticket: u64) {
        let mut table = self.mux.lock();
        table.forgotten.push(ticket);
        let enough = table.forgotten.len() >= FORGET_AT;
        drop(table);
        if enough {
            self.flush_forgotten();
        }
    }

    fn flush_forgotten(&self) {
        let tickets = std::mem::take(&mut self.mux.lock().forgotten);
        if !tickets.is_empty() {
            self.mux.say(&ClientFrame::Forget { tickets });
        }
    }

    /// Waits until the system has taken all that was to be written; whether it did.
    pub(super) async fn flushed(&self) -> bool {
        self.mux.outbox.flushed().await
    }

    /// Waits until the daemon has closed the connection.
    pub(super) async fn closed(&self) {
        self.mux.lost.when(|lost| lost.then_some(())).await;
    }
}
