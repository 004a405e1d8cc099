//! One commit in preparation: the tables, and the conversations that it has looked at.

use std::collections::BTreeMap;
use std::time::Duration;

use redb::ReadableTable;

use crate::error::{Refusal, StoreError};
use crate::leases::Leases;
use crate::limits::JournalLimits;
use crate::pair_record::{HAS_MESSAGES, PairRecord};
use crate::tables::{Tables, ends_key, pair_key, read_pair_key, read_used_key, used_key};
use crate::totals::{TOTALS, Totals};
use crate::types::Pair;
use rouse_proto::types::Timestamp;

/// The unit of the index of unused conversations. A finer one would cost a write for each use.
const HOUR: u64 = 3_600_000;
/// The conversations that are looked at in order to forget one: more than one transaction changes at once.
const EVICTION_TRIES: usize = 4096;

/// The state of a journal that is in memory only, and so begins empty in each process.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) leases: Leases,
    /// The largest holders of the outbox and of the inbox, as found when they were last looked for.
    pub(crate) largest: [Option<LargestHolder>; 2],
    /// The refusal of a message for which the outbox had no room, since the last commit.
    pub(crate) refused: Option<Refusal>,
    /// The messages that have arrived before this process was started have smaller numbers.
    pub(crate) first_number: u64,
}

/// The peer whose messages hold most bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LargestHolder {
    pub(crate) found: Duration,
    pub(crate) pair: Pair,
    pub(crate) bytes: u64,
}

/// A record with a mark whether it has to be written.
struct Cached {
    record: PairRecord,
    changed: bool,
    /// Its place in the order in which conversations are forgotten, as the table has it; `None` for a new one.
    listed: Option<u64>,
}

/// One commit in preparation.
pub(crate) struct Transaction<'t> {
    pub(crate) tables: Tables<'t>,
    pub(crate) totals: Totals,
    pub(crate) memory: &'t mut Memory,
    pub(crate) limits: &'t JournalLimits,
    /// The age of the journal in milliseconds.
    pub(crate) age: u64,
    /// The running time of the process.
    pub(crate) running: Duration,
    changed: bool,
    /// The conversations that were read, so that a group of messages reads and writes each once.
    pairs: BTreeMap<u64, Cached>,
    ids: BTreeMap<Pair, u64>,
}

impl<'t> Transaction<'t> {
    pub(crate) fn begin(
        tables: Tables<'t>,
        memory: &'t mut Memory,
        limits: &'t JournalLimits,
        (age, running): (u64, Duration),
    ) -> Result<Self, StoreError> {
        let totals = match tables.meta.get(TOTALS)? {
            Some(record) => Totals::unseal(record.value())?,
            None => return Err(StoreError::damaged("the totals are missing")),
        };
        Ok(Transaction {
            tables,
            totals,
            memory,
            limits,
            age,
            running,
            changed: false,
            pairs: BTreeMap::new(),
            ids: BTreeMap::new(),
        })
    }

    /// Writes all that is still in memory. Returns the totals, and whether there is anything to commit.
    pub(crate) fn finish(mut self, wall: Timestamp) -> Result<(Totals, bool), StoreError> {
        for (id, cached) in std::mem::take(&mut self.pairs) {
            if cached.changed {
                let key = pair_key(id);
                self.tables.pairs.insert(key.as_slice(), cached.record.seal(&key).as_slice())?;
                self.list_use(id, &cached)?;
            }
        }
        if self.changed {
            (self.totals.age, self.totals.written) = (self.age, wall);
            self.tables.meta.insert(TOTALS, self.totals.seal().as_slice())?;
        }
        Ok((self.totals, self.changed))
    }

    /// Notes that there is something to commit.
    pub(crate) fn change(&mut self) {
        self.changed = true;
    }

    /// The number of this conversation; `None` when it was never opened.
    pub(crate) fn pair_id(&mut self, pair: &Pair) -> Result<Option<u64>, StoreError> {
        if let Some(id) = self.ids.get(pair) {
            return Ok(Some(*id));
        }
        let Some(id) = self.tables.ends.get(ends_key(pair).as_slice())?.map(|id| read_pair_key(id.value()))
        else {
            return Ok(None);
        };
        let id = id?;
        if self.pair(id)?.pair != *pair {
            return Err(StoreError::damaged("the index of conversations is wrong"));
        }
        self.ids.insert(*pair, id);
        Ok(Some(id))
    }

