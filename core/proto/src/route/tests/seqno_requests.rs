//! Requests for a newer sequence number, on a single router.

use std::time::Duration;

use super::harness::{RouterHarness, address, ms, signed_announce};
use crate::wire::route::{INFINITY, Record, SeqnoRequest};

const SEQ: u64 = 5 << 32;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn with_only_infeasible_routes_a_newer_seq_is_requested_repeatedly() {
    let mut harness = RouterHarness::new(3);
    harness.announce(1, 7, SEQ, 40, 1).unwrap();
    harness.wait(ms(20));
    harness.announce(2, 7, SEQ, 120, 3).unwrap();
    harness.sent.clear();
    let begin = harness.now;
    harness.router.neighbour_down(harness.now, 1);
    harness.wait(secs(6));
    let asked: Vec<_> = harness
        .sent
        .iter()
        .filter(|(_, _, record)| matches!(record, Record::SeqnoRequest(request) if request.seq == SEQ + 1))
        .map(|(at, id, _)| (at.since(begin).as_millis(), *id))
        .collect();
    // The delay doubles up to two seconds; each but the first varies by a quarter, so that requesters do not stay in step.
    let waits: Vec<_> = asked.windows(2).map(|two| two[1].0 - two[0].0).collect();
    let meant = [60, 120, 240, 480, 960, 1920, 2000];
    let near = |(is, meant): (&u128, u128)| *is >= meant * 3 / 4 - 1 && *is <= meant * 5 / 4 + 1;
    assert!(waits.len() >= 6 && waits.iter().zip(meant).all(near), "{waits:?}");
    assert!(waits[0] == 60 && asked.iter().all(|(_, to)| *to == 2), "{asked:?}");
    harness.announce(2, 7, SEQ + 1, 120, 3).unwrap();
    harness.sent.clear();
    harness.wait(secs(6));
    assert!(!harness.sent.iter().any(|(_, _, record)| matches!(record, Record::SeqnoRequest(_))));
}

#[test]
fn a_request_is_relayed_to_the_next_hop_or_past_the_requester_and_answered_at_once() {
    let mut harness = RouterHarness::new(4);
    let request = |id| Record::SeqnoRequest(SeqnoRequest { dst: address(7), seq: SEQ + 1, ttl: 9, id });
    let passed = |id| Record::SeqnoRequest(SeqnoRequest { dst: address(7), seq: SEQ + 1, ttl: 8, id });
    harness.announce(1, 7, SEQ, 40, 1).unwrap();
    harness.wait(secs(1));
    harness.announce(3, 7, SEQ, 400, 5).unwrap();
    harness.sent.clear();
    harness.receive(2, &[request(1)]).unwrap();
    assert_eq!(harness.take_sent_to(1), [passed(1)]);
    harness.wait(ms(100));
    harness.receive(2, &[request(1)]).unwrap();
    assert_eq!(harness.take_sent_to(1), [], "a request is relayed once");
    harness.receive(1, &[request(2)]).unwrap();
    assert_eq!(
        harness.take_sent_to(3),
        [passed(2)],
        "the next hop is the requester, so another neighbour is sent the request"
    );
    // The requesters are sent the answer at once; the fourth neighbour is none.
    harness.announce(1, 7, SEQ + 1, 40, 1).unwrap();
    let answered =
        |record: &Record| matches!(record, Record::Announce(announce, _) if announce.seq == SEQ + 1);
    let to: Vec<_> = harness.sent.iter().filter(|sent| answered(&sent.2)).map(|sent| sent.1).collect();
    let offered: Vec<_> = harness
        .sent
        .iter()
        .filter(|sent| matches!(sent.2, Record::Offer { .. }))
        .map(|sent| sent.1)
        .collect();
    assert_eq!((to, offered), (vec![2], vec![1]));
    harness.sent.clear();
    harness.receive(4, &[request(3)]).unwrap();
    assert!(harness.take_sent_to(4).iter().any(answered), "a known newer seq is answered directly");
}

#[test]
fn a_much_better_infeasible_route_causes_a_request_after_two_seconds() {
    let mut harness = RouterHarness::new(3);
    harness.announce(1, 7, SEQ, 40, 1).unwrap();
    harness.wait(ms(20));
    harness.announce(2, 7, SEQ, 100, 2).unwrap();
    harness.router.neighbour_cost(1, 1000);
    harness.sent.clear();
    harness.wait(ms(1_900));
    let asks = |record: &Record| matches!(record, Record::SeqnoRequest(_));
    assert!(!harness.take_sent_to(2).iter().any(asks));
    harness.wait(ms(200));
    assert!(harness.take_sent_to(2).iter().any(asks));
    harness.announce(2, 7, SEQ + 1, 100, 2).unwrap();
    harness.wait(ms(2_100));
    assert_eq!(harness.next(7), Some(2));
}

