//! Handshakes between two nodes, under a virtual clock.

mod extended_frames;
mod hostile;
mod limits;
mod redial;
mod simultaneous;

use std::time::Duration;

use super::*;
use crate::endpoint::Endpoint;
use crate::link::Suite;
use crate::wire::link::{INITIATION_LEN, Initiation, split};

/// A frame in flight: its receiver and its channel.
#[derive(Clone, Debug)]
struct Flying {
    to: usize,
    channel: u8,
    frame: Vec<u8>,
}

/// Two nodes and the frames in flight between them. The endpoint of a node is its number and a channel. A frame to an
/// endpoint of the other node arrives from the own endpoint on the same channel.
struct Pair {
    now: Time,
    nodes: [Handshakes; 2],
    flying: Vec<Flying>,
    sessions: [Vec<Session>; 2],
    failed: [Vec<(Path, DialError)>; 2],
    drops: [Vec<DropCause>; 2],
    /// Whether both sessions are confirmed as soon as they agree.
    confirm: bool,
}

fn identity(n: u8) -> Identity {
    // Sorted, so that node 0 always has the lower address.
    let mut all = [Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32])];
    all.sort_by_key(Identity::address);
    all[usize::from(n)].clone()
}

fn path(node: u8, channel: u8) -> Path {
    Path { netmod: 0, endpoint: Endpoint::new(&[node, channel]).unwrap() }
}

fn open() -> LinkConfig {
    LinkConfig { suites: Suite::CHACHA, ..LinkConfig::default() }
}

fn closed(key: u8) -> LinkConfig {
    LinkConfig { mesh_key: Some(Zeroizing::new([key; 32])), ..open() }
}

impl Pair {
    fn new(seed: u8) -> Self {
        Self::with([open(), open()], seed)
    }

    fn with(configs: [LinkConfig; 2], seed: u8) -> Self {
        let [first, second] = configs;
        let node = |n: u8, config| Handshakes::new(&identity(n), config, [seed ^ (n << 7); 32]);
        Pair {
            now: Time::from_millis(1000),
            nodes: [node(0, first), node(1, second)],
            flying: Vec::new(),
            sessions: Default::default(),
            failed: Default::default(),
            drops: Default::default(),
            confirm: false,
        }
    }

    fn dial(&mut self, from: usize, channel: u8) {
        self.nodes[from].dial(self.now, path(1 - from as u8, channel), 1400);
        self.collect(from);
    }

    /// Takes the outputs of a node.
    fn collect(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].poll_output() {
            match output {
                HandshakeOutput::Transmit { path, frame } => {
                    let &[to, channel] = path.endpoint.as_bytes() else { panic!("no such endpoint") };
                    self.flying.push(Flying { to: to.into(), channel, frame });
                }
                HandshakeOutput::Established(session) => self.sessions[node].push(*session),
                HandshakeOutput::Failed { path, reason } => self.failed[node].push((path, reason)),
            }
        }
        if self.confirm && self.agree() {
            let index = [0, 1].map(|node| self.sessions[node].last().unwrap().local_index);
            self.nodes[0].confirm(self.now, index[0]);
            self.nodes[1].confirm(self.now, index[1]);
        }
    }

    fn deliver(&mut self, flying: Flying) -> Result<(), DropCause> {
        let Flying { to, channel, frame } = flying;
        // Node 0 accepts shorter frames.
        let mtu = 1300 + 100 * to;
        let result =
            self.nodes[to].handle(self.now, path(1 - to as u8, channel), Source::default(), mtu, &frame);
        if let Err(cause) = result {
            self.drops[to].push(cause);
        }
        self.collect(to);
        result
    }

    /// Delivers all frames in order, except for those that `keep` drops.
    fn settle(&mut self, mut keep: impl FnMut(&Flying) -> bool) {
        while !self.flying.is_empty() {
            let flying = self.flying.remove(0);
            if keep(&flying) {
                let _ = self.deliver(flying);
            }
        }
    }

    /// Advances the clock to the next deadline. Returns whether there was one before `end`.
    fn advance(&mut self, end: Time) -> bool {
        let next = self.nodes.iter().filter_map(Handshakes::next_deadline).min();
        let Some(next) = next.filter(|next| *next <= end) else { return false };
        self.now = self.now.max(next);
        for node in 0..2 {
            self.nodes[node].handle_timeout(self.now);
            self.collect(node);
        }
        true
    }

    fn run(&mut self, seconds: u64, mut keep: impl FnMut(&Flying) -> bool) {
        let end = self.now + Duration::from_secs(seconds);
        loop {
            self.settle(&mut keep);
            if !self.advance(end) {
                break;
            }
        }
        self.now = end;
    }

    /// Whether the last sessions of both sides are one and the same.
    fn agree(&mut self) -> bool {
        let [first, second] = &mut self.sessions;
        let (Some(first), Some(second)) = (first.last_mut(), second.last_mut()) else { return false };
        fits(first, second) && fits(second, first)
    }

    fn counts(&self) -> (usize, usize) {
        (self.sessions[0].len(), self.sessions[1].len())
    }
}

