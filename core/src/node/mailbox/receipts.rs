//! The messages that applications have taken, until their receipts are sent.

use std::sync::{MutexGuard, PoisonError};

use futures::channel::oneshot;

use super::Mailbox;
use super::taken::{LocalReceipt, MailboxReceipts, MessageRanges, number, take, untake};
use crate::address::Address;
use crate::node::reply;
use crate::rt;
use crate::types::{Ends, Message, MessageId};

/// The future receipt of a message that this node sends to itself. Its channel resolves to the microseconds until the
/// message was taken. Dropping this without [`PendingLocalReceipt::keep`] withdraws it, so that a message that finds no
/// room leaves no entry.
pub(crate) struct PendingLocalReceipt {
    mailbox: Mailbox,
    key: (Address, u128),
    receipt: Option<oneshot::Receiver<u64>>,
}

impl PendingLocalReceipt {
    /// Keeps the entry, because the message is in the mailbox now.
    pub(crate) fn keep(mut self) -> Option<oneshot::Receiver<u64>> {
        self.receipt.take()
    }
}

impl Drop for PendingLocalReceipt {
    fn drop(&mut self) {
        if self.receipt.is_some() {
            self.mailbox.receipts().here.remove(&self.key);
        }
    }
}

impl Mailbox {
    fn receipts(&self) -> MutexGuard<'_, MailboxReceipts> {
        self.shared.receipts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers the receipt of a message from this node, before the message is put into the mailbox: an application
    /// could take it at once.
    pub(crate) fn expect(&self, message: &Message) -> PendingLocalReceipt {
        let key = (message.from, number(&message.id));
        let (sender, receipt) = reply::reply();
        self.receipts().here.insert(key, (rt::now(), sender));
        PendingLocalReceipt { mailbox: self.clone(), key, receipt: Some(receipt) }
    }

