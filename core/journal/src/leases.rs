//! The messages that are lent to applications. They are recorded in memory only: with the process all of them are given
//! back.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included};

use crate::limits::MAX_LEASES;
use crate::types::InboxKey;

/// A mailbox, and the conversation of a sender that has messages in it.
type SenderKey = (u64, u64);

/// The messages that are lent, and where the search for the next one of each sender begins.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    /// The messages that are lent, with the attempts to deliver them, including this one.
    held: BTreeMap<InboxKey, u8>,
    /// The messages below the cursor that were given back.
    returned: BTreeSet<InboxKey>,
    /// For each sender with messages in `held` or `returned`: all of its messages below this number are in one of the two,
    /// or gone.
    cursors: BTreeMap<SenderKey, u64>,
    /// The sender that was served last in each mailbox.
    turns: BTreeMap<u64, u64>,
    /// The changes of the transaction in preparation: those that a failure takes back, and those that a commit makes.
    taken: Vec<InboxKey>,
    ended: Vec<(InboxKey, LeaseEnd)>,
}

/// The end of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeaseEnd {
    /// The message is gone.
    Gone,
    /// The message waits again.
    Back,
    /// The message is a dead letter that waits again.
    Revived,
}

impl Leases {
    /// The attempts to deliver a message that is lent.
    pub(crate) fn held(&self, key: InboxKey) -> Option<u8> {
        self.held.get(&key).copied()
    }

    /// Whether messages of this mailbox are lent.
    pub(crate) fn has_any(&self, mailbox: u64) -> bool {
        let first = InboxKey { mailbox, ..InboxKey::FIRST };
        self.held.range(first..).next().is_some_and(|(key, _)| key.mailbox == mailbox)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.held.len() >= MAX_LEASES
    }

    /// The first message of a sender that was given back.
    pub(crate) fn first_returned(&self, (mailbox, pair): SenderKey) -> Option<InboxKey> {
        let key = |number| InboxKey { mailbox, pair, number };
        self.returned.range(key(0)..=key(u64::MAX)).next().copied()
    }

    /// The number from which the search for other messages of a sender begins.
    pub(crate) fn cursor(&self, sender: SenderKey) -> u64 {
        self.cursors.get(&sender).copied().unwrap_or(0)
    }

    /// The sender that was served last in this mailbox.
    pub(crate) fn turn(&self, mailbox: u64) -> u64 {
        self.turns.get(&mailbox).copied().unwrap_or(0)
    }

    pub(crate) fn set_turn(&mut self, mailbox: u64, pair: u64) {
        // The order of turns is a courtesy, and begins again when it would need too much memory.
        if self.turns.len() >= MAX_LEASES {
            self.turns.clear();
        }
        self.turns.insert(mailbox, pair);
    }

    /// Lends a message.
    pub(crate) fn take(&mut self, key: InboxKey, attempts: u8) {
        self.returned.remove(&key);
        self.held.insert(key, attempts);
        let cursor = self.cursors.entry((key.mailbox, key.pair)).or_default();
        *cursor = key.number.saturating_add(1).max(*cursor);
        self.taken.push(key);
    }

    /// Ends a lease when the transaction is committed; `back` when the message stays in the inbox.
    pub(crate) fn end(&mut self, key: InboxKey, back: bool) {
        self.ended.push((key, if back { LeaseEnd::Back } else { LeaseEnd::Gone }));
    }

    /// Lets the search find a message again that is below the cursor of its sender, when the transaction is committed.
    pub(crate) fn revive(&mut self, key: InboxKey) {
        self.ended.push((key, LeaseEnd::Revived));
    }

    /// Forgets a message that is gone from the inbox although it was not lent.
    pub(crate) fn forget(&mut self, key: InboxKey) {
        self.returned.remove(&key);
        self.tidy(key);
    }

    /// The transaction was committed.
    pub(crate) fn commit(&mut self) {
        self.taken.clear();
        for (key, end) in std::mem::take(&mut self.ended) {
            let held = self.held.remove(&key).is_some();
            let waits = match end {
                LeaseEnd::Gone => false,
                LeaseEnd::Back => held,
                LeaseEnd::Revived => self.cursor((key.mailbox, key.pair)) > key.number,
            };
            match waits {
                true => _ = self.returned.insert(key),
                false => _ = self.returned.remove(&key),
            }
            self.tidy(key);
        }
    }

    /// The transaction failed.
    pub(crate) fn roll_back(&mut self) {
        self.ended.clear();
        for key in std::mem::take(&mut self.taken) {
            self.held.remove(&key);
            self.returned.insert(key);
        }
    }

    /// Forgets the cursor of a sender without messages in `held` and `returned`: a search from the beginning finds its
    /// first message at once.
    fn tidy(&mut self, key: InboxKey) {
        let at = |number| InboxKey { number, ..key };
        let range =
            (Included(at(0)), Excluded(InboxKey { pair: key.pair.saturating_add(1), number: 0, ..key }));
        if self.held.range(range).next().is_none() && self.returned.range(range).next().is_none() {
            self.cursors.remove(&(key.mailbox, key.pair));
        }
    }
}
