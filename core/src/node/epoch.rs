//! The epoch: the number of this start, kept on disk. It is the high half of every sequence number that the node
//! announces, so that announces of this start are newer than those of all earlier ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::atomic_file;
use crate::rt;
use crate::time::Time;

/// Least delay between attempts to store an epoch after one has failed, because each blocks the router for a moment.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The latest epoch of the node, and the file that stores it for the next start.
#[derive(Debug)]
pub(crate) struct EpochFile {
    path: Option<PathBuf>,
    latest: u32,
    /// Whether the file has the latest epoch.
    is_stored: bool,
    /// The time from which on another attempt may be made after one has failed.
    retry_at: Time,
}

impl EpochFile {
    /// Begins the epoch of this start, and stores it: the stored one plus one, or else the seconds of the wall clock.
    /// When both are wrong, neighbours return the sequence number that the node announced last, and the router
    /// continues above it.
    pub(crate) fn begin(path: Option<PathBuf>) -> Self {
        let stored = path
            .as_deref()
            .and_then(|path| fs::read_to_string(path).ok())
            .and_then(|text| text.trim().parse::<u32>().ok());
        let latest = match stored {
            Some(stored) => stored.saturating_add(1),
            None => {
                let seconds = rt::wall_clock().0 / 1000;
                u32::try_from(seconds).unwrap_or(u32::MAX - 1)
            }
        };
        let is_stored = save(path.as_deref(), latest);
        EpochFile { path, latest, is_stored, retry_at: Time::ZERO }
    }

    /// The latest epoch.
    pub(crate) fn latest(&self) -> u32 {
        self.latest
    }

    /// The router has used an epoch. The latest is stored if the file does not have it yet: writing it once more would
    /// only delay the router.
    pub(crate) fn used(&mut self, now: Time, epoch: u32) {
        if epoch > self.latest {
            self.latest = epoch;
            self.is_stored = false;
        }
        if self.is_stored || self.retry_at > now {
            return;
        }
        self.is_stored = save(self.path.as_deref(), self.latest);
        if !self.is_stored {
            self.retry_at = now + RETRY_AFTER;
        }
    }
}

/// Stores the epoch, and returns whether it is stored, or need not be because there is no file. A failure is logged and
/// does no harm while the clock is right, since the clock is the fallback.
fn save(file: Option<&Path>, epoch: u32) -> bool {
    let Some(file) = file else { return true };
    let saved = atomic_file::replace(file, format!("{epoch}\n").as_bytes());
    if let Err(error) = &saved {
        tracing::warn!(file = %file.display(), %error, "the epoch could not be stored; the directory must be writable");
    }
    saved.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_has_a_higher_epoch_than_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("epoch");
        let begin = || EpochFile::begin(Some(path.clone()));
        let first = begin().latest();
        assert!(first > 1_700_000_000, "the first one is the clock's");
        let mut second = begin();
        assert_eq!(second.latest(), first + 1);
        second.used(Time::ZERO, first + 10);
        assert_eq!(begin().latest(), first + 11);
        fs::write(&path, "damaged").unwrap();
        assert!(begin().latest() > 1_700_000_000);
    }

    #[test]
    fn an_epoch_that_could_not_be_stored_is_stored_at_a_later_report() {
        let folder = tempfile::tempdir().unwrap();
        // The directory is missing and not merely protected, because root may write to any.
        let state = folder.path().join("state");
        let path = state.join("epoch");
        let mut file = EpochFile::begin(Some(path.clone()));
        let latest = file.latest() + 5;
        let failed = Time::ZERO + Duration::from_secs(1);
        file.used(failed, latest);
        fs::create_dir(&state).unwrap();
        file.used(failed + RETRY_AFTER / 2, latest);
        assert!(!path.exists(), "not every report makes an attempt");
        file.used(failed + RETRY_AFTER, latest - 1);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{latest}\n"));
        fs::remove_file(&path).unwrap();
        file.used(failed + RETRY_AFTER * 2, latest);
        assert!(!path.exists(), "an epoch that is stored is not stored once more");
    }
}
