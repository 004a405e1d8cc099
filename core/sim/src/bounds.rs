//! The check that each node's state is within its bounds.

use super::net::Net;
use super::violation::Violation;

/// Bytes for each destination, with room for temporary state, and for each neighbour that offers it.
const DESTINATION: usize = 320;
const BUSY: usize = 480;
const OFFER: usize = 64;
/// Bytes for each neighbour.
const NEIGHBOUR: usize = 16 << 10;
/// Timers for each destination, neighbour and node.
const TIMERS: usize = 8;
/// Bytes that the control channel of one link may hold.
const CHANNEL: usize = 1 << 20;

/// The number of audits in which each node is checked once. Checking a thousand routers each second would take longer than to
/// simulate that second.
const TURNS: usize = 10;

impl Net {
    /// The memory of a node's routes, in bytes, as the router estimates it.
    pub(crate) fn memory(&self, node: usize) -> usize {
        self.nodes[node].router.memory()
    }

    /// Ends the run with a violation when a node is beyond its bounds. Each audit checks one node in [`TURNS`].
    pub(super) fn audit(&mut self, turn: usize) {
        for node in (turn % TURNS..self.nodes.len()).step_by(TURNS).filter(|node| self.nodes[*node].alive) {
            let (is, bound) = (self.memory(node), self.memory_bound(node));
            if is > bound {
                return self.violated(Violation::Bound { node, quantity: "bytes of routes", is, bound });
            }
            let router = &self.nodes[node].router;
            let (is, bound) =
                (router.timers(), TIMERS * (router.destinations() + self.nodes[node].sessions.len() + 1));
            if is > bound {
                return self.violated(Violation::Bound { node, quantity: "timers", is, bound });
            }
            let links = self.nodes[node]
                .sessions
                .iter()
                .filter_map(|id| self.sessions[*id as usize].link_sim.as_ref());
            if let Some(is) = links.map(|link_sim| link_sim.queued()).find(|queued| *queued > CHANNEL) {
                let quantity = "bytes in a control channel";
                return self.violated(Violation::Bound { node, quantity, is, bound: CHANNEL });
            }
        }
    }

    fn memory_bound(&self, node: usize) -> usize {
        let Some(live) = self.nodes.get(node) else { return 0 };
        let neighbours = live.sessions.len() + 1;
        live.router.destinations() * (DESTINATION + BUSY + OFFER * neighbours) + neighbours * NEIGHBOUR
    }
}
