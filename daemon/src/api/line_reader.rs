//! The input of a connection: lines, with a bound for each and one for those of all connections together.

use std::io;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::{Bytes, BytesMut};
use futures::io::{AsyncRead, AsyncReadExt};

use super::error::ApiError;

/// The longest line: the longest message in base64 has 22.4 MB, one in escaped text more.
const MAX_LINE: usize = 32 << 20;

/// The bytes of a line that need no room in the budget.
const FREE_BYTES: usize = 4 << 10;

/// The bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// The room for long lines, of all connections together. A line keeps its room until its call has been answered.
#[derive(Debug)]
pub struct LineBudget {
    left: AtomicUsize,
}

impl Default for LineBudget {
    /// Room for two of the longest lines.
    fn default() -> Self {
        LineBudget { left: AtomicUsize::new(2 * MAX_LINE) }
    }
}

/// The room that a line occupies, given back when it is dropped.
struct Room<'a> {
    budget: &'a LineBudget,
    bytes: usize,
}

impl Room<'_> {
    /// Whether there is room for a line of so many bytes.
    fn grow(&mut self, length: usize) -> bool {
        let more = length.saturating_sub(FREE_BYTES).saturating_sub(self.bytes);
        let taken = self.budget.left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(more)).is_ok();
        self.bytes += if taken { more } else { 0 };
        taken
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, SeqCst);
    }
}

/// A line without its end, and its room.
pub(super) struct WholeLine<'a> {
    bytes: Bytes,
    _room: Room<'a>,
}

impl Deref for WholeLine<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A line that was read.
pub(super) enum Line<'a> {
    /// A line with text.
    Whole(WholeLine<'a>),
    /// A line that was too long for its bound, or for the room that is left.
    Skipped(ApiError),
}

/// Reads lines. Dropping the future of [`LineReader::next`] loses nothing.
pub(super) struct LineReader<'a, R> {
    input: R,
    budget: &'a LineBudget,
    room: Room<'a>,
    buffer: BytesMut,
    /// The bytes of the buffer in which no line ends.
    searched: usize,
    chunk: Vec<u8>,
    /// Whether the rest of the line is dropped.
    is_skipping: bool,
    is_over: bool,
}

impl<'a, R: AsyncRead + Unpin> LineReader<'a, R> {
    pub(super) fn new(input: R, budget: &'a LineBudget) -> Self {
        LineReader {
            input,
            budget,
            room: Room { budget, bytes: 0 },
            buffer: BytesMut::new(),
            searched: 0,
            chunk: vec![0; CHUNK],
            is_skipping: false,
            is_over: false,
        }
    }

    /// The next line that is not blank; `None` at the end of the input. The last line needs no end.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line<'a>>> {
        loop {
            if let Some(line) = self.buffered() {
                return Ok(Some(line));
            }
            if self.is_over {
                return Ok(None);
            }
            let count = self.input.read(&mut self.chunk).await?;
            let Some(read) = self.chunk.get(..count).filter(|read| !read.is_empty()) else {
                self.is_over = true;
                continue;
            };
            self.buffer.extend_from_slice(read);
        }
    }

    /// The next line in the buffer, or the error of one that has no room.
    fn buffered(&mut self) -> Option<Line<'a>> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            let end = unsearched.iter().position(|byte| *byte == b'\n').map(|at| self.searched + at);
            let last = (self.is_over && !self.buffer.is_empty()).then_some(self.buffer.len());
            let length = end.or(last);
            let so_far = length.unwrap_or(self.buffer.len());
            let refused = (!self.is_skipping).then(|| self.refusal(so_far)).flatten();
            self.is_skipping |= refused.is_some();
            let Some(length) = length else {
                self.searched = so_far;
                if self.is_skipping {
                    self.release();
                }
                return refused.map(Line::Skipped);
            };
            let was_skipped = std::mem::take(&mut self.is_skipping);
            let bytes = self.buffer.split_to(length).freeze();
            let _ = self.buffer.split_to(usize::from(end.is_some()));
            self.searched = 0;
            let room = std::mem::replace(&mut self.room, Room { budget: self.budget, bytes: 0 });
            if let Some(error) = refused {
                return Some(Line::Skipped(error));
            }
            if !was_skipped && !bytes.trim_ascii().is_empty() {
                return Some(Line::Whole(WholeLine { bytes, _room: room }));
            }
        }
    }

    /// The reason why a line of so many bytes is not kept.
    fn refusal(&mut self, length: usize) -> Option<ApiError> {
        if length > MAX_LINE {
            Some(ApiError::parse(format!("a line has at most {MAX_LINE} bytes")))
        } else if !self.room.grow(length) {
            Some(ApiError::busy("too many long lines of all connections are under way"))
        } else {
            None
        }
    }

    /// Gives the memory of an unfinished line back.
    fn release(&mut self) {
        // A new buffer, since a cleared one would keep its memory.
        self.buffer = BytesMut::new();
        self.searched = 0;
        self.room = Room { budget: self.budget, bytes: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use futures::io::Cursor;

    /// The lines of an input, with an exclamation mark for each that was skipped.
    fn lines(input: &[u8], budget: &LineBudget) -> Vec<String> {
        let mut reader = LineReader::new(Cursor::new(input), budget);
        let mut all = Vec::new();
        while let Some(line) = block_on(reader.next()).unwrap() {
            all.push(match line {
                Line::Whole(line) => String::from_utf8(line.to_vec()).unwrap(),
                Line::Skipped(_) => "!".to_owned(),
            });
        }
        all
    }

    #[test]
    fn a_line_ends_at_its_end_or_at_that_of_the_input() {
        let budget = LineBudget::default();
        assert_eq!(lines(b"{\"a\":1}\n\n  \n{\"b\":2}", &budget), ["{\"a\":1}", "{\"b\":2}"]);
        assert!(lines(b"", &budget).is_empty());
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_one_is_read() {
        let budget = LineBudget::default();
        // The end of the line is at the beginning of what is read at once, in its middle, and missing.
        for length in [MAX_LINE + CHUNK, MAX_LINE + 1, MAX_LINE + CHUNK + 77] {
            let mut input = vec![b'x'; length];
            assert_eq!(lines(&input, &budget), ["!"]);
            input.extend_from_slice(b"\n{}\n");
            assert_eq!(lines(&input, &budget), ["!", "{}"]);
            assert_eq!(budget.left.load(SeqCst), 2 * MAX_LINE);
        }
    }

    #[test]
    fn long_lines_share_their_room_and_give_it_back() {
        let budget = LineBudget { left: AtomicUsize::new(10 << 10) };
        let long = [vec![b'x'; 12 << 10], b"\n".to_vec()].concat();
        let mut first = LineReader::new(Cursor::new(&long), &budget);
        let held = block_on(first.next()).unwrap();
        assert!(matches!(held, Some(Line::Whole(_))));
        assert_eq!(lines(&[&long[..], b"short\n"].concat(), &budget), ["!", "short"]);
        drop(held);
        assert_eq!(lines(&long, &budget).len(), 1);
        assert_eq!(budget.left.load(SeqCst), 10 << 10);
    }
}
