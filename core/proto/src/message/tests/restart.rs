//! Restarts of one side or both, and forged incarnations.

use super::pair::*;
use crate::message::*;
use crate::stats::DropCause;

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
    assert!(noticed, "the sender's probes detect it");
    assert!(numbers(&pair, 1).into_iter().eq(0..10));
}

#[test]
fn packets_to_or_from_a_former_incarnation_are_not_parsed() {
    let mut pair = Pair::new(1, CLEAN);
    pair.send(0, "old");
    pair.run_out(Duration::from_secs(60));
    // Late packets of the old sender, each with an ack as if it answered a probe.
    let late = [0, 1].map(|_| {
        pair.send(1, "to be acknowledged");
        pair.run(ms(5), |_| false);
        pair.send(0, "late");
        let mut late = Vec::new();
        assert!(pair.sides[0].conversation.poll_transmit(pair.now, 1200, &mut late));
        assert_eq!(late[crate::wire::message::HEADER], 1, "an ack comes first");
        Bytes::from(late)
    });
    pair.restart(0, 101);
    pair.send(0, "new");
    pair.run_out(Duration::from_secs(60));
    for late in &late {
        assert_eq!(pair.sides[1].conversation.handle(pair.now, late), Err(DropCause::Duplicate));
        pair.run_out(Duration::from_secs(60));
    }
    pair.send(0, "newer");
    pair.run_out(Duration::from_secs(60));
    assert_eq!(pair.bodies(1), ["old", "new", "newer"].map(Bytes::from));

    pair.restart(1, 201);
    assert_eq!(pair.sides[1].conversation.handle(pair.now, &late[0]), Err(DropCause::Duplicate));
    pair.run_out(Duration::from_secs(60));
    assert_eq!(pair.bodies(1).len(), 3);
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

#[test]
fn a_restart_is_detected_under_a_flood_of_forged_incarnations() {
    for seed in 0..10 {
        let mut pair = Pair::new(seed, CLEAN);
        pair.send(0, "before");
        pair.run_out(Duration::from_secs(60));
        pair.restart(0, 101);
        let mut invented = 1_000_000 + seed;
        let mut flood = |pair: &mut Pair| {
            invented += 1;
            let header = crate::wire::message::MessageHeader {
                source: address(0),
                from: invented.wrapping_mul(0x9E37_79B9_7F4A_7C15),
                to: 0,
                number: 0,
                open: 0,
                floor: 0,
            };
            let mut packet = Vec::new();
            crate::wire::message::write_header(&header, &mut packet);
            crate::wire::message::write_ping(&mut packet);
            let _ = pair.sides[1].conversation.handle(pair.now, &packet.into());
        };
        // 2000 forged packets a second, from a second before the restart on.
        (0..2_000).for_each(|_| {
            flood(&mut pair);
            pair.run(Duration::from_micros(500), |_| false);
        });
        pair.send(0, "after");
        let begin = pair.now;
        while !pair.bodies(1).contains(&Bytes::from("after")) {
            assert!(pair.now.since(begin) < ms(1000), "seed {seed}: not received");
            flood(&mut pair);
            pair.run(Duration::from_micros(500), |_| false);
        }
        pair.run(CLAIMS_FORGOTTEN, |_| false);
        pair.send(0, "at rest");
        pair.run_out(Duration::from_secs(60));
        assert!(!pair.sides[1].conversation.incarnations.has_claims(), "the state of the flood is dropped");
    }
}

/// A packet of the first side from one incarnation to another.
fn ping(from: u64, to: u64, number: u64) -> Bytes {
    let header =
        crate::wire::message::MessageHeader { source: address(0), from, to, number, open: 0, floor: 0 };
    let mut packet = Vec::new();
    crate::wire::message::write_header(&header, &mut packet);
    crate::wire::message::write_ping(&mut packet);
    packet.into()
}

#[test]
fn probes_that_cannot_be_sent_are_bounded() {
    let mut recipient = Conversation::new(ConversationConfig::default(), address(1), address(0), 200);
    let mut now = Time::from_millis(1);
    let mut number = 0;
    // A minute without a route. A valid packet every 9 s prevents the state of claims from expiring.
    for round in 0..120_000u64 {
        now = now + Duration::from_micros(500);
        let good = round % 18_000 == 0;
        number += u64::from(good);
        let packet = match (good, round % 2) {
            (true, _) => ping(100, 0, number),
            (false, 0) => ping(1000 + round, 0, 0),
            (false, _) => ping(1000 + round, 77, 0),
        };
        let _ = recipient.handle(now, &packet);
    }
    recipient.set_reachable(now, true);
    let mut left = 0;
    while recipient.poll_transmit(now, 1200, &mut Vec::new()) {
        left += 1;
    }
    let [most, ack] = [3 * incarnation::CLAIM_PROBE_BURST, 1];
    assert!((most / 2..=most + ack).contains(&left), "{left} packets");
    // Claims that arrive now are probed as before.
    let _ = recipient.handle(now + ms(100), &ping(1, 0, 0));
    assert!(recipient.poll_transmit(now + ms(100), 1200, &mut Vec::new()), "it is probed");
}

const CLAIMS_FORGOTTEN: Duration = Duration::from_secs(11);
