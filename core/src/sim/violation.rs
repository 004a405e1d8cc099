//! What must never happen.

use std::time::Duration;

/// An invariant that did not hold. The run is over: the seed brings it back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Packets for `towards` go round.
    #[error("a loop towards node {towards}: {}", around(nodes))]
    Loop {
        /// The destination.
        towards: usize,
        /// The nodes that they go through, in order.
        nodes: Vec<usize>,
    },
    /// A node keeps or queues more than it may.
    #[error("node {node} has {quantity}: {is}, and at most {bound} is allowed")]
    Bound {
        /// Which node.
        node: usize,
        /// Of what.
        quantity: &'static str,
        /// How much.
        is: usize,
        /// How much there may be.
        bound: usize,
    },
    /// Nodes that a path of links joins do not reach each other.
    #[error("{pairs} pairs are connected and dark after {after:?}, one of them {} → {}", example.0, example.1)]
    Unreached {
        /// How many.
        pairs: u64,
        /// One of them: from, to.
        example: (usize, usize),
        /// How long they had.
        after: Duration,
    },
    /// An honest node was refused something.
    #[error("{drops} control messages of honest nodes were refused, the last for {cause}")]
    Refused {
        /// How many.
        drops: u64,
        /// Why the last.
        cause: String,
    },
}

fn around(nodes: &[usize]) -> String {
    let nodes: Vec<String> = nodes.iter().map(usize::to_string).collect();
    nodes.join(" → ")
}
