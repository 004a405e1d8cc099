//! What one side of a connection has yet to write.
//!
//! Values are encoded straight into one buffer; one writer at a time takes all that has gathered and writes it at
//! once, so that many small frames leave in one system call.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_io::Timer;
use futures::future::{Either, select};
use futures::io::{AsyncWrite, AsyncWriteExt};

use crate::ipc::event_count::EventCount;
use crate::ipc::protocol::MAX_FRAME;
use crate::wire::codec::{self, Encode};

/// Who has more than this waiting to be written waits too, in bytes.
const HIGH_WATER: usize = 1 << 20;

/// A spare buffer longer than this is given back, in bytes.
const KEEP: usize = 256 << 10;

/// The most that one write is asked to take, so that progress shows, in bytes.
const PIECE: usize = 256 << 10;

/// Why nothing could be put into the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OutboxError {
    /// The connection is closed, or closing.
    #[error("the connection is closed")]
    Closed,
    /// The value is longer than a frame may be.
    #[error("longer than a frame may be")]
    TooLong,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    state: Mutex<OutboxState>,
    /// Rung when there is something to write, and when the outbox is closed.
    ready: EventCount,
    /// Rung when something was written, and when the outbox is closed.
    written: EventCount,
}

#[derive(Debug, Default)]
struct OutboxState {
    pending: Vec<u8>,
    writing: usize,
    closed: bool,
    /// No writer will come any more: what is pending is lost.
    dead: bool,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, OutboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn is_free(&self) -> bool {
        self.state.try_lock().is_ok()
    }

    /// Appends a frame at once, whatever is waiting already: for what is small, or was paid for with
    /// [`Outbox::room`].
    pub(super) fn push<T: Encode>(&self, value: &T) -> Result<(), OutboxError> {
        append(&mut self.lock(), value)?;
        self.ready.ring();
        Ok(())
    }

    /// Appends a frame as soon as there is room.
    pub(super) async fn send<T: Encode>(&self, value: &T) -> Result<(), OutboxError> {
        loop {
            let seen = self.written.rings();
            if let Some(appended) = self.append_if_room(value) {
                return appended;
            }
            self.written.after(seen).await;
        }
    }

    /// Appends a frame if there is room.
    fn append_if_room<T: Encode>(&self, value: &T) -> Option<Result<(), OutboxError>> {
        let mut state = self.lock();
        if !state.closed && !state.has_room() {
            return None;
        }
        let appended = append(&mut state, value);
        drop(state);
        if appended.is_ok() {
            self.ready.ring();
        }
        Some(appended)
    }

    /// Whether there is room, or the outbox is closed.
    pub(super) fn has_room(&self) -> bool {
        let state = self.lock();
        state.closed || state.has_room()
    }

    /// Waits until there is room, or the outbox is closed.
    pub(super) async fn room(&self) {
        self.written_until(|state| state.closed || state.has_room()).await;
    }

    /// Waits until all is written, or never will be. Whether it was.
    pub(super) async fn flushed(&self) -> bool {
        self.written_until(|state| state.dead || state.waiting() == 0).await;
        self.lock().waiting() == 0
    }

    async fn written_until(&self, done: impl Fn(&OutboxState) -> bool) {
        loop {
            let seen = self.written.rings();
            if done(&self.lock()) {
                return;
            }
            self.written.after(seen).await;
        }
    }

    /// Takes no more. What is in it is still written.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.ready.ring();
        self.written.ring();
    }

    /// Takes no more, and nothing is written any more.
    pub(super) fn kill(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.dead = true;
        drop(state);
        self.ready.ring();
        self.written.ring();
    }

    /// Writes what comes, until the outbox is closed and empty, or writing fails, or `stream` takes nothing for
    /// `patience`.
    pub(super) async fn write_to<W: AsyncWrite + Unpin>(
        &self,
        mut stream: W,
        patience: Duration,
    ) -> io::Result<()> {
        let mut spare = Vec::new();
        let result = loop {
            let Some(bytes) = self.take(spare).await else { break Ok(()) };
            if let Err(error) = write_all(&mut stream, &bytes, patience).await {
                break Err(error);
            }
            self.lock().writing = 0;
            self.written.ring();
            spare = if bytes.capacity() > KEEP { Vec::new() } else { bytes };
        };
        if result.is_err() {
            self.kill();
        }
        result
    }

    /// All that is pending, in exchange for a spare buffer; `None` when there will be nothing more.
    async fn take(&self, mut spare: Vec<u8>) -> Option<Vec<u8>> {
        spare.clear();
        loop {
            let seen = self.ready.rings();
            {
                let mut state = self.lock();
                if state.dead {
                    return None;
                }
                if !state.pending.is_empty() {
                    state.writing = state.pending.len();
                    return Some(std::mem::replace(&mut state.pending, spare));
                }
                if state.closed {
                    return None;
                }
            }
            self.ready.after(seen).await;
        }
    }
}

