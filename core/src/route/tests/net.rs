//! The simulated network, as the tests of the router use it: whatever is violated ends the test, naming the seed.

use crate::sim::net::Net;
use crate::sim::topology::{Graph, Links};
use crate::sim::{Config, Fidelity};

pub(super) use crate::sim::net::identity;
pub(super) use crate::sim::random::{pick, seeded};

use std::time::Duration;

pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Nodes with their links, all of which come up at the beginning.
pub(super) fn network(nodes: usize, links: &Links, seed: u64) -> Net {
    verifying(nodes, links, seed, Duration::ZERO)
}

/// The same, where each node verifies every signature by itself, and takes up to `verifying` for it.
pub(super) fn verifying(nodes: usize, links: &Links, seed: u64, verifying: Duration) -> Net {
    let graph = Graph { nodes, links: links.clone(), points: Vec::new() };
    let mut net =
        Net::new(&graph, Config { seed, fidelity: Fidelity::Route, verifying, ..Config::default() });
    net.panics = true;
    net
}

/// The same, run until all is calm.
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
