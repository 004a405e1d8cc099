//! Reachability between all nodes, updated with each change.
//!
//! For each destination the next hops of all nodes are a forest. When a next hop changes, or a link comes or goes, only the
//! nodes behind it are visited, so that a network of a thousand nodes can be checked after every single event. A node *reaches* a
//! destination when its next hops lead there over links that carry packets.

use super::violation::Violation;
use rouse_proto::route::NeighbourId;

const NONE: u32 = u32::MAX;

/// One direction of a link: the meaning of a neighbour id.
#[derive(Clone, Copy, Debug)]
struct LinkDirection {
    node: u32,
    other: u32,
    /// Whether the link carries packets in this direction.
    open: bool,
    /// Whether the node may still send packets over it. The search for loops follows it until then, whether they arrive or not.
    leads: bool,
}

/// The next hops of all nodes, and the pairs that reach each other by them.
#[derive(Debug)]
pub(crate) struct Reach {
    /// All directions by neighbour id. Ids are numbered from 0 over the whole network.
    directions: Vec<LinkDirection>,
    /// By node: the directions that lead to it.
    inward: Vec<Vec<u32>>,
    /// By destination and node: the neighbour id in use.
    next: Vec<Vec<u32>>,
    alternate: Vec<Vec<u32>>,
    reached: Vec<Vec<bool>>,
    alive: Vec<bool>,
    /// Whether a node drops all packets that reach it.
    black_holes: Vec<bool>,
    reached_pairs: u64,
    connected_pairs: u64,
    /// The number of times that a pair lost reachability.
    losses: u64,
    /// Whether the search for loops follows alternates as well as next hops.
    pub(crate) thorough: bool,
}

impl Reach {
    /// A network of stopped nodes without links.
    pub(crate) fn new(nodes: usize) -> Self {
        Reach {
            directions: Vec::new(),
            inward: vec![Vec::new(); nodes],
            next: vec![vec![NONE; nodes]; nodes],
            alternate: Vec::new(),
            reached: vec![vec![false; nodes]; nodes],
            alive: vec![false; nodes],
            black_holes: vec![false; nodes],
            reached_pairs: 0,
            connected_pairs: 0,
            losses: 0,
            thorough: false,
        }
    }

    /// The id of the next direction that is added.
    pub(crate) fn next_id(&self) -> NeighbourId {
        self.directions.len() as NeighbourId
    }

    /// Adds the direction from `node` to its neighbour `other`, which carries no packets yet. Returns its id.
    pub(crate) fn add_direction(&mut self, node: usize, other: usize) -> NeighbourId {
        let id = self.next_id();
        self.directions.push(LinkDirection {
            node: node as u32,
            other: other as u32,
            open: false,
            leads: true,
        });
        self.inward[other].push(id);
        id
    }

    /// Removes a direction: it leads nowhere from now on.
    pub(crate) fn remove_direction(&mut self, id: NeighbourId) {
        self.set_open(id, false);
        let direction = &mut self.directions[id as usize];
        direction.leads = false;
        self.inward[direction.other as usize].retain(|known| *known != id);
    }

    /// Sets whether a direction carries packets.
    pub(crate) fn set_open(&mut self, id: NeighbourId, open: bool) {
        let direction = &mut self.directions[id as usize];
        if direction.open == open {
            return;
        }
        direction.open = open;
        let node = direction.node as usize;
        for to in 0..self.next.len() {
            if self.next[to][node] == id {
                self.update_reached(to, node);
            }
        }
    }

    pub(crate) fn is_open(&self, id: NeighbourId) -> bool {
        self.directions[id as usize].open
    }

    /// Sets whether a node is running. The caller removes the directions of a node before it stops.
    pub(crate) fn set_alive(&mut self, node: usize, alive: bool) {
        if self.alive[node] == alive {
            return;
        }
        self.alive[node] = alive;
        if !alive {
            for to in 0..self.next.len() {
                self.set_next(to, node, None, None);
                self.update_reached(to, node);
            }
        }
        self.set_reached(node, node, alive);
    }

    /// Lets a node drop all packets that reach it from now on.
    #[cfg(test)]
    pub(crate) fn set_black_hole(&mut self, node: usize) {
        self.black_holes[node] = true;
    }

    /// Sets the number of ordered pairs that a path of links joins, including each node with itself.
    pub(crate) fn set_connected(&mut self, pairs: u64) {
        self.connected_pairs = pairs;
    }

    /// The number of ordered pairs that are connected but of which the first does not reach the second.
    pub(crate) fn unreached_pairs(&self) -> u64 {
        self.connected_pairs.saturating_sub(self.reached_pairs)
    }

    /// The number of times that a pair lost reachability since the beginning.
    pub(crate) fn losses(&self) -> u64 {
        self.losses
    }

    pub(crate) fn reaches(&self, from: usize, to: usize) -> bool {
        self.reached[to][from]
    }

    /// The number of destinations to which a node has a next hop.
    pub(crate) fn known(&self, node: usize) -> usize {
        self.next.iter().filter(|next| next[node] != NONE).count()
    }

    /// The next hop of `node` towards `to`.
    pub(crate) fn next(&self, node: usize, to: usize) -> Option<NeighbourId> {
        Some(self.next[to][node]).filter(|id| *id != NONE)
    }

