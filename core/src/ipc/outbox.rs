//! The frames that one side of a connection has yet to write.
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

/// The number of waiting bytes from which on senders wait.
const HIGH_WATER: usize = 1 << 20;

/// A spare buffer with more bytes than this is freed.
const KEEP: usize = 256 << 10;

/// The most bytes in one write, so that the timeout applies to each part of a long buffer.
const PIECE: usize = 256 << 10;

/// The reason why a frame was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OutboxError {
    /// The connection is closed, or closing.
    #[error("the connection is closed")]
    Closed,
    /// The value is longer than a frame may be.
    #[error("longer than a frame may be")]
    TooLong,
}

/// A buffer of encoded frames, which many tasks fill and one writer empties.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    state: Mutex<OutboxState>,
    /// Advances when there are bytes to write, and when the outbox is closed: the writer waits on it.
    ready: EventCount,
    /// Advances when bytes were written, and when the outbox is closed. Senders wait on it; it is a count of its own,
    /// because otherwise each frame would wake all of them.
    written: EventCount,
}

#[derive(Debug, Default)]
struct OutboxState {
    pending: Vec<u8>,
    /// The number of bytes that the writer has taken and not yet written.
    writing: usize,
    /// No more frames are accepted.
    closed: bool,
    /// The writer has ended, and the pending bytes are lost.
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

    /// Appends a frame at once, however much is waiting. This is for frames that are small, and for those whose sender
    /// has waited for [`Outbox::room`].
    pub(super) fn push<T: Encode>(&self, value: &T) -> Result<(), OutboxError> {
        append(&mut self.lock(), value)?;
        self.ready.advance();
        Ok(())
    }

    /// Appends a frame as soon as there is room.
    pub(super) async fn send<T: Encode>(&self, value: &T) -> Result<(), OutboxError> {
        self.written.when(|| self.append_if_room(value)).await
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
            self.ready.advance();
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

    /// Waits until all frames are written, or the writer has ended. Returns whether all were written.
    pub(super) async fn flushed(&self) -> bool {
        self.written_until(|state| state.dead || state.waiting() == 0).await;
        self.lock().waiting() == 0
    }

    async fn written_until(&self, done: impl Fn(&OutboxState) -> bool) {
        self.written.when(|| done(&self.lock()).then_some(())).await;
    }

    /// Accepts no more frames. The pending ones are still written.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.ready.advance();
        self.written.advance();
    }

    /// Accepts no more frames, and ends the writer without writing the pending ones.
    pub(super) fn kill(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.dead = true;
        drop(state);
        self.ready.advance();
        self.written.advance();
    }

    /// Writes the frames as they come, until the outbox is closed and empty, or writing fails, or `stream` accepts no
    /// bytes for
    /// `timeout`.
    pub(super) async fn write_to<W: AsyncWrite + Unpin>(
        &self,
        mut stream: W,
        timeout: Duration,
    ) -> io::Result<()> {
        let mut spare = Vec::new();
        let result = loop {
            let Some(bytes) = self.take(spare).await else { break Ok(()) };
            if let Err(error) = write_all(&mut stream, &bytes, timeout).await {
                break Err(error);
            }
            self.lock().writing = 0;
            self.written.advance();
            spare = if bytes.capacity() > KEEP { Vec::new() } else { bytes };
        };
        if result.is_err() {
            self.kill();
        }
        result
    }

    /// Takes all pending bytes in exchange for a spare buffer, as soon as there are any; `None` when there will be no
    /// more.
    async fn take(&self, mut spare: Vec<u8>) -> Option<Vec<u8>> {
        spare.clear();
        self.ready.when(|| self.lock().take(&mut spare)).await
    }
}

impl OutboxState {
    /// `Some(None)` when there is nothing to write and never will be.
    fn take(&mut self, spare: &mut Vec<u8>) -> Option<Option<Vec<u8>>> {
        if self.dead || (self.closed && self.pending.is_empty()) {
            return Some(None);
        }
        if self.pending.is_empty() {
            return None;
        }
        self.writing = self.pending.len();
        Some(Some(std::mem::replace(&mut self.pending, std::mem::take(spare))))
    }

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
            if let Some(prefix_bytes) = state.pending.get_mut(start..start + 4) {
                prefix_bytes.copy_from_slice(&prefix.to_le_bytes());
            }
            Ok(())
        }
        _ => {
            state.pending.truncate(start);
            Err(OutboxError::TooLong)
        }
    }
}

async fn write_all<W: AsyncWrite + Unpin>(stream: &mut W, bytes: &[u8], timeout: Duration) -> io::Result<()> {
    let mut rest = bytes;
    // A stream that accepts a few bytes now and then holds the buffer as long as one that accepts none, so each
    // megabyte has a time limit as well.
    let in_all =
        timeout.saturating_mul(u32::try_from(bytes.len() / HIGH_WATER).unwrap_or(u32::MAX).saturating_add(1));
    let begun = Instant::now();
    while !rest.is_empty() {
        let piece = rest.get(..rest.len().min(PIECE)).unwrap_or(rest);
        let time = timeout.min(in_all.saturating_sub(begun.elapsed()));
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
    fn pushed_values_are_written_in_order_and_length_delimited() {
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
    fn a_sender_waits_while_too_much_is_pending() {
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
    fn a_stream_that_accepts_a_byte_now_and_then_ends_the_writer_too() {
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
    fn a_stream_that_accepts_nothing_ends_the_writer_and_every_task_that_waits() {
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
