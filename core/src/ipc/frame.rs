//! Frames from a stream of bytes.

use std::io;

use futures::future::{Either, select};
use futures::io::{AsyncRead, AsyncReadExt};

use crate::ipc::frame_memory::FrameAllowance;
use crate::ipc::protocol::MAX_FRAME;

/// The length of a read when no longer frame is known to come, in bytes.
const CHUNK: usize = 16 << 10;

/// The buffer that a connection always may have. A longer one is freed once the frame that needed it is over.
const KEEP: usize = 64 << 10;

/// The bytes of a frame from which the memory of all of it is reserved. Before, its length is only a claim.
const SHOWN: usize = KEEP / 2;

/// The reason why there are no more frames.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The other side closed the connection between two frames.
    #[error("the connection was closed")]
    Closed,
    /// The other side closed the connection within a frame.
    #[error("the connection was closed within a frame")]
    Cut,
    /// The length of a frame exceeds the limit.
    #[error("a frame of {0} bytes, the limit is {MAX_FRAME}")]
    TooLong(u32),
    /// Others wait for the memory of a frame that is not complete in its time.
    #[error("a frame was not complete in its time, while others waited for its memory")]
    Overdue,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl FrameError {
    /// Whether the other side has ended. One that ends before it has read all that was sent resets the connection.
    pub(super) fn is_end(&self) -> bool {
        match self {
            FrameError::Closed | FrameError::Cut => true,
            FrameError::Io(error) => error.kind() == io::ErrorKind::ConnectionReset,
            _ => false,
        }
    }
}

