//! Messages that are with the application, which has not taken them yet.

use std::collections::VecDeque;

/// What one of them costs here.
const ENTRY_COST: usize = size_of::<UntakenMessage>();
/// A list so long is not given up when it is empty.
const KEPT_ENTRIES: usize = 64;

#[derive(Debug)]
struct UntakenMessage {
    seq: u64,
    bytes: u32,
    taken: bool,
}

/// In sequence. The first is not taken.
#[derive(Debug, Default)]
pub(super) struct UntakenMessages {
    entries: VecDeque<UntakenMessage>,
    bytes: usize,
}

impl UntakenMessages {
    /// The first that is not taken.
    pub fn first(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.seq)
    }

    /// How many are not taken.
    pub fn untaken(&self) -> usize {
        self.entries.iter().filter(|entry| !entry.taken).count()
    }

    pub fn first_bytes(&self) -> Option<usize> {
        self.entries.front().map(|entry| entry.bytes as usize)
    }

    /// Bytes of those from the first that is not taken on.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of memory that this list takes.
    pub fn held(&self) -> usize {
        self.entries.len().saturating_mul(ENTRY_COST)
    }

    pub fn push(&mut self, seq: u64, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.entries.capacity() == 0 {
            // Of an invented source comes one message.
            self.entries.reserve_exact(1);
        }
        self.entries.push_back(UntakenMessage {
            seq,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            taken: false,
        });
    }

    /// Notes that one is taken; how many bytes are settled by it, with those that were taken before their turn.
    pub fn on_taken(&mut self, seq: u64) -> usize {
        let Ok(at) = self.entries.binary_search_by_key(&seq, |entry| entry.seq) else { return 0 };
        if let Some(entry) = self.entries.get_mut(at) {
            entry.taken = true;
        }
        let before = self.bytes;
        self.pop_while(|entry| entry.taken);
        before.saturating_sub(self.bytes)
    }

    /// All below `floor` is settled.
    pub fn settle(&mut self, floor: u64) {
        self.pop_while(|entry| entry.seq < floor);
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
