//! Back-pressure, time to live and reachability.

use super::pair::*;
use crate::message::*;

const SMALL: ConversationConfig = ConversationConfig {
    max_queue_messages: 4096,
    max_queue_bytes: 8 << 20,
    credit_bytes: 0,
    credit_messages: 0,
    has_journal: false,
};

#[test]
fn a_recipient_that_does_not_read_stops_the_sender_without_a_loss() {
    let mut pair = Pair::with(1, CLEAN, SMALL);
    pair.sides[1].reads = false;
    let bodies: Vec<_> = (0..200).map(|nth| pair.body(5000 + nth)).collect();
    for body in &bodies {
        pair.send(0, body.clone());
    }
    pair.run(Duration::from_secs(60), |_| false);
    let conversation = &pair.sides[1].conversation;
    assert!(conversation.has_message());
    assert!(conversation.incoming.bytes() <= (256 << 10) + 5000 + 1200, "{}", conversation.incoming.bytes());
    assert!(conversation.incoming.bytes() > 200 << 10, "but the credit was used");
    assert_eq!(pair.delivered(0), [], "no receipt before it is taken");
    let before = pair.sides[0].packets;
    pair.run(Duration::from_secs(100), |_| false);
    assert!(pair.sides[0].packets - before < 15, "probes back off");
    assert_eq!(pair.refused, [], "nothing was sent beyond the credit");

    pair.sides[1].reads = true;
    let start = pair.now;
    assert!(pair.run(Duration::from_secs(60), |pair| pair.delivered(0).len() == 200));
    assert!(pair.now.since(start) < ms(400), "it resumes promptly: {:?}", pair.now.since(start));
    assert!(pair.bodies(1) == bodies);
}

#[test]
fn many_tiny_messages_stop_at_the_credit_in_messages() {
    let mut pair = Pair::with(1, CLEAN, SMALL);
    pair.sides[1].reads = false;
    for nth in 0..3000u32 {
        pair.send(0, nth.to_be_bytes().to_vec());
    }
    pair.run(Duration::from_secs(20), |_| false);
    assert_eq!(pair.sides[1].conversation.incoming.taken(), 0);
    assert_eq!(pair.sides[0].conversation.waiting().messages, 3000);
    pair.sides[1].reads = true;
    assert!(pair.run(Duration::from_secs(20), |pair| pair.delivered(0).len() == 3000));
    let expected: Vec<_> = (0..3000u32).map(|nth| Bytes::from(nth.to_be_bytes().to_vec())).collect();
    assert!(pair.bodies(1) == expected);
    assert_eq!(pair.refused, [], "nothing was sent beyond the credit");
}

#[test]
fn a_lost_credit_after_a_pause_of_the_recipient_is_recovered() {
    for seed in 0..5 {
        let mut pair = Pair::with(seed, CLEAN, SMALL);
        pair.sides[1].reads = false;
        for _ in 0..100 {
            pair.send(0, vec![7; 9000]);
        }
        pair.run(Duration::from_secs(60), |_| false);
        pair.sides[1].reads = true;
        let start = pair.now;
        // A receipt that is sent now is lost.
        pair.line.loss = [0, 1000];
        pair.run(ms(2), |_| false);
        pair.line.loss = [0, 0];
        assert!(pair.run(Duration::from_secs(60), |pair| pair.delivered(0).len() == 100));
        assert!(pair.now.since(start) < ms(1500), "{:?}", pair.now.since(start));
    }
}

#[test]
fn a_full_queue_returns_the_message_and_reports_room() {
    let config = ConversationConfig { max_queue_messages: 3, ..ConversationConfig::default() };
    let mut pair = Pair::with(1, CLEAN, config);
    for _ in 0..3 {
        pair.send(0, "x");
    }
    let refused = pair.sides[0].conversation.send(pair.now, Timestamp(0), DAY, "four".into());
    assert_eq!(refused, Err(Bytes::from("four")));
    assert_eq!(pair.sides[0].conversation.waiting(), Waiting { messages: 3, bytes: 3 });
    pair.run_out(Duration::from_secs(10));
    let rooms = pair.sides[0].events.iter().filter(|event| **event == ConversationEvent::Room);
    assert_eq!(rooms.count(), 1);
    pair.send(0, "four");
}

#[test]
fn a_queue_full_of_bytes_returns_the_message() {
    let config = ConversationConfig { max_queue_bytes: 1000, ..ConversationConfig::default() };
    let mut pair = Pair::with(1, CLEAN, config);
    pair.send(0, vec![0; 5000]);
    assert!(pair.sides[0].conversation.send(pair.now, Timestamp(0), DAY, "x".into()).is_err());
    pair.run_out(Duration::from_secs(10));
    pair.send(0, "x");
}

