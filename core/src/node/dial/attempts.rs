//! The attempts to dial one peer: its paths are dialled one after the other with a short pause, until one of them
//! answers. So a path that does not work any more does not delay the others, as with the connection attempts of RFC
//! 8305.

use std::collections::VecDeque;
use std::time::Duration;

use crate::link::{DialError, Path};
use crate::time::Time;

/// The pause between two paths, within which most media bring an answer.
pub(super) const STAGGER: Duration = Duration::from_millis(150);

/// See the [module's page](self).
#[derive(Default)]
pub(super) struct Attempts {
    /// The paths that are not dialled yet, the best first.
    left: VecDeque<Path>,
    next: Time,
    begun: Time,
    /// The paths that are dialled and have not answered.
    open: Vec<Path>,
    /// The reason of a failure.
    error: Option<String>,
}

impl Attempts {
    /// Starts to dial these paths in this order.
    pub(super) fn begin(&mut self, now: Time, paths: impl IntoIterator<Item = Path>) {
        *self = Attempts { left: paths.into_iter().collect(), next: now, begun: now, ..Attempts::default() };
    }

    /// The path to dial now.
    pub(super) fn due(&mut self, now: Time) -> Option<Path> {
        if self.next > now {
            return None;
        }
        let path = self.left.pop_front()?;
        self.next = now + STAGGER;
        self.open.push(path);
        Some(path)
    }

    /// Adds a path in front of those that are left, since it was found last.
    pub(super) fn add(&mut self, path: Path) {
        if !self.left.contains(&path) && !self.open.contains(&path) {
            self.left.push_front(path);
        }
    }

    /// The time when the next path is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        (!self.left.is_empty()).then_some(self.next)
    }

    /// Whether no path is being dialled and none is left.
    pub(super) fn are_over(&self) -> bool {
        self.left.is_empty() && self.open.is_empty()
    }

    /// The time since when the peer is being dialled, if it is.
    pub(super) fn since(&self) -> Option<Time> {
        (!self.are_over()).then_some(self.begun)
    }

    /// Whether an answer from this path is awaited.
    pub(super) fn awaits(&self, path: &Path) -> bool {
        self.open.contains(path)
    }

    /// Records that a path has failed, so that the next one is due at once. After the last path, returns the most
    /// specific reason.
    pub(super) fn failed(&mut self, now: Time, path: &Path, reason: &str) -> Option<String> {
        let before = self.open.len();
        self.open.retain(|open| open != path);
        if self.open.len() == before {
            return None;
        }
        self.next = self.next.min(now);
        if self.error.as_ref().is_none_or(|error| *error == DialError::Timeout.to_string()) {
            self.error = Some(reason.to_owned());
        }
        self.are_over().then(|| self.error.take()).flatten()
    }

    /// Drops the paths that are left.
    pub(super) fn stop(&mut self) {
        *self = Attempts::default();
    }
}
