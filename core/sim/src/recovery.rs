//! Pairs of nodes that are connected but do not reach each other, and the time until there are none.

use std::collections::HashMap;
use std::time::Duration;

use super::net::Net;
use super::topology::Components;

impl Net {
    /// The number of ordered pairs that are connected but of which the first does not reach the second.
    pub(crate) fn unreached_pairs(&mut self) -> u64 {
        if std::mem::take(&mut self.stale) {
            let pairs = self.connected_pairs();
            self.reach.set_connected(pairs);
        }
        self.reach.unreached_pairs()
    }

    fn connected_pairs(&self) -> u64 {
        let mut components = self.components();
        let mut sizes = vec![0u64; self.nodes.len()];
        for node in (0..self.nodes.len()).filter(|node| self.nodes[*node].alive) {
            sizes[components.of(node)] += 1;
        }
        sizes.iter().map(|size| size * size).sum()
    }

    fn components(&self) -> Components {
        let mut components = Components::new(self.nodes.len());
        for link in self.links.iter().filter(|link| link.up) {
            if link.ends.iter().all(|end| self.nodes[*end].alive) {
                components.join(link.ends[0], link.ends[1]);
            }
        }
        components
    }

    /// One of the [`unreached_pairs`](Net::unreached_pairs), for messages.
    pub(crate) fn unreached_pair(&self) -> Option<(usize, usize)> {
        let mut components = self.components();
        let alive: Vec<usize> = (0..self.nodes.len()).filter(|node| self.nodes[*node].alive).collect();
        let component: HashMap<usize, usize> =
            alive.iter().map(|node| (*node, components.of(*node))).collect();
        let pairs = alive.iter().flat_map(|from| alive.iter().map(move |to| (*from, *to)));
        pairs
            .filter(|(from, to)| component[from] == component[to])
            .find(|(from, to)| !self.reach.reaches(*from, *to))
    }

    /// Runs until every connected pair is reachable and stays so for 50 ms. Returns the time until they were; `None` when it is
    /// longer than `most`.
    pub(crate) fn time_to_reach_all(&mut self, most: Duration) -> Option<Duration> {
        let (begin, end) = (self.now, self.now + most);
        loop {
            while self.unreached_pairs() > 0 {
                if !self.step(end) {
                    self.now = self.now.max(end);
                    return None;
                }
            }
            let (since, losses) = (self.now, self.reach.losses());
            self.run(Duration::from_millis(50));
            if self.unreached_pairs() == 0 && (self.reach.losses() == losses || self.now >= end) {
                return Some(since.since(begin)).filter(|took| *took <= most);
            }
        }
    }
}