fn fits(from: &mut Session, to: &mut Session) -> bool {
    let mut frame = Vec::new();
    from.sealer.seal(|out| out.extend_from_slice(b"a packet"), &mut frame).unwrap();
    let index = match crate::wire::link::peek(&frame) {
        Some(crate::wire::link::FrameKind::Data { index }) => index,
        other => panic!("not a data frame: {other:?}"),
    };
    index == to.local_index
        && to.opener.open(&mut frame).is_ok_and(|plaintext| plaintext == b"a packet")
        && from.initiator != to.initiator
        && from.suite == to.suite
}

#[test]
fn a_dial_becomes_one_session_on_both_sides() {
    for configs in [[open(), open()], [closed(7), closed(7)], [LinkConfig::default(), LinkConfig::default()]]
    {
        let mut pair = Pair::with(configs, 1);
        pair.dial(1, 0);
        pair.run(20, |_| true);
        assert_eq!(pair.counts(), (1, 1));
        assert!(pair.agree());
        let [first, second] = &pair.sessions;
        assert_eq!((first[0].peer, second[0].peer), (identity(1).address(), identity(0).address()));
        assert_eq!((first[0].initiator, second[0].initiator), (false, true));
        assert_eq!((first[0].mtu, second[0].mtu), (1300, 1300), "the smaller of both limits");
        assert_eq!(first[0].peer_instance, pair.nodes[1].instance());
        assert_eq!((first[0].path, second[0].path), (path(1, 0), path(0, 0)));
        assert_eq!(pair.nodes[0].under_way(), (0, 0, 0), "no state is left");
        assert_eq!(pair.nodes[1].under_way(), (0, 0, 0));
        assert_eq!(pair.drops, [[], []]);
    }
}

#[test]
fn the_bytes_of_a_handshake_are_stable() {
    let mut pair = Pair::new(1);
    pair.dial(0, 0);
    let mut hashes = Vec::new();
    pair.settle(|flying| {
        let hash = blake3::hash(&flying.frame).to_hex();
        hashes.push((flying.frame[0], flying.frame.len(), hash[..16].to_owned()));
        true
    });
    let expected = [(1, 256, "d5bdaa1d04632cfe"), (2, 157, "0e11b4a235190cdf"), (3, 121, "48adc0ab5b182eb1")];
    assert_eq!(hashes, expected.map(|(kind, length, hash)| (kind, length, hash.to_owned())));
}

#[test]
fn the_suite_is_the_best_that_both_offer() {
    let both = LinkConfig { suites: Suite::CHACHA | Suite::AES, ..open() };
    for (configs, suite) in [
        ([both.clone(), both.clone()], Suite::Aes256Gcm),
        ([both.clone(), open()], Suite::ChaCha20Poly1305),
        ([open(), both], Suite::ChaCha20Poly1305),
    ] {
        let mut pair = Pair::with(configs, 1);
        pair.dial(0, 0);
        pair.run(1, |_| true);
        assert!(pair.agree());
        assert_eq!(pair.sessions[0][0].suite, suite);
    }
}

#[test]
fn any_one_message_may_be_lost_or_duplicated() {
    for kind in [INITIATION, RESPONSE, FINISH] {
        let mut pair = Pair::new(2);
        pair.dial(0, 0);
        let mut lost = 0;
        pair.run(20, |flying| {
            lost += u32::from(flying.frame[0] == kind);
            flying.frame[0] != kind || lost > 1
        });
        assert_eq!(pair.counts(), (1, 1), "message {kind} was lost");
        assert!(pair.agree());

        let mut pair = Pair::new(3);
        pair.dial(0, 0);
        while !pair.flying.is_empty() {
            let flying = pair.flying.remove(0);
            let _ = pair.deliver(flying.clone());
            if flying.frame[0] == kind {
                let _ = pair.deliver(flying);
            }
        }
        pair.run(20, |_| true);
        assert_eq!(pair.counts(), (1, 1), "message {kind} arrived twice");
        assert!(pair.agree());
        assert_eq!(pair.drops, [[], []], "a repetition is no error");
    }
}

#[test]
fn a_dial_without_an_answer_fails_after_five_initiations() {
    let mut pair = Pair::new(1);
    let begun = pair.now;
    pair.dial(0, 0);
    pair.dial(0, 0);
    let mut sent = 0;
    while pair.failed[0].is_empty() {
        sent += pair.flying.drain(..).count();
        assert!(pair.advance(Time::from_millis(60_000)));
    }
    assert_eq!(sent, 5, "a second dial of the same path sends nothing");
    assert_eq!(pair.failed[0], [(path(1, 0), DialError::Timeout)]);
    let took = pair.now.since(begun).as_millis();
    assert!((7_750..8_750).contains(&took), "{took} ms");
}

