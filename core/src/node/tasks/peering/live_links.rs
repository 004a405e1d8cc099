//! The live links, as the dial list queries them before it dials.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use crate::address::Address;
use crate::link::Path;
use crate::node::neighbour::Neighbour;
use crate::node::state::{NodeState, read};
use crate::peering::dials::{LiveLinks, SilentLink};

/// The links as of the first query. They are indexed once, since a crowded medium causes many queries.
struct LinkSnapshot<'a> {
    shared: &'a NodeState,
    /// Whether only links in service count.
    in_service: bool,
    index: OnceCell<LinkIndex>,
}

#[derive(Default)]
struct LinkIndex {
    count: usize,
    paths: HashSet<Path>,
    away: HashSet<Path>,
    addresses: HashSet<Address>,
    on_medium: HashSet<(u32, Address)>,
    silent: HashMap<(u32, Address), SilentLink>,
    /// The links in whatever state.
    all: HashSet<(u32, Address)>,
}

impl LinkSnapshot<'_> {
    /// Whether a link is suspect while its medium reports the path as cut, so that the neighbour should be dialled on
    /// another path. The status still shows the link.
    fn is_cut_off(&self, neighbour: &Neighbour) -> bool {
        !self.in_service
            && neighbour.is_suspect()
            && neighbour.medium.netmod.is_cut(&neighbour.path().endpoint)
    }

    fn index(&self) -> &LinkIndex {
        self.index.get_or_init(|| {
            let mut index = LinkIndex::default();
            let neighbours = read(&self.shared.neighbours);
            index.count = neighbours.len();
            for neighbour in neighbours.values().filter(|known| !self.in_service || known.is_in_service()) {
                let path = neighbour.path();
                index.all.insert((path.netmod, neighbour.address));
                // A neighbour that cannot be reached on this path may be discovered on another.
                if neighbour.is_away() || self.is_cut_off(neighbour) {
                    index.away.insert(path);
                } else {
                    if let Some(heard) = neighbour.silent_since() {
                        index.silent.insert((path.netmod, neighbour.address), SilentLink { path, heard });
                    }
                    index.paths.insert(path);
                    index.addresses.insert(neighbour.address);
                    index.on_medium.insert((path.netmod, neighbour.address));
                }
            }
            index
        })
    }
}

impl LiveLinks for LinkSnapshot<'_> {
    fn path(&self, path: &Path) -> bool {
        self.index().paths.contains(path)
    }

    fn address(&self, address: &Address) -> bool {
        self.index().addresses.contains(address)
    }

    fn address_on(&self, medium: u32, address: &Address) -> bool {
        self.index().on_medium.contains(&(medium, *address))
    }

    fn has_link(&self, medium: u32, address: &Address) -> bool {
        self.index().all.contains(&(medium, *address))
    }

    fn is_away(&self, path: &Path) -> bool {
        self.index().away.contains(path)
    }

    fn silent(&self, medium: u32, address: &Address) -> Option<SilentLink> {
        self.index().silent.get(&(medium, *address)).copied()
    }

    fn is_cut(&self, path: &Path) -> bool {
        let media = read(&self.shared.media);
        media.get(&path.netmod).is_some_and(|medium| medium.netmod.is_cut(&path.endpoint))
    }

    fn room(&self) -> usize {
        self.shared.limits().neighbours.saturating_sub(self.index().count)
    }
}

/// The live links for the dial list. The result is a snapshot, to be used at once.
pub(crate) fn live_links(shared: &NodeState) -> impl LiveLinks + '_ {
    LinkSnapshot { shared, in_service: false, index: OnceCell::new() }
}

/// The links in service only, for the states of peers that the status shows.
pub(crate) fn links_in_service(shared: &NodeState) -> impl LiveLinks + '_ {
    LinkSnapshot { shared, in_service: true, index: OnceCell::new() }
}
