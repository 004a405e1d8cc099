//! Frames from a stream of bytes.

use std::io;

use futures::io::{AsyncRead, AsyncReadExt};

use crate::ipc::protocol::MAX_FRAME;

/// The length of a read when no longer frame is known to come, in bytes.
const CHUNK: usize = 16 << 10;

/// A buffer with more bytes than this is freed once it is empty.
const KEEP: usize = 256 << 10;

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
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads frames. The buffer grows with the bytes that have come, because a claimed length costs the sender nothing.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    stream: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(stream: R) -> Self {
        FrameReader { stream, buffer: Vec::new(), start: 0, end: 0 }
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
        self.make_room(wanted);
        let (_, room) = self.buffer.split_at_mut(self.end);
        match self.stream.read(room).await? {
            0 if self.start == self.end => Err(FrameError::Closed),
            0 => Err(FrameError::Cut),
            n => {
                self.end += n;
                Ok(())
            }
        }
    }

    /// Moves the bytes to the start of the buffer, and lets it grow or shrink.
    fn make_room(&mut self, wanted: usize) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == 0 && self.buffer.len() > KEEP {
            self.buffer = Vec::new();
        }
        if self.buffer.len() < wanted.max(CHUNK) && self.buffer.len() - self.end < CHUNK {
            // The buffer doubles, so that it never has more than twice the bytes that have come, and one chunk.
            let length = (self.buffer.len() * 2).clamp(CHUNK, wanted.max(CHUNK));
            self.buffer.resize(length, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use futures::io::Cursor;

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
