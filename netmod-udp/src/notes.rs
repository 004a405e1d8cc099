//! The notes of a netmod that `rouse status` shows: problems that do not stop it, and what to do about them. There is
//! one note for each topic, which is removed when the problem is over.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rouse_core::netmod::Note;

/// The subject of a note. The order of the variants is the order in which notes are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// The port that is listened on is not the one that was meant.
    Port,
    /// An address family is missing on this host.
    Family,
    /// The receive buffer is smaller than wanted.
    ReceiveBuffer,
    /// The send buffer is smaller than wanted.
    SendBuffer,
    /// The interfaces cannot be listed, or some are left out.
    Interfaces,
    /// Changes of interfaces are not reported by the kernel.
    Watch,
    /// Beacons cannot be received on an interface.
    Listening,
    /// Beacons cannot be sent.
    Beacons,
}

/// The current notes of a netmod, at most one for each topic.
#[derive(Debug, Default)]
pub(crate) struct NotesByTopic(Mutex<BTreeMap<Topic, Note>>);

impl NotesByTopic {
    /// Sets the note of a topic in place of the one before, and logs it when it has changed.
    pub(crate) fn set(&self, topic: Topic, text: impl Into<String>, hint: impl Into<String>) {
        let note = Note { text: text.into(), hint: hint.into() };
        if self.lock().insert(topic, note.clone()).as_ref() != Some(&note) {
            tracing::info!(hint = %note.hint, "{}", note.text);
        }
    }

    /// Removes the note of a topic, because its problem is over.
    pub(crate) fn clear(&self, topic: Topic) {
        self.lock().remove(&topic);
    }

    /// Removes all notes.
    pub(crate) fn clear_all(&self) {
        self.lock().clear();
    }

    /// All current notes.
    pub(crate) fn all(&self) -> Vec<Note> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Topic, Note>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
