//! What the user should know of this netmod, one note for each subject; a subject that is well again has none.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rouse_core::netmod::Note;

/// What a note is about, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    Port,
    Family,
    ReceiveBuffer,
    SendBuffer,
    Interfaces,
    Watch,
    Listening,
    Beacons,
}

/// The notes of a netmod.
#[derive(Debug, Default)]
pub(crate) struct NotesByTopic(Mutex<BTreeMap<Topic, Note>>);

impl NotesByTopic {
    /// Says something; what was said of this topic before no longer holds.
    pub(crate) fn set(&self, topic: Topic, text: impl Into<String>, hint: impl Into<String>) {
        let note = Note { text: text.into(), hint: hint.into() };
        if self.lock().insert(topic, note.clone()).as_ref() != Some(&note) {
            tracing::info!(hint = %note.hint, "{}", note.text);
        }
    }

    /// There is nothing to say of this topic.
    pub(crate) fn clear(&self, topic: Topic) {
        self.lock().remove(&topic);
    }

    /// There is nothing to say at all.
    pub(crate) fn clear_all(&self) {
        self.lock().clear();
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Note> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Topic, Note>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
