//! The attempts to dial one peer: its paths are dialled one after the other with a short pause, until one of them
//! answers. So a path that does not work any more does not delay the others, as with the connection attempts of RFC
//! 8305.

use std::collections::{HashMap, VecDeque};

use super::limits::{ENDPOINTS, STAGGER};
use crate::link::{DialError, Path};
use crate::time::Time;

/// See the [module's page](self).
#[derive(Default)]
pub(super) struct Attempts {
    /// The paths that are not dialled yet, the best first.
    left: VecDeque<Path>,
    next: Time,
    begun: Time,
    /// The paths that are dialled and have not answered.
    open: Vec<Path>,
    /// The paths that were found since the round began: those not dialled yet, the last one first, and those that have not
    /// answered. They are dialled beside the round and do not prolong it, or else new beacons would keep the other paths from
    /// being dialled again.
    found: VecDeque<Path>,
    beside: Vec<Path>,
    /// The reason of a failure.
    error: Option<String>,
}

impl Attempts {
    /// Begins a round, which dials these paths in this order. Those that are still being dialled beside the round before
    /// belong to this one.
    pub(super) fn begin(&mut self, now: Time, paths: impl IntoIterator<Item = Path>) {
        let mut left: VecDeque<Path> = paths.into_iter().collect();
        let (open, beside): (Vec<Path>, Vec<Path>) =
            self.beside.drain(..).partition(|path| left.contains(path));
        left.retain(|path| !open.contains(path));
        *self = Attempts { left, next: now, begun: now, open, beside, ..Attempts::default() };
    }

    /// The path to dial now.
    pub(super) fn due(&mut self, now: Time) -> Option<Path> {
        if self.next > now {
            return None;
        }
        // Those that were found since come first, because the node may have left the others.
        let (path, dialled) = match self.found.pop_front() {
            Some(path) => (path, &mut self.beside),
            None => (self.left.pop_front()?, &mut self.open),
        };
        dialled.push(path);
        self.next = now + STAGGER;
        Some(path)
    }

    /// Dials a path beside the round, before those that are left, since it was found last. Of more than [`ENDPOINTS`] at a time
    /// the others wait for the next round.
    pub(super) fn add(&mut self, path: Path) {
        let known = self.left.contains(&path) || self.found.contains(&path) || self.awaits(&path);
        if !known && self.found.len().saturating_add(self.beside.len()) < ENDPOINTS {
            self.found.push_front(path);
        }
    }

    /// The time when the next path is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        (!self.left.is_empty() || !self.found.is_empty()).then_some(self.next)
    }

    /// Whether the round is over, so that the next one may begin.
    pub(super) fn are_over(&self) -> bool {
        self.left.is_empty() && self.open.is_empty()
    }

    /// The time since when the peer is being dialled, if it is.
    pub(super) fn since(&self) -> Option<Time> {
        (!self.are_over()).then_some(self.begun)
    }

    /// Whether an answer from this path is awaited.
    pub(super) fn awaits(&self, path: &Path) -> bool {
        self.open.contains(path) || self.beside.contains(path)
    }

    /// Whether this path and all others of the round were dialled and are among those over which nothing was sent.
    pub(super) fn are_unsent(&self, path: &Path, unsent: &HashMap<Path, String>) -> bool {
        self.left.is_empty()
            && self.open.contains(path)
            && self.open.iter().all(|open| unsent.contains_key(open))
    }

    /// Records that a path has failed, so that the next one is due at once. After the last path of the round, returns the
    /// most specific reason.
    pub(super) fn failed(&mut self, now: Time, path: &Path, reason: &str) -> Option<String> {
        self.beside.retain(|beside| beside != path);
        let before = self.open.len();
        self.open.retain(|open| open != path);
        if self.open.len() == before {
            return None;
        }
        // The pause is for a path that may still answer, so a failure ends it.
        self.next = self.next.min(now);
        // A time-out names no cause, so any other reason replaces it.
        if self.error.as_ref().is_none_or(|error| *error == DialError::Timeout.to_string()) {
            self.error = Some(reason.to_owned());
        }
        if !self.are_over() {
            return None;
        }
        // They are among the paths of the peer, so that the next round has them.
        self.found.clear();
        self.error.take()
    }

    /// Drops the paths that are left.
    pub(super) fn stop(&mut self) {
        *self = Attempts::default();
    }
}
