//! Who is connected and yet not reached, and how long until nobody is.

use std::collections::HashMap;
use std::time::Duration;

use super::net::Net;
use super::topology::Pieces;

impl Net {
    /// Pairs that are connected, and of which the first does not reach the second.
    pub(crate) fn dark(&mut self) -> u64 {
        if std::mem::take(&mut self.stale) {
            let pairs = self.connected_pairs();
            self.reach.set_connected(pairs);
        }
        self.reach.dark()
    }

    fn connected_pairs(&self) -> u64 {
        let mut pieces = self.pieces();
        let mut sizes = vec![0u64; self.nodes.len()];
        for node in (0..self.nodes.len()).filter(|node| self.nodes[*node].alive) {
            sizes[pieces.of(node)] += 1;
        }
        sizes.iter().map(|size| size * size).sum()
    }

    fn pieces(&self) -> Pieces {
        let mut pieces = Pieces::new(self.nodes.len());
        for link in self.links.iter().filter(|link| link.up) {
            if link.ends.iter().all(|end| self.nodes[*end].alive) {
                pieces.join(link.ends[0], link.ends[1]);
            }
        }
        pieces
    }

    /// Some pair that is dark.
    pub(crate) fn dark_pair(&self) -> Option<(usize, usize)> {
        let mut pieces = self.pieces();
        let alive: Vec<usize> = (0..self.nodes.len()).filter(|node| self.nodes[*node].alive).collect();
        let piece: HashMap<usize, usize> = alive.iter().map(|node| (*node, pieces.of(*node))).collect();
        let pairs = alive.iter().flat_map(|from| alive.iter().map(move |to| (*from, *to)));
        pairs.filter(|(from, to)| piece[from] == piece[to]).find(|(from, to)| !self.reach.is_lit(*from, *to))
    }

    /// How long until every connected pair is reachable and stays so for 50 ms; `None` when it is not within `most`.
    pub(crate) fn heals_within(&mut self, most: Duration) -> Option<Duration> {
        let (begin, end) = (self.now, self.now + most);
        loop {
            while self.dark() > 0 {
                if !self.step(end) {
                    self.now = self.now.max(end);
                    return None;
                }
            }
            let (lit, darkened) = (self.now, self.reach.darkened());
            self.run(Duration::from_millis(50));
            if self.dark() == 0 && (self.reach.darkened() == darkened || self.now >= end) {
                return Some(lit.since(begin)).filter(|took| *took <= most);
            }
        }
    }
}
