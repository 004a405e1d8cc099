//! The reasons for which the journal refuses or fails.

use std::io;

use rouse_proto::address::Address;

/// The reason for which one message was not put into the journal. The journal works, and has not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no room within the quotas.
    #[error(
        "the journal is full: messages of {holder} hold {held} of {limit} bytes; wait, or raise limits.journal"
    )]
    Full {
        /// The peer whose messages hold most of the room: the peer of the message when its own share is used up.
        holder: Address,
        /// The bytes that they hold.
        held: u64,
        /// The bytes that all messages of this direction may hold.
        limit: u64,
    },
    /// The message is longer than [`MAX_MESSAGE`](rouse_proto::types::MAX_MESSAGE).
    #[error("the message has {length} bytes: send it in pieces")]
    TooLong {
        /// Its length in bytes.
        length: u64,
    },
    /// Another message has this sequence already.
    #[error("the sequence {seq} was used before")]
    SequenceUsed {
        /// The sequence.
        seq: u64,
    },
    /// The messages of this sender have arrived with too many gaps between them to record.
    #[error("too many gaps in the sequence of received messages")]
    TooManyGaps,
    /// There are too many conversations with messages.
    #[error("too many conversations with messages, the limit is {0}")]
    TooManyPairs(u64),
    /// Too many senders that no application has answered have messages in the inbox.
    #[error("too many unanswered senders have messages in the inbox, the limit is {0}")]
    TooManyUnanswered(u64),
    /// The messages of senders that no application has answered have no more room.
    #[error(
        "messages of unanswered senders hold {held} of {limit} bytes: take some, or raise limits.journal"
    )]
    UnansweredFull {
        /// The bytes that they hold.
        held: u64,
        /// The bytes that they may hold.
        limit: u64,
    },
    /// The pair of addresses was not opened, or its state was evicted since.
    #[error("the conversation was not opened in the journal")]
    UnknownPair,
}

/// The reason for which an operation of the journal failed. What it was to change may or may not be on the disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The disk has no room. Receipts and deletions still work.
    #[error("the disk of the journal is full: free some room; messages are accepted again after that")]
    DiskFull,
    /// The disk failed.
    #[error("the journal cannot be used: {0}")]
    Disk(String),
    /// The journal was written by a newer version of this program.
    #[error("the journal has format {0}, which this version cannot read: use the version that wrote it")]
    TooNew(u8),
    /// The journal is closed.
    #[error("the journal is closed")]
    Closed,
}

/// An error below an operation, with what the engine has to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{0}")]
    Disk(io::Error),
    /// The contents of the file contradict each other, or the store has panicked on them.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    #[error("the file has format {0}")]
    TooNew(u8),
}

impl StoreError {
    pub(crate) fn damaged(text: impl Into<String>) -> Self {
        StoreError::Damaged(text.into())
    }

    pub(crate) fn is_full(&self) -> bool {
        match self {
            StoreError::Disk(error) => {
                matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }

    /// The error for the callers.
    pub(crate) fn report(&self) -> JournalError {
        match self {
            _ if self.is_full() => JournalError::DiskFull,
            StoreError::Disk(error) => JournalError::Disk(error.to_string()),
            StoreError::Damaged(text) => JournalError::Disk(format!("its file is damaged: {text}")),
            StoreError::TooNew(version) => JournalError::TooNew(*version),
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        StoreError::Disk(error)
    }
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        match error {
            // A file that does not begin as a database does.
            redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                StoreError::Damaged(error.to_string())
            }
            redb::Error::Io(error) => StoreError::Disk(error),
            // A former error of the disk has closed the handle.
            redb::Error::PreviousIo => StoreError::Disk(io::Error::other(error.to_string())),
            _ => StoreError::Damaged(error.to_string()),
        }
    }
}

macro_rules! from_redb {
    ($($error:ident)*) => {$(
        impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self {
                redb::Error::from(error).into()
            }
        }
    )*};
}

from_redb! { StorageError DatabaseError TransactionError TableError CommitError CompactionError }
