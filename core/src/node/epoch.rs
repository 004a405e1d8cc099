//! The epoch: the number of this start, kept on disk. It is the high half of every sequence number that the node
//! announces, so that announces of this start are newer than those of all earlier ones.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::atomic_file;

/// The epoch of this start: the stored one plus one, or else the seconds of the wall clock. When both are wrong,
/// neighbours return the sequence number that the node announced last, and the router continues above it.
pub(crate) fn next(file: Option<&Path>) -> u32 {
    let stored =
        file.and_then(|file| fs::read_to_string(file).ok()).and_then(|text| text.trim().parse::<u32>().ok());
    let epoch = match stored {
        Some(stored) => stored.saturating_add(1),
        None => {
            let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            u32::try_from(seconds).unwrap_or(u32::MAX - 1)
        }
    };
    save(file, epoch);
    epoch
}

/// Stores the epoch. A failure is logged and does no harm while the clock is right, since the clock is the fallback.
pub(crate) fn save(file: Option<&Path>, epoch: u32) {
    let Some(file) = file else { return };
    if let Err(error) = atomic_file::replace(file, format!("{epoch}\n").as_bytes()) {
        tracing::warn!(file = %file.display(), %error, "the epoch could not be stored");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_has_a_higher_epoch_than_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("epoch");
        let first = next(Some(&file));
        assert!(first > 1_700_000_000, "the first one is the clock's");
        assert_eq!(next(Some(&file)), first + 1);
        save(Some(&file), first + 10);
        assert_eq!(next(Some(&file)), first + 11);
        fs::write(&file, "damaged").unwrap();
        assert!(next(Some(&file)) > 1_700_000_000);
    }
}
