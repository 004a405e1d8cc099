//! The turns of the senders that wait for a conversation; see [`send_line`](super::send_line).

use std::future::poll_fn;
use std::sync::{Arc, MutexGuard};
use std::task::Poll;

use crate::node::state::conversation::ConversationEntry;
use crate::node::state::send_line::{LineState, Room};

/// The turn of a sender, until it is dropped.
pub(crate) struct SendTurn {
    entry: Arc<ConversationEntry>,
    room: Room,
    number: u64,
}

impl ConversationEntry {
    /// Whether a sender may go on: no other waits, or it is the first of those that do.
    pub(crate) fn may_send(&self, room: Room, turn: Option<&SendTurn>) -> bool {
        match (turn, self.lines.get()) {
            // A conversation that was opened again has another line, and the turn in the former one still counts.
            (Some(turn), _) => turn.is_first(),
            (None, Some(lines)) => lines.line(room).lock().waiting.is_empty(),
            (None, None) => true,
        }
    }

    /// Takes a turn behind all senders that wait for this room.
    pub(crate) fn join(self: &Arc<Self>, room: Room) -> SendTurn {
        let mut line = self.lines.get_or_init(Box::default).line(room).lock();
        let number = line.next;
        line.next += 1;
        line.waiting.insert(number, None);
        drop(line);
        SendTurn { entry: self.clone(), room, number }
    }

    /// Waits until a message that found no room may look again: for its turn, or, as the first, for room after the count was
    /// `seen`.
    pub(crate) async fn wait_in_line(self: &Arc<Self>, room: Room, turn: &mut Option<SendTurn>, seen: u64) {
        // The turn is kept until the message has its place, because a later message would go in front otherwise.
        let turn = turn.get_or_insert_with(|| self.join(room));
        match turn.is_first() {
            true => self.room_after(seen).await,
            // Its sender looks for room at once after that, since the one before may have left some.
            false => turn.first().await,
        }
    }
}

impl SendTurn {
    fn line(&self) -> MutexGuard<'_, LineState> {
        self.entry.lines.get_or_init(Box::default).line(self.room).lock()
    }

    pub(crate) fn is_first(&self) -> bool {
        self.line().waiting.first_key_value().is_none_or(|(first, _)| *first >= self.number)
    }

    /// Waits until it is the first. Only the last waker is kept, since a task that waits has one.
    pub(crate) async fn first(&self) {
        poll_fn(|cx| {
            let mut line = self.line();
            if line.waiting.first_key_value().is_none_or(|(first, _)| *first >= self.number) {
                return Poll::Ready(());
            }
            let replaced = line.waiting.get_mut(&self.number).and_then(|own| own.replace(cx.waker().clone()));
            drop(line);
            // After the lock is released, because the drop of a waker may run code of the application.
            drop(replaced);
            Poll::Pending
        })
        .await;
    }
}

impl Drop for SendTurn {
    fn drop(&mut self) {
        let mut line = self.line();
        let own = line.waiting.remove(&self.number);
        let next = line.waiting.first_entry().and_then(|mut first| first.get_mut().take());
        // After the lock is released, because a waker runs code of the application.
        drop(line);
        drop(own);
        if let Some(next) = next {
            next.wake();
        }
    }
}