/// Reads frames. The buffer grows with the bytes that have come, because a claimed length costs the sender nothing.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    stream: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The memory for frames longer than [`KEEP`]; `None` where it has no bound.
    allowance: Option<FrameAllowance>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(stream: R) -> Self {
        FrameReader { stream, buffer: Vec::new(), start: 0, end: 0, allowance: None }
    }

    /// Reads frames for which the connection shares memory with others.
    pub(super) fn sharing(stream: R, allowance: FrameAllowance) -> Self {
        FrameReader { allowance: Some(allowance), ..FrameReader::new(stream) }
    }

    /// The content of the next frame. A dropped future loses nothing, since the bytes stay in the buffer.
    pub(super) async fn next(&mut self) -> Result<&[u8], FrameError> {
        let length = loop {
            let have = self.buffer.get(self.start..self.end).unwrap_or_default();
            let wanted = match have.first_chunk() {
                None => 4,
                Some(prefix) => {
                    let length = u32::from_le_bytes(*prefix);
                    let size = usize::try_from(length).unwrap_or(usize::MAX);
                    if size > MAX_FRAME {
                        return Err(FrameError::TooLong(length));
                    }
                    if have.len() - 4 >= size {
                        break size;
                    }
                    size + 4
                }
            };
            self.fill(wanted).await?;
        };
        let from = self.start + 4;
        self.start = from + length;
        Ok(self.buffer.get(from..self.start).unwrap_or_default())
    }

    /// Reads once, towards a frame of `wanted` bytes.
    async fn fill(&mut self, wanted: usize) -> Result<(), FrameError> {
        self.compact();
        let is_shown = wanted > KEEP && self.end >= SHOWN;
        if !is_shown {
            self.shrink();
        }
        if let Some(allowance) = &mut self.allowance {
            if !is_shown {
                allowance.release();
            } else if allowance.granted() < wanted {
                // The bytes of a frame before were granted for that one.
                allowance.release();
                self.shrink();
                if let Some(allowance) = &mut self.allowance {
                    allowance.reserve(wanted).await;
                }
            }
        }
        self.make_room(wanted);
        let (_, room) = self.buffer.split_at_mut(self.end);
        // A part of the next frame is no longer than the connection's own buffer.
        let most = room.len().min(wanted.max(KEEP) - self.end);
        let (room, _) = room.split_at_mut(most);
        let read = match &self.allowance {
            None => self.stream.read(room).await?,
            Some(allowance) => {
                match select(self.stream.read(room), std::pin::pin!(allowance.overdue())).await {
                    Either::Left((read, _)) => read?,
                    Either::Right(_) => return Err(FrameError::Overdue),
                }
            }
        };
        match read {
            0 if self.start == self.end => Err(FrameError::Closed),
            0 => Err(FrameError::Cut),
            n => {
                self.end += n;
                Ok(())
            }
        }
    }

    /// Moves the bytes to the start of the buffer.
    fn compact(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }

    /// Frees a buffer that is longer than the connection's own.
    fn shrink(&mut self) {
        if self.buffer.len() > KEEP {
            let bytes = self.buffer.get(..self.end).unwrap_or_default();
            let mut buffer = Vec::with_capacity(bytes.len().max(CHUNK));
            buffer.extend_from_slice(bytes);
            buffer.resize(bytes.len().max(CHUNK), 0);
            self.buffer = buffer;
        }
    }

    /// Lets the buffer grow.
    fn make_room(&mut self, wanted: usize) {
        if self.buffer.len() < wanted.max(CHUNK) && self.buffer.len() - self.end < CHUNK {
            // The buffer doubles, so that it never has more than twice the bytes that have come, and one chunk.
            let length = (self.buffer.len() * 2).clamp(CHUNK, wanted.max(CHUNK));
            self.buffer.reserve_exact(length - self.buffer.len());
            self.buffer.resize(length, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll};

    use futures::FutureExt;
    use futures::executor::block_on;
    use futures::io::Cursor;

    use super::*;
    use crate::ipc::frame_memory::FrameMemory;

    fn frames(bytes: Vec<u8>) -> FrameReader<Cursor<Vec<u8>>> {
        FrameReader::new(Cursor::new(bytes))
    }

    fn framed(content: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(content.len()).unwrap().to_le_bytes().to_vec();
        bytes.extend_from_slice(content);
        bytes
    }

    #[test]
    fn frames_of_every_length_come_out_whole_and_in_order() {
        let lengths = [0, 1, 4, CHUNK - 5, CHUNK - 4, CHUNK, 3 * CHUNK + 1, 1 << 20, 0, 7, MAX_FRAME];
        let contents: Vec<Vec<u8>> =
            lengths.iter().map(|&n| (0..n).map(|i| (i * 31 + n) as u8).collect()).collect();
        let mut frames = frames(contents.iter().flat_map(|content| framed(content)).collect());
        for content in &contents {
            assert!(block_on(frames.next()).unwrap() == content);
        }
        assert!(matches!(block_on(frames.next()), Err(FrameError::Closed)));
    }

    #[test]
    fn a_frame_that_claims_too_much_is_refused() {
        for length in [MAX_FRAME as u32 + 1, u32::MAX] {
            let mut frames = frames(length.to_le_bytes().to_vec());
            assert!(
                matches!(block_on(frames.next()), Err(FrameError::TooLong(claimed)) if claimed == length)
            );
        }
    }

    #[test]
    fn a_claimed_length_allocates_nothing_before_its_bytes_come() {
        let mut bytes = (MAX_FRAME as u32).to_le_bytes().to_vec();
        bytes.push(1);
        let mut frames = frames(bytes);
        assert!(matches!(block_on(frames.next()), Err(FrameError::Cut)));
        assert!(frames.buffer.len() <= 2 * CHUNK);
    }

    #[test]
    fn a_frame_cut_short_is_an_error() {
        for cut in 1..6 {
            let mut frames = frames(framed(b"ab").split_at(cut).0.to_vec());
            assert!(matches!(block_on(frames.next()), Err(FrameError::Cut)), "cut at {cut}");
        }
    }

    /// A reader over a stream that has this much of a frame, whose allowance has been granted for longer than its turn.
    async fn stalled(memory: &Arc<FrameMemory>) -> Result<usize, FrameError> {
        let mut bytes = (MAX_FRAME as u32).to_le_bytes().to_vec();
        bytes.resize(1 << 20, 7);
        let mut allowance = FrameAllowance::new(memory.clone(), true);
        allowance.reserve(MAX_FRAME + 4).await;
        allowance.let_turn_pass();
        let stream = Cursor::new(bytes).chain(Stalled);
        let mut frames = FrameReader::sharing(stream, allowance);
        frames.next().await.map(<[u8]>::len)
    }

    /// A stream that never has another byte.
    struct Stalled;

    impl AsyncRead for Stalled {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }
    }

    #[test]
    fn a_frame_that_stalls_gives_way_to_one_that_waits_for_its_memory() {
        let memory = Arc::<FrameMemory>::default();
        let mut others: Vec<_> = (0..3).map(|_| FrameAllowance::new(memory.clone(), true)).collect();
        for one in &mut others[..2] {
            block_on(one.reserve(MAX_FRAME + 4));
        }
        assert!(stalled(&memory).now_or_never().is_none(), "it may wait while none needs its memory");
        let both = async { futures::join!(stalled(&memory), others[2].reserve(MAX_FRAME + 4)) };
        assert!(matches!(block_on(both).0, Err(FrameError::Overdue)));
        assert_eq!(others[2].granted(), MAX_FRAME + 4);
    }

    #[test]
    fn a_part_of_a_frame_leaves_no_long_buffer_behind() {
        let mut bytes = framed(&vec![0; 1 << 20]);
        bytes.extend(100u32.to_le_bytes());
        bytes.push(1);
        let mut frames = FrameReader::new(Cursor::new(bytes).chain(Stalled));
        block_on(frames.next()).unwrap();
        assert!(frames.next().now_or_never().is_none());
        assert!(frames.buffer.capacity() <= KEEP);
    }

    #[test]
    fn a_long_frame_leaves_no_long_buffer_behind() {
        let mut bytes = framed(&vec![0; 1 << 20]);
        bytes.extend(framed(b"x"));
        let mut frames = frames(bytes);
        block_on(frames.next()).unwrap();
        block_on(frames.next()).unwrap();
        assert!(block_on(frames.next()).is_err());
        assert!(frames.buffer.len() <= KEEP);
    }
}