#[test]
fn a_message_without_a_route_waits_until_it_expires() {
    let mut pair = Pair::new(1, CLEAN);
    pair.sides[0].conversation.set_reachable(pair.now, false);
    let lost = pair.send_ttl(0, "lost", ms(500));
    let kept = pair.send_ttl(0, "kept", DAY);
    let lost_too = pair.send_ttl(0, "lost too", ms(100));
    let start = pair.now;
    pair.run(ms(2000), |pair| pair.expired(0).len() == 2);
    assert_eq!(pair.expired(0), [lost_too, lost]);
    assert_eq!(pair.now.since(start), ms(500), "at exactly that time");
    assert_eq!(pair.sides[0].packets, 0);
    pair.sides[0].conversation.set_reachable(pair.now, true);
    assert!(pair.run(Duration::from_secs(10), |pair| !pair.delivered(0).is_empty()));
    assert_eq!(pair.delivered(0), [kept]);
    assert_eq!(pair.bodies(1), [Bytes::from("kept")]);
    pair.run_out(Duration::from_secs(10));
}

#[test]
fn a_message_that_expires_in_transit_does_not_delay_later_ones() {
    for seed in 0..20 {
        let line = Line { loss: [200, 200], rate: Some((200_000, ms(100))), ..CLEAN };
        let mut pair = Pair::new(seed, line);
        let first = pair.send(0, "first");
        let doomed = pair.send_ttl(0, vec![1; 1 << 20], ms(300));
        let last = pair.send(0, "last");
        assert!(pair.run(Duration::from_secs(60), |pair| pair.delivered(0).len() == 2), "seed {seed}");
        assert_eq!(pair.delivered(0), [first, last]);
        assert_eq!(pair.expired(0), [doomed]);
        assert_eq!(pair.bodies(1), [Bytes::from("first"), Bytes::from("last")]);
        pair.run_out(Duration::from_secs(60));
        assert!(pair.sides[1].conversation.incoming.is_empty(), "no part of it is left");
    }
}

#[test]
fn a_message_that_is_not_taken_in_time_is_withdrawn() {
    let mut pair = Pair::new(1, CLEAN);
    pair.sides[1].reads = false;
    pair.send_ttl(0, "late", ms(300));
    pair.send_ttl(0, "long", DAY);
    pair.run(ms(1000), |_| false);
    pair.sides[1].reads = true;
    pair.run_out(Duration::from_secs(60));
    assert_eq!(pair.bodies(1), [Bytes::from("long")]);
    assert_eq!(pair.sides[1].conversation.counters().expired, 1);
}

#[test]
fn a_cancelled_message_does_not_arrive() {
    let mut pair = Pair::new(1, CLEAN);
    pair.sides[0].conversation.set_reachable(pair.now, false);
    let ids: Vec<_> = (0..5u8).map(|nth| pair.send(0, vec![nth])).collect();
    assert!(pair.sides[0].conversation.cancel(&ids[0]));
    assert!(pair.sides[0].conversation.cancel(&ids[3]));
    assert!(!pair.sides[0].conversation.cancel(&ids[3]), "only once");
    pair.sides[0].conversation.set_reachable(pair.now, true);
    pair.run_out(Duration::from_secs(60));
    assert_eq!(pair.bodies(1), [vec![1], vec![2], vec![4]].map(Bytes::from));
    assert!(!pair.sides[0].conversation.cancel(&ids[1]), "it has been delivered");
    assert_eq!(pair.delivered(0), [ids[1], ids[2], ids[4]]);
}

#[test]
fn a_queue_of_nothing_but_cancelled_messages_is_idle() {
    let mut pair = Pair::new(1, CLEAN);
    pair.sides[0].conversation.set_reachable(pair.now, false);
    let ids: Vec<_> = (0..5u8).map(|nth| pair.send(0, vec![nth])).collect();
    ids.iter().for_each(|id| assert!(pair.sides[0].conversation.cancel(id)));
    assert_eq!(pair.sides[0].conversation.next_deadline(), None);
    pair.sides[0].conversation.set_reachable(pair.now, true);
    pair.run_out(Duration::from_secs(1));
    assert_eq!(pair.sides[0].packets, 0, "no withdrawal has to be sent");
}

#[test]
fn transmission_resumes_at_once_when_the_route_returns() {
    let mut pair = Pair::new(2, CLEAN);
    let bodies: Vec<_> = (0..50).map(|_| pair.body(20_000)).collect();
    for body in &bodies {
        pair.send(0, body.clone());
    }
    pair.run(ms(40), |_| false);
    pair.line.loss = [1000, 1000];
    pair.run(ms(10), |_| false);
    let window = pair.sides[0].conversation.sending.recovery.congestion.window();
    for side in &mut pair.sides {
        side.conversation.set_reachable(pair.now, false);
    }
    assert_eq!(pair.sides[0].conversation.next_deadline(), Some(Time::from_millis(1) + DAY));
    pair.run(Duration::from_secs(600), |_| false);
    pair.line.loss = [0, 0];
    for side in &mut pair.sides {
        side.conversation.set_reachable(pair.now, true);
    }
    let start = pair.now;
    assert!(pair.sides[0].conversation.sending.recovery.congestion.window() >= window);
    assert!(pair.run(Duration::from_secs(60), |pair| pair.delivered(0).len() == 50));
    assert!(pair.now.since(start) < ms(100), "{:?}", pair.now.since(start));
    let after = pair.sides[0].conversation.sending.recovery.congestion.window();
    assert!(after >= window, "the window stays: {after} after {window}");
    assert!(pair.bodies(1) == bodies);
}
