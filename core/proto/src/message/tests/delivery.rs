//! Delivery on good and bad lines: everything arrives once, in order and intact.

use super::pair::*;
use crate::message::*;
use crate::stats::DropCause;

const SIZES: [usize; 14] =
    [0, 1, 64, 500, 1100, 1113, 1114, 1115, 1200, 2000, 5000, 60_000, 300_000, 1 << 20];

fn check_all_arrive(seed: u64, line: Line) {
    let mut pair = Pair::new(seed, line);
    let mut sent = [Vec::new(), Vec::new()];
    let mut ids = [Vec::new(), Vec::new()];
    for nth in 0..60 {
        for side in 0..2 {
            let size = SIZES[(nth * (side * 2 + 1) + side) % SIZES.len()];
            let size = if nth > 20 { size.min(5000) } else { size };
            let body = pair.body(size);
            sent[side].push(body.clone());
            ids[side].push(pair.send(side, body));
        }
    }
    let done = |pair: &Pair| (0..2).all(|side| pair.delivered(side).len() == 60);
    assert!(pair.run(Duration::from_secs(600), done), "seed {seed} {line:?}");
    pair.run_out(Duration::from_secs(600));
    for side in 0..2 {
        assert!(pair.bodies(1 - side) == sent[side], "seed {seed}");
        assert_eq!(pair.delivered(side), ids[side], "each receipt once, in order");
        let names: Vec<_> = pair.sides[1 - side].inbox.iter().map(|message| message.id).collect();
        assert_eq!(names, ids[side], "both sides use the same identifiers");
    }
    assert!(!pair.refused.iter().any(|cause| *cause != DropCause::Duplicate), "{:?}", pair.refused);
}

#[test]
fn everything_arrives_once_in_order_and_intact_on_a_clean_line() {
    check_all_arrive(1, CLEAN);
}

#[test]
fn everything_arrives_once_in_order_and_intact_on_a_bad_line() {
    for (seed, loss) in [(1, 100), (2, 200), (3, 300), (4, 300)] {
        let line = Line { loss: [loss, loss], duplicate: 100, jitter: ms(20), ..CLEAN };
        check_all_arrive(seed, line);
    }
}

#[test]
fn everything_arrives_when_acks_are_lost() {
    for seed in 0..3 {
        check_all_arrive(seed, Line { loss: [0, 500], ..CLEAN });
    }
}

#[test]
fn everything_arrives_in_packets_of_any_size() {
    for mtu in [256, 300, 1452, 9000, 65_000] {
        check_all_arrive(7, Line { mtu, loss: [50, 50], ..CLEAN });
    }
}

#[test]
fn the_longest_message_arrives() {
    let line = Line { loss: [20, 20], delay: ms(1), ..CLEAN };
    let mut pair = Pair::new(5, line);
    let body = pair.body(MAX_MESSAGE);
    pair.send(0, body.clone());
    pair.send(0, "after");
    assert!(pair.run(Duration::from_secs(600), |pair| pair.delivered(0).len() == 2));
    assert!(pair.bodies(1) == [body, Bytes::from("after")]);
}

const MAX_MESSAGE: usize = crate::types::MAX_MESSAGE;

#[test]
fn a_message_that_is_too_long_is_returned() {
    let mut pair = Pair::new(5, CLEAN);
    let body = Bytes::from(vec![0; MAX_MESSAGE + 1]);
    let refused = pair.sides[0].conversation.send(pair.now, Timestamp(0), DAY, body.clone());
    assert_eq!(refused, Err(body));
}

#[test]
fn the_packet_size_may_change_during_a_transfer() {
    let mut pair = Pair::new(6, Line { loss: [100, 100], mtu: 1452, ..CLEAN });
    let bodies: Vec<_> = (0..40).map(|nth| pair.body(1300 + nth * 300)).collect();
    for body in &bodies {
        pair.send(0, body.clone());
    }
    for mtu in [300, 1200, 260, 9000, 512] {
        pair.run(ms(20), |_| false);
        pair.line.mtu = mtu;
    }
    assert!(pair.run(Duration::from_secs(60), |pair| pair.delivered(0).len() == 40));
    assert!(pair.bodies(1) == bodies);
}

