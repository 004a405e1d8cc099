//! The peerings of two nodes that exchange handshake frames without a medium between them.

mod dialled_back;
mod in_use;
mod neighbour_filter;

use std::time::Duration;

use super::*;
use crate::link::Source;
use crate::wire::link::INITIATION;

/// The media of both nodes: everything gets through, as far as they report.
struct Open;

impl Media for Open {
    fn max_mtu(&self, netmod: u32) -> Option<usize> {
        (netmod < 2).then_some(1200)
    }

    fn source(&self, path: &Path) -> Source {
        Source::isolated(path.endpoint.as_bytes().first().copied().unwrap_or_default().into())
    }

    fn is_cut(&self, _path: &Path) -> bool {
        false
    }
}

/// A path to the node with this number; its channels are endpoints of the same node.
fn path(node: u8, channel: u8) -> Path {
    Path { netmod: 0, endpoint: Endpoint::new(&[node, channel]).unwrap() }
}

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn peering(node: u8, neighbours: usize) -> Peering {
    let config = PeeringConfig { mesh_key: None, neighbours, neighbour_filter: NeighbourFilter::default() };
    Peering::new(&Identity::from_seed(&[node + 1; 32]), config, [node + 1; 32].into())
}

/// Some nodes, and what their peerings requested besides frames.
struct Nodes {
    now: Time,
    peerings: Vec<Peering>,
    outputs: Vec<Vec<Output>>,
}

impl Nodes {
    fn new(limits: &[usize]) -> Self {
        let numbers = 0u8..;
        Nodes {
            now: at(1_000),
            peerings: numbers.zip(limits).map(|(node, limit)| peering(node, *limit)).collect(),
            outputs: limits.iter().map(|_| Vec::new()).collect(),
        }
    }

    fn handle(&mut self, node: usize, input: Input) {
        self.peerings[node].handle(self.now, input, &Open);
    }

    /// Lets a node hear a beacon from an endpoint of another.
    fn hear(&mut self, node: usize, (other, channel): (u8, u8)) {
        let heard = Heard { endpoint: path(other, channel).endpoint, instance: other.into() };
        self.handle(node, Input::Heard { netmod: 0, heard });
    }

    /// Does what is due until `until`, and delivers each frame at once.
    fn run(&mut self, until: Time) {
        loop {
            for node in 0..self.peerings.len() {
                self.peerings[node].handle_timeout(self.now, &Open);
            }
            while self.deliver() {}
            let next =
                self.peerings.iter().filter_map(|peering| peering.next_deadline(self.now, &Open)).min();
            match next.filter(|next| *next <= until) {
                Some(next) => self.now = self.now.max(next),
                None => break,
            }
        }
        self.now = until;
    }

    /// Takes the outputs of all nodes. Returns whether there was a frame.
    fn deliver(&mut self) -> bool {
        let mut frames = false;
        for node in 0..self.peerings.len() {
            while let Some(output) = self.peerings[node].poll_output() {
                let Output::Transmit { path: to, frame } = output else {
                    self.outputs[node].push(output);
                    continue;
                };
                frames = true;
                let &[other, channel] = to.endpoint.as_bytes() else { panic!("no such endpoint") };
                let frame = BytesMut::from(&frame[..]);
                if usize::from(other) < self.peerings.len() {
                    self.handle(other.into(), Input::Handshake { path: path(node as u8, channel), frame });
                }
            }
        }
        frames
    }

    /// The numbers of the links that a node was requested to begin, and of those to end.
    fn links(&self, node: usize) -> (Vec<u32>, Vec<(u32, Retirement)>) {
        let (mut begun, mut ended) = (Vec::new(), Vec::new());
        for output in &self.outputs[node] {
            match output {
                Output::StartLink(link) => begun.push(link.id),
                Output::RetireLink { id, retirement } => ended.push((*id, *retirement)),
                _ => {}
            }
        }
        (begun, ended)
    }

