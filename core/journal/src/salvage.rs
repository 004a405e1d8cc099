//! The repair of a journal that is damaged or not on the disk as it is shown: what can be read is copied into a new file,
//! and what is missing is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{self, Excluded, Unbounded};
use std::ops::RangeBounds;

use redb::{ReadOnlyTable, ReadTransaction, WriteTransaction};
use rouse_proto::types::Timestamp;

use crate::disk::{Disk, DiskFile};
use crate::error::StoreError;
use crate::limits::Holding;
use crate::message_record::MessageRecord;
use crate::overlay::Overlay;
use crate::pair_record::PairRecord;
use crate::record::{FieldReader, FieldWriter};
use crate::store::{JOURNAL, Store, guarded};
use crate::tables::{
    ATTEMPTS, DEAD, INBOX, META, OUTBOX, PAIRS, RawDefinition, Tables, ends_key, expiry_key, mailbox_key,
    pair_key, read_pair_key, used_key,
};
use crate::totals::{TOTALS, Totals};
use crate::types::{InboxKey, MailboxName, OutboxKey};

const UNREADABLE: &str = "journal.damaged";
const HOUR: u64 = 3_600_000;
/// The records of one commit.
const BATCH: usize = 1024;
/// The length of a page of the database.
const PAGE: u64 = 4096;
/// The longest file that a damaged header may name.
const LONGEST: u64 = 1 << 40;

type Record = (Vec<u8>, Vec<u8>);
type RawReadTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Replaces the journal by one with all that can be read of it.
pub(crate) fn salvage(disk: &dyn Disk, wall: Timestamp) -> Result<(), StoreError> {
    let Some(source) = readable_store(disk)? else { return set_aside(disk, wall) };
    let copying = Copying::new(&source, wall)?;
    if copying.is_empty() {
        drop((copying, source));
        return set_aside(disk, wall);
    }
    let target = Store::create(disk, &Totals::new(wall))?;
    let lost = copying.run(&target)?;
    match lost {
        0 => tracing::warn!("the journal was copied into a new file"),
        _ => tracing::error!(lost, "the journal was damaged; what could be read was kept"),
    }
    target.close()?;
    drop(source);
    Store::publish(disk)
}

