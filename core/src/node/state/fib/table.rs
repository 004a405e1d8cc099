//! A hash table with one writer and many concurrent readers: open addressing with linear probing.
//!
//! A slot has a key and a value, and is occupied once: the key is written first, then the value, and the key never
//! changes after that. So a reader that finds a value finds its key, without a lock. A removed route leaves its slot
//! occupied, with a value that means none, because freeing it would break the probe sequences that lead over it. When
//! too many slots are occupied, the routes move to a new table, while readers continue with the old one.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::address::Address;
use crate::hash::Keyed;

/// The route of a destination, as it fits into one atomic word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableEntry {
    pub(super) number: u32,
    /// Less than [`TableEntry::GENERATIONS`].
    pub(super) generation: u32,
    pub(super) mtu: u16,
}

/// The value of a slot that was never occupied.
const FREE: u64 = 0;
/// The value of a slot whose route was removed. It differs from that of a free slot, because a search must go on past
/// it.
const REMOVED: u64 = 1;
/// The bit that is set in every other value.
const LIVE: u64 = 2;

impl TableEntry {
    /// The generations before the count wraps. A value has 64 bits: 16 for the MTU, 22 for the generation, 24 for the
    /// number, 2 for the state.
    pub(super) const GENERATIONS: u32 = 1 << 22;

    fn pack(self) -> u64 {
        let number = u64::from(self.number & 0xff_ffff);
        u64::from(self.mtu) << 48 | u64::from(self.generation) << 26 | number << 2 | LIVE
    }

    fn unpack(value: u64) -> Option<Self> {
        (value & LIVE != 0).then_some(TableEntry {
            number: (value >> 2) as u32 & 0xff_ffff,
            generation: (value >> 26) as u32 & (Self::GENERATIONS - 1),
            mtu: (value >> 48) as u16,
        })
    }
}

/// A slot of one cache line, so that a look-up waits for memory once.
#[derive(Default)]
#[repr(align(64))]
struct TableSlot {
    value: AtomicU64,
    key: [AtomicU64; 4],
}

fn words(key: &Address) -> [u64; 4] {
    let (words, _) = key.as_bytes().as_chunks::<8>();
    std::array::from_fn(|n| words.get(n).map_or(0, |word| u64::from_le_bytes(*word)))
}

impl TableSlot {
    #[inline]
    fn is(&self, key: &[u64; 4]) -> bool {
        self.key.iter().zip(key).fold(0, |differs, (own, word)| differs | (own.load(Relaxed) ^ word)) == 0
    }

    fn key(&self) -> Address {
        let mut bytes = [0; 32];
        for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(&self.key) {
            *to = word.load(Relaxed).to_le_bytes();
        }
        Address::from_bytes(bytes)
    }
}

/// The destinations and their routes.
pub(super) struct FibTable {
    slots: Box<[TableSlot]>,
    /// Slots that are not free.
    taken: AtomicUsize,
    live: AtomicUsize,
}

impl FibTable {
    /// A table in which `routes` occupy half of the slots.
    pub(super) fn new(routes: usize) -> Self {
        let slots = (0..routes.max(8) * 2).map(|_| TableSlot::default()).collect();
        FibTable { slots, taken: AtomicUsize::new(0), live: AtomicUsize::new(0) }
    }

    /// Whether one more route may be added. At most three quarters of the slots are occupied, since probe sequences
    /// grow fast beyond that.
    pub(super) fn has_room(&self) -> bool {
        self.taken.load(Relaxed) * 4 < self.slots.len() * 3
    }

    /// A table with the same routes and with room for more.
    pub(super) fn grown(&self, keyed: &Keyed) -> Self {
        let grown = FibTable::new(self.live.load(Relaxed));
        for slot in &self.slots {
            if let Some(entry) = TableEntry::unpack(slot.value.load(Relaxed)) {
                let key = slot.key();
                grown.set(keyed.hash(key.as_bytes()), &key, Some(entry));
            }
        }
        grown
    }

    /// The count of slots.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The slot where the search for a key begins: the hash as a fraction of the length.
    #[inline]
    fn first(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.slots.len() as u128) >> 64) as usize
    }

    /// Reads a word from the slot where the search for a key begins and from the one after it, so that both are in the
    /// cache.
    #[inline]
    pub(super) fn touch(&self, hash: u64) -> u64 {
        let slots = self.slots.get(self.first(hash)..).unwrap_or_default();
        slots.iter().take(2).fold(0, |words, slot| words | slot.value.load(Relaxed))
    }

    /// The slots in which a key may be, in the order of the search.
    #[inline]
    fn probe(&self, hash: u64) -> impl Iterator<Item = &TableSlot> {
        let (before, after) = self.slots.split_at(self.first(hash));
        after.iter().chain(before)
    }

    /// The route of a destination.
    #[inline]
    pub(super) fn get(&self, hash: u64, key: &Address) -> Option<TableEntry> {
        let key = words(key);
        for slot in self.probe(hash) {
            let value = slot.value.load(Acquire);
            if value == FREE {
                return None;
            }
            if slot.is(&key) {
                return TableEntry::unpack(value);
            }
        }
        None
    }

    /// Sets or removes the route of a destination, and returns the route before. Only one caller at a time may do this.
    /// A new destination needs [`FibTable::has_room`].
    pub(super) fn set(&self, hash: u64, key: &Address, entry: Option<TableEntry>) -> Option<TableEntry> {
        let key = words(key);
        let set = entry.map_or(REMOVED, TableEntry::pack);
        for slot in self.probe(hash) {
            let value = slot.value.load(Relaxed);
            if value == FREE {
                if entry.is_some() {
                    slot.key.iter().zip(key).for_each(|(own, word)| own.store(word, Relaxed));
                    slot.value.store(set, Release);
                    self.taken.fetch_add(1, Relaxed);
                    self.live.fetch_add(1, Relaxed);
                }
                return None;
            }
            if slot.is(&key) {
                slot.value.store(set, Release);
                let old = TableEntry::unpack(value);
                match (old, entry) {
                    (None, Some(_)) => drop(self.live.fetch_add(1, Relaxed)),
                    (Some(_), None) => drop(self.live.fetch_sub(1, Relaxed)),
                    _ => {}
                }
                return old;
            }
        }
        None
    }
}