    fn configured(&self, node: usize) -> Vec<bool> {
        let configured = |output: &Output| match output {
            Output::StartLink(link) => Some(link.configured),
            Output::SetConfigured { configured, .. } => Some(*configured),
            _ => None,
        };
        self.outputs[node].iter().filter_map(configured).collect()
    }
}

#[test]
fn two_nodes_that_hear_each_other_at_once_have_one_link() {
    let mut nodes = Nodes::new(&[256, 256]);
    nodes.hear(0, (1, 0));
    nodes.hear(1, (0, 0));
    nodes.run(at(20_000));
    for node in 0..2 {
        assert_eq!(nodes.links(node), (vec![1], vec![]));
        assert_eq!(nodes.peerings[node].next_deadline(nodes.now, &Open), None, "nothing is left to do");
    }
}

#[test]
fn a_link_whose_peer_is_removed_is_not_configured_any_more_and_stays_if_there_is_another_reason() {
    for discovered in [false, true] {
        let mut nodes = Nodes::new(&[256, 256]);
        assert!(nodes.peerings[0].add_peer(nodes.now, "mem:b"));
        assert!(!nodes.peerings[0].add_peer(nodes.now, "mem:b"), "the same peer twice is one");
        nodes.run(at(1_000));
        assert!(matches!(&nodes.outputs[0][..], [Output::Resolve { uri }] if uri == "mem:b"));
        nodes.handle(0, Input::Resolved { uri: "mem:b".to_owned(), result: Ok(vec![path(1, 0)]) });
        nodes.run(at(1_100));
        if discovered {
            nodes.hear(0, (1, 0));
        }
        let effect = nodes.peerings[0].remove_peer(nodes.now, "mem:b");
        nodes.run(at(1_200));
        assert_eq!(nodes.configured(0), [true, false], "in the order of the events");
        let (begun, ended) = nodes.links(0);
        assert_eq!(begun, [1]);
        match discovered {
            true => assert_eq!((effect, ended), (Some(RemovedPeer::Found), vec![])),
            false => {
                let expected = vec![(1, Retirement::PeerRemoved)];
                assert_eq!((effect, ended), (Some(RemovedPeer::Ended), expected));
            }
        }
        assert_eq!(nodes.peerings[0].remove_peer(nodes.now, "mem:b"), None, "it is unknown by now");
    }
}

#[test]
fn a_new_session_of_a_neighbour_replaces_its_link_and_needs_no_place() {
    let mut nodes = Nodes::new(&[1, 256]);
    nodes.hear(0, (1, 0));
    nodes.run(at(2_000));
    // The neighbour starts again.
    nodes.outputs[1].clear();
    nodes.peerings[1] = Peering::new(
        &Identity::from_seed(&[2; 32]),
        PeeringConfig { mesh_key: None, neighbours: 256, neighbour_filter: NeighbourFilter::default() },
        [77; 32].into(),
    );
    nodes.hear(1, (0, 0));
    nodes.run(at(30_000));
    assert_eq!(nodes.links(0), (vec![1, 2], vec![(1, Retirement::Replaced)]));
    assert_eq!(nodes.links(1), (vec![1], vec![]));
}

#[test]
fn a_full_node_declines_a_session_and_the_other_node_dials_again_after_a_growing_pause() {
    let mut nodes = Nodes::new(&[1, 256, 256]);
    nodes.hear(0, (1, 0));
    nodes.run(at(2_000));
    let mut pauses = Vec::new();
    let mut before = None;
    for second in 2..300 {
        nodes.hear(2, (0, 0));
        nodes.run(at(second * 1_000));
        // The node learns of the refusal when its link receives the goodbye.
        let (begun, _) = nodes.links(2);
        for id in begun {
            nodes.handle(2, Input::LinkLost { id, reason: Some(DownReason::Full) });
            pauses.extend(before.replace(nodes.now).map(|before| nodes.now.since(before).as_secs()));
        }
        nodes.outputs[2].clear();
    }
    assert_eq!(pauses, [10, 20, 40, 80], "{pauses:?}");
    assert_eq!(nodes.links(0), (vec![1], vec![]), "its neighbour keeps the place");
    assert_eq!(nodes.peerings[0].recent_refusals(nodes.now), 5);
    let refusing = nodes.peerings[2].refusing_peers();
    assert_eq!(refusing.iter().map(|peer| peer.path).collect::<Vec<_>>(), [path(0, 0)]);
}

