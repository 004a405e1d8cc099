//! Which addresses become neighbours.

use std::collections::BTreeSet;

use super::*;

fn address(node: u8) -> Address {
    Identity::from_seed(&[node + 1; 32]).address()
}

fn without(node: u8) -> NeighbourFilter {
    NeighbourFilter { deny: BTreeSet::from([address(node)]), ..NeighbourFilter::default() }
}

fn barred(nodes: &Nodes, node: usize) -> usize {
    let is_barred = |output: &&Output| {
        matches!(output, Output::Event(PeeringEvent::Dropped { cause: DropCause::NotAllowed, .. }))
    };
    nodes.outputs[node].iter().filter(is_barred).count()
}

#[test]
fn a_node_that_is_denied_gets_no_link_and_is_sent_the_reason() {
    for dialler in [0, 1] {
        let mut nodes = Nodes::new(&[9, 9]);
        nodes.peerings[0].set_neighbour_filter(without(1));
        nodes.hear(dialler, ((1 - dialler) as u8, 0));
        nodes.run(at(2_000));
        assert_eq!(nodes.links(0).0, [] as [u32; 0], "dialled by {dialler}");
        assert_eq!(barred(&nodes, 0), 1, "dialled by {dialler}");
        let declined = |output: &Output| {
            matches!(output, Output::Event(PeeringEvent::Declined { reason: DownReason::NotAllowed, .. }))
        };
        assert!(nodes.outputs[0].iter().any(declined));
    }
}

#[test]
fn a_node_that_is_denied_is_not_dialled_again_soon() {
    let mut nodes = Nodes::new(&[9, 9]);
    nodes.peerings[0].set_neighbour_filter(without(1));
    for second in 1..120 {
        nodes.hear(0, (1, 0));
        nodes.run(at(second * 1_000));
    }
    // After 10 s, 20 s and 40 s.
    assert!((2..=5).contains(&barred(&nodes, 0)), "{} handshakes in two minutes", barred(&nodes, 0));
}

#[test]
fn only_listed_nodes_become_neighbours_when_there_is_a_list() {
    let mut nodes = Nodes::new(&[9, 9, 9]);
    let listed = NeighbourFilter { allow: Some(BTreeSet::from([address(1)])), ..NeighbourFilter::default() };
    nodes.peerings[0].set_neighbour_filter(listed);
    nodes.hear(1, (0, 1));
    nodes.hear(2, (0, 2));
    nodes.run(at(2_000));
    assert_eq!(nodes.links(0).0.len(), 1);
    assert_eq!((nodes.links(1).0.len(), barred(&nodes, 0)), (1, 1));
}

#[test]
fn a_link_ends_with_the_reason_when_its_neighbour_is_denied() {
    let mut nodes = Nodes::new(&[9, 9]);
    nodes.hear(1, (0, 0));
    nodes.run(at(2_000));
    let begun = nodes.links(0).0;
    assert_eq!(begun.len(), 1);
    nodes.peerings[0].set_neighbour_filter(NeighbourFilter::default());
    nodes.run(at(2_100));
    assert_eq!(nodes.links(0).1, [], "nothing has changed for it");
    nodes.peerings[0].set_neighbour_filter(without(1));
    nodes.run(at(2_200));
    assert_eq!(nodes.links(0).1, [(begun[0], Retirement::Evicted(DownReason::NotAllowed))]);
}

#[test]
fn a_node_that_is_denied_no_more_gets_a_link_at_once() {
    // The node that denies was the dialler, the one that was dialled, or had a link before.
    for (dialler, had_link) in [(0, false), (1, false), (0, true), (1, true)] {
        let mut nodes = Nodes::new(&[9, 9]);
        if had_link {
            nodes.hear(dialler, ((1 - dialler) as u8, 0));
            nodes.run(at(2_000));
            assert_eq!(nodes.links(0).0.len(), 1);
        }
        nodes.peerings[0].set_neighbour_filter(without(1));
        nodes.hear(dialler, ((1 - dialler) as u8, 0));
        nodes.run(at(60_000));
        let before = nodes.links(0).0.len();
        nodes.peerings[0].set_neighbour_filter(NeighbourFilter::default());
        nodes.run(at(60_500));
        let begun = nodes.links(0).0.len() - before;
        assert_eq!(begun, 1, "dialled by {dialler}, with a link before: {had_link}");
    }
}
