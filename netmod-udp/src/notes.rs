//! The notes of a netmod that `rouse status` shows: problems that do not stop it, and what to do about them. There is
//! one note for each topic, which is removed when the problem is over.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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

/// A note that comes back, or in which only a number has changed, is logged again after this time at the earliest: interfaces may
/// come and go every second.
const LOG_AGAIN: Duration = Duration::from_secs(3600);

/// The current notes of a netmod, at most one for each topic.
#[derive(Debug, Default)]
pub(crate) struct NotesByTopic(Mutex<Notes>);

#[derive(Debug, Default)]
struct Notes {
    current: BTreeMap<Topic, Note>,
    /// The text that was logged last on each topic, without its numbers, and the time.
    logged: BTreeMap<Topic, (String, Instant)>,
}

impl Notes {
    /// Whether this text is to be logged now.
    fn is_news(&mut self, now: Instant, topic: Topic, text: &str) -> bool {
        let text: String = text.chars().filter(|letter| !letter.is_ascii_digit()).collect();
        let known = |(last, at): &(String, Instant)| *last == text && now.duration_since(*at) < LOG_AGAIN;
        if self.logged.get(&topic).is_some_and(known) {
            return false;
        }
        self.logged.insert(topic, (text, now));
        true
    }
}

impl NotesByTopic {
    /// Sets the note of a topic in place of the one before, and logs it when it is news.
    pub(crate) fn set(&self, topic: Topic, text: impl Into<String>, hint: impl Into<String>) {
        let note = Note { text: text.into(), hint: hint.into() };
        let mut notes = self.lock();
        let is_news = notes.is_news(Instant::now(), topic, &note.text);
        notes.current.insert(topic, note.clone());
        drop(notes);
        if is_news {
            tracing::info!(hint = %note.hint, "{}", note.text);
        }
    }

    /// Removes the note of a topic, because its problem is over.
    pub(crate) fn clear(&self, topic: Topic) {
        self.lock().current.remove(&topic);
    }

    /// Removes all notes.
    pub(crate) fn clear_all(&self) {
        self.lock().current.clear();
    }

    /// All current notes.
    pub(crate) fn all(&self) -> Vec<Note> {
        self.lock().current.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_whose_numbers_change_or_that_comes_and_goes_is_logged_once_an_hour() {
        let (mut notes, start) = (Notes::default(), Instant::now());
        let left_out = |count: u32| format!("{count} interfaces are left out");
        let mut logged = Vec::new();
        for second in 0..7200 {
            let now = start + Duration::from_secs(second);
            if notes.is_news(now, Topic::Interfaces, &left_out(second as u32 % 30)) {
                logged.push(second);
            }
        }
        assert_eq!(logged, [0, 3600]);
        let now = start + Duration::from_secs(7200);
        assert!(notes.is_news(now, Topic::Beacons, &left_out(1)), "another topic");
        assert!(notes.is_news(now, Topic::Interfaces, "the interfaces cannot be listed"), "another text");
    }
}