#[test]
fn a_configured_peer_takes_the_place_of_a_stranger() {
    let mut nodes = Nodes::new(&[1, 256, 256]);
    nodes.hear(0, (1, 0));
    nodes.run(at(2_000));
    nodes.peerings[0].add_peer(nodes.now, "mem:c");
    nodes.run(at(2_001));
    nodes.handle(0, Input::Resolved { uri: "mem:c".to_owned(), result: Ok(vec![path(2, 0)]) });
    nodes.run(at(3_000));
    let evicted = Retirement::Evicted(DownReason::Crowded);
    assert_eq!(nodes.links(0), (vec![1, 2], vec![(1, evicted)]));
    assert_eq!(nodes.configured(0), [false, true]);
}

#[test]
fn a_full_node_dials_a_neighbour_elsewhere_while_its_link_is_suspect() {
    let mut nodes = Nodes::new(&[1, 256]);
    nodes.hear(0, (1, 0));
    nodes.run(at(2_000));
    nodes.handle(0, Input::LinkInService { id: 1 });
    nodes.run(at(30_000));
    nodes.hear(0, (1, 1));
    nodes.run(at(31_000));
    assert_eq!(nodes.links(0), (vec![1], vec![]), "a link that is up is not dialled");
    let heard = nodes.now;
    nodes.handle(0, Input::LinkState { id: 1, state: LinkState::Suspect, heard });
    nodes.run(at(32_000));
    assert_eq!(nodes.links(0), (vec![1], vec![]), "the neighbour was not heard elsewhere since");
    nodes.hear(0, (1, 1));
    nodes.run(at(32_100));
    assert_eq!(nodes.links(0), (vec![1, 2], vec![(1, Retirement::Replaced)]));
}

#[test]
fn a_frame_that_overtakes_its_finish_is_delivered_after_the_link_has_begun_and_others_are_dropped() {
    let mut nodes = Nodes::new(&[256, 256]);
    nodes.hear(0, (1, 0));
    nodes.peerings[0].handle_timeout(nodes.now, &Open);
    // The initiation and the response; the finish is held back.
    for (from, to) in [(0, 1), (1, 0)] {
        let frame = next_frame(&mut nodes.peerings[from]);
        nodes.handle(to, Input::Handshake { path: path(from as u8, 0), frame });
    }
    let finish = next_frame(&mut nodes.peerings[0]);
    let index = u32::from_le_bytes(finish[2..6].try_into().unwrap());
    for (index, byte) in [(index, 1), (index ^ 1, 2)] {
        let frame = BytesMut::from(&[byte][..]);
        nodes.handle(1, Input::EarlyFrame { index, path: path(0, 0), frame });
    }
    nodes.peerings[1].handle_timeout(nodes.now, &Open);
    let dropped = PeeringEvent::Dropped { cause: DropCause::UnknownSession, count: 1 };
    let output = nodes.peerings[1].poll_output();
    assert_eq!(format!("{output:?}"), format!("{:?}", Some(Output::Event(dropped))));
    assert!(nodes.peerings[1].poll_output().is_none(), "the other frame waits");
    nodes.handle(1, Input::Handshake { path: path(0, 0), frame: finish });
    nodes.peerings[1].handle_timeout(nodes.now, &Open);
    while nodes.deliver() {}
    let order: Vec<u32> = nodes.outputs[1]
        .iter()
        .filter_map(|output| match output {
            Output::StartLink(link) => Some(link.id),
            Output::Deliver { id, frame } => Some(*id + 100 * u32::from(frame[0])),
            _ => None,
        })
        .collect();
    assert_eq!(order, [1, 101]);
}

