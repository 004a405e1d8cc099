//! The links of a node, as far as the choice of dials and sessions depends on them.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};

use super::dials::{LiveLinks, SilentLink};
use super::media::Media;
use crate::address::Address;
use crate::link::{LinkState, Path, Source};
use crate::time::Time;

/// A link from its session to its end.
#[derive(Debug)]
pub(super) struct PeerLink {
    pub(super) address: Address,
    pub(super) path: Path,
    /// The host and the network of the path.
    pub(super) source: Source,
    /// Whether this node has begun the session.
    pub(super) initiator: bool,
    pub(super) local_index: u32,
    /// The random number of the neighbour's run, so that a neighbour that was restarted is recognised.
    pub(super) instance: u64,
    /// Whether a configured peer is the reason for it.
    pub(super) configured: bool,
    /// Whether it carries packets. The link of an initiator does so from the first frame of the responder on.
    pub(super) in_service: bool,
    pub(super) state: LinkState,
    /// The time of the last frame of the neighbour, as of the last change of the state.
    pub(super) heard: Time,
}

/// The links by number. They are ordered, so that what is decided by the first of several does not depend on chance.
#[derive(Debug, Default)]
pub(super) struct LinkTable(BTreeMap<u32, PeerLink>);

impl LinkTable {
    pub(super) fn insert(&mut self, id: u32, link: PeerLink) {
        self.0.insert(id, link);
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<PeerLink> {
        self.0.remove(&id)
    }

    pub(super) fn get(&self, id: u32) -> Option<&PeerLink> {
        self.0.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut PeerLink> {
        self.0.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &PeerLink)> {
        self.0.iter().map(|(id, link)| (*id, link))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut PeerLink)> {
        self.0.iter_mut().map(|(id, link)| (*id, link))
    }

    /// The link to this neighbour over this medium. There is at most one, because a later session replaces it.
    pub(super) fn of_neighbour(&self, netmod: u32, address: &Address) -> Option<u32> {
        self.iter().find(|(_, link)| link.address == *address && link.path.netmod == netmod).map(|(id, _)| id)
    }

    /// The link whose session has this local index, if it uses this path, since any host can send a frame with that index.
    pub(super) fn of_session(&self, index: u32, path: &Path) -> Option<u32> {
        self.iter().find(|(_, link)| link.local_index == index && link.path == *path).map(|(id, _)| id)
    }
}

/// The links as the dial list queries them. They are indexed at the first query, since a crowded medium causes many.
pub(super) struct LinkView<'a> {
    links: &'a LinkTable,
    /// The greatest number of links.
    most: usize,
    /// The media; without them only links in service count, and none is known to be cut.
    media: Option<&'a dyn Media>,
    index: OnceCell<LinkIndex>,
}

#[derive(Default)]
struct LinkIndex {
    paths: HashSet<Path>,
    away: HashSet<Path>,
    addresses: HashSet<Address>,
    on_medium: HashSet<(u32, Address)>,
    silent: HashMap<(u32, Address), SilentLink>,
    /// The links in whatever state.
    all: HashSet<(u32, Address)>,
}

impl<'a> LinkView<'a> {
    /// All links, for the choice of dials: a link that is not in service yet counts, since a second dial would only replace it.
    pub(super) fn new(links: &'a LinkTable, most: usize, media: &'a dyn Media) -> Self {
        LinkView { links, most, media: Some(media), index: OnceCell::new() }
    }

    /// The links in service only, for the states of peers that the status shows.
    pub(super) fn in_service(links: &'a LinkTable, most: usize) -> Self {
        LinkView { links, most, media: None, index: OnceCell::new() }
    }

    /// Whether nothing gets through over the link as far as its medium knows, so that the neighbour should be dialled
    /// on another path.
    fn is_cut_off(&self, link: &PeerLink) -> bool {
        let is_cut = || self.media.is_some_and(|media| media.is_cut(&link.path));
        link.state == LinkState::Away || link.state == LinkState::Suspect && is_cut()
    }

    fn index(&self) -> &LinkIndex {
        self.index.get_or_init(|| {
            let mut index = LinkIndex::default();
            for (_, link) in self.links.iter().filter(|(_, link)| self.media.is_some() || link.in_service) {
                let (path, on_medium) = (link.path, (link.path.netmod, link.address));
                index.all.insert(on_medium);
                // A neighbour that cannot be reached on this path may be discovered on another.
                if self.is_cut_off(link) {
                    index.away.insert(path);
                    continue;
                }
                if link.state != LinkState::Up {
                    index.silent.insert(on_medium, SilentLink { path, heard: link.heard });
                }
                index.paths.insert(path);
                index.addresses.insert(link.address);
                index.on_medium.insert(on_medium);
            }
            index
        })
    }
}

impl LiveLinks for LinkView<'_> {
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
        self.media.is_some_and(|media| media.is_cut(path))
    }

    fn room(&self) -> usize {
        self.most.saturating_sub(self.links.0.len())
    }
}
