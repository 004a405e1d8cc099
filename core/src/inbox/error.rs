//! The errors of an inbox, one type per operation.

use std::fmt;

/// The inbox is closed: nothing more can be written, and nothing is left to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the inbox is closed")]
pub struct Closed;

/// The reason why an item was not written. The item is handed back inside.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError<T> {
    /// There is no room now; a later attempt may succeed.
    #[error("the inbox is full")]
    Full(T),
    /// The item alone exceeds the byte limit of the inbox, so that no later attempt can succeed.
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

/// The reason why no item was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TryRecvError {
    /// There is no item now; one may arrive.
    #[error("the inbox is empty")]
    Empty,
    /// There is no item, and none can arrive any more.
    #[error("the inbox is closed")]
    Closed,
}