    /// Records that an application has dealt with these messages, so that their senders get receipts, and those that are stored
    /// are removed from the journal.
    pub fn mark_taken<'a>(&self, messages: impl IntoIterator<Item = &'a Message>) {
        let mut messages: Vec<_> = messages.into_iter().collect();
        if let Some(stored) = &self.shared.stored {
            messages = stored.acknowledge(messages);
        }
        let mut fresh = Vec::new();
        {
            let mut receipts = self.receipts();
            let mut messages = messages.into_iter().peekable();
            while let Some(first) = messages.next() {
                let taken = receipts.taken.entry(first.from).or_default();
                if taken.is_empty() {
                    fresh.push(Ends { peer: first.from, local: self.shared.address });
                }
                take(taken, number(&first.id));
                // Messages of one sender mostly come together, and need one look-up.
                while let Some(message) = messages.next_if(|message| message.from == first.from) {
                    take(taken, number(&message.id));
                }
            }
        }
        // For the other senders the task has been woken already.
        if !fresh.is_empty() {
            self.shared.mailbox_changes.write().extend(fresh);
        }
    }

    /// Withdraws a message that is returned to its inbox. Unless its receipt was sent, none is sent before it is taken
    /// again.
    pub(super) fn undo_taken(&self, message: &Message) {
        let mut receipts = self.receipts();
        let Some(taken) = receipts.taken.get_mut(&message.from) else { return };
        untake(taken, number(&message.id));
        if taken.is_empty() {
            receipts.taken.remove(&message.from);
        }
    }

    /// Takes the messages of this sender that were taken since the last call, and the receipts among them that are for
    /// this node itself.
    pub(crate) fn drain_taken(&self, from: &Address) -> (MessageRanges, Vec<LocalReceipt>) {
        let mut receipts = self.receipts();
        let taken = receipts.taken.remove(from).unwrap_or_default();
        let mut here = Vec::new();
        for (first, last) in &taken {
            while let Some(key) =
                receipts.here.range((*from, *first)..=(*from, *last)).next().map(|(key, _)| *key)
                && let Some((sent, waiter)) = receipts.here.remove(&key)
            {
                let elapsed_us = u64::try_from(rt::elapsed(sent).as_micros()).unwrap_or(u64::MAX);
                here.push(LocalReceipt { id: MessageId(key.1.to_be_bytes()), elapsed_us, waiter });
            }
        }
        (taken, here)
    }

    /// Ends all receipts: no sender waits for one after the node has stopped.
    pub(super) fn close_receipts(&self) {
        // Dropped after the lock is released, because that wakes the senders.
        let _here = std::mem::take(&mut self.receipts().here);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;

    use super::super::MailboxChanges;
    use super::*;
    use crate::identity::Identity;
    use crate::types::{Protection, Timestamp};

    const FIRST: u128 = 7 << 64;

    /// A mailbox with this many messages of one sender, and the set of its changes.
    fn mailbox(count: u128) -> (Mailbox, Arc<MailboxChanges>, Address) {
        let [to, from] = [1, 2].map(|seed| Identity::from_seed(&[seed; 32]).address());
        let mailbox_changes = Arc::<MailboxChanges>::default();
        let mailbox = Mailbox::new(to, 1000, mailbox_changes.clone());
        for number in 0..count {
            let message = Message {
                id: MessageId((FIRST + number).to_be_bytes()),
                from,
                to,
                sent_at: Timestamp(0),
                received_at: Timestamp(0),
                protection: Protection::EndToEnd,
                service: Default::default(),
                in_reply_to: None,
                kind: Default::default(),
                deliveries: 1,
                body: "x".into(),
            };
            assert!(mailbox.push(message).is_none());
        }
        (mailbox, mailbox_changes, from)
    }

    fn recv(mailbox: &Mailbox) -> Message {
        mailbox.recv().now_or_never().expect("one is there").unwrap()
    }

    #[test]
    fn messages_taken_between_two_reads_are_one_change_and_one_range() {
        let (mailbox, mailbox_changes, from) = mailbox(600);
        mailbox.recv_batch(256).now_or_never().unwrap().unwrap();
        assert_eq!(std::mem::take(&mut *mailbox_changes.write()).len(), 1);
        for _ in 0..100 {
            recv(&mailbox);
        }
        assert!(mailbox_changes.read().is_empty(), "the first look is yet to come, and finds these too");
        assert_eq!(mailbox.drain_taken(&from).0, [(FIRST, FIRST + 355)]);
        recv(&mailbox);
        assert_eq!(mailbox_changes.read().len(), 1, "these need another");
        assert_eq!(mailbox.drain_taken(&from).0, [(FIRST + 356, FIRST + 356)]);
        assert_eq!(mailbox.drain_taken(&from).0, []);
    }

    #[test]
    fn fetched_and_returned_messages_are_not_taken() {
        let (mailbox, mailbox_changes, from) = mailbox(5);
        let fetched = mailbox.fetch_batch(5).now_or_never().unwrap().unwrap();
        assert_eq!((mailbox.drain_taken(&from).0, mailbox_changes.read().len()), (vec![], 0));
        mailbox.mark_taken(&fetched);
        for number in [2, 0, 4, 1, 3] {
            mailbox.unrecv(fetched[number].clone());
            let left = mailbox.receipts().taken.get(&from).cloned().unwrap_or_default();
            let mut left: Vec<_> = left.into_iter().flat_map(|(first, last)| first..=last).collect();
            left.sort_unstable();
            assert!(!left.contains(&(FIRST + number as u128)), "{left:?}");
        }
        assert_eq!(mailbox.drain_taken(&from).0, []);
        assert_eq!(recv(&mailbox), fetched[3]);
        assert_eq!(mailbox.drain_taken(&from).0, [(FIRST + 3, FIRST + 3)]);
    }

    #[test]
    fn a_withdrawn_receipt_leaves_no_entry() {
        let (mailbox, _, from) = mailbox(2);
        let (one, other) = (recv(&mailbox), recv(&mailbox));
        mailbox.drain_taken(&from);
        drop(mailbox.expect(&one));
        let receipt = mailbox.expect(&other).keep().unwrap();
        mailbox.mark_taken([&one, &other]);
        let (_, mut here) = mailbox.drain_taken(&from);
        assert_eq!(here.len(), 1, "one sender has given up");
        here.remove(0).notify_sender();
        assert!(receipt.now_or_never().unwrap().is_ok());
        assert!(mailbox.receipts().here.is_empty() && mailbox.receipts().taken.is_empty());
    }
}