/// The damaged journal as a database that can be read in parts; `None` when nothing of it can be.
///
/// A database refuses a file of any other length than it has set. Where bytes were appended or the end was cut off, all else
/// is there, so it is opened as if it had a whole number of pages, or the length that its header names.
fn readable_store(disk: &dyn Disk) -> Result<Option<Store>, StoreError> {
    let open = || Ok::<_, StoreError>(disk.open(JOURNAL)?.map(Overlay::new).transpose()?);
    let (Some(file), Some(same)) = (open()?, open()?) else { return Ok(None) };
    let present = file.len()?;
    let lengths = [Some(present), Some(present - present % PAGE), header_length(&file)];
    drop(file);
    let mut overlay = Some(same);
    for length in lengths.into_iter().flatten() {
        let Some(file) = overlay.take().map_or_else(open, |file| Ok(Some(file)))? else { return Ok(None) };
        file.set_len(length)?;
        match Store::on(Box::new(file)) {
            Ok(store) => return Ok(Some(store)),
            Err(StoreError::Damaged(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The length of the file that its header names: a page, and the regions behind it.
fn header_length(file: &Overlay) -> Option<u64> {
    let mut header = [0; 32];
    file.read(0, &mut header).ok()?;
    let field = |at: usize| {
        let bytes = header.get(at..)?.first_chunk::<4>()?;
        Some(u64::from(u32::from_le_bytes(*bytes)))
    };
    let (page, region_header, region_pages) = (field(12)?, field(16)?, field(20)?);
    let (regions, last_pages) = (field(24)?, field(28)?);
    let last = if last_pages > 0 { region_header + last_pages } else { 0 };
    let pages = regions.checked_mul(region_header + region_pages)?.checked_add(1 + last)?;
    pages.checked_mul(page).filter(|length| page == PAGE && *length <= LONGEST)
}

/// Begins a new journal, and keeps the file of which nothing can be copied for an examination.
fn set_aside(disk: &dyn Disk, wall: Timestamp) -> Result<(), StoreError> {
    tracing::error!("nothing of the journal can be read; it is kept as {UNREADABLE}");
    Store::create(disk, &Totals { unreadable: 1, ..Totals::new(wall) })?.close()?;
    disk.rename(JOURNAL, UNREADABLE)?;
    Store::publish(disk)
}

/// The copy of one journal into another.
struct Copying {
    source: ReadTransaction,
    has_totals: bool,
    totals: Totals,
    /// The messages that there should be.
    expected: u64,
    pairs: BTreeMap<u64, PairRecord>,
    mailboxes: BTreeMap<u64, MailboxName>,
    /// The messages of the inbox that were copied.
    arrived: BTreeSet<InboxKey>,
}

impl Copying {
    fn new(source: &Store, wall: Timestamp) -> Result<Self, StoreError> {
        let source = source.read()?;
        let totals = readable(&source, META).find(|(key, _)| key == TOTALS);
        let known = totals.and_then(|(_, record)| Totals::unseal(&record).ok());
        let has_totals = known.is_some();
        let mut totals = known.unwrap_or_else(|| Totals::new(wall));
        // Without them, the messages that are missing cannot be counted.
        totals.unreadable = totals.unreadable.saturating_add(u64::from(!has_totals));
        let expected = totals.outbox.messages.saturating_add(totals.inbox.messages);
        totals.pairs = 0;
        (totals.outbox, totals.inbox, totals.dead) = Default::default();
        let mut pairs = BTreeMap::new();
        for (key, record) in readable(&source, PAIRS) {
            let (Ok(id), Ok(mut record)) = (read_pair_key(&key), PairRecord::unseal(&key, &record)) else {
                continue;
            };
            (record.outbox, record.inbox) = (Holding::default(), Holding::default());
            totals.next_pair = totals.next_pair.max(id.saturating_add(1));
            totals.age = totals.age.max(record.used.saturating_mul(HOUR));
            totals.pairs = totals.pairs.saturating_add(1);
            pairs.insert(id, record);
        }
        Ok(Copying {
            source,
            has_totals,
            totals,
            expected,
            pairs,
            mailboxes: BTreeMap::new(),
            arrived: BTreeSet::new(),
        })
    }

    /// Whether there is nothing to copy, and no record that there never was: the file was emptied, or is another one.
    fn is_empty(&self) -> bool {
        !self.has_totals && self.pairs.is_empty()
    }

    /// Copies all tables. Returns the number of messages that are lost.
    fn run(mut self, target: &Store) -> Result<u64, StoreError> {
        self.copy(target, OUTBOX, Self::outbox)?;
        self.copy(target, INBOX, Self::inbox)?;
        self.copy(target, DEAD, Self::dead)?;
        self.copy(target, ATTEMPTS, Self::attempts)?;
        let found = self.totals.outbox.messages.saturating_add(self.totals.inbox.messages);
        let lost = self.expected.saturating_sub(found);
        self.totals.damaged = self.totals.damaged.saturating_add(lost);
        let transaction = target.begin()?;
        self.finish(&transaction)?;
        transaction.commit()?;
        Ok(lost)
    }

    fn copy(
        &mut self,
        target: &Store,
        definition: RawDefinition,
        insert: fn(&mut Self, &mut Tables<'_>, &Record) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut records = readable(&self.source, definition);
        loop {
            let batch: Vec<Record> = records.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(());
            }
            let transaction = target.begin()?;
            let mut tables = Tables::open(&transaction)?;
            for record in &batch {
                insert(self, &mut tables, record)?;
            }
            drop(tables);
            transaction.commit()?;
        }
    }

    fn outbox(&mut self, tables: &mut Tables<'_>, (key, record): &Record) -> Result<(), StoreError> {
        let (Ok(place), Ok(message)) = (OutboxKey::read(key), MessageRecord::unseal(key, record)) else {
            return Ok(());
        };
        let Some(pair) = self.pairs.get_mut(&place.pair) else { return Ok(()) };
        let bytes = message.body.len() as u64;
        pair.outbox.add(bytes);
        pair.next = pair.next.max(place.seq.saturating_add(1));
        self.totals.outbox.add(bytes);
        tables.outbox.insert(key.as_slice(), record.as_slice())?;
        tables.expiries.insert(expiry_key(message.time, place).as_slice(), [].as_slice())?;
        Ok(())
    }

    /// Counts a message of the inbox; `None` when it cannot be used.
    fn arrived(&mut self, (key, record): &Record) -> Option<u64> {
        let (place, message) = (InboxKey::read(key).ok()?, MessageRecord::unseal(key, record).ok()?);
        let pair = self.pairs.get_mut(&place.pair)?;
        let name = MailboxName { local: pair.pair.local, service: message.service.clone() };
        let bytes = message.body.len() as u64;
        pair.inbox.add(bytes);
        self.totals.inbox.add(bytes);
        self.totals.next_number = self.totals.next_number.max(place.number.saturating_add(1));
        self.totals.next_mailbox = self.totals.next_mailbox.max(place.mailbox.saturating_add(1));
        self.mailboxes.insert(place.mailbox, name);
        self.arrived.insert(place);
        Some(bytes)
    }

    fn inbox(&mut self, tables: &mut Tables<'_>, record: &Record) -> Result<(), StoreError> {
        if self.arrived(record).is_some() {
            tables.inbox.insert(record.0.as_slice(), record.1.as_slice())?;
        }
        Ok(())
    }

    fn dead(&mut self, tables: &mut Tables<'_>, record: &Record) -> Result<(), StoreError> {
        if let Some(bytes) = self.arrived(record) {
            self.totals.dead.add(bytes);
            tables.dead.insert(record.0.as_slice(), record.1.as_slice())?;
        }
        Ok(())
    }

    fn attempts(&mut self, tables: &mut Tables<'_>, (key, record): &Record) -> Result<(), StoreError> {
        let is_of_message = InboxKey::read(key).is_ok_and(|key| self.arrived.contains(&key));
        if is_of_message && FieldReader::unseal(key, record).is_ok() {
            tables.attempts.insert(key.as_slice(), record.as_slice())?;
        }
        Ok(())
    }

    /// Writes what was counted, and the tables that follow from the others.
    fn finish(&self, transaction: &WriteTransaction) -> Result<(), StoreError> {
        let mut tables = Tables::open(transaction)?;
        let mut totals = self.totals;
        (totals.unanswered, totals.unanswered_senders) = (Holding::default(), 0);
        for (id, record) in &self.pairs {
            let key = pair_key(*id);
            tables.pairs.insert(key.as_slice(), record.seal(&key).as_slice())?;
            tables.ends.insert(ends_key(&record.pair).as_slice(), key.as_slice())?;
            tables.used.insert(used_key(record.rank(), *id).as_slice(), [].as_slice())?;
            if !record.is_answered && !record.inbox.is_empty() {
                totals.unanswered.add_all(record.inbox);
                totals.unanswered_senders = totals.unanswered_senders.saturating_add(1);
            }
        }
        for (id, name) in &self.mailboxes {
            let (key, mut fields) = (mailbox_key(name), FieldWriter::default());
            fields.u64(*id);
            tables.mailboxes.insert(key.as_slice(), fields.seal(&key).as_slice())?;
        }
        tables.meta.insert(TOTALS, totals.seal().as_slice())?;
        Ok(())
    }
}

/// The records of a table that can be read: from the beginning up to the first damage, and then from the end down to it.
struct Readable {
    table: Option<RawReadTable>,
    first: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
    backwards: bool,
}

fn readable(source: &ReadTransaction, definition: RawDefinition) -> Readable {
    let table = guarded(|| Ok(source.open_table(definition)?)).ok();
    Readable { table, first: Unbounded, end: Unbounded, backwards: false }
}

impl Readable {
    fn step(&self) -> Result<Option<Record>, StoreError> {
        let Some(table) = &self.table else { return Ok(None) };
        let (first, end) = (self.first.as_ref().map(Vec::as_slice), self.end.as_ref().map(Vec::as_slice));
        guarded(|| {
            let mut range = table.range::<&[u8]>((first, end))?;
            let next = if self.backwards { range.next_back() } else { range.next() };
            let Some((key, value)) = next.transpose()? else { return Ok(None) };
            // Damaged pages may lead anywhere, also in circles.
            if !RangeBounds::<[u8]>::contains(&(first, end), key.value()) {
                return Err(StoreError::damaged("a record is out of order"));
            }
            Ok(Some((key.value().to_vec(), value.value().to_vec())))
        })
    }
}

impl Iterator for Readable {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let found = match self.step() {
            Err(_) if !self.backwards => {
                self.backwards = true;
                self.step()
            }
            found => found,
        };
        let (key, value) = found.ok().flatten()?;
        match self.backwards {
            true => self.end = Excluded(key.clone()),
            false => self.first = Excluded(key.clone()),
        }
        Some((key, value))
    }
}