#[test]
fn a_slightly_better_infeasible_route_causes_a_request_after_ten_seconds_and_is_used_once_feasible() {
    let mut harness = RouterHarness::new(3);
    harness.announce(1, 7, SEQ, 40, 1).unwrap();
    harness.wait(ms(20));
    harness.announce(2, 7, SEQ, 100, 2).unwrap();
    harness.router.neighbour_cost(1, 110);
    harness.sent.clear();
    harness.wait(ms(9_900));
    let asks = |record: &Record| matches!(record, Record::SeqnoRequest(_));
    assert!(!harness.take_sent_to(2).iter().any(asks));
    harness.wait(ms(200));
    assert_eq!(harness.take_sent_to(2).iter().filter(|record| asks(record)).count(), 1);
    harness.announce(2, 7, SEQ + 1, 100, 2).unwrap();
    assert_eq!(harness.next(7), Some(2));
    harness.wait(secs(60));
    assert_eq!(
        harness.sent.iter().filter(|(_, _, record)| asks(record)).count(),
        0,
        "there is nothing better"
    );
}

#[test]
fn requests_with_a_small_gain_are_sent_one_every_four_seconds() {
    let mut harness = RouterHarness::new(3);
    for number in 100..200 {
        harness.announce(1, number, SEQ, 40, 1).unwrap();
    }
    harness.wait(ms(20));
    for number in 100..200 {
        harness.announce(2, number, SEQ, 100, 2).unwrap();
    }
    harness.router.neighbour_cost(1, 110);
    harness.sent.clear();
    let asked = |harness: &mut RouterHarness| {
        harness.take_sent_to(2).iter().filter(|record| matches!(record, Record::SeqnoRequest(_))).count()
    };
    harness.wait(ms(10_500));
    assert_eq!(asked(&mut harness), 4);
    harness.wait(secs(60));
    let later = asked(&mut harness);
    assert!((13..=16).contains(&later), "{later}");
    // A much better route has no such bound.
    harness.router.neighbour_cost(1, 500);
    harness.wait(secs(11));
    assert!(asked(&mut harness) >= 100);
}

#[test]
fn a_requester_is_sent_the_newer_seq_even_when_the_route_has_become_shorter() {
    let mut harness = RouterHarness::new(3);
    harness.announce(1, 7, SEQ, 400, 5).unwrap();
    harness.wait(secs(5));
    harness.sent.clear();
    harness
        .receive(2, &[Record::SeqnoRequest(SeqnoRequest { dst: address(7), seq: SEQ + 1, ttl: 9, id: 1 })])
        .unwrap();
    harness.announce(1, 7, SEQ + 1, 70, 2).unwrap();
    let newer = |record: &Record| match record {
        Record::Announce(announce, _) => announce.seq == SEQ + 1,
        Record::Offer { seq, .. } => *seq == SEQ + 1,
        _ => false,
    };
    assert!(harness.take_sent_to(2).iter().any(newer), "a shorter route with the old seq is no answer");
}

#[test]
fn a_request_for_an_advertised_seq_is_neither_answered_nor_relayed() {
    let mut harness = RouterHarness::new(3);
    harness.announce(1, 7, SEQ + 1, 400, 5).unwrap();
    harness.wait(secs(5));
    harness.sent.clear();
    harness
        .receive(2, &[Record::SeqnoRequest(SeqnoRequest { dst: address(7), seq: SEQ + 1, ttl: 9, id: 1 })])
        .unwrap();
    harness.wait(secs(5));
    assert_eq!(harness.take_sent_to(2), [], "the channel loses nothing");
    assert_eq!(harness.take_sent_to(1), []);
}

#[test]
fn a_suspect_link_without_an_alternate_causes_a_request_at_once() {
    let mut harness = RouterHarness::new(3);
    harness.announce(1, 7, SEQ, 40, 1).unwrap();
    harness.wait(ms(20));
    harness.announce(2, 7, SEQ, 120, 3).unwrap();
    harness.sent.clear();
    harness.router.neighbour_suspect(harness.now, 1, true);
    harness.drain_outputs();
    let asks = |record: &Record| matches!(record, Record::SeqnoRequest(_));
    assert!(harness.take_sent_to(2).iter().any(asks));
    assert_eq!(harness.next(7), Some(1), "it is used until there is another");
    harness.announce(2, 7, SEQ + 1, 120, 3).unwrap();
    assert_eq!(harness.next(7), Some(2));
    harness.router.neighbour_suspect(harness.now, 1, false);
    harness.sent.clear();
    harness.wait(secs(1));
    assert!(!harness.take_sent_to(2).iter().any(asks), "the search is over");
}