    /// Sets the next hop and the alternate of `node` towards `to`. The caller calls [`Reach::check`] after all changes of one
    /// event, because reachability is updated there.
    pub(crate) fn set_next(
        &mut self,
        to: usize,
        node: usize,
        next: Option<NeighbourId>,
        alternate: Option<NeighbourId>,
    ) {
        self.next[to][node] = next.unwrap_or(NONE);
        if self.alternate.is_empty() && alternate.is_some() {
            self.alternate = vec![Vec::new(); self.next.len()];
        }
        if let Some(row) = self.alternate.get_mut(to) {
            if row.is_empty() && alternate.is_some() {
                row.resize(self.inward.len(), NONE);
            }
            if let Some(slot) = row.get_mut(node) {
                *slot = alternate.unwrap_or(NONE);
            }
        }
    }

    /// Checks that the next hop of `node` towards `to` is not part of a loop, and updates which nodes reach `to`.
    pub(crate) fn check(&mut self, to: usize, node: usize) -> Result<(), Violation> {
        let around = if self.thorough { self.any_loop(to, node) } else { self.next_loop(to, node) };
        if let Some(nodes) = around {
            return Err(Violation::Loop { towards: to, nodes });
        }
        self.update_reached(to, node);
        Ok(())
    }

    /// The nodes from `from` to `to`, as far as next hops lead.
    pub(crate) fn path(&self, from: usize, to: usize) -> Vec<usize> {
        let mut path = vec![from];
        let mut at = from;
        while let Some(next) = self.beyond(self.next[to][at]).filter(|_| at != to) {
            path.push(next);
            at = next;
            if at == from || path.len() > self.next.len() {
                break;
            }
        }
        path
    }

    fn beyond(&self, id: u32) -> Option<usize> {
        let direction = self.directions.get(id as usize)?;
        let other = direction.other as usize;
        (direction.leads && self.alive[other] && !self.black_holes[other]).then_some(other)
    }

    fn next_loop(&self, to: usize, node: usize) -> Option<Vec<usize>> {
        let next = &self.next[to];
        let mut at = node;
        for _ in 0..=next.len() {
            at = self.beyond(next[at])?;
            if at == to {
                return None;
            }
            if at == node {
                break;
            }
        }
        Some(self.path(node, to))
    }

    /// Finds a loop for any choice between next hop and alternate at each node.
    fn any_loop(&self, to: usize, node: usize) -> Option<Vec<usize>> {
        let mut from: Vec<Option<usize>> = vec![None; self.inward.len()];
        let mut open = vec![node];
        while let Some(at) = open.pop() {
            let alternate = self.alternate.get(to).and_then(|row| row.get(at)).copied().unwrap_or(NONE);
            for id in [self.next[to][at], alternate] {
                let Some(other) = self.beyond(id).filter(|other| *other != to) else { continue };
                if other == node {
                    let mut nodes = vec![node, at];
                    while let Some(before) = from[nodes[nodes.len() - 1]].filter(|before| *before != node) {
                        nodes.push(before);
                    }
                    nodes.reverse();
                    return Some(nodes);
                }
                if from[other].is_none() {
                    from[other] = Some(at);
                    open.push(other);
                }
            }
        }
        None
    }

    /// Updates whether `node` reaches `to`, and with it all nodes behind `node`.
    fn update_reached(&mut self, to: usize, node: usize) {
        if node == to {
            return;
        }
        let reached = self.directions.get(self.next[to][node] as usize).is_some_and(|direction| {
            let other = direction.other as usize;
            direction.open && self.alive[other] && self.reached[to][other]
        });
        self.set_reached(to, node, reached);
    }

    fn set_reached(&mut self, to: usize, node: usize, reached: bool) {
        if self.reached[to][node] == reached {
            return;
        }
        let mut changed = vec![node];
        self.flip(to, node, reached);
        while let Some(at) = changed.pop() {
            for index in 0..self.inward[at].len() {
                let id = self.inward[at][index];
                let direction = self.directions[id as usize];
                let behind = direction.node as usize;
                if self.next[to][behind] == id
                    && direction.open
                    && self.reached[to][behind] != reached
                    && behind != to
                {
                    self.flip(to, behind, reached);
                    changed.push(behind);
                }
            }
        }
    }

    fn flip(&mut self, to: usize, node: usize, reached: bool) {
        self.reached[to][node] = reached;
        if reached {
            self.reached_pairs += 1;
        } else {
            self.reached_pairs -= 1;
            self.losses += 1;
        }
    }

    /// Counts the reached pairs from scratch, for comparison with the updated count.
    #[cfg(test)]
    pub(crate) fn recount(&self) -> u64 {
        let nodes = self.inward.len();
        let reaches = |from: usize, to: usize| {
            let mut at = from;
            for _ in 0..nodes {
                if at == to {
                    return self.alive[to];
                }
                match self.directions.get(self.next[to][at] as usize) {
                    Some(direction) if direction.open && self.alive[direction.other as usize] => {
                        at = direction.other as usize
                    }
                    _ => return false,
                }
            }
            false
        };
        (0..nodes).map(|to| (0..nodes).filter(|from| reaches(*from, to)).count() as u64).sum()
    }

    #[cfg(test)]
    pub(crate) fn reached_pairs(&self) -> u64 {
        self.reached_pairs
    }
}
