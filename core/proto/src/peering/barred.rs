//! The nodes that this node has refused because its configuration does not admit them.

use std::collections::VecDeque;

use super::neighbour_filter::NeighbourFilter;
use crate::address::Address;
use crate::link::Path;

/// The nodes that are remembered. Of more, the one that was refused first is forgotten; it gets a link when it dials again.
const MOST_REMEMBERED: usize = 64;

/// The nodes that were refused last, each with the path over which it was.
#[derive(Debug, Default)]
pub(super) struct BarredNodes {
    refused: VecDeque<(Address, Path)>,
    /// Those that may become neighbours now.
    readmitted: Vec<(Address, Path)>,
}

impl BarredNodes {
    pub(super) fn add(&mut self, address: Address, path: Path) {
        // Once for each address, because a node that dials again and again would displace the others.
        self.refused.retain(|(known, _)| *known != address);
        if self.refused.len() >= MOST_REMEMBERED {
            self.refused.pop_front();
        }
        self.refused.push_back((address, path));
    }

    /// Notes those that this filter admits.
    pub(super) fn readmit(&mut self, filter: &NeighbourFilter) {
        let is_admitted = |(address, _): &(Address, Path)| filter.admits(address);
        self.readmitted.extend(self.refused.iter().filter(|node| is_admitted(node)).copied());
        self.refused.retain(|node| !is_admitted(node));
        // The filter may have changed twice before the first change was served.
        self.readmitted.retain(is_admitted);
    }

    pub(super) fn has_readmitted(&self) -> bool {
        !self.readmitted.is_empty()
    }

    pub(super) fn take_readmitted(&mut self) -> Vec<(Address, Path)> {
        std::mem::take(&mut self.readmitted)
    }
}
