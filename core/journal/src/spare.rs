//! The spare file: room that is given up when the disk is full, so that receipts and deletions still work then.
//!
//! A database that copies what it changes needs room even to delete. The spare file is removed when a commit finds no
//! room, and written again before new messages are accepted.

use std::io;
use std::time::Duration;

use crate::disk::Disk;

const SPARE: &str = "journal.spare";
const LENGTH: usize = 1 << 20;
/// The interval between two attempts to write the spare file again.
const RETRY: Duration = Duration::from_secs(1);

/// The spare file.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    held: bool,
    tried: Option<Duration>,
}

impl Spare {
    /// Whether there is room for new messages. The spare file is written if it is missing, unless that was tried lately.
    pub(crate) fn is_held(&mut self, disk: &dyn Disk, running: Duration) -> bool {
        let lately = self.tried.is_some_and(|tried| running.saturating_sub(tried) < RETRY);
        if !self.held && !lately {
            self.tried = Some(running);
            self.held = match obtain(disk) {
                Ok(()) => true,
                Err(error) if is_full(&error) => false,
                // Another error shows in the journal itself, and is reported there.
                Err(_) => true,
            };
            if !self.held {
                let _ = disk.remove(SPARE);
            }
        }
        self.held
    }

    /// Whether the disk was full when the file was last written.
    pub(crate) fn is_missing(&self) -> bool {
        !self.held && self.tried.is_some()
    }

    /// Gives the room up.
    pub(crate) fn release(&mut self, disk: &dyn Disk, running: Duration) {
        (self.held, self.tried) = (false, Some(running));
        // The attempt that follows shows whether it has helped.
        let _ = disk.remove(SPARE).and_then(|()| disk.sync_names());
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn obtain(disk: &dyn Disk) -> io::Result<()> {
    if let Some(file) = disk.open(SPARE)?
        && file.len()? == LENGTH as u64
    {
        return Ok(());
    }
    let file = disk.create(SPARE)?;
    // Zeros would take no room on some file systems.
    file.write(0, &vec![0xa5; LENGTH])?;
    file.sync()?;
    disk.sync_names()
}
