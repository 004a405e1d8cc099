//! What must hold in a network: no loops, ever, and nobody who is connected left in the dark for long.

use std::collections::BTreeSet;
use std::time::Duration;

use super::net::{Net, ms};
use crate::route::NeighbourId;

impl Net {
    /// The node that a neighbour id of `node` leads to, unless that link is no more.
    fn beyond(&self, node: usize, id: NeighbourId) -> Option<usize> {
        let link = &self.links[*self.nodes[node].links.get(&id)?];
        // A link that was cut still leads there as long as this end has not noticed, but not after it came up anew, or
        // the other end started anew.
        link.names.filter(|names| names.contains(&id))?;
        let end = usize::from(link.ends[0] == node);
        Some(link.ends[end]).filter(|other| self.nodes[*other].alive && !self.nodes[*other].hole)
    }

    pub(super) fn assert_no_loop(&self, from: usize, to: usize) {
        if self.thorough {
            let mut done = BTreeSet::new();
            return self.assert_no_cycle(from, to, &mut Vec::new(), &mut done);
        }
        let mut at = from;
        for _ in 0..=self.nodes.len() {
            let next = self.nodes[at].fib[to].as_ref().and_then(|entry| self.beyond(at, entry.next));
            match next {
                Some(next) => at = next,
                None => return,
            }
        }
        panic!("seed {}: a loop through {from} towards {to}", self.seed);
    }

    /// Follows next hops and alternates: whatever a node uses, a packet does not come back.
    fn assert_no_cycle(&self, at: usize, to: usize, path: &mut Vec<usize>, done: &mut BTreeSet<usize>) {
        assert!(!path.contains(&at), "seed {}: a loop towards {to}: {path:?} {at}", self.seed);
        if !done.insert(at) && !path.contains(&at) {
            return;
        }
        path.push(at);
        if let Some(entry) = self.nodes[at].fib[to].as_ref() {
            for id in std::iter::once(entry.next).chain(entry.alternate) {
                if let Some(next) = self.beyond(at, id) {
                    self.assert_no_cycle(next, to, path, done);
                }
            }
        }
        path.pop();
    }

    /// For each node its piece of the network.
    fn pieces(&self) -> Vec<usize> {
        let mut piece: Vec<usize> = (0..self.nodes.len()).collect();
        loop {
            let mut changed = false;
            for link in self.links.iter().filter(|link| link.ids.is_some()) {
                let least = piece[link.ends[0]].min(piece[link.ends[1]]);
                for end in link.ends {
                    changed |= piece[end] != least;
                    piece[end] = least;
                }
            }
            if !changed {
                return piece;
            }
        }
    }

    /// Pairs that are connected, and of which the first does not reach the second.
    pub(super) fn dark(&self) -> Vec<(usize, usize)> {
        let pieces = self.pieces();
        let mut dark = Vec::new();
        for to in (0..self.nodes.len()).filter(|to| self.nodes[*to].alive) {
            // Whether each node reaches `to`, worked out along the way.
            let mut reaches: Vec<Option<bool>> = vec![None; self.nodes.len()];
            reaches[to] = Some(true);
            for from in (0..self.nodes.len()).filter(|from| self.nodes[*from].alive) {
                let mut path = Vec::new();
                let mut at = from;
                let verdict = loop {
                    if let Some(known) = reaches[at] {
                        break known;
                    }
                    path.push(at);
                    let entry = self.nodes[at].fib[to].as_ref();
                    let live = |id: &NeighbourId| {
                        self.nodes[at]
                            .links
                            .get(id)
                            .is_some_and(|link| self.links[*link].ids.is_some_and(|ids| ids.contains(id)))
                    };
                    match entry
                        .filter(|entry| live(&entry.next))
                        .and_then(|entry| self.beyond(at, entry.next))
                    {
                        Some(next) => at = next,
                        None => break false,
                    }
                };
                for node in path {
                    reaches[node] = Some(verdict);
                }
                if !verdict && pieces[from] == pieces[to] {
                    dark.push((from, to));
                }
            }
        }
        dark
    }

    pub(super) fn assert_reachable(&self) {
        let dark = self.dark();
        assert!(dark.is_empty(), "seed {}: {} pairs are dark, {:?} …", self.seed, dark.len(), dark.first());
    }

    /// How long until every connected pair is reachable (to 10 ms), watched a little beyond; `None` when it is not
    /// within `most`.
    pub(super) fn heals_within(&mut self, most: Duration) -> Option<Duration> {
        let step = ms(10);
        let begin = self.now;
        let mut last = None;
        while self.now.since(begin) < most {
            self.run(step);
            match (self.dark().is_empty(), last) {
                (true, None) => last = Some(self.now.since(begin)),
                (true, Some(_)) => {}
                (false, _) => last = None,
            }
            if last.is_some_and(|last| self.now.since(begin) > last + ms(50)) {
                return last;
            }
        }
        last
    }
}
