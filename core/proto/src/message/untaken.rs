//! Messages that were handed to the application's mailbox and are not yet taken by the application.

use std::collections::VecDeque;

/// The memory of one entry, in bytes.
const ENTRY_COST: usize = size_of::<UntakenMessage>();
/// The length up to which an empty list keeps its memory, since it will be filled again.
const KEPT_ENTRIES: usize = 64;

/// A message that was handed out, reduced to the numbers that its receipt and the credit need.
#[derive(Debug)]
struct UntakenMessage {
    seq: u64,
    bytes: u32,
    /// Taken by the application before an earlier message was, so its receipt has to wait.
    taken: bool,
}

/// The untaken messages in sequence. The first one is never taken, because taken ones at the front are removed.
#[derive(Debug, Default)]
pub(super) struct UntakenMessages {
    entries: VecDeque<UntakenMessage>,
    bytes: usize,
}

impl UntakenMessages {
    /// The sequence of the first message that is not taken.
    pub(super) fn first(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.seq)
    }

    /// The number of messages that are not taken.
    pub(super) fn untaken(&self) -> usize {
        self.entries.iter().filter(|entry| !entry.taken).count()
    }

    pub(super) fn first_bytes(&self) -> Option<usize> {
        self.entries.front().map(|entry| entry.bytes as usize)
    }

    /// The bytes of all messages from the first untaken one on. Those taken out of order still count, since their
    /// receipt cannot be sent before that of the first.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The memory of this list, in bytes.
    pub(super) fn held(&self) -> usize {
        self.entries.len().saturating_mul(ENTRY_COST)
    }

    pub(super) fn push(&mut self, seq: u64, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.entries.capacity() == 0 {
            // A forged source address sends one message, for which room for four entries would be wasted.
            self.entries.reserve_exact(1);
        }
        self.entries.push_back(UntakenMessage {
            seq,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            taken: false,
        });
    }

    /// Records that a message is taken. Returns the bytes for which a receipt may now be sent, including messages that
    /// were taken before their turn.
    pub(super) fn on_taken(&mut self, seq: u64) -> usize {
        // Applications take messages in order, so that it is nearly always the first.
        let at = match self.first() {
            Some(first) if first == seq => Ok(0),
            _ => self.entries.binary_search_by_key(&seq, |entry| entry.seq),
        };
        let Ok(at) = at else { return 0 };
        if let Some(entry) = self.entries.get_mut(at) {
            entry.taken = true;
        }
        let before = self.bytes;
        self.pop_while(|entry| entry.taken);
        before.saturating_sub(self.bytes)
    }

    /// Removes all messages below `floor`, because their sender has settled them, and those behind them that are taken.
    pub(super) fn settle(&mut self, floor: u64) {
        self.pop_while(|entry| entry.seq < floor || entry.taken);
    }

    fn pop_while(&mut self, settled: impl Fn(&UntakenMessage) -> bool) {
        while let Some(entry) = self.entries.pop_front() {
            if !settled(&entry) {
                self.entries.push_front(entry);
                break;
            }
            self.bytes = self.bytes.saturating_sub(entry.bytes as usize);
        }
        if self.entries.is_empty() && self.entries.capacity() > KEPT_ENTRIES {
            self.entries = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::UntakenMessages;

    #[test]
    fn messages_that_were_taken_behind_one_that_their_sender_has_settled_have_their_receipt() {
        let mut untaken = UntakenMessages::default();
        (5..9).for_each(|seq| untaken.push(seq, 10));
        assert_eq!(untaken.on_taken(7), 0, "an earlier one is not taken");
        untaken.settle(7);
        assert_eq!((untaken.first(), untaken.bytes()), (Some(8), 10));
    }
}