#[test]
fn large_packets_that_vanish_are_followed_by_small_ones() {
    let mut pair = Pair::new(6, Line { mtu: 1452, bears: 1200, ..CLEAN });
    let body = pair.body(100_000);
    pair.send(0, body.clone());
    assert!(pair.run(Duration::from_secs(5), |pair| pair.delivered(0).len() == 1), "{:?}", pair.now);
    assert!(pair.bodies(1) == [body.clone()]);
    let before = pair.now;
    pair.send(0, body);
    assert!(pair.run(Duration::from_secs(5), |pair| pair.delivered(0).len() == 2));
    assert!(pair.now.since(before) < ms(200), "the smaller size is remembered");
}

#[test]
fn an_outage_does_not_reduce_the_packet_size() {
    let mut pair = Pair::new(6, Line { mtu: 1452, ..CLEAN });
    pair.line.loss = [1000, 1000];
    let body = pair.body(1_000_000);
    pair.send(0, body);
    pair.run(Duration::from_secs(3), |_| false);
    pair.line.loss = [0, 0];
    assert!(pair.run(Duration::from_secs(20), |pair| pair.delivered(0).len() == 1));
    assert!(pair.sides[0].packets < 800, "they were long packets: {}", pair.sides[0].packets);
}

#[test]
fn small_messages_are_gathered() {
    let mut pair = Pair::new(8, CLEAN);
    for nth in 0..160u8 {
        pair.send(0, vec![nth; 64]);
    }
    assert!(pair.run(Duration::from_secs(5), |pair| pair.sides[1].inbox.len() == 160));
    assert_eq!(pair.sides[0].packets, 10, "16 messages of 64 bytes in a packet of 1200");
}

#[test]
fn a_receipt_is_sent_within_the_delay_of_a_receipt() {
    let mut pair = Pair::new(8, CLEAN);
    pair.send(0, "ping");
    assert!(pair.run(Duration::from_secs(1), |pair| pair.delivered(0).len() == 1));
    let elapsed = pair.sides[0].events.iter().find_map(|event| match event {
        ConversationEvent::Delivered { elapsed, .. } => Some(*elapsed),
        _ => None,
    });
    assert_eq!(elapsed, Some(ms(11)), "the round trip of 10 ms and the delay of a receipt");
}

#[test]
fn each_message_carries_the_time_at_which_it_was_sent() {
    let mut pair = Pair::new(8, CLEAN);
    let times = [5, 5, 6, 100_000, 7, 900_000_000_000];
    for at in times {
        let sent = pair.sides[0].conversation.send(pair.now, Timestamp(at), DAY, Bytes::from("x"));
        assert!(sent.is_ok());
    }
    let long = pair.body(5000);
    let _ = pair.sides[0].conversation.send(pair.now, Timestamp(77), DAY, long);
    assert!(pair.run(Duration::from_secs(5), |pair| pair.sides[1].inbox.len() == 7));
    let times: Vec<_> = pair.sides[1].inbox.iter().map(|message| message.sent_at.0).collect();
    assert_eq!(times, [5, 5, 6, 100_000, 7, 900_000_000_000, 77]);
}

#[test]
fn an_idle_conversation_has_no_deadline_and_may_be_dropped() {
    let mut pair = Pair::new(9, Line { loss: [100, 100], ..CLEAN });
    for nth in 0..50 {
        let body = pair.body(nth * 100);
        pair.send(nth % 2, body);
    }
    pair.run_out(Duration::from_secs(60));
    for side in &pair.sides {
        assert_eq!(side.inbox.len(), 25);
        assert_eq!(side.conversation.next_deadline(), None);
        assert_eq!(side.conversation.waiting(), Waiting::default());
        assert!(!side.conversation.is_idle(pair.now), "late packets may still arrive");
        assert!(side.conversation.is_idle(pair.now + MAX_PACKET_AGE + Duration::from_secs(5)));
    }
}

#[test]
fn a_conversation_with_an_unconfirmed_receipt_is_kept_for_long() {
    let mut pair = Pair::new(9, CLEAN);
    for _ in 0..10 {
        pair.send(0, "of a sender that has left");
    }
    pair.run_out(Duration::from_secs(60));
    pair.restart(0, 101);
    pair.send(0, "hello");
    pair.run_out(Duration::from_secs(60));
    pair.send(0, "x");
    pair.run(ms(5), |_| false);
    assert_eq!(pair.sides[1].inbox.len(), 12);
    pair.line.loss = [1000, 1000];
    pair.run(MAX_PACKET_AGE * 2, |_| false);
    let conversation = &pair.sides[1].conversation;
    assert!(
        !conversation.is_idle(pair.now),
        "a copy of the message may still arrive, and must not be taken twice"
    );
    assert!(conversation.is_idle(pair.now + MAX_SILENCE));
}
