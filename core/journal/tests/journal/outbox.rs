//! The outbox: sequences, lists, times to live, incarnations.

use std::time::Duration;

use rouse_journal::{Journal, OutboxMessage, Refusal, Service};
use rouse_proto::session::Standing;
use rouse_proto::types::{MessageId, Timestamp};

use crate::setup::{Rig, START, outgoing, pair};

const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[test]
fn a_message_keeps_all_its_fields_over_a_power_cut() {
    let mut rig = Rig::new(1);
    rig.open_pair(pair(1));
    let message = OutboxMessage {
        service: Service::new("chat").unwrap(),
        in_reply_to: Some(MessageId([3; 16])),
        ..outgoing(0, "hello")
    };
    rig.put(pair(1), message.clone());
    rig.power_cut();
    assert_eq!(rig.run(|journal| journal.load(pair(1), 0, usize::MAX)), [message]);
}

#[test]
fn a_restarted_node_goes_on_with_its_incarnation_and_never_uses_a_sequence_again() {
    let mut rig = Rig::new(1);
    assert_eq!(rig.run(|journal| journal.open_pair(pair(1), 0xabc)).unwrap().incarnation, 0xabc);
    for seq in 0..3 {
        rig.put(pair(1), outgoing(seq, "x"));
    }
    rig.run(|journal| journal.settle(pair(1), vec![0..3]));
    rig.run(|journal| journal.reserve(pair(1), 10)).unwrap();
    rig.run(|journal| journal.reserve(pair(1), 5)).unwrap();
    rig.power_cut();
    let state = rig.run(|journal| journal.open_pair(pair(1), 0xdef)).unwrap();
    assert_eq!((state.incarnation, state.floor, state.next), (0xabc, 10, 10));
}

#[test]
fn another_message_under_a_used_sequence_is_refused_and_the_same_one_is_stored_once() {
    let mut rig = Rig::new(1);
    rig.open_pair(pair(1));
    rig.put(pair(1), outgoing(4, "same"));
    let outcomes = rig.run(|journal| {
        journal.put(vec![
            (pair(1), outgoing(4, "same")),
            (pair(1), outgoing(4, "other")),
            (pair(2), outgoing(0, "x")),
        ])
    });
    assert!(outcomes[0].is_ok());
    assert_eq!(outcomes[1..], [Err(Refusal::SequenceUsed { seq: 4 }), Err(Refusal::UnknownPair)]);
    assert_eq!(rig.waiting(pair(1)), [(4, "same".into())]);
}

#[test]
fn lists_go_on_after_any_place_and_visit_each_message_and_each_destination_once() {
    let mut rig = Rig::new(1);
    for peer in [1, 2, 5] {
        rig.open_pair(pair(peer));
        for seq in 0..4 {
            rig.put(pair(peer), outgoing(seq, vec![peer; 10]));
        }
    }
    rig.run(|journal| journal.settle(pair(2), vec![0..9]));
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = rig.run(|journal| journal.outbox(after, 3));
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        seen.extend(
            page.iter().map(|(_, entry)| (entry.pair.peer.as_bytes()[0], entry.message.seq, entry.bytes)),
        );
    }
    let all = [1, 5].iter().flat_map(|peer| (0..4).map(|seq| (*peer, seq, 10)));
    assert_eq!(seen, all.collect::<Vec<_>>());
    let first = rig.run(|journal| journal.destinations(None, 1));
    let second = rig.run(|journal| journal.destinations(Some(first[0].0), 9));
    let peers: Vec<_> =
        first.iter().chain(&second).map(|(_, pair, waiting)| (*pair, waiting.messages)).collect();
    assert_eq!(peers, [(pair(1), 4), (pair(5), 4)]);
}

#[test]
fn a_load_returns_a_message_of_any_length_and_more_while_there_is_room() {
    let mut rig = Rig::new(1);
    rig.open_pair(pair(1));
    for (seq, length) in [5000, 100, 100, 100].into_iter().enumerate() {
        rig.put(pair(1), outgoing(seq as u64, vec![0; length]));
    }
    let mut lengths = |from| {
        let loaded = rig.run(|journal| journal.load(pair(1), from, 250));
        loaded.iter().map(|message| message.body.len()).collect::<Vec<_>>()
    };
    assert_eq!((lengths(0), lengths(1)), (vec![5000], vec![100, 100]));
}

