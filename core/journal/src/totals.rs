//! The record of the journal as a whole, written with each commit, so that nothing has to be counted at the start.

use rouse_proto::types::Timestamp;

use crate::error::StoreError;
use crate::limits::Holding;
use crate::record::{FieldReader, FieldWriter};

/// The version of the tables and of the meaning of their keys. A journal of a later version is not opened.
pub(crate) const FORMAT: u8 = 1;

/// The key of the record.
pub(crate) const TOTALS: &[u8] = b"totals";

/// The counts of the whole journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    /// The age of the journal in milliseconds, and the wall clock at the same moment.
    pub(crate) age: u64,
    pub(crate) written: Timestamp,
    /// The numbers that the next conversation, mailbox and arrival are given.
    pub(crate) next_pair: u64,
    pub(crate) next_mailbox: u64,
    pub(crate) next_number: u64,
    /// The conversations that there are.
    pub(crate) pairs: u64,
    pub(crate) outbox: Holding,
    /// The messages of the inbox, with the dead letters.
    pub(crate) inbox: Holding,
    pub(crate) dead: Holding,
    /// The messages of the inbox whose senders no application has answered, and the number of those senders.
    pub(crate) unanswered: Holding,
    pub(crate) unanswered_senders: u64,
    /// Messages that were lost because their record was damaged.
    pub(crate) damaged: u64,
    /// Files whose losses could not be counted.
    pub(crate) unreadable: u64,
    /// Conversations that were forgotten because there were too many.
    pub(crate) evicted: u64,
    /// Times that a conversation has taken a new incarnation because the journal was an older copy of itself.
    pub(crate) renewed: u64,
}

impl Totals {
    pub(crate) fn new(written: Timestamp) -> Self {
        Totals {
            age: 0,
            written,
            next_pair: 1,
            next_mailbox: 1,
            next_number: 1,
            pairs: 0,
            outbox: Holding::default(),
            inbox: Holding::default(),
            dead: Holding::default(),
            unanswered: Holding::default(),
            unanswered_senders: 0,
            damaged: 0,
            unreadable: 0,
            evicted: 0,
            renewed: 0,
        }
    }

    pub(crate) fn seal(&self) -> Vec<u8> {
        let mut fields = FieldWriter::default();
        fields.u8(FORMAT);
        for value in
            [self.age, self.written.0, self.next_pair, self.next_mailbox, self.next_number, self.pairs]
        {
            fields.u64(value);
        }
        for holding in [self.outbox, self.inbox, self.dead] {
            fields.u64(holding.messages);
            fields.u64(holding.bytes);
        }
        for value in [self.damaged, self.unreadable, self.evicted, self.renewed] {
            fields.u64(value);
        }
        if !self.unanswered.is_empty() {
            for value in [self.unanswered.messages, self.unanswered.bytes, self.unanswered_senders] {
                fields.u64(value);
            }
        }
        fields.seal(TOTALS)
    }

    pub(crate) fn unseal(record: &[u8]) -> Result<Self, StoreError> {
        let mut fields = FieldReader::unseal(TOTALS, record)?;
        match fields.u8() {
            Some(format) if format > FORMAT => Err(StoreError::TooNew(format)),
            _ => Self::read(&mut fields).ok_or_else(|| StoreError::damaged("the totals lack fields")),
        }
    }

    fn read(fields: &mut FieldReader<'_>) -> Option<Self> {
        let (age, written) = (fields.u64()?, Timestamp(fields.u64()?));
        let (next_pair, next_mailbox, next_number) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let pairs = fields.u64()?;
        let mut holding = || Some(Holding { messages: fields.u64()?, bytes: fields.u64()? });
        let (outbox, inbox, dead) = (holding()?, holding()?, holding()?);
        let (damaged, unreadable) = (fields.u64()?, fields.u64()?);
        let (evicted, renewed) = (fields.u64()?, fields.u64()?);
        // Absent when there are none, and from a record of an earlier version.
        let mut added = || fields.u64().unwrap_or(0);
        let unanswered = Holding { messages: added(), bytes: added() };
        let unanswered_senders = added();
        Some(Totals {
            age,
            written,
            next_pair,
            next_mailbox,
            next_number,
            pairs,
            outbox,
            inbox,
            dead,
            unanswered,
            unanswered_senders,
            damaged,
            unreadable,
            evicted,
            renewed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{FORMAT, TOTALS, Totals};
    use crate::error::StoreError;
    use crate::limits::Holding;
    use crate::record::FieldWriter;
    use rouse_proto::types::Timestamp;

    #[test]
    fn the_totals_are_read_as_they_were_written_and_a_later_format_is_refused() {
        let totals = Totals {
            age: 1,
            pairs: 2,
            damaged: 3,
            renewed: 4,
            unanswered: Holding { messages: 6, bytes: 7 },
            unanswered_senders: 8,
            ..Totals::new(Timestamp(5))
        };
        assert_eq!(Totals::unseal(&totals.seal()).unwrap(), totals);
        let mut later = FieldWriter::default();
        later.u8(FORMAT + 1);
        let result = Totals::unseal(&later.seal(TOTALS));
        assert!(matches!(result, Err(StoreError::TooNew(2))), "{result:?}");
    }
}
