//! Putting messages into a mailbox, as far as it has room.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::SeqCst;

use super::{BYTES, BYTES_IN_ANY_CASE, BYTES_PER_SENDER, Mailbox, MailboxState, SenderInbox, StoredMessage};
use crate::address::Address;
use crate::types::Message;

/// The room of a sender's inbox at one moment. Applications only add to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InboxRoom {
    messages: usize,
    bytes: usize,
}

impl InboxRoom {
    /// Whether a message fits behind `before` others that have `bytes` bytes together with it.
    pub(crate) fn fits(self, before: usize, bytes: usize) -> bool {
        before < self.messages && bytes <= self.bytes
    }
}

/// The inbox of one sender, looked up once for all messages that are put there at a time.
pub(crate) struct InboxDelivery<'a> {
    mailbox: &'a Mailbox,
    sender: Arc<SenderInbox>,
}

impl MailboxState {
    /// The room of an inbox that may hold `most` messages.
    pub(super) fn room(&self, sender: &SenderInbox, most: usize) -> InboxRoom {
        let has = sender.inbox.bytes();
        let used = usize::try_from(self.bytes.load(SeqCst)).unwrap_or(0);
        let share = (BYTES.saturating_sub(used) / 2).max(BYTES_IN_ANY_CASE);
        let most = if has < BYTES_PER_SENDER && has <= share { most.min(self.per_sender) } else { 0 };
        InboxRoom { messages: most.saturating_sub(sender.inbox.len()), bytes: share.saturating_sub(has) }
    }
}

impl Mailbox {
    /// The way into the inbox of this sender.
    pub(crate) fn delivery(&self, from: &Address) -> InboxDelivery<'_> {
        InboxDelivery { mailbox: self, sender: self.sender(from) }
    }
}

impl InboxDelivery<'_> {
    /// The room of the inbox, which may hold `most` messages.
    pub(crate) fn room(&self, most: usize) -> InboxRoom {
        self.mailbox.shared.room(&self.sender, most)
    }

    /// Requests one report of when messages are taken from the full inbox. Returns whether that was requested before
    /// and nothing was taken since.
    pub(crate) fn report_room(&self) -> bool {
        let mut senders = self.mailbox.shared.senders.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.sender.stalled.swap(true, SeqCst);
        if !before {
            senders.stalled.insert(self.sender.address);
        }
        before
    }

    /// Puts messages of the sender into its inbox, as far as there is room: those that are left found none.
    pub(crate) fn push_batch(&self, messages: &mut Vec<Message>) {
        let bytes: usize = messages.iter().map(|message| message.body.len()).sum();
        let mut boxed: Vec<_> = messages.drain(..).map(StoredMessage::new).collect();
        // A closed inbox takes nothing.
        let _ = self.sender.inbox.try_push_batch(&mut boxed);
        let (from, to) = (self.sender.address, self.mailbox.shared.address);
        messages.extend(boxed.into_iter().map(|kept| kept.message(from, to)));
        let left: usize = messages.iter().map(|message| message.body.len()).sum();
        self.mailbox.pushed(self.sender.clone(), bytes.saturating_sub(left));
    }
}