/// The sequences that expire now.
fn expired(rig: &mut Rig) -> Vec<u64> {
    rig.run(|journal| journal.expire(100)).iter().map(|entry| entry.message.seq).collect()
}

#[test]
fn messages_expire_by_running_time_and_once() {
    let mut rig = Rig::new(1);
    rig.open_pair(pair(1));
    rig.put(pair(1), OutboxMessage { life: HOUR * 2, ..outgoing(0, "long") });
    rig.put(pair(1), OutboxMessage { life: HOUR, ..outgoing(1, "short") });
    rig.put(pair(1), OutboxMessage { life: Duration::MAX, ..outgoing(2, "for ever") });
    rig.pass(HOUR - Duration::from_millis(1));
    assert_eq!(expired(&mut rig), []);
    rig.pass(Duration::from_millis(1));
    assert_eq!(expired(&mut rig), [1]);
    assert_eq!(rig.run(|journal| journal.load(pair(1), 0, 1))[0].life, HOUR);
    rig.power_cut();
    rig.pass(HOUR);
    assert_eq!(expired(&mut rig), [0]);
    rig.pass(YEAR * 500);
    assert_eq!(expired(&mut rig), []);
}

#[test]
fn a_clock_that_jumps_by_a_year_expires_nothing_and_keeps_nothing_for_ever() {
    for wall in [START + YEAR.as_millis() as u64, START - YEAR.as_millis() as u64, 0] {
        let mut rig = Rig::new(1);
        rig.open_pair(pair(1));
        rig.put(pair(1), outgoing(0, "an hour"));
        rig.now.wall = Timestamp(wall);
        assert_eq!(expired(&mut rig), [], "the clock jumps to {wall} while the node runs");
        rig.pass(HOUR / 2);
        rig.put(pair(1), outgoing(1, "later"));
        rig.kill();
        rig.now.wall = Timestamp(START + YEAR.as_millis() as u64 - wall / 2);
        rig.open().unwrap();
        assert_eq!(expired(&mut rig), [], "the clock jumps from {wall} while the node is down");
        rig.pass(HOUR / 2);
        assert_eq!(expired(&mut rig), [0]);
        rig.pass(HOUR / 2);
        assert_eq!(expired(&mut rig), [1]);
    }
}

#[test]
fn the_time_for_which_a_node_was_down_counts() {
    let mut rig = Rig::new(1);
    rig.open_pair(pair(1));
    rig.put(pair(1), outgoing(0, "an hour"));
    rig.kill();
    rig.pass(HOUR * 24);
    rig.open().unwrap();
    assert_eq!(expired(&mut rig), [0]);
}

#[test]
fn a_quiet_node_notes_the_age_of_its_messages_so_that_a_wrong_clock_at_the_next_start_does_little_harm() {
    let mut rig = Rig::new(1);
    rig.open_pair(pair(1));
    rig.put(pair(1), OutboxMessage { life: HOUR * 3, ..outgoing(0, "x") });
    for _ in 0..2 {
        rig.pass(HOUR);
        rig.idle();
    }
    rig.kill();
    rig.now.wall = Timestamp(0);
    rig.open().unwrap();
    assert_eq!(rig.run(|journal| journal.load(pair(1), 0, 1))[0].life, HOUR);
    rig.pass(HOUR);
    assert_eq!(expired(&mut rig), [0]);
}

#[test]
fn a_journal_that_was_rolled_back_shows_in_the_handshake_and_its_messages_go_on_under_a_new_incarnation() {
    let mut rig = Rig::new(1);
    rig.open_pair(pair(1));
    rig.put(pair(1), outgoing(0, "before"));
    let snapshot = rig.open_pair(pair(1));
    let peer = |taken| Standing { peer_incarnation: 1, taken, ..Standing::default() };
    assert!(!snapshot.is_rolled_back(&peer(1)), "it has received all that was used");
    assert!(snapshot.is_rolled_back(&peer(2)), "it has received one that was never used");
    let other = Standing { peer_incarnation: 9, ..peer(2) };
    assert!(!snapshot.is_rolled_back(&other), "that was another incarnation");

    let renewed = rig.run(|journal| journal.renew(pair(1), 55)).unwrap();
    assert_eq!((renewed.incarnation, renewed.floor, renewed.next), (55, 0, 1));
    rig.power_cut();
    assert_eq!(rig.open_pair(pair(1)), renewed);
    assert_eq!(rig.waiting(pair(1)), [(0, "before".into())]);
    assert_eq!(rig.journal.status().renewed, 1);
}
