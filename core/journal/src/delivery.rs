//! The way of a message from the inbox to an application: lent, and then acknowledged, given back, or set aside as a dead
//! letter.
//!
//! Each attempt to deliver counts. The count of a message that has just arrived is written only when it is given back,
//! so that the usual message, which is taken and acknowledged, costs no extra commit. A message that has outlived a
//! process may be the one that ended it: from then on each attempt is on the disk before the message is handed out.

use crate::error::StoreError;
use crate::limits::MAX_DELIVERIES;
use crate::message_record::MessageRecord;
use crate::tables::{expect, pair_key};
use crate::transaction::Transaction;
use crate::types::{InboxKey, InboxMessage, Lease, MailboxName, Pair};
use redb::ReadableTable;
use rouse_proto::address::Address;

/// The bounds of one call that takes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseLimit {
    /// The number of messages.
    pub messages: usize,
    /// The bytes of their bodies. One message is taken whatever its length.
    pub bytes: usize,
}

/// The result of the search for the next message of one sender.
enum Offer {
    Message(Box<Lease>),
    /// It went to the dead letters instead; the next one may be taken.
    Dead,
    /// The next message is too long for the room that is left.
    TooLong,
    Nothing,
}

impl Transaction<'_> {
    /// Lends messages of a mailbox, of one sender or of all in turn.
    pub(crate) fn lease(
        &mut self,
        mailbox: &MailboxName,
        from: Option<Address>,
        limit: LeaseLimit,
    ) -> Result<Vec<Lease>, StoreError> {
        let mut leases: Vec<Lease> = Vec::new();
        let Some(id) = self.mailbox_id(mailbox)? else { return Ok(leases) };
        let only = match from {
            Some(peer) => match self.pair_id(&Pair { local: mailbox.local, peer })? {
                Some(sender) => Some(sender),
                None => return Ok(leases),
            },
            None => None,
        };
        let (mut bytes, mut without) = (0usize, None);
        while leases.len() < limit.messages.max(1) && !self.memory.leases.is_full() {
            let turn = self.memory.leases.turn(id);
            let sender = match only {
                Some(sender) => Some(sender),
                None => self.sender_in_turn(id)?,
            };
            let Some(sender) = sender else { break };
            // A whole round without a message has found none.
            if without == Some(sender) {
                break;
            }
            match self.offer(id, sender, (!leases.is_empty()).then(|| limit.bytes.saturating_sub(bytes)))? {
                Offer::Message(lease) => {
                    bytes = bytes.saturating_add(lease.message.body.len());
                    leases.push(*lease);
                    without = None;
                }
                Offer::Dead => without = None,
                Offer::TooLong => {
                    // It is the first of the next call, and is taken then whatever its length.
                    self.memory.leases.set_turn(id, turn);
                    break;
                }
                Offer::Nothing => without = without.or(Some(sender)),
            }
        }
        if leases.is_empty() && only.is_none() && !self.memory.leases.has_any(id) {
            // A mailbox exists only while there are messages in it.
            self.check_mailbox(id)?;
        }
        Ok(leases)
    }

    /// Fails when no message of a mailbox can be found, which a damaged page causes.
    fn check_mailbox(&self, mailbox: u64) -> Result<(), StoreError> {
        let (start, end) = (pair_key(mailbox), pair_key(mailbox.saturating_add(1)));
        match self.tables.dead.range(start.as_slice()..end.as_slice())?.next() {
            Some(_) => Ok(()),
            None => Err(StoreError::damaged("messages of the inbox cannot be found")),
        }
    }

    /// The sender whose turn it is in a mailbox.
    fn sender_in_turn(&mut self, mailbox: u64) -> Result<Option<u64>, StoreError> {
        let after = self.memory.leases.turn(mailbox).saturating_add(1);
        let sender = match self.next_sender(mailbox, after)? {
            Some(sender) => Some(sender),
            None => self.next_sender(mailbox, 0)?,
        };
        if let Some(sender) = sender {
            self.memory.leases.set_turn(mailbox, sender);
        }
        Ok(sender)
    }

    /// Lends the next message of a sender, unless its body is longer than `room`.
    fn offer(&mut self, mailbox: u64, sender: u64, room: Option<usize>) -> Result<Offer, StoreError> {
        let Some(key) = self.next_message(mailbox, sender)? else { return Ok(Offer::Nothing) };
        let pair = self.pair(sender)?.pair;
        let attempts = self.attempts(key)?;
        if attempts >= MAX_DELIVERIES {
            self.set_aside(key)?;
            return Ok(Offer::Dead);
        }
        let Some(found) = self.tables.inbox.get(key.bytes().as_slice())? else {
            return Err(StoreError::damaged("a message of the inbox is missing"));
        };
        let record = MessageRecord::unseal(&key.bytes(), found.value())?;
        if room.is_some_and(|room| record.body.len() > room) {
            return Ok(Offer::TooLong);
        }
        let (id, message) = (record.id, InboxMessage::read(&record, true));
        drop(found);
        let deliveries = attempts.saturating_add(1);
        if key.number < self.memory.first_number {
            self.set_attempts(key, deliveries)?;
        }
        self.memory.leases.take(key, deliveries);
        Ok(Offer::Message(Box::new(Lease { key, id, pair, deliveries, message })))
    }

    /// The first message of a sender that is not lent.
    fn next_message(&mut self, mailbox: u64, pair: u64) -> Result<Option<InboxKey>, StoreError> {
        while let Some(key) = self.memory.leases.first_returned((mailbox, pair)) {
            if self.tables.inbox.get(key.bytes().as_slice())?.is_some() {
                return Ok(Some(key));
            }
            self.memory.leases.forget(key);
        }
        let mut number = self.memory.leases.cursor((mailbox, pair));
        loop {
            let wanted = InboxKey { mailbox, pair, number }..=InboxKey { mailbox, pair, number: u64::MAX };
            let (start, end) = (wanted.start().bytes(), wanted.end().bytes());
            let first = self.tables.inbox.range(start.as_slice()..=end.as_slice())?.next();
            let Some((key, _)) = first.transpose()? else { return Ok(None) };
            let key = expect(InboxKey::read(key.value())?, &wanted)?;
            if self.memory.leases.held(key).is_none() {
                return Ok(Some(key));
            }
            number = key.number.saturating_add(1);
        }
    }

    /// Gives messages back that an application has not acknowledged. Returns how many were lent.
    pub(crate) fn give_back(&mut self, keys: &[InboxKey]) -> Result<usize, StoreError> {
        let mut returned = 0;
        for key in keys {
            let Some(attempts) = self.memory.leases.held(*key) else { continue };
            returned += 1;
            if self.tables.inbox.get(key.bytes().as_slice())?.is_none() {
                self.memory.leases.end(*key, false);
                continue;
            }
            self.set_attempts(*key, attempts)?;
            if attempts >= MAX_DELIVERIES {
                self.set_aside(*key)?;
            }
            self.memory.leases.end(*key, attempts < MAX_DELIVERIES);
        }
        Ok(returned)
    }

    /// Gives messages back that no application has seen. Returns how many were lent.
    pub(crate) fn release(&mut self, keys: &[InboxKey]) -> Result<usize, StoreError> {
        let mut returned = 0;
        for key in keys {
            let Some(attempts) = self.memory.leases.held(*key) else { continue };
            returned += 1;
            let is_there = self.tables.inbox.get(key.bytes().as_slice())?.is_some();
            if is_there && self.attempts(*key)? >= attempts {
                self.set_attempts(*key, attempts.saturating_sub(1))?;
            }
            self.memory.leases.end(*key, is_there);
        }
        Ok(returned)
    }

    /// Moves a message to the dead letters. It still counts towards the share of its sender.
    fn set_aside(&mut self, key: InboxKey) -> Result<(), StoreError> {
        let bytes = key.bytes();
        let Some(record) = self.tables.inbox.remove(bytes.as_slice())?.map(|record| record.value().to_vec())
        else {
            return Ok(());
        };
        let length = MessageRecord::unseal(&bytes, &record)?.body.len() as u64;
        self.tables.dead.insert(bytes.as_slice(), record.as_slice())?;
        self.totals.dead.add(length);
        self.memory.leases.forget(key);
        self.change();
        Ok(())
    }

    /// Moves a dead letter back to the waiting messages, with no attempts counted. Returns false when there is none.
    pub(crate) fn revive(&mut self, key: InboxKey) -> Result<bool, StoreError> {
        let bytes = key.bytes();
        let Some(record) = self.tables.dead.remove(bytes.as_slice())?.map(|record| record.value().to_vec())
        else {
            return Ok(false);
        };
        let length = MessageRecord::unseal(&bytes, &record)?.body.len() as u64;
        self.tables.inbox.insert(bytes.as_slice(), record.as_slice())?;
        self.tables.attempts.remove(bytes.as_slice())?;
        self.totals.dead.subtract(length);
        self.memory.leases.revive(key);
        self.change();
        Ok(true)
    }
}
