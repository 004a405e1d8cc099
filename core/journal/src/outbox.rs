//! Operations on the outbox.

use std::ops::Range;
use std::time::Duration;

use redb::ReadableTable;
use rouse_proto::types::{MAX_MESSAGE, MessageId, Waiting};

use crate::error::{Refusal, StoreError};
use crate::holders::{Direction, refusal};
use crate::life::millis;
use crate::limits::admit;
use crate::message_record::{MessageRecord, message_id};
use crate::tables::{expect, expiry_key, read_expiry_key};
use crate::transaction::Transaction;
use crate::types::{OutboxEntry, OutboxKey, OutboxMessage, Pair, PairState};

/// The messages that one operation settles at most, so that no operation holds up the others for long.
const MAX_SETTLED: usize = 16_384;

impl OutboxMessage {
    fn read(key: OutboxKey, record: &MessageRecord<'_>, age: u64, with_body: bool) -> Self {
        OutboxMessage {
            seq: key.seq,
            sent_at: record.sent_at,
            life: Duration::from_millis(record.time.saturating_sub(age)),
            service: record.service.clone(),
            in_reply_to: record.in_reply_to,
            body: if with_body { record.body() } else { bytes::Bytes::new() },
        }
    }
}

impl Transaction<'_> {
    /// The durable state of a conversation.
    pub(crate) fn pair_state(&mut self, id: u64) -> Result<PairState, StoreError> {
        let first = self.first_in_outbox(id, 0..u64::MAX)?;
        let record = self.pair(id)?;
        if first.is_none() && !record.outbox.is_empty() {
            return Err(StoreError::damaged("messages of the outbox cannot be found"));
        }
        let floor = first.map_or(record.next, |first| first.seq);
        let window = record.windows.first().cloned();
        Ok(PairState { incarnation: record.incarnation, floor, next: record.next, window })
    }

    /// Puts a message. One that is there already, because a commit was reported as failed and was not, is left as it is.
    pub(crate) fn put(
        &mut self,
        pair: &Pair,
        message: &OutboxMessage,
    ) -> Result<Result<MessageId, Refusal>, StoreError> {
        let bytes = message.body.len() as u64;
        if message.body.len() > MAX_MESSAGE {
            return Ok(Err(Refusal::TooLong { length: bytes }));
        }
        let Some(pair_id) = self.pair_id(pair)? else { return Ok(Err(Refusal::UnknownPair)) };
        let key = OutboxKey { pair: pair_id, seq: message.seq };
        let id = message_id(self.pair(pair_id)?.incarnation, message.seq);
        if let Some(present) = self.tables.outbox.get(key.bytes().as_slice())? {
            let same = MessageRecord::unseal(&key.bytes(), present.value())
                .is_ok_and(|record| record.body == message.body && record.sent_at == message.sent_at);
            return Ok(if same { Ok(id) } else { Err(Refusal::SequenceUsed { seq: message.seq }) });
        }
        let (limit, used, held) = (self.limits.bytes / 2, self.totals.outbox, self.pair(pair_id)?.outbox);
        if let Err(excess) = admit(limit, used, held, bytes) {
            let refusal = refusal(self, Direction::Outbox, excess, pair_id)?;
            self.memory.refused = Some(refusal.clone());
            return Ok(Err(refusal));
        }
        let expires = self.age.saturating_add(millis(message.life));
        let record = MessageRecord {
            id,
            sent_at: message.sent_at,
            time: expires,
            service: message.service.clone(),
            in_reply_to: message.in_reply_to,
            body: &message.body,
        };
        self.tables.outbox.insert(key.bytes().as_slice(), record.seal(&key.bytes()).as_slice())?;
        self.tables.expiries.insert(expiry_key(expires, key).as_slice(), [].as_slice())?;
        self.totals.outbox.add(bytes);
        let record = self.pair_mut(pair_id)?;
        record.outbox.add(bytes);
        record.next = record.next.max(message.seq.saturating_add(1));
        self.note_answered(pair_id)?;
        Ok(Ok(id))
    }

    /// Removes messages, and returns what was removed. What is not there is no error.
    pub(crate) fn settle(&mut self, pair: &Pair, ranges: &[Range<u64>]) -> Result<Waiting, StoreError> {
        let mut removed = Waiting::default();
        let Some(pair) = self.pair_id(pair)? else { return Ok(removed) };
        for range in ranges {
            let mut from = range.start;
            while let Some(key) = self.first_in_outbox(pair, from..range.end)? {
                let bytes = self.remove_from_outbox(key)?;
                removed.messages = removed.messages.saturating_add(1);
                removed.bytes = removed.bytes.saturating_add(bytes);
                from = key.seq.saturating_add(1);
                if removed.messages >= MAX_SETTLED as u64 {
                    return Ok(removed);
                }
            }
        }
        Ok(removed)
    }

    fn first_in_outbox(&self, pair: u64, range: Range<u64>) -> Result<Option<OutboxKey>, StoreError> {
        if range.is_empty() {
            return Ok(None);
        }
        let wanted = OutboxKey { pair, seq: range.start }..=OutboxKey { pair, seq: range.end - 1 };
        let (start, end) = (wanted.start().bytes(), wanted.end().bytes());
        let found = self.tables.outbox.range(start.as_slice()..=end.as_slice())?.next().transpose()?;
        found.map(|(key, _)| expect(OutboxKey::read(key.value())?, &wanted)).transpose()
    }

    /// Removes a message, and returns its bytes.
    fn remove_from_outbox(&mut self, key: OutboxKey) -> Result<u64, StoreError> {
        let Some(removed) = self.tables.outbox.remove(key.bytes().as_slice())? else { return Ok(0) };
        let record = MessageRecord::unseal(&key.bytes(), removed.value())?;
        let (expires, bytes) = (record.time, record.body.len() as u64);
        drop(removed);
        self.remove_expiry(expires, key)?;
        self.totals.outbox.subtract(bytes);
        self.pair_mut(key.pair)?.outbox.subtract(bytes);
        Ok(bytes)
    }

    fn remove_expiry(&mut self, expires: u64, key: OutboxKey) -> Result<(), StoreError> {
        match self.tables.expiries.remove(expiry_key(expires, key).as_slice())? {
            Some(_) => Ok(()),
            None => Err(StoreError::damaged("the expiry of a message is missing")),
        }
    }

    /// Removes messages whose life has ended, at most `limit`.
    pub(crate) fn expire(&mut self, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        let mut expired = Vec::new();
        while expired.len() < limit.min(MAX_SETTLED) {
            let first = self.tables.expiries.first()?;
            let Some((expires, key)) = first.map(|(key, _)| read_expiry_key(key.value())).transpose()? else {
                break;
            };
            if expires > self.age {
                break;
            }
            match self.outbox_entry(key)? {
                Some(entry) => {
                    expired.push(entry);
                    self.remove_from_outbox(key)?;
                }
                None => return Err(StoreError::damaged("a message that expires is missing")),
            }
        }
        Ok(expired)
    }

    fn outbox_entry(&mut self, key: OutboxKey) -> Result<Option<OutboxEntry>, StoreError> {
        let pair = self.pair(key.pair)?.pair;
        let Some(found) = self.tables.outbox.get(key.bytes().as_slice())? else { return Ok(None) };
        let record = MessageRecord::unseal(&key.bytes(), found.value())?;
        let message = OutboxMessage::read(key, &record, self.age, false);
        Ok(Some(OutboxEntry { id: record.id, pair, bytes: record.body.len() as u64, message }))
    }

    /// The messages of the outbox after `after`, by conversation and sequence.
    pub(crate) fn outbox_list(
        &mut self,
        after: Option<OutboxKey>,
        limit: usize,
    ) -> Result<Vec<(OutboxKey, OutboxEntry)>, StoreError> {
        let mut start = after.map_or(OutboxKey { pair: 0, seq: 0 }, OutboxKey::next);
        let mut keys = Vec::new();
        for item in self.tables.outbox.range(start.bytes().as_slice()..)?.take(limit) {
            let key = expect(OutboxKey::read(item?.0.value())?, &(start..=OutboxKey::LAST))?;
            keys.push(key);
            start = key.next();
        }
        let mut entries = Vec::with_capacity(keys.len());
        for key in keys {
            entries.extend(self.outbox_entry(key)?.map(|entry| (key, entry)));
        }
        Ok(entries)
    }

    /// The messages to a peer from a sequence on, with their bodies: at least one, and no more than `bytes` of them.
    pub(crate) fn load(
        &mut self,
        pair: &Pair,
        from: u64,
        bytes: usize,
    ) -> Result<Vec<OutboxMessage>, StoreError> {
        let Some(pair) = self.pair_id(pair)? else { return Ok(Vec::new()) };
        let (start, end) = (OutboxKey { pair, seq: from }.bytes(), OutboxKey { pair, seq: u64::MAX }.bytes());
        let (mut messages, mut loaded, mut is_whole) = (Vec::new(), 0usize, from == 0);
        for item in self.tables.outbox.range(start.as_slice()..=end.as_slice())? {
            let (key, value) = item?;
            let record = MessageRecord::unseal(key.value(), value.value())?;
            loaded = loaded.saturating_add(record.body.len());
            if !messages.is_empty() && (loaded > bytes || messages.len() >= MAX_SETTLED) {
                is_whole = false;
                break;
            }
            messages.push(OutboxMessage::read(OutboxKey::read(key.value())?, &record, self.age, true));
        }
        if is_whole && messages.len() as u64 != self.pair(pair)?.outbox.messages {
            return Err(StoreError::damaged("messages of the outbox cannot be found"));
        }
        Ok(messages)
    }

    /// Uses up all sequences below `next`.
    pub(crate) fn reserve(&mut self, pair: &Pair, next: u64) -> Result<Result<(), Refusal>, StoreError> {
        let Some(id) = self.pair_id(pair)? else { return Ok(Err(Refusal::UnknownPair)) };
        if self.pair(id)?.next < next {
            self.pair_mut(id)?.next = next;
        }
        Ok(Ok(()))
    }

    /// Gives a conversation a new incarnation. The messages that wait keep their sequences.
    pub(crate) fn renew(
        &mut self,
        pair: &Pair,
        incarnation: u64,
    ) -> Result<Result<PairState, Refusal>, StoreError> {
        let Some(id) = self.pair_id(pair)? else { return Ok(Err(Refusal::UnknownPair)) };
        if self.pair(id)?.incarnation != incarnation {
            self.totals.renewed = self.totals.renewed.saturating_add(1);
            self.pair_mut(id)?.incarnation = incarnation;
        }
        Ok(Ok(self.pair_state(id)?))
    }

    /// The conversations with messages in the outbox, after a given one.
    pub(crate) fn destinations(
        &mut self,
        after: Option<OutboxKey>,
        limit: usize,
    ) -> Result<Vec<(OutboxKey, Pair, Waiting)>, StoreError> {
        let mut found = Vec::new();
        let mut next = after.map_or(0, |after| after.pair.saturating_add(1));
        while found.len() < limit {
            let start = OutboxKey { pair: next, seq: 0 };
            let first = self.tables.outbox.range(start.bytes().as_slice()..)?.next().transpose()?;
            let wanted = start..=OutboxKey::LAST;
            let first = first.map(|(key, _)| expect(OutboxKey::read(key.value())?, &wanted)).transpose()?;
            let Some(OutboxKey { pair: id, .. }) = first else { break };
            let record = self.pair(id)?;
            let waiting = Waiting { messages: record.outbox.messages, bytes: record.outbox.bytes };
            found.push((OutboxKey { pair: id, seq: u64::MAX }, record.pair, waiting));
            next = id.saturating_add(1);
        }
        Ok(found)
    }

    /// Notes the moment up to which messages wait, so that a clock that is wrong at the next start does little harm.
    pub(crate) fn checkpoint(&mut self) {
        if !self.totals.outbox.is_empty() {
            self.change();
        }
    }
}

impl OutboxKey {
    const LAST: Self = OutboxKey { pair: u64::MAX, seq: u64::MAX };

    fn next(self) -> Self {
        match self.seq.checked_add(1) {
            Some(seq) => OutboxKey { seq, ..self },
            None => OutboxKey { pair: self.pair.saturating_add(1), seq: 0 },
        }
    }
}
