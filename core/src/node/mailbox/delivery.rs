//! Putting messages into a mailbox, as far as it has room.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::SeqCst;

use super::Mailbox;
use super::sender::{BYTES_PER_SENDER, SenderInbox, StoredMessage};
use super::state::MailboxState;
use crate::address::Address;
use crate::types::Message;

/// Bytes of a mailbox, shared by all senders. Each may use half of what is left and [`BYTES_IN_ANY_CASE`], so that
/// senders whose messages are never received keep no others out.
const BYTES: usize = 256 << 20;
const BYTES_IN_ANY_CASE: usize = 64 << 10;

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
        let has = sender.inbox.bytes().saturating_add(sender.elsewhere.bytes());
        let used = usize::try_from(self.bytes.load(SeqCst)).unwrap_or(0);
        let share = (BYTES.saturating_sub(used) / 2).max(BYTES_IN_ANY_CASE);
        let most = if has < BYTES_PER_SENDER && has <= share { most.min(self.per_sender) } else { 0 };
        let count = sender.inbox.len().saturating_add(sender.elsewhere.messages());
        InboxRoom { messages: most.saturating_sub(count), bytes: share.saturating_sub(has) }
    }
}

impl Mailbox {
    /// The way into the inbox of this sender.
    pub(crate) fn delivery(&self, from: &Address) -> InboxDelivery<'_> {
        InboxDelivery { mailbox: self, sender: self.shared.home(from) }
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
        if messages.iter().any(|message| !message.service.is_default()) {
            let all = std::mem::take(messages);
            // Each goes into the inbox of its service, and those of one service stay in their order. The room was
            // looked up before for all of them.
            messages.extend(all.into_iter().filter_map(|message| self.mailbox.push_within_room(message)));
            return;
        }
        let bytes: usize = messages.iter().map(|message| message.body.len()).sum();
        let mut boxed: Vec<_> = messages.drain(..).map(StoredMessage::new).collect();
        // A closed inbox takes nothing.
        let _ = self.sender.inbox.try_push_batch(&mut boxed);
        let (from, to) = (self.sender.address, self.mailbox.shared.address);
        messages.extend(boxed.into_iter().map(|kept| kept.message(from, to)));
        let left: usize = messages.iter().map(|message| message.body.len()).sum();
        self.mailbox.shared.pushed(self.sender.clone(), bytes.saturating_sub(left));
    }
}
