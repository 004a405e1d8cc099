//! Links that were begun by the neighbour and have become silent.

use super::*;

/// Two nodes with a link in service: node 0 has the other as a configured peer, and has dialled it.
fn linked() -> Nodes {
    let mut nodes = Nodes::new(&[256, 256]);
    nodes.peerings[0].add_peer(nodes.now, "mem:b");
    nodes.run(at(1_001));
    nodes.handle(0, Input::Resolved { uri: "mem:b".to_owned(), result: Ok(vec![path(1, 0)]) });
    nodes.run(at(30_000));
    for node in 0..2 {
        nodes.handle(node, Input::LinkConfirmed { id: 1 });
        nodes.handle(node, Input::LinkInService { id: 1 });
        assert_eq!(nodes.links(node), (vec![1], vec![]));
    }
    nodes
}

fn lose(nodes: &mut Nodes, node: usize, reason: DownReason) {
    nodes.handle(node, Input::LinkLost { id: 1, reason: Some(reason) });
}

/// Lets time pass for one node alone. Returns how many frames it has sent to the other, which receives none of them.
fn run_alone(nodes: &mut Nodes, node: usize, until: Time) -> usize {
    let mut frames = 0;
    loop {
        nodes.peerings[node].handle_timeout(nodes.now, &Open);
        while let Some(output) = nodes.peerings[node].poll_output() {
            match output {
                Output::Transmit { .. } => frames += 1,
                Output::Resolve { uri } => {
                    nodes.handle(node, Input::Resolved { uri, result: Ok(vec![path(1, 0)]) })
                }
                _ => {}
            }
        }
        match nodes.peerings[node].next_deadline(nodes.now, &Open).filter(|next| *next <= until) {
            Some(next) => nodes.now = nodes.now.max(next),
            None => break,
        }
    }
    nodes.now = until;
    frames
}

#[test]
fn a_node_that_was_stopped_dials_a_neighbour_back_that_had_dialled_it() {
    // The neighbour has sent the end of the link, which the stopped node reads when it goes on, or that was lost.
    for reason in [DownReason::Unheard, DownReason::Silent] {
        let mut nodes = linked();
        lose(&mut nodes, 0, DownReason::Silent);
        assert!(run_alone(&mut nodes, 0, at(130_000)) > 10, "it dials with growing pauses");
        lose(&mut nodes, 1, reason);
        nodes.run(at(130_100));
        assert_eq!((nodes.links(0).0, nodes.links(1).0), (vec![1, 2], vec![1, 2]), "{reason:?}");
    }
}

#[test]
fn a_neighbour_that_is_gone_is_dialled_back_once() {
    let mut nodes = linked();
    lose(&mut nodes, 1, DownReason::Silent);
    let tries = run_alone(&mut nodes, 1, at(60_000));
    assert!((1..=5).contains(&tries), "{tries} initiations of one dial");
    assert_eq!(run_alone(&mut nodes, 1, at(600_000)), 0);
}

#[test]
fn a_neighbour_that_has_ended_its_link_is_not_dialled_back() {
    for reason in [DownReason::Goodbye, DownReason::Crowded] {
        let mut nodes = linked();
        lose(&mut nodes, 1, reason);
        assert_eq!(run_alone(&mut nodes, 1, at(600_000)), 0, "{reason:?}");
    }
}
