//! Restarts of one side or both, and what a session shows of them.

use super::pair::*;
use crate::message::*;
use crate::stats::DropCause;
use crate::wire::session::{ProvedStanding, Standing};

fn numbers(pair: &Pair, side: usize) -> Vec<u32> {
    let inbox = pair.sides[side].inbox.iter();
    inbox.filter_map(|message| message.body.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))).collect()
}

fn send_numbers(pair: &mut Pair, from: usize, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let mut body = number.to_be_bytes().to_vec();
        body.resize(4 + (number as usize * 37) % 4000, 0);
        pair.send(from, body);
    }
}

#[test]
fn a_restarted_recipient_receives_messages_without_a_receipt_and_none_twice() {
    for seed in 0..20 {
        let line = Line { loss: [100, 100], duplicate: 50, jitter: ms(10), ..CLEAN };
        let mut pair = Pair::new(seed, line);
        send_numbers(&mut pair, 0, 0..200);
        pair.run(ms(30 + seed * 5), |_| false);
        let before = pair.sides[1].inbox.len();
        pair.restart(1, 201);
        send_numbers(&mut pair, 0, 200..220);
        assert!(pair.run(Duration::from_secs(60), |pair| pair.delivered(0).len() == 220), "seed {seed}");
        pair.run_out(Duration::from_secs(60));
        let got = numbers(&pair, 1);
        let (old, new) = got.split_at(before);
        assert!(old.iter().copied().eq(0..before as u32));
        // Delivery continues at the first message without a receipt, so only messages with a lost receipt may repeat.
        let first = new[0];
        assert!(first <= before as u32 && new.iter().copied().eq(first..220), "seed {seed}: {new:?}");
        assert_eq!(pair.delivered(0).len(), 220, "each receipt once");
    }
}

#[test]
fn messages_of_a_restarted_sender_arrive_and_late_ones_of_the_old_do_not() {
    for seed in 0..20 {
        let line = Line { loss: [100, 100], duplicate: 100, jitter: ms(40), ..CLEAN };
        let mut pair = Pair::new(seed, line);
        send_numbers(&mut pair, 0, 0..100);
        pair.run(ms(60 + seed * 5), |_| false);
        pair.restart(0, 101);
        send_numbers(&mut pair, 0, 1000..1100);
        let all_new = |pair: &Pair| numbers(pair, 1).iter().filter(|number| **number >= 1000).count() == 100;
        assert!(pair.run(Duration::from_secs(60), all_new), "seed {seed}");
        pair.run_out(Duration::from_secs(60));
        let got = numbers(&pair, 1);
        let old = got.iter().take_while(|number| **number < 1000).count() as u32;
        assert!(got.iter().copied().eq((0..old).chain(1000..1100)), "seed {seed}: {got:?}");
    }
}

#[test]
fn complete_messages_of_the_old_sender_are_still_delivered() {
    let mut pair = Pair::new(1, CLEAN);
    pair.sides[1].reads = false;
    send_numbers(&mut pair, 0, 0..10);
    pair.run(ms(200), |_| false);
    pair.restart(0, 101);
    send_numbers(&mut pair, 0, 1000..1010);
    pair.run(Duration::from_secs(5), |_| false);
    pair.sides[1].reads = true;
    pair.run_out(Duration::from_secs(60));
    assert!(numbers(&pair, 1).into_iter().eq((0..10).chain(1000..1010)));
    let names =
        |range: std::ops::Range<usize>| pair.sides[1].inbox[range].iter().map(|message| message.id.0[7]);
    assert!(names(0..10).eq([100; 10]) && names(10..20).eq([101; 10]));
}

#[test]
fn both_sides_may_restart_at_once_repeatedly() {
    for seed in 0..20 {
        let line = Line { loss: [150, 150], duplicate: 100, jitter: ms(30), ..CLEAN };
        let mut pair = Pair::new(seed, line);
        for round in 0..4 {
            send_numbers(&mut pair, 0, 0..50);
            send_numbers(&mut pair, 1, 0..50);
            pair.run(ms(25 + seed * 3), |_| false);
            pair.restart(0, 101 + round);
            if (seed + round) % 2 == 0 {
                pair.restart(1, 201 + round);
            }
        }
        let marks = [pair.sides[0].inbox.len(), pair.sides[1].inbox.len()];
        pair.send(0, "the end");
        pair.send(1, "the end");
        let ended = |pair: &Pair| {
            (0..2).all(|side| pair.bodies(side)[marks[side]..].iter().any(|body| body == "the end"))
        };
        assert!(pair.run(Duration::from_secs(100), ended), "seed {seed}");
        pair.run_out(Duration::from_secs(100));
    }
}

#[test]
fn a_restart_of_the_recipient_is_detected_while_the_sender_waits_for_a_receipt() {
    let mut pair = Pair::new(1, CLEAN);
    pair.sides[1].reads = false;
    send_numbers(&mut pair, 0, 0..10);
    pair.run(Duration::from_secs(1), |_| false);
    pair.restart(1, 201);
    let noticed = pair.run(Duration::from_secs(15), |pair| pair.delivered(0).len() == 10);
    assert!(noticed, "the sender misses acks and requests a session");
    assert!(numbers(&pair, 1).into_iter().eq(0..10));
}