/// The next handshake frame that a node sends.
fn next_frame(peering: &mut Peering) -> BytesMut {
    loop {
        if let Output::Transmit { frame, .. } = peering.poll_output().expect("a frame") {
            return BytesMut::from(&frame[..]);
        }
    }
}

#[test]
fn a_node_that_leaves_dials_no_peer_and_answers_no_initiation() {
    let mut nodes = Nodes::new(&[256, 256]);
    nodes.handle(1, Input::Leaving);
    nodes.hear(0, (1, 0));
    nodes.hear(1, (0, 0));
    nodes.run(at(30_000));
    assert!(nodes.outputs[1].is_empty(), "{:?}", nodes.outputs[1]);
    assert_eq!(nodes.links(0), (vec![], vec![]));
}

#[test]
fn the_dials_over_a_medium_end_with_it_and_its_nodes_are_forgotten() {
    let mut nodes = Nodes::new(&[256]);
    nodes.peerings[0].add_peer(nodes.now, "mem:b");
    nodes.hear(0, (7, 0));
    nodes.run(at(1_000));
    nodes.handle(0, Input::Resolved { uri: "mem:b".to_owned(), result: Ok(vec![path(8, 0)]) });
    nodes.peerings[0].handle_timeout(nodes.now, &Open);
    let initiation = next_frame(&mut nodes.peerings[0]);
    assert_eq!(initiation[0], INITIATION);
    nodes.handle(0, Input::MediumGone { netmod: 0 });
    while nodes.deliver() {}
    let [(_, state, peer)] = nodes.peerings[0].configured_peers()[..] else { panic!("one peer") };
    assert_eq!((state, peer.last_error.as_deref()), (PeerState::Down, Some("its netmod was removed")));
    // The peer is looked up again, and nothing else is due.
    let next = nodes.peerings[0].next_deadline(nodes.now, &Open);
    assert_eq!(next, Some(nodes.now + Duration::from_millis(500)));
}

#[test]
fn the_error_of_sending_explains_a_dial_that_has_no_answer() {
    let mut nodes = Nodes::new(&[256]);
    nodes.peerings[0].add_peer(nodes.now, "mem:b");
    nodes.run(at(1_000));
    nodes.handle(0, Input::Resolved { uri: "mem:b".to_owned(), result: Ok(vec![path(9, 0)]) });
    for second in 1..12 {
        nodes.handle(0, Input::NotSent { path: path(9, 0), error: "not permitted".to_owned() });
        nodes.run(at(second * 1_000 + 1));
    }
    let [(_, _, peer)] = nodes.peerings[0].configured_peers()[..] else { panic!("one peer") };
    assert_eq!(peer.last_error.as_deref(), Some("not permitted"));
}

#[test]
fn the_error_of_sending_is_shown_as_soon_as_no_path_to_the_peer_takes_a_frame() {
    let mut nodes = Nodes::new(&[256]);
    nodes.peerings[0].add_peer(nodes.now, "mem:b");
    nodes.run(at(1_000));
    let paths = vec![path(8, 0), path(9, 0)];
    nodes.handle(0, Input::Resolved { uri: "mem:b".to_owned(), result: Ok(paths) });
    nodes.run(at(1_001));
    let shown = |nodes: &Nodes| {
        let [(_, state, peer)] = nodes.peerings[0].configured_peers()[..] else { panic!("one peer") };
        (state, peer.last_error.clone())
    };
    nodes.handle(0, Input::NotSent { path: path(8, 0), error: "no route".to_owned() });
    assert_eq!(shown(&nodes), (PeerState::Connecting, None), "the other path may carry it");
    nodes.run(at(1_160));
    nodes.handle(0, Input::NotSent { path: path(9, 0), error: "not permitted".to_owned() });
    assert_eq!(shown(&nodes), (PeerState::Down, Some("not permitted".to_owned())));
}
