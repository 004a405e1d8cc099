//! Waiting for a condition.

use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything takes on a machine that is busy with other tests. A test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Calls `look` until it finds something, and returns that.
///
/// # Panics
/// When it has found nothing within [`PATIENCE`]; `what` names what was missing.
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
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(pause);
    }
}
