//! The peers whose messages hold most of the journal, which a refusal names.

use std::time::Duration;

use redb::ReadableTable;

use crate::error::{Refusal, StoreError};
use crate::limits::{Excess, Holding};
use crate::pair_record::PairRecord;
use crate::transaction::{LargestHolder, Transaction};

/// The time for which the largest holder is remembered. The search for it reads all conversations, and refusals may be
/// many.
const REMEMBERED: Duration = Duration::from_secs(1);

/// The half of the journal in which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Outbox,
    Inbox,
}

impl Direction {
    fn holding(self, record: &PairRecord) -> Holding {
        match self {
            Direction::Outbox => record.outbox,
            Direction::Inbox => record.inbox,
        }
    }
}

/// The refusal of a message of this conversation.
pub(crate) fn refusal(
    transaction: &mut Transaction<'_>,
    direction: Direction,
    excess: Excess,
    id: u64,
) -> Result<Refusal, StoreError> {
    let limit = transaction.limits.bytes / 2;
    let record = transaction.pair(id)?;
    let own = (record.pair.peer, direction.holding(record).charge());
    let (holder, held) = match excess {
        Excess::Share => own,
        Excess::Total => {
            largest(transaction, direction)?.map_or(own, |largest| (largest.pair.peer, largest.bytes))
        }
    };
    Ok(Refusal::Full { holder, held, limit })
}

fn largest(
    transaction: &mut Transaction<'_>,
    direction: Direction,
) -> Result<Option<LargestHolder>, StoreError> {
    let running = transaction.running;
    let fresh = |known: &LargestHolder| running.saturating_sub(known.found) < REMEMBERED;
    let place = usize::from(direction == Direction::Inbox);
    if let Some(known) = transaction.memory.largest[place].filter(fresh) {
        return Ok(Some(known));
    }
    let mut largest: Option<LargestHolder> = None;
    for item in transaction.tables.pairs.iter()? {
        let (key, record) = item?;
        let record = PairRecord::unseal(key.value(), record.value())?;
        let bytes = direction.holding(&record).charge();
        if bytes > largest.map_or(0, |known| known.bytes) {
            largest = Some(LargestHolder { found: running, pair: record.pair, bytes });
        }
    }
    transaction.memory.largest[place] = largest;
    Ok(largest)
}
