//! The client's end of a connection: the calls under way, and the replies that have come for them.
//!
//! Two tasks run for each connection: one reads and one writes. A future of a call may therefore be dropped at any
//! moment without a half-read or half-written frame. Messages that come for a call that was dropped are given back.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_io::Async;
use futures::io::AsyncRead;

use crate::address::Address;
use crate::ipc::error::ClientError;
use crate::ipc::frame::FrameReader;
use crate::ipc::outbox::{Outbox, OutboxError};
use crate::ipc::protocol::{
    Call, ClientFrame, DaemonFrame, Failure, MAX_CALL_BYTES, MAX_CALLS, Reply, StreamItem,
};
use crate::notify::Notify;
use crate::rt;
use crate::types::SendError;
use crate::wire::codec;

mod pending_call;
#[cfg(test)]
mod room_tests;
#[cfg(test)]
mod tests;
mod waiting_calls;

pub(super) use pending_call::PendingCall;
use waiting_calls::WaitingCalls;

/// The time after which the connection is closed when the daemon reads nothing of the data that is written to it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The number of unwanted receipts that are announced to the daemon in one frame.
const FORGET_BATCH: usize = 64;

/// The credit of a stream: the number of items that the daemon may send ahead.
const STREAM_CREDIT: u32 = 256;

/// A connection, shared by the clones of a client, its mailboxes and its calls. When the last of them is dropped, the
/// pending frames are written, and the connection is closed.
#[derive(Debug)]
pub(super) struct ClientConnection {
    mux: Arc<Multiplexer>,
    /// The address that a call uses when it names none.
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

/// The half of the stream that the reading task owns.
#[derive(Debug)]
pub(super) struct ReadHalf(pub(super) Arc<Async<UnixStream>>);

impl AsyncRead for ReadHalf {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.0).poll_read(cx, bytes)
    }
}

/// The calls that share one connection, and the frames between them and the stream.
#[derive(Debug)]
struct Multiplexer {
    outbox: Outbox,
    calls: Mutex<CallTable>,
    /// Whether the connection is lost, for the tasks that wait for its end.
    lost: Notify<bool>,
}

/// The calls under way, by number.
#[derive(Debug, Default)]
struct CallTable {
    next_id: u64,
    calls: HashMap<u64, CallState>,
    /// The bytes of the calls that the daemon has not answered.
    bytes: usize,
    waiting: WaitingCalls,
    /// The tickets of unwanted receipts that are not yet announced to the daemon.
    forgotten: Vec<u64>,
    /// The reason why the connection is lost.
    lost: Option<ClientError>,
}

/// A call under way, and the frames that have come for it.
#[derive(Debug)]
struct CallState {
    bytes: usize,
    waker: Option<Waker>,
    items: VecDeque<StreamItem>,
    /// The end of the call; `Ok(None)` is the end of a stream.
    end: Option<Result<Option<Reply>, Failure>>,
}

impl CallTable {
    /// Whether a call of `bytes` bytes fits among the calls under way. The client uses half of the daemon's bounds, since
    /// the daemon still counts calls whose cancellation it has not read.
    fn has_room(&self, bytes: usize) -> bool {
        let fits = bytes == 0 || self.bytes == 0 || self.bytes.saturating_add(bytes) <= MAX_CALL_BYTES / 2;
        fits && self.calls.len() < MAX_CALLS / 2
    }

    /// The arrival and the bytes of the waiting call that is the next to begin, if there is room for one.
    fn next_to_begin(&self) -> Option<(u64, usize)> {
        self.waiting.next(|bytes| self.has_room(bytes))
    }

    /// The waker of the task whose turn it is to begin a call, if there is room and it has not been woken.
    fn next_waker(&mut self) -> Option<Waker> {
        let next = self.next_to_begin()?;
        self.waiting.waker(next)
    }
}

impl Default for Multiplexer {
    fn default() -> Self {
        Multiplexer { outbox: Outbox::default(), calls: Mutex::default(), lost: Notify::new(false) }
    }
}

