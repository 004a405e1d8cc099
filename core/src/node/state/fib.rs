//! The forwarding table (FIB): the routes in use, as the data path reads them. Reading takes no lock, so that no writer,
//! however much it has to write and wherever it is held up, keeps a packet waiting.
//!
//! It has three parts. [`FibTable`] leads from a destination to a number, within one cache line. [`NextHopTable`] leads from the
//! number to the neighbours; it is small, and replaced as a whole. [`FibWriter`] counts the destinations that use each pair of
//! next hops, for the writer alone. A number that a reader finds may be newer or older than the next hops that it holds, since the
//! two are loaded one after the other; so each number has a generation, and where the generations differ a fresh snapshot is taken.

mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, Guard};

use self::table::{FibTable, TableEntry};
use crate::address::Address;
use crate::hash::Keyed;
use crate::node::state::locks::lock;
use crate::node::state::neighbour::Neighbour;

/// The route to one destination: the data path's copy of the router's decision.
#[derive(Clone)]
pub(crate) struct FibRoute {
    pub(crate) next_hops: Arc<NextHops>,
    /// The longest packet payload that every link of the route carries, in bytes.
    pub(crate) mtu: usize,
}

/// The neighbours over which a destination is reached. Destinations with the same two neighbours share one of these, so
/// that a route needs one word and not two references.
pub(crate) struct NextHops {
    pub(crate) next: Arc<Neighbour>,
    /// A second neighbour with a loop-free route, used while `next` is suspect so that packets need not wait for the router.
    pub(crate) alternate: Option<Arc<Neighbour>>,
}

impl NextHops {
    /// The neighbour to hand a packet to now.
    pub(crate) fn best(&self) -> &Arc<Neighbour> {
        match &self.alternate {
            Some(alternate) if self.next.is_suspect() && !alternate.is_suspect() => alternate,
            _ => &self.next,
        }
    }

    /// The neighbour beside the [best](Self::best) one, if there is one whose link is not suspect.
    pub(crate) fn second(&self) -> Option<&Arc<Neighbour>> {
        let best = self.best().id;
        let both = std::iter::once(&self.next).chain(&self.alternate);
        both.into_iter().find(|hop| hop.id != best && !hop.is_suspect())
    }

    /// The numbers of the two neighbours, which identify the pair.
    fn ids(&self) -> NextHopIds {
        (self.next.id, self.alternate.as_ref().map(|alternate| alternate.id))
    }
}

impl FibRoute {
    /// The neighbour to hand a packet to now.
    pub(crate) fn best(&self) -> &Arc<Neighbour> {
        self.next_hops.best()
    }
}

/// The numbers of the next hop and of the alternate.
type NextHopIds = (u32, Option<u32>);

/// The pairs of next hops in use by their number, each with the generation of its number.
type NextHopTable = Vec<Option<(u32, Arc<NextHops>)>>;

/// The routes in use. Only the router's task writes; every task reads, without a lock, because each packet of each
/// neighbour needs a look-up.
pub(crate) struct Fib {
    keyed: Keyed,
    table: ArcSwap<FibTable>,
    next_hops: ArcSwap<NextHopTable>,
    writer: Mutex<FibWriter>,
}

/// The state that only the writer needs.
#[derive(Default)]
struct FibWriter {
    /// The number of each pair of next hops in use, and the count of destinations that use it.
    uses: BTreeMap<NextHopIds, (u32, u32)>,
    generation: u32,
}

impl Default for Fib {
    fn default() -> Self {
        Fib {
            keyed: Keyed::default(),
            table: ArcSwap::from_pointee(FibTable::new(0)),
            next_hops: ArcSwap::default(),
            writer: Mutex::default(),
        }
    }
}

/// Snapshots that a look-up takes until the two parts of one agree. Each further one needs a change between two loads, so a few suffice.
const ATTEMPTS: usize = 4;

