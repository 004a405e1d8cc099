//! The state of a journal as a whole.

use rouse_proto::types::Waiting;

use crate::error::{JournalError, Refusal};
use crate::limits::Holding;
use crate::totals::Totals;

/// The state of a journal as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalStatus {
    /// The messages that wait to be delivered.
    pub outbox: Waiting,
    /// The messages that no application has acknowledged, without the dead letters.
    pub inbox: Waiting,
    /// The dead letters.
    pub dead: Waiting,
    /// The length of the file in bytes.
    pub file_bytes: u64,
    /// The error of the last operation; `None` when it has worked, and the disk is not full.
    pub error: Option<JournalError>,
    /// The refusal of the last message for which the outbox had no room; `None` when messages have left it since.
    pub full: Option<Refusal>,
    /// Messages that were lost because the file was damaged.
    pub damaged: u64,
    /// Files whose losses could not be counted. Those of which nothing could be read are kept as `journal.damaged`.
    pub unreadable: u64,
    /// Conversations that were forgotten because there were too many.
    pub evicted: u64,
    /// Times that a conversation has taken a new incarnation because the journal was an older copy of itself.
    pub renewed: u64,
    /// A number that grows when messages have left the journal, so that there may be room for others.
    pub room: u64,
}

impl JournalStatus {
    pub(crate) fn update(&mut self, totals: &Totals, file_bytes: u64) {
        let waiting = |holding: Holding| Waiting { messages: holding.messages, bytes: holding.bytes };
        let former =
            self.outbox.messages.saturating_add(self.inbox.messages).saturating_add(self.dead.messages);
        self.outbox = waiting(totals.outbox);
        self.dead = waiting(totals.dead);
        self.inbox = Waiting {
            messages: totals.inbox.messages.saturating_sub(totals.dead.messages),
            bytes: totals.inbox.bytes.saturating_sub(totals.dead.bytes),
        };
        if totals.outbox.messages.saturating_add(totals.inbox.messages) < former {
            self.room = self.room.saturating_add(1);
            self.full = None;
        }
        self.file_bytes = file_bytes;
        (self.damaged, self.unreadable) = (totals.damaged, totals.unreadable);
        (self.evicted, self.renewed) = (totals.evicted, totals.renewed);
        self.error = None;
    }
}