#[test]
fn a_cancelled_dial_reports_nothing() {
    let mut pair = Pair::new(1);
    pair.dial(0, 0);
    pair.nodes[0].cancel(&path(1, 0));
    pair.run(30, |_| true);
    assert_eq!(pair.counts(), (0, 0));
    assert_eq!(pair.failed, [[], []]);
    assert_eq!(pair.nodes[0].under_way(), (0, 0, 0));
}

#[test]
fn the_number_of_dials_is_bounded_by_the_configuration() {
    let mut pair = Pair::with([LinkConfig { max_dials: 3, ..open() }, open()], 1);
    for channel in 0..5 {
        pair.dial(0, channel);
    }
    assert_eq!(pair.nodes[0].under_way().0, 3);
    assert_eq!(pair.failed[0], [(path(1, 3), DialError::TooMany), (path(1, 4), DialError::TooMany)]);
}

#[test]
fn a_node_that_dials_itself_reports_it() {
    let mut node = Handshakes::new(&identity(0), open(), [1; 32]);
    node.dial(Time::ZERO, path(0, 0), 1400);
    let mut failed = None;
    while let Some(output) = node.poll_output() {
        match output {
            HandshakeOutput::Transmit { frame, .. } => {
                let _ = node.handle(Time::ZERO, path(0, 0), Source::default(), 1400, &frame);
            }
            HandshakeOutput::Failed { reason, .. } => failed = Some(reason),
            HandshakeOutput::Established(_) => panic!("a session with oneself"),
        }
    }
    assert_eq!(failed, Some(DialError::Oneself));
}

#[test]
fn an_identity_that_is_used_twice_is_reported() {
    let mut pair = Pair::new(1);
    pair.nodes[1] = Handshakes::new(&identity(0), open(), [77; 32]);
    pair.dial(0, 0);
    pair.run(20, |_| true);
    assert_eq!(pair.failed[0], [(path(1, 0), DialError::IdentityInUse)]);
    assert_eq!(pair.counts(), (0, 0));
}

#[test]
fn a_closed_mesh_does_not_answer_other_nodes() {
    for config in [open(), closed(8)] {
        let mut pair = Pair::with([config, closed(7)], 1);
        pair.dial(0, 0);
        pair.run(20, |flying| {
            assert_eq!(flying.to, 1, "there is no answer");
            true
        });
        assert_eq!(pair.failed[0], [(path(1, 0), DialError::Timeout)]);
        assert_eq!(pair.drops[1], vec![DropCause::BadHandshake; 5]);
    }
}

#[test]
fn an_open_node_refuses_with_the_reason_that_it_has_no_mesh_key() {
    let mut pair = Pair::with([closed(7), open()], 1);
    pair.dial(0, 0);
    pair.run(20, |_| true);
    assert_eq!(pair.failed[0], [(path(1, 0), DialError::WrongMesh)]);
}

#[test]
fn another_version_is_refused_with_the_reason() {
    let mut pair = Pair::new(1);
    pair.dial(0, 0);
    let end = pair.now + Duration::from_secs(20);
    loop {
        while !pair.flying.is_empty() {
            let mut flying = pair.flying.remove(0);
            if flying.to == 1 {
                flying.frame[1] = 9;
            }
            let _ = pair.deliver(flying);
        }
        if !pair.advance(end) {
            break;
        }
    }
    assert_eq!(pair.failed[0], [(path(1, 0), DialError::Version)]);
    assert_eq!(pair.drops[1], vec![DropCause::BadHandshake; 5]);
}

#[test]
fn an_address_that_is_not_that_of_the_key_is_refused() {
    for forger in [0, 1] {
        let other = Identity::from_seed(&[3; 32]).address();
        for claim in [other, Address::from_bytes([0; 32])] {
            let mut pair = Pair::new(1);
            pair.nodes[forger].address = claim;
            pair.dial(0, 0);
            pair.run(20, |_| true);
            assert_eq!(pair.sessions[1 - forger].len(), 0, "the honest side has no session");
            assert_eq!(pair.drops[1 - forger][0], DropCause::BadHandshake);
            if forger == 1 {
                assert_eq!(pair.failed[0], [(path(1, 0), DialError::Protocol)]);
            }
        }
    }
}

#[test]
fn a_restarted_neighbour_gets_a_new_session_at_once() {
    for restarted in [0, 1] {
        let mut pair = Pair::new(1);
        pair.dial(0, 0);
        pair.run(0, |_| true);
        assert!(pair.agree());
        pair.nodes[restarted] = Handshakes::new(&identity(restarted as u8), open(), [99; 32]);
        pair.dial(restarted, 0);
        pair.run(0, |_| true);
        assert_eq!(pair.counts(), (2, 2));
        assert!(pair.agree());
    }
}