// Each waker here belongs to the application. It is called, and dropped, while no lock is held, since it may use the
// connection.
impl Multiplexer {
    fn lock(&self) -> MutexGuard<'_, CallTable> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, mut frames: FrameReader<ReadHalf>) {
        let reason = loop {
            match frames.next().await {
                Ok(bytes) => match codec::decode::<DaemonFrame>(bytes) {
                    Ok(frame) => self.handle(frame),
                    Err(_) => break "the daemon sent a malformed frame".to_owned(),
                },
                Err(error) if error.is_end() => {
                    break "the daemon was killed, has crashed, or has closed it".to_owned();
                }
                Err(error) => break error.to_string(),
            }
        };
        self.lose(ClientError::Disconnected(reason));
    }

    fn handle(&self, frame: DaemonFrame) {
        match frame {
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
        // The daemon no longer counts the bytes of a call that it has answered.
        let bytes = std::mem::take(&mut call.bytes);
        table.bytes -= bytes;
        drop(table);
        waker.into_iter().for_each(Waker::wake);
        self.offer_room();
    }

    /// Wakes the task whose turn it is to begin a call, if there is room for it.
    fn offer_room(&self) {
        let next = self.lock().next_waker();
        next.into_iter().for_each(Waker::wake);
    }

    /// Gives back the messages, or the receipts, that came for a call that was dropped.
    fn unwanted(&self, end: Result<Option<Reply>, Failure>) {
        let frame = match end {
            Ok(Some(Reply::Messages(fetched))) => {
                ClientFrame::Release { tickets: fetched.iter().map(|fetched| fetched.ticket).collect() }
            }
            Ok(Some(Reply::Sent(sent))) => {
                ClientFrame::Forget { tickets: sent.iter().map(|sent| sent.ticket).collect() }
            }
            _ => return,
        };
        self.send(&frame);
    }

    /// Sends a frame that has no reply.
    fn send(&self, frame: &ClientFrame) {
        // An error means that the connection is closed, and then the daemon gives back and forgets by itself.
        let _ = self.outbox.push(frame);
    }

    /// Ends the connection and every call under way.
    fn lose(&self, reason: ClientError) {
        self.outbox.kill();
        let mut table = self.lock();
        table.lost.get_or_insert(reason);
        let mut wakers: Vec<Waker> = table.calls.values_mut().filter_map(|call| call.waker.take()).collect();
        wakers.extend(table.waiting.all_wakers());
        drop(table);
        wakers.into_iter().for_each(Waker::wake);
        *self.lost.write() = true;
    }
}

impl ClientConnection {
    /// Starts the tasks of a connection on which the greetings and the welcome have been exchanged.
    pub(super) fn start(
        stream: Arc<Async<UnixStream>>,
        frames: FrameReader<ReadHalf>,
        address: Address,
        version: String,
    ) -> Self {
        let mux = Arc::new(Multiplexer::default());
        // Both tasks end with the connection: the writer when the connection is dropped or the daemon reads nothing,
        // the reader when the daemon closes its side, which it does as soon as the writer has closed this side.
        let reader = mux.clone();
        drop(rt::spawn(async move { reader.read(frames).await }));
        let writer = mux.clone();
        drop(rt::spawn(async move {
            let written = writer.outbox.write_to(&*stream, WRITE_TIMEOUT).await;
            // An error means that the stream is closed already.
            let _ = stream.get_ref().shutdown(std::net::Shutdown::Both);
            if let Err(error) = written {
                writer.lose(ClientError::Disconnected(error.to_string()));
            }
        }));
        ClientConnection { mux, address, version }
    }

    /// Begins a call in its turn, as soon as there is room for it among the calls under way. `bytes` is the length of the
    /// messages that it carries; other calls are too short to count.
    pub(super) async fn begin(
        self: &Arc<Self>,
        call: Call,
        bytes: usize,
    ) -> Result<PendingCall, ClientError> {
        let pending = Beginning::new(self, bytes).await?;
        let sent = self.mux.outbox.send(&ClientFrame::Call { id: pending.id, call }).await;
        sent.map_err(|error| self.refused(error, bytes))?;
        Ok(pending)
    }