#[test]
fn packets_to_or_from_a_former_incarnation_are_not_parsed() {
    let mut pair = Pair::new(1, CLEAN);
    pair.send(0, "old");
    pair.run_out(Duration::from_secs(60));
    // Late packets of the old sender.
    let late = [0, 1].map(|_| {
        pair.send(0, "late");
        let mut late = Vec::new();
        assert!(pair.sides[0].conversation.poll_transmit(pair.now, 1200, &mut late));
        Bytes::from(late)
    });
    let before = pair.session(1);
    pair.restart(0, 101);
    pair.send(0, "new");
    pair.run_out(Duration::from_secs(60));
    for late in &late {
        assert_eq!(pair.sides[1].conversation.handle(pair.now, &before, late), Err(DropCause::Duplicate));
        pair.run_out(Duration::from_secs(60));
    }
    pair.send(0, "newer");
    pair.run_out(Duration::from_secs(60));
    assert_eq!(pair.bodies(1), ["old", "new", "newer"].map(Bytes::from));

    let before = pair.session(1);
    pair.restart(1, 201);
    assert_eq!(pair.sides[1].conversation.handle(pair.now, &before, &late[0]), Err(DropCause::Duplicate));
    pair.run_out(Duration::from_secs(60));
    assert_eq!(pair.bodies(1).len(), 3);
}

#[test]
fn nothing_is_sent_without_a_session_and_one_is_requested_for_messages_and_for_receipts() {
    let mut pair = Pair::new(1, CLEAN);
    pair.sides[1].reads = false;
    pair.send(0, "first");
    pair.run(ms(200), |_| false);
    for side in &mut pair.sides {
        side.conversation.on_session_end();
        side.sessions.clear();
        assert_eq!(side.conversation.next_deadline().filter(|at| *at < pair.now + DAY / 2), None);
    }
    assert_eq!(pair.sides[0].conversation.session_need(), Some(SessionNeed::Connect), "it lacks a receipt");
    assert_eq!(pair.sides[1].conversation.session_need(), None, "nothing was taken");
    assert!(!pair.sides[0].conversation.poll_transmit(pair.now, 1200, &mut Vec::new()));
    let message = pair.sides[1].conversation.next_message(Timestamp(0)).expect("it has arrived");
    pair.sides[1].conversation.on_taken(pair.now, &message.id, &message.id);
    assert_eq!(pair.sides[1].conversation.session_need(), Some(SessionNeed::Connect), "a receipt is due");
    pair.sides[1].conversation.set_reachable(pair.now, false);
    assert_eq!(pair.sides[1].conversation.session_need(), None, "there is no route");
    pair.sides[1].conversation.set_reachable(pair.now, true);
    pair.run_out(Duration::from_secs(60));
    assert_eq!(pair.delivered(0).len(), 1);
    assert!(pair.bodies(1).is_empty(), "it was not delivered twice");
}

#[test]
fn the_handshake_settles_messages_whose_receipt_was_lost() {
    let mut pair = Pair::new(1, CLEAN);
    pair.send(0, "taken");
    pair.line.loss = [0, 1000];
    pair.run(ms(100), |_| false);
    assert_eq!((pair.bodies(1).len(), pair.delivered(0).len()), (1, 0), "its receipt is lost");
    pair.meet();
    pair.settle();
    assert_eq!(pair.delivered(0).len(), 1);
}

#[test]
fn a_session_with_a_peer_that_has_forgotten_this_end_makes_it_send_again_and_keeps_what_the_peer_sent() {
    let mut pair = Pair::new(1, CLEAN);
    pair.sides[0].reads = false;
    pair.sides[1].reads = false;
    pair.send(0, "from first");
    pair.send(1, "from second");
    pair.run(ms(200), |_| false);
    // Both have all packets acknowledged. The second end takes the first one for another incarnation meanwhile, as when
    // two nodes have one identity.
    let known = pair.sides[1].conversation.standing();
    pair.sides[1].conversation.on_session(
        pair.now,
        &ProvedStanding {
            session: 50,
            incarnation: known.incarnation,
            peer: Standing { incarnation: 999, ..Standing::default() },
        },
    );
    for proved in pair.sides.iter_mut().flat_map(|side| &mut side.sessions) {
        proved.session += 100;
    }
    pair.sides.iter_mut().for_each(|side| side.reads = true);
    pair.run(ms(100), |_| false);
    pair.meet_from(200);
    pair.run_out(Duration::from_secs(60));
    assert_eq!(pair.bodies(0), ["from second"].map(Bytes::from));
    assert!(pair.bodies(1).contains(&Bytes::from("from first")));
    assert_eq!((pair.delivered(0).len(), pair.delivered(1).len()), (1, 1));
}

#[test]
fn a_session_that_is_older_than_the_present_one_changes_nothing() {
    let mut pair = Pair::new(1, CLEAN);
    pair.send(0, "before");
    pair.run_out(Duration::from_secs(60));
    let old = pair.session(1);
    pair.restart(0, 101);
    pair.meet();
    pair.sides[1].conversation.on_session(pair.now, &old);
    assert_eq!(pair.sides[1].conversation.standing().peer_incarnation, 101);
    pair.send(0, "after");
    pair.run_out(Duration::from_secs(60));
    assert_eq!(pair.bodies(1), ["before", "after"].map(Bytes::from));
}

#[test]
fn a_restart_does_not_delay_receipts() {
    let mut pair = Pair::new(1, CLEAN);
    send_numbers(&mut pair, 0, 0..100);
    pair.run_out(Duration::from_secs(60));
    pair.restart(0, 101);
    for _ in 0..2 {
        pair.send(0, "again");
        pair.run_out(Duration::from_secs(60));
    }
    let last = pair.sides[0].events.last().copied();
    assert!(
        matches!(last, Some(ConversationEvent::Delivered { elapsed, .. }) if elapsed == ms(11)),
        "{last:?}"
    );
    for side in &pair.sides {
        assert!(side.conversation.is_idle(pair.now + MAX_PACKET_AGE));
    }
}
