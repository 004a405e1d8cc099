//! Links that are away for a moment: routes advertised over them are still valid when they are back.

use super::harness::{RouterHarness, ms};
use crate::types::RouteState;
use crate::wire::route::{INFINITY, Record};

const SEQ: u64 = 5 << 32;

/// The metrics of the UPDATEs that this neighbour was sent, and the number of other records.
fn advertised_to(harness: &mut RouterHarness, to: u32) -> (Vec<u16>, usize) {
    let records = harness.take_sent_to(to);
    let metrics: Vec<u16> = records
        .iter()
        .filter_map(|record| match record {
            Record::Update(update) => Some(update.metric),
            _ => None,
        })
        .collect();
    let others = records.len() - metrics.len();
    (metrics, others)
}

#[test]
fn while_a_link_is_away_no_route_uses_it_and_its_routes_are_valid_when_it_is_back() {
    let mut harness = RouterHarness::new(3);
    for number in 10..30 {
        harness.announce(1, number, SEQ, 40, 1).unwrap();
    }
    harness.announce(2, 10, SEQ, 60, 1).unwrap();
    harness.wait(ms(5_000));
    harness.sent.clear();
    harness.router.neighbour_away(harness.now, 1, true);
    harness.wait(ms(500));
    assert_eq!((harness.next(10), harness.next(11)), (Some(2), None));
    let states: Vec<RouteState> = harness
        .router
        .routes(harness.now)
        .iter()
        .filter(|route| route.neighbour == 1)
        .map(|route| route.state)
        .collect();
    // The others have no route left, so they are not listed.
    assert_eq!(states, [RouteState::Retracted]);
    // The third neighbour is sent the losses at once. So is the first, but nothing else because its link is away.
    let sent = harness.sent.clone();
    assert_eq!(advertised_to(&mut harness, 3).0.iter().filter(|metric| **metric == INFINITY).count(), 19);
    harness.sent = sent;
    assert_eq!(advertised_to(&mut harness, 1), (vec![INFINITY; 19], 0));
    harness.router.neighbour_away(harness.now, 1, false);
    harness.wait(ms(5_000));
    assert_eq!(
        (harness.next(10), harness.next(11)),
        (Some(1), Some(1)),
        "although the neighbour sent nothing"
    );
    assert!(!harness.router.routes(harness.now).iter().any(|route| route.state == RouteState::Retracted));
}

#[test]
fn a_link_that_is_back_costs_only_what_has_changed_meanwhile() {
    let mut harness = RouterHarness::new(2);
    for number in 10..60 {
        harness.announce(2, number, SEQ, 40, 1).unwrap();
    }
    harness.wait(ms(5_000));
    harness.sent.clear();
    harness.router.neighbour_away(harness.now, 1, true);
    harness.wait(ms(100));
    harness.update(2, 10, 200, 1).unwrap();
    harness.update(2, 11, INFINITY, 0).unwrap();
    harness.announce(2, 70, SEQ, 40, 1).unwrap();
    harness.wait(ms(900));
    assert_eq!(advertised_to(&mut harness, 1), (vec![INFINITY], 0), "only what is lost");
    harness.router.neighbour_away(harness.now, 1, false);
    harness.wait(ms(500));
    assert_eq!(advertised_to(&mut harness, 1), (vec![240], 1), "one distance, one that is new");
    // A link that is away again and again flaps: it is a last resort, and the table is sent over it later.
    harness.router.neighbour_cost(2, 160);
    harness.announce(1, 80, SEQ, 40, 1).unwrap();
    harness.announce(2, 80, SEQ, 40, 1).unwrap();
    harness.wait(ms(3_000));
    assert_eq!(harness.next(80), Some(1));
    for _ in 0..2 {
        harness.router.neighbour_away(harness.now, 1, true);
        harness.wait(ms(500));
        harness.router.neighbour_away(harness.now, 1, false);
        harness.wait(ms(500));
    }
    harness.sent.clear();
    harness.update(2, 12, 300, 1).unwrap();
    harness.router.neighbour_away(harness.now, 1, true);
    harness.wait(ms(500));
    harness.router.neighbour_away(harness.now, 1, false);
    harness.wait(ms(900));
    assert_eq!((harness.next(80), advertised_to(&mut harness, 1)), (Some(2), (vec![], 0)));
    harness.wait(ms(60_000));
    assert_eq!(harness.next(80), Some(1));
    harness.router.neighbour_down(harness.now, 1);
    harness.drain_outputs();
    assert_eq!(harness.next(80), Some(2));
}