    /// Begins a call at once, whatever is under way: for calls that are small and rare.
    pub(super) fn begin_now(self: &Arc<Self>, call: Call) -> PendingCall {
        let pending = self.enter(&mut self.mux.lock(), 0);
        // If the connection is closed, the call fails when it is polled.
        self.mux.send(&ClientFrame::Call { id: pending.id, call });
        pending
    }

    fn enter(self: &Arc<Self>, table: &mut CallTable, bytes: usize) -> PendingCall {
        let id = table.next_id;
        table.next_id += 1;
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

    /// Makes a call and waits for its reply.
    pub(super) async fn call(self: &Arc<Self>, call: Call) -> Result<Reply, ClientError> {
        self.begin(call, 0).await?.await
    }

    /// Confirms messages: they have been handed to the application.
    pub(super) fn confirm(&self, tickets: Vec<u64>) {
        self.mux.send(&ClientFrame::Confirm { tickets });
    }

    /// Gives messages back to their inboxes. The attempt to deliver them counts if the application has seen them.
    pub(super) fn give_back(&self, tickets: Vec<u64>, is_seen: bool) {
        let frame = if is_seen { ClientFrame::Return { tickets } } else { ClientFrame::Release { tickets } };
        self.mux.send(&frame);
    }

    /// Announces that the receipt of a message is not wanted. Several are announced in one frame.
    pub(super) fn forget(&self, ticket: u64) {
        let mut table = self.mux.lock();
        table.forgotten.push(ticket);
        let enough = table.forgotten.len() >= FORGET_BATCH;
        drop(table);
        if enough {
            self.flush_forgotten();
        }
    }

    fn flush_forgotten(&self) {
        let tickets = std::mem::take(&mut self.mux.lock().forgotten);
        if !tickets.is_empty() {
            self.mux.send(&ClientFrame::Forget { tickets });
        }
    }

    /// Waits until all pending frames are handed to the system, and returns whether they were.
    pub(super) async fn flushed(&self) -> bool {
        self.mux.outbox.flushed().await
    }

    /// Waits until the daemon has closed the connection.
    pub(super) async fn closed(&self) {
        self.mux.lost.when(|lost| lost.then_some(())).await;
    }
}

/// A future that begins a call in its turn. When it is dropped, it passes its turn on.
struct Beginning<'a> {
    connection: &'a Arc<ClientConnection>,
    bytes: usize,
    /// The arrival of the call, while it waits.
    arrival: Option<u64>,
}

impl<'a> Beginning<'a> {
    fn new(connection: &'a Arc<ClientConnection>, bytes: usize) -> Self {
        Beginning { connection, bytes, arrival: None }
    }
}

impl Future for Beginning<'_> {
    type Output = Result<PendingCall, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let connection = self.connection;
        let mut table = connection.mux.lock();
        let next = table.next_to_begin().map(|(arrival, _)| arrival);
        let begun = match &table.lost {
            Some(lost) => Err(lost.clone()),
            None if next == self.arrival && table.has_room(self.bytes) => {
                Ok(connection.enter(&mut table, self.bytes))
            }
            None => {
                let bytes = self.bytes;
                let stale = table.waiting.wait(&mut self.arrival, bytes, cx.waker());
                drop(table);
                drop(stale);
                return Poll::Pending;
            }
        };
        let bytes = self.bytes;
        let left = table.waiting.leave(&mut self.arrival, bytes);
        // There may be room for another one.
        let next = table.next_waker();
        drop(table);
        drop(left);
        next.into_iter().for_each(Waker::wake);
        Poll::Ready(begun)
    }
}

impl Drop for Beginning<'_> {
    fn drop(&mut self) {
        if self.arrival.is_none() {
            return;
        }
        let mut table = self.connection.mux.lock();
        let left = table.waiting.leave(&mut self.arrival, self.bytes);
        let next = table.next_waker();
        drop(table);
        drop(left);
        next.into_iter().for_each(Waker::wake);
    }
}
