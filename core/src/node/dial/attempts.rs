//! The paths to one peer while they are dialled: one after the other with a short pause, until one of them answers. So a path that
//! leads nowhere any more does not keep the others waiting, as with the connection attempts of RFC 8305.

use std::collections::VecDeque;
use std::time::Duration;

use crate::link::{DialError, Path};
use crate::time::Time;

/// The pause between two paths: on most media an answer has come by then.
pub(super) const STAGGER: Duration = Duration::from_millis(150);

/// See the [module's page](self).
#[derive(Default)]
pub(super) struct Attempts {
    /// Not yet dialled, the best first.
    left: VecDeque<Path>,
    next: Time,
    begun: Time,
    /// Dialled, and without an answer.
    open: Vec<Path>,
    /// Why one of them has come to nothing.
    error: Option<String>,
}

impl Attempts {
    /// Dials these paths from now on, in this order.
    pub(super) fn begin(&mut self, now: Time, paths: impl IntoIterator<Item = Path>) {
        *self = Attempts { left: paths.into_iter().collect(), next: now, begun: now, ..Attempts::default() };
    }

    /// The path that is to be dialled now.
    pub(super) fn due(&mut self, now: Time) -> Option<Path> {
        if self.next > now {
            return None;
        }
        let path = self.left.pop_front()?;
        self.next = now + STAGGER;
        self.open.push(path);
        Some(path)
    }

    /// Dials this path too, before those that are left: it is the one that was found last.
    pub(super) fn add(&mut self, path: Path) {
        if !self.left.contains(&path) && !self.open.contains(&path) {
            self.left.push_front(path);
        }
    }

    /// When the next path is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        (!self.left.is_empty()).then_some(self.next)
    }

    /// Whether nothing is being dialled, and nothing will be.
    pub(super) fn are_over(&self) -> bool {
        self.left.is_empty() && self.open.is_empty()
    }

    /// Since when the peer is being dialled, if it is.
    pub(super) fn since(&self) -> Option<Time> {
        (!self.are_over()).then_some(self.begun)
    }

    /// Whether an answer from this path is awaited.
    pub(super) fn awaits(&self, path: &Path) -> bool {
        self.open.contains(path)
    }

    /// A path has come to nothing: the next one is due at once. When it was the last one, returns the reason that says most.
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

    /// Dials no further paths.
    pub(super) fn stop(&mut self) {
        *self = Attempts::default();
    }
}
