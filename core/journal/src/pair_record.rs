//! The record of a conversation: our incarnation and sequences, the windows of the sender, and the messages that wait.

use rouse_proto::address::Address;

use crate::error::StoreError;
use crate::limits::Holding;
use crate::record::{FieldReader, FieldWriter};
use crate::types::Pair;
use crate::window::ReceiveWindow;

/// The incarnations of a sender whose windows are kept. A sender has one, and a late packet may be from the one before.
const MAX_WINDOWS: usize = 4;
/// Added to the hour of the last use of a conversation with messages, which is not forgotten.
pub(crate) const HAS_MESSAGES: u64 = 1 << 63;
/// Added to the hour of the last use of a conversation that an application has answered.
const ANSWERED: u64 = 1 << 62;
/// The last field of the record of a conversation that no application has answered. Others, and those of an earlier version,
/// lack it.
const UNANSWERED: u8 = 1;

/// The durable state of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PairRecord {
    pub(crate) pair: Pair,
    pub(crate) incarnation: u64,
    /// The first sequence that was never used or reserved.
    pub(crate) next: u64,
    pub(crate) outbox: Holding,
    /// The messages of the inbox, with those among the dead letters.
    pub(crate) inbox: Holding,
    /// The hour of the journal's age in which the conversation was last used.
    pub(crate) used: u64,
    /// The windows of the sender's incarnations, the latest first.
    pub(crate) windows: Vec<ReceiveWindow>,
    /// Whether an application of this node has sent the peer something.
    pub(crate) is_answered: bool,
}

impl PairRecord {
    pub(crate) fn new(pair: Pair, incarnation: u64, used: u64) -> Self {
        PairRecord {
            pair,
            incarnation,
            next: 0,
            outbox: Holding::default(),
            inbox: Holding::default(),
            used,
            windows: Vec::new(),
            is_answered: false,
        }
    }

    /// The place in the order in which conversations are forgotten. Unanswered ones come first, since any node can invent
    /// their peers, and those with messages last.
    pub(crate) fn rank(&self) -> u64 {
        let is_empty = self.outbox.is_empty() && self.inbox.is_empty();
        let answered = if self.is_answered { ANSWERED } else { 0 };
        self.used | answered | if is_empty { 0 } else { HAS_MESSAGES }
    }

    /// The window of an incarnation of the sender, made if there is none.
    pub(crate) fn window(&mut self, incarnation: u64) -> &mut ReceiveWindow {
        let known = self.windows.iter().position(|window| window.incarnation == incarnation);
        let place = known.unwrap_or_else(|| {
            self.windows.truncate(MAX_WINDOWS - 1);
            self.windows.insert(0, ReceiveWindow::new(incarnation));
            0
        });
        &mut self.windows[place]
    }

    pub(crate) fn seal(&self, key: &[u8]) -> Vec<u8> {
        let mut fields = FieldWriter::default();
        fields.fixed(self.pair.local.as_bytes());
        fields.fixed(self.pair.peer.as_bytes());
        for value in [self.incarnation, self.next, self.used] {
            fields.u64(value);
        }
        for holding in [self.outbox, self.inbox] {
            fields.u64(holding.messages);
            fields.u64(holding.bytes);
        }
        fields.u8(u8::try_from(self.windows.len()).unwrap_or(u8::MAX));
        self.windows.iter().for_each(|window| window.write(&mut fields));
        if !self.is_answered {
            fields.u8(UNANSWERED);
        }
        fields.seal(key)
    }

    pub(crate) fn unseal(key: &[u8], record: &[u8]) -> Result<Self, StoreError> {
        let mut fields = FieldReader::unseal(key, record)?;
        Self::read(&mut fields).ok_or_else(|| StoreError::damaged("a conversation lacks fields"))
    }

    fn read(fields: &mut FieldReader<'_>) -> Option<Self> {
        let local = Address::from_bytes(fields.fixed()?);
        let peer = Address::from_bytes(fields.fixed()?);
        let (incarnation, next, used) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let outbox = Holding { messages: fields.u64()?, bytes: fields.u64()? };
        let inbox = Holding { messages: fields.u64()?, bytes: fields.u64()? };
        let count = fields.u8()?;
        let windows = (0..count).map(|_| ReceiveWindow::read(fields)).collect::<Option<Vec<_>>>()?;
        let is_answered = fields.u8() != Some(UNANSWERED);
        let pair = Pair { local, peer };
        Some(PairRecord { pair, incarnation, next, outbox, inbox, used, windows, is_answered })
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_WINDOWS, PairRecord};
    use crate::limits::Holding;
    use crate::types::Pair;
    use rouse_proto::address::Address;

    #[test]
    fn a_record_has_all_state_of_a_conversation_and_the_latest_windows() {
        let pair = Pair { local: Address::from_bytes([1; 32]), peer: Address::from_bytes([2; 32]) };
        let mut record = PairRecord::new(pair, 3, 4);
        (record.next, record.outbox, record.inbox) =
            (5, Holding { messages: 6, bytes: 7 }, Holding { messages: 8, bytes: 9 });
        for incarnation in 1..=6 {
            assert!(record.window(incarnation).insert(incarnation..incarnation + 1));
        }
        assert!(record.window(3).contains(3), "a former incarnation is still known");
        let known: Vec<_> = record.windows.iter().map(|window| window.incarnation).collect();
        assert_eq!((known, record.windows.len()), (vec![6, 5, 4, 3], MAX_WINDOWS));
        for is_answered in [true, false] {
            record.is_answered = is_answered;
            assert_eq!(PairRecord::unseal(b"key", &record.seal(b"key")).unwrap(), record);
        }
    }
}