#[test]
fn a_next_hop_that_sends_a_request_is_left_for_a_feasible_route() {
    let mut harness = RouterHarness::new(3);
    harness.announce(1, 7, SEQ, 40, 1).unwrap();
    harness.wait(secs(1));
    harness.announce(3, 7, SEQ, 400, 5).unwrap();
    harness
        .receive(1, &[Record::SeqnoRequest(SeqnoRequest { dst: address(7), seq: SEQ + 1, ttl: 9, id: 1 })])
        .unwrap();
    harness.sent.clear();
    harness.announce(3, 7, SEQ + 1, 400, 5).unwrap();
    assert_eq!(harness.next(7), Some(3), "although it is much longer");
    let newer = |record: &Record| match record {
        Record::Announce(announce, _) => announce.seq == SEQ + 1,
        Record::Offer { seq, .. } => *seq == SEQ + 1,
        _ => false,
    };
    assert!(harness.take_sent_to(1).iter().any(newer), "so that the request is answered");
}

#[test]
fn requests_that_cannot_reach_the_origin_hold_up_none_that_can() {
    let mut harness = RouterHarness::new(3);
    harness.announce(1, 7, SEQ, 160, 4).unwrap();
    harness.wait(secs(1));
    harness.sent.clear();
    let request = |seq, ttl, id| Record::SeqnoRequest(SeqnoRequest { dst: address(7), seq, ttl, id });
    for round in 0..20 {
        // The request reaches two hops only, each time that the limiter lets it pass.
        harness.receive(2, &[request(u64::MAX, 3, 100 + round)]).unwrap();
        harness.wait(ms(1));
        harness.receive(3, &[request(SEQ + 1, 64, 200 + round)]).unwrap();
        harness.wait(ms(30));
    }
    let passed = harness.take_sent_to(1);
    assert!(passed.contains(&request(SEQ + 1, 63, 200)), "{passed:?}");
    assert!(!passed.iter().any(|record| matches!(record, Record::SeqnoRequest(request) if request.ttl < 4)));
}

#[test]
fn requests_hold_up_no_announce_of_an_origins_past() {
    let mut harness = RouterHarness::new(3);
    harness.announce(1, 7, 1 << 32, 40, 1).unwrap();
    harness.wait(secs(1));
    harness.sent.clear();
    let request = |id| Record::SeqnoRequest(SeqnoRequest { dst: address(7), seq: u64::MAX, ttl: 64, id });
    harness.receive(2, &[request(1)]).unwrap();
    harness.receive(3, &[Record::YourHighest(signed_announce(7, SEQ))]).unwrap();
    assert!(harness.take_sent_to(1).contains(&Record::YourHighest(signed_announce(7, SEQ))));
    // An older announce does not hold up a newer one, although it may be repeated until it is answered.
    harness.wait(secs(1));
    harness.receive(2, &[Record::YourHighest(signed_announce(7, SEQ + 1))]).unwrap();
    harness.receive(3, &[Record::YourHighest(signed_announce(7, SEQ + 2))]).unwrap();
    harness.receive(2, &[Record::YourHighest(signed_announce(7, SEQ + 1))]).unwrap();
    assert_eq!(
        harness.take_sent_to(1),
        [SEQ + 1, SEQ + 2].map(|seq| Record::YourHighest(signed_announce(7, seq)))
    );
    harness.receive(3, &[request(2)]).unwrap();
    assert_eq!(harness.take_sent_to(1).len(), 1, "an announce does not hold up a request either");
}

#[test]
fn a_neighbour_whose_route_flaps_does_not_cause_a_request_each_time() {
    let mut harness = RouterHarness::new(3);
    harness.announce(1, 7, SEQ, 40, 1).unwrap();
    harness.wait(secs(1));
    harness.announce(2, 7, SEQ, 120, 3).unwrap();
    harness.sent.clear();
    let begin = harness.now;
    for _ in 0..600 {
        harness.update(1, 7, INFINITY, 0).unwrap();
        harness.update(1, 7, 40, 1).unwrap();
        harness.wait(ms(1));
    }
    harness.update(1, 7, INFINITY, 0).unwrap();
    harness.wait(secs(1));
    let asks: Vec<_> = harness
        .sent
        .iter()
        .filter(|(_, to, record)| *to == 2 && matches!(record, Record::SeqnoRequest(_)))
        .map(|(at, ..)| at.since(begin).as_millis())
        .collect();
    assert!((4..=16).contains(&asks.len()), "{asks:?}");
}
