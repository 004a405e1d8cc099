//! The width of the terminal that a stream is, and the form of lines on standard error.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use crate::text;

/// The columns of a terminal that reports none.
const DEFAULT_WIDTH: usize = 80;

/// The columns of the terminal behind a stream; `None` for a pipe or a file.
pub(super) fn width_of(stream: impl AsFd + IsTerminal) -> Option<usize> {
    let size = || terminal_size::terminal_size_of(&stream).map(|(width, _)| usize::from(width.0));
    stream.is_terminal().then(|| size().filter(|width| *width > 0).unwrap_or(DEFAULT_WIDTH))
}

/// One line of text as standard error takes it: broken to the width of a terminal, and one line in a pipe.
pub(super) fn for_stderr(text: &str) -> String {
    let line = text::one_line(text);
    match width_of(io::stderr()) {
        Some(width) => text::paragraph(&line, 0, width),
        None => line.into_owned(),
    }
}
