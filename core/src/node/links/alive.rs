//! Which links live, as the dial list asks before it has anything dialled.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use crate::address::Address;
use crate::link::Path;
use crate::node::dial::{Alive, Silent};
use crate::node::neighbour::Neighbour;
use crate::node::shared::{Shared, read};

/// The links as they were when the first question was asked: a crowd of those heard asks many.
struct AliveLinks<'a> {
    shared: &'a Shared,
    /// Only those in service.
    in_service: bool,
    known: OnceCell<Known>,
}

#[derive(Default)]
struct Known {
    count: usize,
    paths: HashSet<Path>,
    away: HashSet<Path>,
    addresses: HashSet<Address>,
    on_medium: HashSet<(u32, Address)>,
    silent: HashMap<(u32, Address), Silent>,
}

impl AliveLinks<'_> {
    /// Whether a link to be dialled around is in doubt because its medium carries nothing there. For people it is still there.
    fn is_cut_off(&self, neighbour: &Neighbour) -> bool {
        !self.in_service
            && neighbour.is_suspect()
            && neighbour.medium.netmod.is_cut(&neighbour.path().endpoint)
    }

    fn known(&self) -> &Known {
        self.known.get_or_init(|| {
            let mut known = Known::default();
            let neighbours = read(&self.shared.neighbours);
            known.count = neighbours.len();
            for neighbour in neighbours.values().filter(|known| !self.in_service || known.is_in_service()) {
                let path = neighbour.path();
                // Where it cannot be reached it may be found elsewhere.
                if neighbour.is_away() || self.is_cut_off(neighbour) {
                    known.away.insert(path);
                } else {
                    if let Some(heard) = neighbour.silent_since() {
                        known.silent.insert((path.netmod, neighbour.address), Silent { path, heard });
                    }
                    known.paths.insert(path);
                    known.addresses.insert(neighbour.address);
                    known.on_medium.insert((path.netmod, neighbour.address));
                }
            }
            known
        })
    }
}

impl Alive for AliveLinks<'_> {
    fn path(&self, path: &Path) -> bool {
        self.known().paths.contains(path)
    }

    fn address(&self, address: &Address) -> bool {
        self.known().addresses.contains(address)
    }

    fn address_on(&self, medium: u32, address: &Address) -> bool {
        self.known().on_medium.contains(&(medium, *address))
    }

    fn is_away(&self, path: &Path) -> bool {
        self.known().away.contains(path)
    }

    fn silent(&self, medium: u32, address: &Address) -> Option<Silent> {
        self.known().silent.get(&(medium, *address)).copied()
    }

    fn is_cut(&self, path: &Path) -> bool {
        let media = read(&self.shared.media);
        media.get(&path.netmod).is_some_and(|medium| medium.netmod.is_cut(&path.endpoint))
    }

    fn room(&self) -> usize {
        self.shared.limits().neighbours.saturating_sub(self.known().count)
    }
}

/// Which links live, as the dial list asks; for the moment, not to be kept.
pub(crate) fn alive(shared: &Shared) -> impl Alive + '_ {
    AliveLinks { shared, in_service: false, known: OnceCell::new() }
}

/// The same of those links only that are in service: how the peers stand, for people.
pub(crate) fn in_service(shared: &Shared) -> impl Alive + '_ {
    AliveLinks { shared, in_service: true, known: OnceCell::new() }
}