    fn cached(&mut self, id: u64) -> Result<&mut Cached, StoreError> {
        match self.pairs.entry(id) {
            std::collections::btree_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::btree_map::Entry::Vacant(place) => {
                let key = pair_key(id);
                let Some(record) = self.tables.pairs.get(key.as_slice())? else {
                    return Err(StoreError::damaged("a conversation is missing"));
                };
                let record = PairRecord::unseal(&key, record.value())?;
                let listed = Some(record.rank());
                Ok(place.insert(Cached { record, changed: false, listed }))
            }
        }
    }

    /// The record of a conversation that must exist.
    pub(crate) fn pair(&mut self, id: u64) -> Result<&PairRecord, StoreError> {
        Ok(&self.cached(id)?.record)
    }

    /// As [`Self::pair`], for a change. The conversation counts as used.
    pub(crate) fn pair_mut(&mut self, id: u64) -> Result<&mut PairRecord, StoreError> {
        let hour = self.age / HOUR;
        self.changed = true;
        let cached = self.cached(id)?;
        cached.changed = true;
        cached.record.used = hour;
        Ok(&mut cached.record)
    }

    /// Keeps the order in which conversations are forgotten.
    fn list_use(&mut self, id: u64, cached: &Cached) -> Result<(), StoreError> {
        let rank = cached.record.rank();
        if cached.listed == Some(rank) {
            return Ok(());
        }
        if let Some(former) = cached.listed {
            self.remove_use(former, id)?;
        }
        self.tables.used.insert(used_key(rank, id).as_slice(), [].as_slice())?;
        Ok(())
    }

    fn remove_use(&mut self, rank: u64, id: u64) -> Result<(), StoreError> {
        match self.tables.used.remove(used_key(rank, id).as_slice())? {
            Some(_) => Ok(()),
            None => Err(StoreError::damaged("the last use of a conversation is missing")),
        }
    }

    /// The number of this conversation, which is made with `incarnation` if there is none.
    pub(crate) fn open_pair(
        &mut self,
        pair: Pair,
        incarnation: u64,
    ) -> Result<Result<u64, Refusal>, StoreError> {
        if let Some(id) = self.pair_id(&pair)? {
            return Ok(Ok(id));
        }
        if self.totals.pairs >= self.limits.pairs && !self.evict()? {
            return Ok(Err(Refusal::TooManyPairs(self.limits.pairs)));
        }
        let (id, hour) = (self.totals.next_pair, self.age / HOUR);
        self.totals.next_pair = id.saturating_add(1);
        self.totals.pairs = self.totals.pairs.saturating_add(1);
        self.tables.ends.insert(ends_key(&pair).as_slice(), pair_key(id).as_slice())?;
        let record = PairRecord::new(pair, incarnation, hour);
        self.pairs.insert(id, Cached { record, changed: true, listed: None });
        self.ids.insert(pair, id);
        self.changed = true;
        Ok(Ok(id))
    }

    /// Forgets the first conversation without messages. One that this transaction has changed may be about to get some.
    fn evict(&mut self) -> Result<bool, StoreError> {
        let mut found = None;
        for item in self.tables.used.iter()?.take(EVICTION_TRIES) {
            let (rank, id) = read_used_key(item?.0.value())?;
            if rank >= HAS_MESSAGES {
                break;
            }
            if !self.pairs.get(&id).is_some_and(|cached| cached.changed) {
                found = Some((rank, id));
                break;
            }
        }
        let Some((rank, id)) = found else { return Ok(false) };
        let record = self.pair(id)?;
        if record.rank() != rank {
            // Its repair makes a new index. A message would be lost otherwise.
            return Err(StoreError::damaged("the index of unused conversations is wrong"));
        }
        let pair = record.pair;
        self.remove_use(rank, id)?;
        self.tables.ends.remove(ends_key(&pair).as_slice())?;
        self.tables.pairs.remove(pair_key(id).as_slice())?;
        self.pairs.remove(&id);
        self.ids.remove(&pair);
        self.totals.pairs = self.totals.pairs.saturating_sub(1);
        self.totals.evicted = self.totals.evicted.saturating_add(1);
        self.changed = true;
        Ok(true)
    }
}
