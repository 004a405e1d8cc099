//! Which links live, as the dial list asks before it has anybody dialled.

use std::cell::OnceCell;
use std::collections::HashSet;

use crate::address::Address;
use crate::link::Path;
use crate::node::dial::Alive;
use crate::node::shared::{Shared, read};

/// The links as they were when the first question was asked: a crowd of those heard asks many.
struct AliveLinks<'a> {
    shared: &'a Shared,
    known: OnceCell<Known>,
}

#[derive(Default)]
struct Known {
    paths: HashSet<Path>,
    addresses: HashSet<Address>,
    on_medium: HashSet<(u32, Address)>,
}

impl AliveLinks<'_> {
    fn known(&self) -> &Known {
        self.known.get_or_init(|| {
            let mut known = Known::default();
            for neighbour in read(&self.shared.neighbours).values() {
                let path = neighbour.path();
                known.paths.insert(path);
                // Where it cannot be reached it may be found elsewhere.
                if !neighbour.is_away() {
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
}

/// Which links live, as the dial list asks; for the moment, not to be kept.
pub(crate) fn alive(shared: &Shared) -> impl Alive + '_ {
    AliveLinks { shared, known: OnceCell::new() }
}
