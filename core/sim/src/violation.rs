//! The invariants of a simulated network.

use std::time::Duration;

/// An invariant that did not hold. It ends the run; the same seed reproduces it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Packets towards a destination would loop.
    #[error("a loop towards node {towards}: {}", around(nodes))]
    Loop {
        /// The destination.
        towards: usize,
        /// The nodes of the loop, in order.
        nodes: Vec<usize>,
    },
    /// A node holds more than its bound allows.
    #[error("node {node} has {quantity}: {is}, and at most {bound} is allowed")]
    Bound {
        /// The node.
        node: usize,
        /// The bounded quantity.
        quantity: &'static str,
        /// Its value.
        is: usize,
        /// Its bound.
        bound: usize,
    },
    /// Nodes that a path of links joins do not reach each other in time.
    #[error("{pairs} connected pairs do not reach each other after {after:?}, one of them {} → {}", example.0, example.1)]
    Unreached {
        /// The number of such pairs.
        pairs: u64,
        /// One of them: from, to.
        example: (usize, usize),
        /// The time that was allowed.
        after: Duration,
    },
    /// A control message of an honest node was refused.
    #[error("{drops} control messages of honest nodes were refused, the last for {cause}")]
    Refused {
        /// The number of refusals.
        drops: u64,
        /// The cause of the last refusal.
        cause: String,
    },
}

fn around(nodes: &[usize]) -> String {
    let nodes: Vec<String> = nodes.iter().map(usize::to_string).collect();
    nodes.join(" → ")
}
