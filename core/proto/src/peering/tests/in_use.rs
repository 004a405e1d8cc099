//! Dials of a neighbour with which a link is in use, or is not any more.

use super::*;

/// As [`Open`], but with an endpoint that is reported as cut.
struct Cut(Path);

impl Media for Cut {
    fn max_mtu(&self, netmod: u32) -> Option<usize> {
        Open.max_mtu(netmod)
    }

    fn source(&self, path: &Path) -> Source {
        Open.source(path)
    }

    fn is_cut(&self, path: &Path) -> bool {
        *path == self.0
    }
}

#[test]
fn a_peer_that_is_configured_while_it_has_a_link_keeps_the_link() {
    // The look-up returns the endpoint of the link, or another endpoint of the same node.
    for channel in [0, 1] {
        let mut nodes = Nodes::new(&[256, 256]);
        nodes.hear(0, (1, 0));
        nodes.run(at(200));
        nodes.peerings[0].add_peer(nodes.now, "mem:b");
        nodes.run(at(201));
        nodes.handle(0, Input::Resolved { uri: "mem:b".to_owned(), result: Ok(vec![path(1, channel)]) });
        nodes.run(at(60_000));
        assert_eq!(nodes.links(0), (vec![1], vec![]), "channel {channel}");
        assert_eq!(nodes.links(1), (vec![1], vec![]), "channel {channel}");
        assert_eq!(nodes.configured(0), [false, true], "channel {channel}");
        nodes.handle(0, Input::LinkInService { id: 1 });
        let [(_, state, peer)] = nodes.peerings[0].configured_peers()[..] else { panic!("one peer") };
        assert_eq!((state, peer.last_error.as_deref()), (PeerState::Up, None));
    }
}

#[test]
fn a_node_that_is_heard_elsewhere_than_its_link_is_recognized_by_its_answer_and_keeps_the_link() {
    // Node 1 has dialled from an endpoint from which no beacon came yet; its beacons come from another one.
    let mut nodes = Nodes::new(&[256, 256]);
    nodes.hear(1, (0, 0));
    nodes.run(at(200));
    nodes.hear(0, (1, 1));
    nodes.run(at(400));
    for second in 2..90 {
        nodes.hear(0, (1, 1));
        nodes.run(at(second * 1_000));
    }
    for node in 0..2 {
        assert_eq!(nodes.links(node), (vec![1], vec![]));
    }
    let started = |output: &&Output| matches!(output, Output::Event(PeeringEvent::HandshakeStarted));
    assert_eq!(nodes.outputs[0].iter().filter(started).count(), 1, "from then on it is known");
    // Once the link is suspect, the neighbour is dialled where it is heard.
    let heard = nodes.now;
    nodes.handle(0, Input::LinkState { id: 1, state: LinkState::Suspect, heard });
    nodes.run(at(90_000));
    nodes.hear(0, (1, 1));
    nodes.run(at(95_000));
    assert_eq!(nodes.links(0), (vec![1, 2], vec![(1, Retirement::Replaced)]));
}

#[test]
fn a_dial_replaces_a_link_over_a_path_that_is_cut_though_a_frame_from_before_the_cut_is_opened_meanwhile() {
    let mut nodes = Nodes::new(&[256, 256]);
    nodes.hear(0, (1, 0));
    nodes.run(at(2_000));
    nodes.hear(0, (1, 1));
    nodes.run(at(30_000));
    let (cut, heard) = (Cut(path(1, 0)), nodes.now);
    let state = |state| Input::LinkState { id: 1, state, heard };
    nodes.peerings[0].handle(nodes.now, state(LinkState::Suspect), &cut);
    nodes.peerings[0].handle_timeout(nodes.now, &cut);
    nodes.peerings[0].handle(nodes.now, state(LinkState::Up), &cut);
    nodes.run(at(30_100));
    assert_eq!(nodes.links(0), (vec![1, 2], vec![(1, Retirement::Replaced)]));
}