impl Fib {
    /// A snapshot of the routes, to be used for all look-ups of one batch since taking one costs two atomic loads.
    pub(crate) fn snapshot(&self) -> FibSnapshot<'_> {
        FibSnapshot { keyed: &self.keyed, next_hops: self.next_hops.load(), table: self.table.load() }
    }

    /// The route to one destination.
    pub(crate) fn get(&self, destination: &Address) -> Option<FibRoute> {
        let hash = self.keyed.hash(destination.as_bytes());
        for _ in 0..ATTEMPTS {
            let snapshot = self.snapshot();
            if let Ok(found) = snapshot.look_up(hash, destination) {
                return found.map(|found| FibRoute { next_hops: found.next_hops.clone(), mtu: found.mtu });
            }
        }
        None
    }

    /// Installs a route, or changes it.
    pub(crate) fn insert(&self, destination: Address, next_hops: NextHops, mtu: usize) {
        let mut writer = lock(&self.writer);
        let Some((number, generation)) = self.acquire(&mut writer, next_hops) else { return };
        let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
        let entry = TableEntry { number, generation, mtu };
        let hash = self.keyed.hash(destination.as_bytes());
        let mut table = self.table.load_full();
        if !table.has_room() {
            table = Arc::new(table.grown(&self.keyed));
            self.table.store(table.clone());
        }
        if let Some(old) = table.set(hash, &destination, Some(entry)) {
            self.release(&mut writer, old);
        }
    }

    /// Removes a route, if there is one.
    pub(crate) fn remove(&self, destination: &Address) {
        let mut writer = lock(&self.writer);
        let hash = self.keyed.hash(destination.as_bytes());
        if let Some(old) = self.table.load().set(hash, destination, None) {
            self.release(&mut writer, old);
        }
    }

    /// The number and generation of a pair of next hops, with one more destination that uses it.
    fn acquire(&self, writer: &mut FibWriter, next_hops: NextHops) -> Option<(u32, u32)> {
        if let Some((number, uses)) = writer.uses.get_mut(&next_hops.ids()) {
            *uses += 1;
            let generation = self.next_hops.load().get(*number as usize)?.as_ref()?.0;
            return Some((*number, generation));
        }
        let mut all = NextHopTable::clone(&self.next_hops.load());
        let number = all.iter().position(Option::is_none).unwrap_or(all.len());
        if number == all.len() {
            all.push(None);
        }
        writer.generation = (writer.generation + 1) % TableEntry::GENERATIONS;
        let ids = next_hops.ids();
        all[number] = Some((writer.generation, Arc::new(next_hops)));
        // Before the table refers to the number, so that a reader of the new table finds it.
        self.next_hops.store(Arc::new(all));
        let number = u32::try_from(number).ok()?;
        writer.uses.insert(ids, (number, 1));
        Some((number, writer.generation))
    }

    /// Counts one destination less for a pair of next hops, and frees its number after the last.
    fn release(&self, writer: &mut FibWriter, entry: TableEntry) {
        let all = self.next_hops.load();
        let Some(Some((_, next_hops))) = all.get(entry.number as usize) else { return };
        let ids = next_hops.ids();
        let Some((_, uses)) = writer.uses.get_mut(&ids) else { return };
        *uses -= 1;
        if *uses > 0 {
            return;
        }
        writer.uses.remove(&ids);
        let mut all = NextHopTable::clone(&all);
        all[entry.number as usize] = None;
        while all.last().is_some_and(Option::is_none) {
            all.pop();
        }
        self.next_hops.store(Arc::new(all));
    }
}

/// A consistent view of the routes for the look-ups of one batch. [`Fib::snapshot`] takes one.
pub(crate) struct FibSnapshot<'a> {
    keyed: &'a Keyed,
    next_hops: Guard<Arc<NextHopTable>>,
    table: Guard<Arc<FibTable>>,
}

/// The two parts of a snapshot were loaded at times between which the route changed.
struct StaleSnapshot;

/// A route that a snapshot contains.
#[derive(Clone, Copy)]
pub(crate) struct FoundRoute<'a> {
    pub(crate) next_hops: &'a Arc<NextHops>,
    pub(crate) mtu: usize,
}

impl FibSnapshot<'_> {
    /// The hash of a destination, and a word from the slot where the search for its route begins. Reading those of many
    /// destinations in a row lets the memory fetch them all at once, instead of one after the other.
    #[inline]
    pub(crate) fn touch(&self, destination: &Address) -> (u64, u64) {
        let hash = self.keyed.hash(destination.as_bytes());
        (hash, self.table.touch(hash))
    }

    /// As [`FibSnapshot::get_hashed`], with a hash of its own.
    #[cfg(test)]
    pub(crate) fn get(&self, destination: &Address) -> Option<FoundRoute<'_>> {
        self.get_hashed(self.keyed.hash(destination.as_bytes()), destination)
    }

    /// The route to a destination with the hash that [`FibSnapshot::touch`] returned. Where there is none, one may have
    /// been installed since the snapshot was taken.
    #[inline]
    pub(crate) fn get_hashed(&self, hash: u64, destination: &Address) -> Option<FoundRoute<'_>> {
        self.look_up(hash, destination).ok().flatten()
    }

    /// The route to a destination, if there is one; an error if there is one that needs other next hops than these.
    #[inline]
    fn look_up(&self, hash: u64, destination: &Address) -> Result<Option<FoundRoute<'_>>, StaleSnapshot> {
        let Some(entry) = self.table.get(hash, destination) else { return Ok(None) };
        match self.next_hops.get(entry.number as usize) {
            Some(Some((generation, next_hops))) if *generation == entry.generation => {
                Ok(Some(FoundRoute { next_hops, mtu: usize::from(entry.mtu) }))
            }
            _ => Err(StaleSnapshot),
        }
    }
}
