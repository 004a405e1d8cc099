//! Operations on the inbox: what arrives, and what is removed from it.

use std::collections::BTreeMap;

use redb::ReadableTable;
use rouse_proto::types::{MAX_MESSAGE, Service, Timestamp, Waiting};

use crate::error::{Refusal, StoreError};
use crate::holders::{Direction, refusal};
use crate::limits::{Excess, Holding, admit};
use crate::message_record::{MessageRecord, message_id};
use crate::record::{FieldReader, FieldWriter};
use crate::tables::{expect, mailbox_key, pair_key};
use crate::transaction::Transaction;
use crate::types::{Arrival, InboxEntry, InboxKey, InboxMessage, InboxPart, MailboxName, Pair, Reception};

impl InboxMessage {
    pub(crate) fn read(record: &MessageRecord<'_>, with_body: bool) -> Self {
        let seq = record.id.0.last_chunk::<8>().map_or(0, |seq| u64::from_be_bytes(*seq));
        InboxMessage {
            seq,
            sent_at: record.sent_at,
            received_at: Timestamp(record.time),
            service: record.service.clone(),
            in_reply_to: record.in_reply_to,
            body: if with_body { record.body() } else { bytes::Bytes::new() },
        }
    }
}

impl Transaction<'_> {
    /// Puts messages that have arrived into the inbox, and records their sequences, so that each is received once.
    pub(crate) fn receive(&mut self, arrival: &Arrival) -> Result<Vec<Reception>, StoreError> {
        let refuse_all =
            |refusal: Refusal| arrival.messages.iter().map(|_| Reception::Refused(refusal.clone())).collect();
        let Some(pair) = self.pair_id(&arrival.pair)? else { return Ok(refuse_all(Refusal::UnknownPair)) };
        if arrival.is_answered {
            self.note_answered(pair)?;
        }
        let mut receptions = Vec::with_capacity(arrival.messages.len());
        let mut refused: BTreeMap<&Service, Refusal> = BTreeMap::new();
        for message in &arrival.messages {
            if let Some(refusal) = refused.get(&message.service) {
                receptions.push(Reception::Refused(refusal.clone()));
                continue;
            }
            let reception = self.receive_one(pair, arrival, message)?;
            if let Reception::Refused(refusal) = &reception {
                refused.insert(&message.service, refusal.clone());
            }
            receptions.push(reception);
        }
        // The floor is raised after the messages: those below it are withdrawn, or were received.
        let known = self.pair(pair)?.windows.iter().find(|window| window.incarnation == arrival.incarnation);
        let is_known = known.is_some_and(|window| {
            window.floor() >= arrival.floor && arrival.withdrawn.iter().all(|range| window.covers(range))
        });
        if !is_known {
            let window = self.pair_mut(pair)?.window(arrival.incarnation);
            window.advance(arrival.floor);
            for range in &arrival.withdrawn {
                // One that cannot be recorded is announced again, since the sender repeats it until the floor has passed.
                window.insert(range.clone());
            }
        }
        Ok(receptions)
    }

    fn receive_one(
        &mut self,
        pair: u64,
        arrival: &Arrival,
        message: &InboxMessage,
    ) -> Result<Reception, StoreError> {
        let bytes = message.body.len() as u64;
        if message.body.len() > MAX_MESSAGE {
            return Ok(Reception::Refused(Refusal::TooLong { length: bytes }));
        }
        let record = self.pair(pair)?;
        let held = record.inbox;
        let window = record.windows.iter().find(|window| window.incarnation == arrival.incarnation);
        if window.is_some_and(|window| window.contains(message.seq)) {
            return Ok(Reception::Duplicate);
        }
        let is_answered = record.is_answered;
        if let Err(excess) = admit(self.limits.bytes / 2, self.totals.inbox, held, bytes) {
            return Ok(Reception::Refused(refusal(self, Direction::Inbox, excess, pair)?));
        }
        if !is_answered && let Some(refusal) = self.refuse_unanswered(pair, held, bytes)? {
            return Ok(Reception::Refused(refusal));
        }
        let seq = message.seq..message.seq.saturating_add(1);
        if !self.pair_mut(pair)?.window(arrival.incarnation).insert(seq) {
            return Ok(Reception::Refused(Refusal::TooManyGaps));
        }
        let mailbox =
            self.open_mailbox(&MailboxName { local: arrival.pair.local, service: message.service.clone() })?;
        let key = InboxKey { mailbox, pair, number: self.totals.next_number };
        self.totals.next_number = self.totals.next_number.saturating_add(1);
        let record = MessageRecord {
            id: message_id(arrival.incarnation, message.seq),
            sent_at: message.sent_at,
            time: message.received_at.0,
            service: message.service.clone(),
            in_reply_to: message.in_reply_to,
            body: &message.body,
        };
        self.tables.inbox.insert(key.bytes().as_slice(), record.seal(&key.bytes()).as_slice())?;
        self.totals.inbox.add(bytes);
        self.pair_mut(pair)?.inbox.add(bytes);
        if !is_answered {
            let senders = &mut self.totals.unanswered_senders;
            *senders = senders.saturating_add(u64::from(held.is_empty()));
            self.totals.unanswered.add(bytes);
        }
        Ok(Reception::Stored(key))
    }

    /// The refusal of a message of an unanswered sender. Any node can invent such senders, so all of them together may take
    /// neither the room nor the conversations of the others. One with messages cannot be forgotten for another.
    fn refuse_unanswered(
        &mut self,
        pair: u64,
        held: Holding,
        bytes: u64,
    ) -> Result<Option<Refusal>, StoreError> {
        let (limit, most) = (self.limits.bytes / 4, self.limits.pairs / 2);
        if held.is_empty() && self.totals.unanswered_senders >= most {
            return Ok(Some(Refusal::TooManyUnanswered(most)));
        }
        match admit(limit, self.totals.unanswered, held, bytes) {
            Ok(()) => Ok(None),
            Err(Excess::Total) => {
                Ok(Some(Refusal::UnansweredFull { held: self.totals.unanswered.charge(), limit }))
            }
            Err(Excess::Share) => refusal(self, Direction::Inbox, Excess::Share, pair).map(Some),
        }
    }

    /// Notes that an application of this node has sent the peer something.
    pub(crate) fn note_answered(&mut self, pair: u64) -> Result<(), StoreError> {
        let record = self.pair(pair)?;
        if record.is_answered {
            return Ok(());
        }
        let inbox = record.inbox;
        self.pair_mut(pair)?.is_answered = true;
        let senders = &mut self.totals.unanswered_senders;
        *senders = senders.saturating_sub(u64::from(!inbox.is_empty()));
        self.totals.unanswered.subtract_all(inbox);
        Ok(())
    }

    /// The number of a mailbox; `None` when nothing waits in it.
    pub(crate) fn mailbox_id(&self, name: &MailboxName) -> Result<Option<u64>, StoreError> {
        let key = mailbox_key(name);
        let Some(record) = self.tables.mailboxes.get(key.as_slice())? else { return Ok(None) };
        let mut fields = FieldReader::unseal(&key, record.value())?;
        fields.u64().map(Some).ok_or_else(|| StoreError::damaged("a mailbox lacks its number"))
    }

    pub(crate) fn open_mailbox(&mut self, name: &MailboxName) -> Result<u64, StoreError> {
        if let Some(id) = self.mailbox_id(name)? {
            return Ok(id);
        }
        let id = self.totals.next_mailbox;
        self.totals.next_mailbox = id.saturating_add(1);
        let (key, mut fields) = (mailbox_key(name), FieldWriter::default());
        fields.u64(id);
        self.tables.mailboxes.insert(key.as_slice(), fields.seal(&key).as_slice())?;
        self.change();
        Ok(id)
    }

    /// Removes messages, waiting or dead. Returns what was removed; what is not there is no error.
    pub(crate) fn acknowledge(&mut self, keys: &[InboxKey]) -> Result<Waiting, StoreError> {
        let mut removed = Waiting::default();
        for key in keys {
            if let Some(bytes) = self.remove_from_inbox(*key)? {
                removed.messages = removed.messages.saturating_add(1);
                removed.bytes = removed.bytes.saturating_add(bytes);
            }
        }
        Ok(removed)
    }

    fn remove_from_inbox(&mut self, key: InboxKey) -> Result<Option<u64>, StoreError> {
        let bytes = key.bytes();
        let read = |record: &[u8]| {
            MessageRecord::unseal(&bytes, record)
                .map(|record| (record.service.clone(), record.body.len() as u64))
        };
        let waiting =
            self.tables.inbox.remove(bytes.as_slice())?.map(|record| read(record.value())).transpose()?;
        let (service, length) = match waiting {
            Some(waiting) => waiting,
            None => {
                let dead = self.tables.dead.remove(bytes.as_slice())?.map(|record| read(record.value()));
                let Some(dead) = dead.transpose()? else { return Ok(None) };
                self.totals.dead.subtract(dead.1);
                dead
            }
        };
        self.tables.attempts.remove(bytes.as_slice())?;
        self.totals.inbox.subtract(length);
        let record = self.pair_mut(key.pair)?;
        record.inbox.subtract(length);
        let (local, is_answered, is_last) = (record.pair.local, record.is_answered, record.inbox.is_empty());
        if !is_answered {
            let senders = &mut self.totals.unanswered_senders;
            *senders = senders.saturating_sub(u64::from(is_last));
            self.totals.unanswered.subtract(length);
        }
        self.close_mailbox(key.mailbox, &MailboxName { local, service })?;
        self.memory.leases.end(key, false);
        Ok(Some(length))
    }

    /// Forgets a mailbox in which nothing waits, since any peer can make the node create one.
    fn close_mailbox(&mut self, mailbox: u64, name: &MailboxName) -> Result<(), StoreError> {
        let (start, end) = (pair_key(mailbox), pair_key(mailbox.saturating_add(1)));
        let is_empty = self.tables.inbox.range(start.as_slice()..end.as_slice())?.next().is_none()
            && self.tables.dead.range(start.as_slice()..end.as_slice())?.next().is_none();
        if is_empty {
            self.tables.mailboxes.remove(mailbox_key(name).as_slice())?;
        }
        Ok(())
    }

    /// Messages of the inbox after `after`, by mailbox, sender and arrival.
    pub(crate) fn inbox_list(
        &mut self,
        part: InboxPart,
        after: Option<InboxKey>,
        limit: usize,
    ) -> Result<Vec<InboxEntry>, StoreError> {
        let mut start = after.map_or(InboxKey::FIRST, InboxKey::next);
        let table = match part {
            InboxPart::Waiting => &self.tables.inbox,
            InboxPart::DeadLetters => &self.tables.dead,
        };
        let mut found = Vec::new();
        for item in table.range(start.bytes().as_slice()..)?.take(limit) {
            let (key, record) = item?;
            let record = MessageRecord::unseal(key.value(), record.value())?;
            let key = expect(InboxKey::read(key.value())?, &(start..=InboxKey::LAST))?;
            start = key.next();
            found.push((key, record.id, record.body.len() as u64, InboxMessage::read(&record, false)));
        }
        let mut entries = Vec::with_capacity(found.len());
        for (key, id, bytes, message) in found {
            let pair = self.pair(key.pair)?.pair;
            let held = self.memory.leases.held(key);
            let deliveries = held.map_or_else(|| self.attempts(key), Ok)?;
            entries.push(InboxEntry { key, id, pair, bytes, deliveries, leased: held.is_some(), message });
        }
        Ok(entries)
    }

    /// A message of the inbox with its body, waiting or dead.
    pub(crate) fn peek(&mut self, key: InboxKey) -> Result<Option<(Pair, InboxMessage)>, StoreError> {
        let bytes = key.bytes();
        let mut message = None;
        for table in [&self.tables.inbox, &self.tables.dead] {
            if let Some(record) = table.get(bytes.as_slice())? {
                message = Some(InboxMessage::read(&MessageRecord::unseal(&bytes, record.value())?, true));
            }
        }
        let Some(message) = message else { return Ok(None) };
        Ok(Some((self.pair(key.pair)?.pair, message)))
    }

    /// The attempts to deliver a message that are recorded.
    pub(crate) fn attempts(&self, key: InboxKey) -> Result<u8, StoreError> {
        let bytes = key.bytes();
        let Some(record) = self.tables.attempts.get(bytes.as_slice())? else { return Ok(0) };
        let mut fields = FieldReader::unseal(&bytes, record.value())?;
        fields.u8().ok_or_else(|| StoreError::damaged("a count of deliveries is empty"))
    }

    pub(crate) fn set_attempts(&mut self, key: InboxKey, attempts: u8) -> Result<(), StoreError> {
        let (bytes, mut fields) = (key.bytes(), FieldWriter::default());
        fields.u8(attempts);
        self.tables.attempts.insert(bytes.as_slice(), fields.seal(&bytes).as_slice())?;
        self.change();
        Ok(())
    }

    /// The conversation of the first message at or after a place in a mailbox.
    pub(crate) fn next_sender(&self, mailbox: u64, from: u64) -> Result<Option<u64>, StoreError> {
        let last = InboxKey { mailbox, pair: u64::MAX, number: u64::MAX };
        let wanted = InboxKey { mailbox, pair: from, number: 0 }..=last;
        let (start, end) = (wanted.start().bytes(), wanted.end().bytes());
        let first = self.tables.inbox.range(start.as_slice()..=end.as_slice())?.next().transpose()?;
        first.map(|(key, _)| Ok(expect(InboxKey::read(key.value())?, &wanted)?.pair)).transpose()
    }
}

impl InboxKey {
    const LAST: Self = InboxKey { mailbox: u64::MAX, pair: u64::MAX, number: u64::MAX };

    fn next(self) -> Self {
        InboxKey { number: self.number.saturating_add(1), ..self }
    }
}
