//! The bounds of a journal, and the shares that its users have of it.

use std::time::Duration;

/// A message that was delivered this often without being acknowledged goes to the dead letters.
pub const MAX_DELIVERIES: u8 = 16;
/// The messages that are lent to applications at the same time.
pub const MAX_LEASES: usize = 65_536;

/// The overhead of a message in the store: its record, its keys and its entry in the index of expiries.
const OVERHEAD: u64 = 256;
/// The bytes that each peer may hold while there is room at all.
const SMALLEST_SHARE: u64 = 64 << 10;

/// The bounds of a journal.
///
/// ```
/// use rouse_journal::JournalLimits;
///
/// let limits = JournalLimits { bytes: 64 << 20, ..JournalLimits::default() };
/// assert_eq!(limits.pairs, 65_536);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct JournalLimits {
    /// The bytes of all messages. The outbox and the inbox have one half each, so that messages of others cannot keep
    /// the node from sending.
    pub bytes: u64,
    /// The conversations whose state is kept. When there are more, the one that was not used for the longest time and has
    /// no messages is forgotten.
    pub pairs: u64,
    /// The time without an operation after which the file is made smaller if most of it is unused.
    pub idle: Duration,
    /// The length in bytes up to which a file is never made smaller, since it is used again soon.
    pub small_file: u64,
}

impl Default for JournalLimits {
    fn default() -> Self {
        JournalLimits { bytes: 1 << 30, pairs: 65_536, idle: Duration::from_secs(5), small_file: 4 << 20 }
    }
}

/// Messages and their bytes, with the overhead that counts towards the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

impl Holding {
    pub(crate) fn charge(self) -> u64 {
        self.bytes.saturating_add(self.messages.saturating_mul(OVERHEAD))
    }

    pub(crate) fn add(&mut self, bytes: u64) {
        self.add_all(Holding { messages: 1, bytes });
    }

    pub(crate) fn subtract(&mut self, bytes: u64) {
        self.subtract_all(Holding { messages: 1, bytes });
    }

    pub(crate) fn add_all(&mut self, others: Holding) {
        self.messages = self.messages.saturating_add(others.messages);
        self.bytes = self.bytes.saturating_add(others.bytes);
    }

    pub(crate) fn subtract_all(&mut self, others: Holding) {
        self.messages = self.messages.saturating_sub(others.messages);
        self.bytes = self.bytes.saturating_sub(others.bytes);
    }

    pub(crate) fn is_empty(self) -> bool {
        self.messages == 0
    }
}

/// The reason for which a message does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    /// All peers together hold too much.
    Total,
    /// The peer holds its share.
    Share,
}

/// Whether a peer that holds `held` may add `bytes`, when all together hold `used`.
///
/// A peer may hold one half of the room that the others leave. So the room never runs out by a few peers that take
/// nothing, and one that is alone may use half of all. One message is accepted whatever its length while there is room,
/// since it could never be sent otherwise.
pub(crate) fn admit(limit: u64, used: Holding, held: Holding, bytes: u64) -> Result<(), Excess> {
    let new = Holding { messages: 1, bytes }.charge();
    let (used, held) = (used.charge(), held.charge());
    if used.saturating_add(new) > limit {
        return Err(Excess::Total);
    }
    let others = used.saturating_sub(held);
    let share = (limit.saturating_sub(others) / 2).max(SMALLEST_SHARE);
    match held == 0 || held.saturating_add(new) <= share {
        true => Ok(()),
        false => Err(Excess::Share),
    }
}

#[cfg(test)]
mod tests {
    use super::{Excess, Holding, admit};

    #[test]
    fn each_peer_may_hold_half_of_the_room_that_the_others_leave() {
        let limit = 64 << 20;
        let mut all = Holding::default();
        let mut held_by_each = Vec::new();
        for _ in 0..6 {
            let mut held = Holding::default();
            while admit(limit, all, held, 1 << 10).is_ok() {
                held.add(1 << 10);
                all.add(1 << 10);
            }
            held_by_each.push(held.charge());
        }
        let halves = (1..7).map(|n| limit >> n);
        for (held, half) in held_by_each.iter().zip(halves) {
            assert!(held.abs_diff(half) < 4 << 10, "{held} of {half}");
        }
    }

    #[test]
    fn the_first_message_of_a_peer_is_accepted_whatever_its_length_while_there_is_room() {
        let used = Holding { messages: 1, bytes: 40 << 20 };
        assert_eq!(admit(64 << 20, used, Holding::default(), 16 << 20), Ok(()));
        assert_eq!(admit(64 << 20, used, Holding { messages: 1, bytes: 1 }, 16 << 20), Err(Excess::Share));
        assert_eq!(admit(64 << 20, used, Holding::default(), 30 << 20), Err(Excess::Total));
    }
}
