//! Waiting for something to become so.

use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything takes on a machine that is busy with other tests. A test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// What `look` finds, as soon as it finds something.
///
/// # Panics
/// When it has found nothing within [`PATIENCE`]; `what` says what was missing.
#[track_caller]
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_every(PAUSE, what, look)
}

/// As [`until`], with so much time between two looks.
#[track_caller]
pub(crate) fn until_every<T>(pause: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(pause);
    }
}
