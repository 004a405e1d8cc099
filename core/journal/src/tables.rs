//! The tables of the file, and their keys. All numbers in keys are big-endian, so that their order is that of the bytes.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `totals` | the record of the whole journal |
//! | `pairs` | conversation | its state |
//! | `ends` | local address, peer | conversation |
//! | `used` | order in which it is forgotten, conversation | — |
//! | `outbox` | conversation, sequence | message |
//! | `expiries` | age, conversation, sequence | — |
//! | `mailboxes` | local address, service | mailbox |
//! | `inbox` | mailbox, conversation, number of arrival | message |
//! | `attempts` | as `inbox` | attempts to deliver |
//! | `dead` | as `inbox` | message |

use std::ops::RangeInclusive;

use redb::{Table, TableDefinition, WriteTransaction};

use crate::error::StoreError;
use crate::types::{InboxKey, MailboxName, OutboxKey, Pair};

/// A table of bytes.
pub(crate) type RawTable<'t> = Table<'t, &'static [u8], &'static [u8]>;
pub(crate) type RawDefinition = TableDefinition<'static, &'static [u8], &'static [u8]>;

pub(crate) const META: RawDefinition = TableDefinition::new("meta");
pub(crate) const PAIRS: RawDefinition = TableDefinition::new("pairs");
pub(crate) const ENDS: RawDefinition = TableDefinition::new("ends");
pub(crate) const USED: RawDefinition = TableDefinition::new("used");
pub(crate) const OUTBOX: RawDefinition = TableDefinition::new("outbox");
pub(crate) const EXPIRIES: RawDefinition = TableDefinition::new("expiries");
pub(crate) const MAILBOXES: RawDefinition = TableDefinition::new("mailboxes");
pub(crate) const INBOX: RawDefinition = TableDefinition::new("inbox");
pub(crate) const ATTEMPTS: RawDefinition = TableDefinition::new("attempts");
pub(crate) const DEAD: RawDefinition = TableDefinition::new("dead");

/// All tables, opened in one transaction.
pub(crate) struct Tables<'t> {
    pub(crate) meta: RawTable<'t>,
    pub(crate) pairs: RawTable<'t>,
    pub(crate) ends: RawTable<'t>,
    pub(crate) used: RawTable<'t>,
    pub(crate) outbox: RawTable<'t>,
    pub(crate) expiries: RawTable<'t>,
    pub(crate) mailboxes: RawTable<'t>,
    pub(crate) inbox: RawTable<'t>,
    pub(crate) attempts: RawTable<'t>,
    pub(crate) dead: RawTable<'t>,
}

impl<'t> Tables<'t> {
    pub(crate) fn open(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
        Ok(Tables {
            meta: transaction.open_table(META)?,
            pairs: transaction.open_table(PAIRS)?,
            ends: transaction.open_table(ENDS)?,
            used: transaction.open_table(USED)?,
            outbox: transaction.open_table(OUTBOX)?,
            expiries: transaction.open_table(EXPIRIES)?,
            mailboxes: transaction.open_table(MAILBOXES)?,
            inbox: transaction.open_table(INBOX)?,
            attempts: transaction.open_table(ATTEMPTS)?,
            dead: transaction.open_table(DEAD)?,
        })
    }
}

/// The key, if it is one that was searched for. Damaged pages may lead to any other, and a search that goes on from there
/// would never end.
pub(crate) fn expect<K: PartialOrd>(key: K, wanted: &RangeInclusive<K>) -> Result<K, StoreError> {
    match wanted.contains(&key) {
        true => Ok(key),
        false => Err(StoreError::damaged("a search has led to another record")),
    }
}

/// The bytes of numbers, one after the other.
fn join<const N: usize, const B: usize>(numbers: [u64; N]) -> [u8; B] {
    let mut key = [0; B];
    for (place, number) in key.chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    key
}

/// The number at this place of a key.
fn number(key: &[u8], place: usize) -> Result<u64, StoreError> {
    let bytes = key.get(place * 8..).and_then(|rest| rest.first_chunk::<8>());
    bytes.map(|bytes| u64::from_be_bytes(*bytes)).ok_or_else(|| StoreError::damaged("a key is too short"))
}

pub(crate) fn pair_key(id: u64) -> [u8; 8] {
    id.to_be_bytes()
}

pub(crate) fn read_pair_key(key: &[u8]) -> Result<u64, StoreError> {
    number(key, 0)
}

pub(crate) fn ends_key(pair: &Pair) -> [u8; 64] {
    let mut key = [0; 64];
    let (local, peer) = key.split_at_mut(32);
    local.copy_from_slice(pair.local.as_bytes());
    peer.copy_from_slice(pair.peer.as_bytes());
    key
}

pub(crate) fn used_key(rank: u64, pair: u64) -> [u8; 16] {
    join([rank, pair])
}

pub(crate) fn read_used_key(key: &[u8]) -> Result<(u64, u64), StoreError> {
    Ok((number(key, 0)?, number(key, 1)?))
}

pub(crate) fn expiry_key(age: u64, key: OutboxKey) -> [u8; 24] {
    join([age, key.pair, key.seq])
}

pub(crate) fn read_expiry_key(key: &[u8]) -> Result<(u64, OutboxKey), StoreError> {
    Ok((number(key, 0)?, OutboxKey { pair: number(key, 1)?, seq: number(key, 2)? }))
}

pub(crate) fn mailbox_key(name: &MailboxName) -> Vec<u8> {
    [name.local.as_bytes(), name.service.as_str().as_bytes()].concat()
}

impl OutboxKey {
    pub(crate) fn bytes(self) -> [u8; 16] {
        join([self.pair, self.seq])
    }

    pub(crate) fn read(key: &[u8]) -> Result<Self, StoreError> {
        Ok(OutboxKey { pair: number(key, 0)?, seq: number(key, 1)? })
    }
}

impl InboxKey {
    pub(crate) const FIRST: InboxKey = InboxKey { mailbox: 0, pair: 0, number: 0 };

    pub(crate) fn bytes(self) -> [u8; 24] {
        join([self.mailbox, self.pair, self.number])
    }

    pub(crate) fn read(key: &[u8]) -> Result<Self, StoreError> {
        Ok(InboxKey { mailbox: number(key, 0)?, pair: number(key, 1)?, number: number(key, 2)? })
    }
}
