//! The senders that wait for one conversation: first come, first served.
//!
//! A wake does not decide which sender goes on, because one that has just arrived may run before those that were woken. So
//! a sender that cannot go on takes a *turn*, and only the first turn may go on while there are any. A turn that ends
//! wakes the next one alone.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// The senders that wait, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct SendLine(Mutex<LineState>);

#[derive(Debug, Default)]
pub(crate) struct LineState {
    pub(crate) next: u64,
    /// The waker of each sender that waits to be the first.
    pub(crate) waiting: BTreeMap<u64, Option<Waker>>,
}

/// The lines of a conversation. They are apart, because messages in memory and in the journal wait for different room.
#[derive(Debug, Default)]
pub(crate) struct SendLines {
    memory: SendLine,
    journal: SendLine,
}

/// The kind of room that a message needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Memory,
    Journal,
}

impl SendLine {
    pub(crate) fn lock(&self) -> MutexGuard<'_, LineState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SendLines {
    pub(crate) fn line(&self, room: Room) -> &SendLine {
        match room {
            Room::Memory => &self.memory,
            Room::Journal => &self.journal,
        }
    }
}
