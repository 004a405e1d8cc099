//! The routes in use, as the data path reads them: without a lock, so that no writer, however much it has to write and
//! wherever it is held up, keeps a packet waiting.
//!
//! Three parts. [`Table`] leads from a destination to a number; a reader finds it in one place of memory. [`Ways`] leads from
//! the number to the neighbours; it is small, and replaced as a whole. [`Writer`] keeps count of who uses which way, for
//! the one who writes. A number that a table gives may be newer or older than the ways that a reader holds, so each has a
//! generation; when they do not fit, a fresh look finds both.

mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, Guard};

use self::table::{Entry, Table};
use super::neighbour::Neighbour;
use super::shared::lock;
use crate::address::Address;
use crate::hash::Keyed;

/// Where a destination is reached: the data path's copy of the router's decision.
#[derive(Clone)]
pub(crate) struct Hop {
    pub(crate) way: Arc<Way>,
    /// The longest packet payload that the whole way takes, in bytes.
    pub(crate) mtu: usize,
}

/// The neighbours through whom destinations are reached.
pub(crate) struct Way {
    pub(crate) next: Arc<Neighbour>,
    /// Used while `next` is suspect.
    pub(crate) alternate: Option<Arc<Neighbour>>,
}

impl Way {
    /// The neighbour to hand a packet to now.
    pub(crate) fn best(&self) -> &Arc<Neighbour> {
        match &self.alternate {
            Some(alternate) if self.next.is_suspect() && !alternate.is_suspect() => alternate,
            _ => &self.next,
        }
    }

    /// Which two neighbours these are.
    fn name(&self) -> Name {
        (self.next.id, self.alternate.as_ref().map(|alternate| alternate.id))
    }
}

impl Hop {
    /// The neighbour to hand a packet to now.
    pub(crate) fn best(&self) -> &Arc<Neighbour> {
        self.way.best()
    }
}

type Name = (u32, Option<u32>);

/// The ways in use by their number, each with the generation of its number.
type Ways = Vec<Option<(u32, Arc<Way>)>>;

/// The routes in use. Written by the router's task, read by all.
pub(crate) struct Fib {
    keyed: Keyed,
    table: ArcSwap<Table>,
    ways: ArcSwap<Ways>,
    writer: Mutex<Writer>,
}

/// What only the writer needs.
#[derive(Default)]
struct Writer {
    /// The number of each way in use, and how many destinations use it.
    uses: BTreeMap<Name, (u32, u32)>,
    generation: u32,
}

impl Default for Fib {
    fn default() -> Self {
        Fib {
            keyed: Keyed::default(),
            table: ArcSwap::from_pointee(Table::new(0)),
            ways: ArcSwap::default(),
            writer: Mutex::default(),
        }
    }
}

/// How often a look is taken anew when table and ways did not fit. Each needs a change at that very moment.
const LOOKS: usize = 4;

impl Fib {
    /// A look at the routes for as many look-ups as are at hand.
    pub(crate) fn look(&self) -> Look<'_> {
        Look { keyed: &self.keyed, ways: self.ways.load(), table: self.table.load() }
    }

    /// The route to one destination.
    pub(crate) fn get(&self, destination: &Address) -> Option<Hop> {
        (0..LOOKS).find_map(|_| {
            let look = self.look();
            let found = look.get(destination)?;
            Some(Hop { way: found.way.clone(), mtu: found.mtu })
        })
    }

    /// Installs a route, or changes it.
    pub(crate) fn insert(&self, destination: Address, way: Way, mtu: usize) {
        let mut writer = lock(&self.writer);
        let Some((number, generation)) = self.use_way(&mut writer, way) else { return };
        let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
        let entry = Entry { number, generation, mtu };
        let hash = self.keyed.hash(destination.as_bytes());
        let mut table = self.table.load_full();
        if !table.has_room() {
            table = Arc::new(table.grown(&self.keyed));
            self.table.store(table.clone());
        }
        if let Some(old) = table.set(hash, &destination, Some(entry)) {
            self.unuse_way(&mut writer, old);
        }
    }

    /// Removes a route, if there is one.
    pub(crate) fn remove(&self, destination: &Address) {
        let mut writer = lock(&self.writer);
        let hash = self.keyed.hash(destination.as_bytes());
        if let Some(old) = self.table.load().set(hash, destination, None) {
            self.unuse_way(&mut writer, old);
        }
    }

    /// The number and generation of a way, with one more destination that uses it.
    fn use_way(&self, writer: &mut Writer, way: Way) -> Option<(u32, u32)> {
        if let Some((number, uses)) = writer.uses.get_mut(&way.name()) {
            *uses += 1;
            let generation = self.ways.load().get(*number as usize)?.as_ref()?.0;
            return Some((*number, generation));
        }
        let mut ways = Ways::clone(&self.ways.load());
        let number = ways.iter().position(Option::is_none).unwrap_or(ways.len());
        if number == ways.len() {
            ways.push(None);
        }
        writer.generation = (writer.generation + 1) % Entry::GENERATIONS;
        let name = way.name();
        ways[number] = Some((writer.generation, Arc::new(way)));
        // Before the table leads to it.
        self.ways.store(Arc::new(ways));
        let number = u32::try_from(number).ok()?;
        writer.uses.insert(name, (number, 1));
        Some((number, writer.generation))
    }

    fn unuse_way(&self, writer: &mut Writer, entry: Entry) {
        let ways = self.ways.load();
        let Some(Some((_, way))) = ways.get(entry.number as usize) else { return };
        let name = way.name();
        let Some((_, uses)) = writer.uses.get_mut(&name) else { return };
        *uses -= 1;
        if *uses > 0 {
            return;
        }
        writer.uses.remove(&name);
        let mut ways = Ways::clone(&ways);
        ways[entry.number as usize] = None;
        while ways.last().is_some_and(Option::is_none) {
            ways.pop();
        }
        self.ways.store(Arc::new(ways));
    }
}

/// Made by [`Fib::look`].
pub(crate) struct Look<'a> {
    keyed: &'a Keyed,
    ways: Guard<Arc<Ways>>,
    table: Guard<Arc<Table>>,
}

/// What a look has found.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(crate) way: &'a Arc<Way>,
    pub(crate) mtu: usize,
}

impl Look<'_> {
    /// The hash of a destination, and a word from where its route would be: asking for those of many destinations one right
    /// after the other has memory fetch them all at once.
    #[inline]
    pub(crate) fn touch(&self, destination: &Address) -> (u64, u64) {
        let hash = self.keyed.hash(destination.as_bytes());
        (hash, self.table.touch(hash))
    }

    /// The route to a destination. Where there is none, there may be one that is newer than this look.
    #[inline]
    pub(crate) fn get(&self, destination: &Address) -> Option<Found<'_>> {
        self.get_hashed(self.keyed.hash(destination.as_bytes()), destination)
    }

    /// The same, with the hash that [`Look::touch`] gave.
    #[inline]
    pub(crate) fn get_hashed(&self, hash: u64, destination: &Address) -> Option<Found<'_>> {
        let entry = self.table.get(hash, destination)?;
        let (generation, way) = self.ways.get(entry.number as usize)?.as_ref()?;
        (*generation == entry.generation).then_some(Found { way, mtu: usize::from(entry.mtu) })
    }
}
