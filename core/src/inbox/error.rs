//! What an inbox answers when it cannot do as it is told.

use std::fmt;

/// The inbox is closed: nothing more can be written, and nothing is left to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the inbox is closed")]
pub struct Closed;

/// Why an item was not written. It comes back inside.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError<T> {
    /// There is no room now.
    #[error("the inbox is full")]
    Full(T),
    /// The item alone is larger than the inbox may ever be, in bytes.
    #[error("the item is larger than the whole inbox")]
    TooLarge(T),
    /// The inbox is closed.
    #[error("the inbox is closed")]
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

/// An item need not be printable.
impl<T> fmt::Debug for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PushError::Full(_) => "Full(..)",
            PushError::TooLarge(_) => "TooLarge(..)",
            PushError::Closed(_) => "Closed(..)",
        })
    }
}

/// Why no item was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TryRecvError {
    /// There is none now.
    #[error("the inbox is empty")]
    Empty,
    /// There is none, and none will come.
    #[error("the inbox is closed")]
    Closed,
}
