//! Sessions beyond a limit, and the goodbye that reports it to the other side.

use super::*;
use crate::link::DownReason;
use crate::wire::link::{DATA, KIND_GOODBYE};

/// The plaintexts of the data frames in flight to a node, which are opened with its last session.
fn opened_frames(pair: &mut Pair, node: usize) -> Vec<Vec<u8>> {
    let (data, rest) = std::mem::take(&mut pair.flying)
        .into_iter()
        .partition(|flying| flying.to == node && flying.frame[0] == DATA);
    pair.flying = rest;
    let session = pair.sessions[node].last_mut().expect("a session");
    let frames: Vec<Flying> = data;
    frames
        .into_iter()
        .filter_map(|mut flying| session.opener.open(&mut flying.frame).ok().map(|body| body.to_vec()))
        .collect()
}

#[test]
fn a_declined_dialler_receives_the_reason_even_when_the_first_goodbye_is_lost() {
    let mut pair = Pair::new(1);
    pair.dial(0, 0);
    pair.settle(|_| true);
    let session = pair.sessions[1].pop().unwrap();
    pair.nodes[1].decline(session, DownReason::Full);
    pair.collect(1);
    pair.flying.clear();
    // The finish is repeated while no frame of the session has arrived, and each time the answer is the same.
    assert!(pair.advance(pair.now + Duration::from_secs(1)));
    pair.settle(|flying| flying.frame[0] != DATA || flying.to != 0);
    assert!(opened_frames(&mut pair, 0).is_empty());
    assert!(pair.advance(pair.now + Duration::from_secs(1)));
    let finish = pair.flying.remove(0);
    let length = finish.frame.len();
    pair.deliver(finish).unwrap();
    assert!(pair.flying.iter().all(|flying| flying.frame.len() <= length), "no answer is longer");
    assert_eq!(opened_frames(&mut pair, 0), [[KIND_GOODBYE, 4]]);
}

#[test]
fn the_rate_of_sessions_of_one_identity_is_bounded() {
    let mut pair = Pair::new(1);
    let (mut goodbyes, mut sessions) = (0, 0);
    // An attacker that forgets its sessions begins forty a second, each from another port.
    for n in 0..200u8 {
        pair.nodes[0] = Handshakes::new(&identity(0), open(), [n ^ 0x5a; 32]);
        pair.sessions[0].clear();
        pair.dial(0, n);
        let keep = |flying: &Flying| flying.frame[0] != DATA;
        while let Some(at) = pair.flying.iter().position(keep) {
            let flying = pair.flying.remove(at);
            let _ = pair.deliver(flying);
        }
        if !pair.sessions[0].is_empty() {
            goodbyes += usize::from(opened_frames(&mut pair, 0) == [[KIND_GOODBYE, 5]]);
        }
        pair.flying.clear();
        sessions += std::mem::take(&mut pair.sessions[1]).len();
        pair.now = pair.now + Duration::from_millis(25);
    }
    assert_eq!(sessions, 10 + 4, "ten at once, and one a second for five seconds");
    assert_eq!(goodbyes, 64 + 49 - 14, "the others receive the reason, up to the rate of the host");
    assert!(pair.drops[1].iter().all(|cause| *cause == DropCause::HandshakeLimit));
}

#[test]
fn a_host_that_begins_many_handshakes_evicts_none_of_another_host() {
    let config = LinkConfig { max_answers: 16, load: 1000, ..open() };
    let mut pair = Pair::with([open(), config], 1);
    pair.dial(0, 0);
    pair.settle(|flying| flying.to == 1);
    // The response is in flight. Meanwhile an attacker begins handshakes from all of its ports.
    for n in 0..200u16 {
        let [high, low] = n.to_be_bytes();
        let from = Path { netmod: 0, endpoint: Endpoint::new(&[9, high, low]).unwrap() };
        let mut attacker = Handshakes::new(&identity(0), open(), [low ^ 0xa5; 32]);
        attacker.dial(pair.now, from, 1400);
        let Some(HandshakeOutput::Transmit { frame, .. }) = attacker.poll_output() else {
            panic!("no initiation")
        };
        let source = Source { host: 99, group: 0 };
        let _ = pair.nodes[1].handle(pair.now, from, source, 1400, &frame);
        pair.now = pair.now + Duration::from_millis(20);
    }
    while pair.nodes[1].poll_output().is_some() {}
    assert_eq!(pair.nodes[1].under_way().2, 16);
    assert!(pair.advance(pair.now + Duration::from_secs(1)), "the initiation is repeated");
    pair.settle(|_| true);
    assert_eq!(pair.counts(), (1, 1));
    assert_eq!(
        pair.sessions[1][0].rtt,
        pair.now.since(Time::from_millis(1000)),
        "the first handshake was not evicted"
    );
}

#[test]
fn a_finish_is_awaited_until_it_arrives_and_only_from_the_endpoint_of_its_initiation() {
    let mut pair = Pair::new(1);
    pair.dial(0, 0);
    pair.settle(|flying| flying.frame[0] != FINISH);
    let index = *pair.nodes[1].inbound.keys().next().unwrap();
    assert!(pair.nodes[1].awaits_finish(&path(0, 0), index));
    assert!(
        !pair.nodes[1].awaits_finish(&path(0, 1), index)
            && !pair.nodes[1].awaits_finish(&path(0, 0), index ^ 1)
    );
    pair.run(1, |_| true);
    assert_eq!(pair.counts(), (1, 1));
    assert!(!pair.nodes[1].awaits_finish(&path(0, 0), index));
}
