//! The messages that a relay cannot read, change or make.

use super::*;
use crate::types::Protection;
use crate::wire::packet::payload;
use crate::wire::session::{MESSAGE_REQUEST, MESSAGE_RESPONSE, parts};

const MINUTE: Duration = Duration::from_secs(60);

fn contains(packet: &[u8], part: &[u8]) -> bool {
    packet.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_relay_that_records_everything_finds_neither_a_body_nor_the_sender() {
    let mut bench = Bench::new(1);
    let addresses = [0, 1].map(|node| bench.nodes[node].address());
    let secret = b"a body that nothing on the way reads";
    for (from, to) in [(0, 1), (1, 0)] {
        for length in [0, 300, 5000] {
            bench.nodes[from].send(addresses[to], [secret.as_slice(), &vec![0x77; length]].concat());
        }
    }
    let all = |bench: &Bench| bench.nodes.iter().all(|node| node.inbox.len() == 3);
    assert!(bench.run(MINUTE, all));
    // The receipts too, since they are worth as much to a forger.
    bench.run(Duration::from_secs(2), |_| false);
    assert!(bench.recorded.len() > 20);
    let incarnations = [(0, 1), (1, 0)].map(|(node, peer)| {
        let entry = bench.nodes[node].shared.conversations.find(&addresses[node], &addresses[peer]).unwrap();
        lock(&entry.state).conversation.incarnation().to_le_bytes()
    });
    for (from, packet) in &bench.recorded {
        let kind = packet[HEADER];
        assert!([payload::SESSION, payload::PART].contains(&kind), "a payload {kind:02x}");
        assert!(!contains(packet, secret) && !contains(packet, &[0x77; 16]), "a body is in {packet:02x?}");
        assert!(!contains(packet, addresses[*from].as_bytes()), "the sender is in {packet:02x?}");
        assert!(!incarnations.iter().any(|one| contains(packet, one)), "an incarnation is in {packet:02x?}");
    }
    for (node, peer) in [(0, 1), (1, 0)] {
        for message in &bench.nodes[node].inbox {
            assert_eq!(message.protection, Protection::EndToEnd);
            assert_eq!((message.from, message.to), (addresses[peer], addresses[node]));
        }
    }
}

/// One act of a relay that tries to read, change or make messages.
fn attack(bench: &mut Bench, to: usize, packet: &[u8]) {
    let mut changed = packet.to_vec();
    let nth = bench.below(bench.recorded.len());
    let other = bench.recorded.get(nth).map(|(_, other)| other.clone()).unwrap_or_default();
    match bench.below(8) {
        0 => {
            let at = HEADER + bench.below(changed.len() - HEADER);
            changed[at] ^= 1 << bench.below(8);
        }
        1 => changed.truncate(HEADER + bench.below(changed.len() - HEADER)),
        2 => changed.extend_from_slice(&[0; 3]),
        // A packet of any time and of either direction, because an end must not take its own packets for the peer's.
        3 => changed = other,
        // The seal of one packet behind the index and the counter of another, which the seal therefore has to cover.
        4 => {
            let head = HEADER + SESSION_HEADER_LEN;
            changed.truncate(head);
            changed.extend_from_slice(other.get(head..).unwrap_or_default());
        }
        // A message in clear in the name of the peer, as nodes of before sent it.
        5 => changed = clear_message(bench, to, packet),
        // A handshake of nonsense.
        6 => {
            let message = if bench.below(2) == 0 { MESSAGE_REQUEST } else { MESSAGE_RESPONSE };
            let (id, byte) = (bench.below(1 << 30) as u32, bench.below(256) as u8);
            for part in parts(message, id, &[byte; 1353]) {
                bench.flying.push_back((bench.step + 1, to, [&packet[..HEADER], &part].concat()));
            }
            return;
        }
        _ => return,
    }
    // It arrives before the true packet, because a forgery that comes first would spoil more.
    bench.flying.push_back((bench.step + 1, to, changed));
}

/// A message packet without a seal, behind the header of this packet.
fn clear_message(bench: &Bench, to: usize, packet: &[u8]) -> Vec<u8> {
    let mut clear = packet[..HEADER].to_vec();
    clear.push(payload::CLEAR_MESSAGE);
    clear.extend_from_slice(bench.nodes[1 - to].address().as_bytes());
    clear.extend_from_slice(&[1; 36]);
    clear.extend_from_slice(b"\x03\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x06\0forged");
    clear
}

#[test]
fn a_relay_that_changes_forges_repeats_and_truncates_causes_nothing_but_counted_drops() {
    for seed in 0..6 {
        let mut bench = Bench::new(seed);
        for round in 1..=4 {
            bench.send(0, 20);
            bench.send(1, 20);
            let done = |bench: &Bench| (0..2).all(|node| bench.received(node).len() == 20 * round);
            assert!(bench.run_with(MINUTE * 5, attack, done), "seed {seed}, round {round}");
        }
        bench.run_with(Duration::from_secs(20), attack, |_| false);
        for node in 0..2 {
            let numbers = bench.received(node);
            assert_eq!(numbers.len(), 80, "seed {seed}: nothing twice and nothing forged");
            assert!(numbers.is_sorted(), "seed {seed}: {numbers:?}");
            for message in &bench.nodes[node].inbox {
                assert!(
                    message.body[4..].iter().all(|byte| usize::from(*byte) == 1 - node),
                    "as it was sent"
                );
                assert_eq!(message.from, bench.nodes[1 - node].address());
            }
            assert_eq!(bench.nodes[node].shared.conversations.waiting().messages, 0, "all have a receipt");
            use DropCause::{BadHandshake, BadSeal, ClearMessage, Replay};
            for cause in [BadSeal, Replay, ClearMessage, BadHandshake] {
                assert!(bench.nodes[node].drops(cause) > 0, "seed {seed}: {cause:?} is counted");
            }
            assert_eq!(bench.nodes[node].drops(DropCause::MalformedMessage), 0, "nothing forged is read");
        }
    }
}

#[test]
fn a_message_in_clear_is_dropped_and_counted_by_a_cause_of_its_own() {
    let mut bench = Bench::new(1);
    bench.send(0, 1);
    assert!(bench.run(MINUTE, |bench| !bench.nodes[1].inbox.is_empty()));
    let packet = clear_message(&bench, 1, &bench.recorded[0].1);
    bench.nodes[1].take(&packet);
    bench.run(Duration::from_secs(1), |_| false);
    assert_eq!((bench.nodes[1].drops(DropCause::ClearMessage), bench.nodes[1].inbox.len()), (1, 1));
}

#[test]
fn everything_arrives_once_and_in_order_over_a_medium_that_loses_repeats_reorders_and_corrupts() {
    for seed in 0..4 {
        let mut bench = Bench::new(seed);
        bench.faults = Faults { loss: 10, duplicates: 10, reordering: 10, corruption: 1 };
        // Both begin at once, because then two handshakes cross.
        bench.send(0, 150);
        bench.send(1, 150);
        let done = |bench: &Bench| {
            let waiting = |node: &BenchNode| node.shared.conversations.waiting().messages;
            bench.nodes.iter().all(|node| node.inbox.len() >= 150 && waiting(node) == 0)
        };
        assert!(bench.run(MINUTE * 5, done), "seed {seed}");
        bench.run(Duration::from_secs(5), |_| false);
        assert!(bench.received(1).into_iter().eq(0..150), "seed {seed}");
        assert!(bench.received(0).into_iter().eq(150..300), "seed {seed}");
    }
}
