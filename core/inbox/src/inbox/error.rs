//! The errors of an inbox, one type per operation.

use std::error::Error;
use std::fmt;

/// The inbox is closed: nothing more can be written, and nothing is left to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the inbox is closed")
    }
}

impl Error for Closed {}

/// The reason why an item was not written. The item is handed back inside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PushError<T> {
    /// There is no room now; a later attempt may succeed.
    Full(T),
    /// The item alone exceeds the byte limit of the inbox, so that no later attempt can succeed.
    TooLarge(T),
    /// The inbox is closed.
    Closed(T),
}

impl<T> PushError<T> {
    /// The item that was not written.
    pub fn into_inner(self) -> T {
        match self {
            PushError::Full(item) | PushError::TooLarge(item) | PushError::Closed(item) => item,
        }
    }
}

/// Implemented by hand, since an item need not implement `Debug`.
impl<T> fmt::Debug for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PushError::Full(_) => "Full(..)",
            PushError::TooLarge(_) => "TooLarge(..)",
            PushError::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PushError::Full(_) => "the inbox is full",
            PushError::TooLarge(_) => "the item is larger than the whole inbox",
            PushError::Closed(_) => "the inbox is closed",
        })
    }
}

impl<T> Error for PushError<T> {}

/// The reason why no item was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// There is no item now; one may arrive.
    Empty,
    /// There is no item, and none can arrive any more.
    Closed,
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryRecvError::Empty => "the inbox is empty",
            TryRecvError::Closed => "the inbox is closed",
        })
    }
}

impl Error for TryRecvError {}