impl OutboxState {
    fn waiting(&self) -> usize {
        self.pending.len() + self.writing
    }

    fn has_room(&self) -> bool {
        self.waiting() < HIGH_WATER
    }
}

fn append<T: Encode>(state: &mut OutboxState, value: &T) -> Result<(), OutboxError> {
    if state.closed {
        return Err(OutboxError::Closed);
    }
    let start = state.pending.len();
    state.pending.extend_from_slice(&[0; 4]);
    let encoded = codec::encode_into(value, &mut state.pending);
    let length = state.pending.len() - start - 4;
    match u32::try_from(length) {
        Ok(prefix) if encoded.is_ok() && length <= MAX_FRAME => {
            if let Some(place) = state.pending.get_mut(start..start + 4) {
                place.copy_from_slice(&prefix.to_le_bytes());
            }
            Ok(())
        }
        _ => {
            state.pending.truncate(start);
            Err(OutboxError::TooLong)
        }
    }
}

async fn write_all<W: AsyncWrite + Unpin>(
    stream: &mut W,
    bytes: &[u8],
    patience: Duration,
) -> io::Result<()> {
    let mut rest = bytes;
    // Who takes a little now and then is not silent, and holds as much: each megabyte has its time too.
    let in_all = patience
        .saturating_mul(u32::try_from(bytes.len() / HIGH_WATER).unwrap_or(u32::MAX).saturating_add(1));
    let begun = Instant::now();
    while !rest.is_empty() {
        let piece = rest.get(..rest.len().min(PIECE)).unwrap_or(rest);
        let time = patience.min(in_all.saturating_sub(begun.elapsed()));
        if time.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let written = match select(std::pin::pin!(stream.write(piece)), Timer::after(time)).await {
            Either::Left((result, _)) => result?,
            Either::Right(_) => return Err(io::ErrorKind::TimedOut.into()),
        };
        match rest.get(written..) {
            Some(after) if written > 0 => rest = after,
            _ => return Err(io::ErrorKind::WriteZero.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use futures::executor::block_on;
    use std::os::unix::net::UnixStream;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_pushed_leaves_in_order_and_length_delimited() {
        let outbox = Outbox::default();
        outbox.push(&1u8).unwrap();
        outbox.push(&0x0203u16).unwrap();
        outbox.close();
        let mut out = Vec::new();
        block_on(outbox.write_to(&mut out, LONG)).unwrap();
        assert_eq!(out, [1, 0, 0, 0, 1, 2, 0, 0, 0, 3, 2]);
        assert_eq!(outbox.push(&1u8), Err(OutboxError::Closed));
        assert!(block_on(outbox.flushed()));
    }

    #[test]
    fn a_value_too_long_for_a_frame_leaves_no_trace() {
        let outbox = Outbox::default();
        assert_eq!(outbox.push(&vec![0u8; MAX_FRAME]), Err(OutboxError::TooLong));
        assert_eq!(outbox.lock().waiting(), 0);
    }

    #[test]
    fn who_sends_waits_while_too_much_is_pending() {
        let outbox = Outbox::default();
        outbox.push(&vec![0u8; HIGH_WATER]).unwrap();
        let long = vec![0u8; 8];
        let mut send = std::pin::pin!(outbox.send(&long));
        assert!((&mut send).now_or_never().is_none());
        let mut out = Vec::new();
        let mut writer = std::pin::pin!(outbox.write_to(&mut out, LONG));
        assert!((&mut writer).now_or_never().is_none(), "the writer waits for more");
        assert_eq!(send.now_or_never(), Some(Ok(())));
    }

    #[test]
    fn a_stream_that_takes_a_byte_now_and_then_ends_the_writer_too() {
        struct Trickle;
        impl AsyncWrite for Trickle {
            fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
                std::thread::sleep(Duration::from_millis(2));
                Poll::Ready(Ok(1))
            }
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
            fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }
        let outbox = Outbox::default();
        outbox.push(&vec![0u8; HIGH_WATER]).unwrap();
        let error = block_on(outbox.write_to(Trickle, Duration::from_millis(30))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_stream_that_takes_nothing_ends_the_writer_and_everybody_who_waits() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let ours = async_io::Async::new(ours).unwrap();
        let outbox = Outbox::default();
        outbox.push(&vec![0u8; 8 << 20]).unwrap();
        let error = block_on(outbox.write_to(&ours, Duration::from_millis(30))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(block_on(outbox.send(&1u8)), Err(OutboxError::Closed));
        assert!(!block_on(outbox.flushed()));
    }
}
