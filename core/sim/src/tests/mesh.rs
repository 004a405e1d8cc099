//! The simulated network as the tests of many routers use it. A violated invariant ends the test and names the seed.

use std::time::Duration;

use super::ms;
use crate::net::Net;
use crate::topology::{Graph, Links};
use crate::{Config, Fidelity};

/// Nodes with their links, all of which come up at the beginning.
pub(super) fn network(nodes: usize, links: &Links, seed: u64) -> Net {
    verifying(nodes, links, seed, Duration::ZERO)
}

/// The same, except that each node verifies every signature itself, which takes up to `verifying`.
pub(super) fn verifying(nodes: usize, links: &Links, seed: u64, verifying: Duration) -> Net {
    let graph = Graph { nodes, links: links.clone(), points: Vec::new() };
    let mut net =
        Net::new(&graph, Config { seed, fidelity: Fidelity::Route, verifying, ..Config::default() });
    net.panics = true;
    net
}

/// The same after all nodes have found each other.
pub(super) fn settled(nodes: usize, links: &Links, seed: u64) -> Net {
    let mut net = network(nodes, links, seed);
    net.run(ms(5_000));
    assert_reachable(&mut net);
    net
}

#[track_caller]
pub(super) fn assert_reachable(net: &mut Net) {
    let unreached = net.unreached_pairs();
    assert!(
        unreached == 0,
        "seed {}: {unreached} pairs are unreached, {:?} …",
        net.config.seed,
        net.unreached_pair()
    );
}
