//! The files of a journal, behind a trait, so that a simulator can lose what was not synced, tear a write or be full.

use std::fmt;
use std::io;

mod folder;
mod memory;

pub use folder::FolderDisk;
pub use memory::MemoryDisk;

/// A folder with the files of one journal.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file that exists; `None` when there is none of this name.
    ///
    /// # Errors
    /// When the file cannot be opened.
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn DiskFile>>>;

    /// Creates an empty file, in place of one that may be there.
    ///
    /// # Errors
    /// When the file cannot be created.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file another name, in place of a file that may have it. The new name survives a power cut only after
    /// [`Disk::sync_names`].
    ///
    /// # Errors
    /// When the file cannot be renamed.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. A file that is not there is no error.
    ///
    /// # Errors
    /// When the file cannot be removed.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals survive a power cut.
    ///
    /// # Errors
    /// When the folder cannot be synced.
    fn sync_names(&self) -> io::Result<()>;
}

/// A file of a [`Disk`].
#[allow(clippy::len_without_is_empty, reason = "the length is that of a file, and reading it can fail")]
pub trait DiskFile: fmt::Debug + Send + Sync + 'static {
    /// The length in bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    fn len(&self) -> io::Result<u64>;

    /// Reads exactly the bytes at `offset`.
    ///
    /// # Errors
    /// When the file is shorter, or cannot be read.
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Writes the bytes at `offset`. They survive a power cut only after [`DiskFile::sync`].
    ///
    /// # Errors
    /// When they cannot be written; a part of them may have been.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Sets the length; new bytes are zero.
    ///
    /// # Errors
    /// When it cannot be set.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Makes all that was written survive a power cut.
    ///
    /// # Errors
    /// When it cannot be synced. The state of all unsynced bytes is unknown then.
    fn sync(&self) -> io::Result<()>;
}
