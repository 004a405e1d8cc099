//! Delivery scores: a next hop that loses packets is avoided and gets another chance, and no loop results from it.

use std::time::Duration;

use super::harness::{RouterHarness, address, ms};
use crate::route::LinkProperties;
use crate::types::RouteState;

const SEQ: u64 = 5 << 32;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Two routes to 7, at 80 over the first neighbour and at 200 over the second. The third receives adverts.
fn two_ways() -> RouterHarness {
    let mut harness = RouterHarness::new(3);
    // The second is as near to the destination but behind a costly link, so that it is feasible.
    harness.router.neighbour_cost(2, 160);
    for number in [7, 8] {
        harness.announce(1, number, SEQ, 40, 1).unwrap();
        harness.announce(2, number, SEQ, 40, 1).unwrap();
    }
    harness.wait(secs(3));
    assert_eq!(harness.fib[&address(7)].alternate, Some(2));
    harness
}

impl RouterHarness {
    fn score(&mut self, number: usize, over: u32, delivered: u32, lost: u32) {
        self.router.score(self.now, &address(number), over, delivered, lost);
        self.drain_outputs();
    }

    fn state(&self, number: usize, over: u32) -> (RouteState, u16) {
        let routes = self.router.routes(self.now);
        let found = routes
            .iter()
            .find(|route| route.destination == address(number) && route.neighbour == over)
            .unwrap();
        (found.state, found.metric)
    }
}

#[test]
fn a_next_hop_that_loses_more_than_half_gives_way_at_once_and_for_that_destination_only() {
    let mut harness = two_ways();
    harness.score(7, 1, 8, 8);
    assert_eq!(harness.next(7), Some(1), "half is not less than half");
    harness.score(7, 1, 0, 1);
    assert_eq!((harness.next(7), harness.next(8)), (Some(2), Some(1)));
    assert_eq!(harness.state(7, 1), (RouteState::Avoided, 320));
    assert_eq!(harness.state(7, 2), (RouteState::Active, 200));
}

#[test]
fn an_avoided_next_hop_gets_another_chance_and_waits_twice_as_long_the_next_time() {
    let mut harness = two_ways();
    harness.score(7, 1, 0, 16);
    harness.wait(secs(59));
    assert_eq!(harness.next(7), Some(2));
    harness.wait(secs(4));
    assert_eq!(harness.next(7), Some(1), "a minute, and two seconds as for any better route");
    harness.score(7, 1, 0, 16);
    assert_eq!(harness.next(7), Some(2));
    harness.wait(secs(119));
    assert_eq!(harness.next(7), Some(2));
    harness.wait(secs(4));
    assert_eq!(harness.next(7), Some(1));
}

#[test]
fn the_only_route_is_used_despite_losses_and_advertised_at_its_cost() {
    let mut harness = RouterHarness::new(2);
    harness.announce(1, 7, SEQ, 40, 1).unwrap();
    harness.wait(secs(1));
    harness.sent.clear();
    harness.events.clear();
    for _ in 0..50 {
        harness.score(7, 1, 1, 3);
        harness.wait(secs(1));
    }
    assert_eq!((harness.next(7), harness.fib[&address(7)].metric), (Some(1), 80));
    assert_eq!(harness.state(7, 1).0, RouteState::Active);
    assert_eq!(harness.sent, [], "scores are not advertised");
    assert_eq!(harness.events, []);
    harness.score(7, 1, 16, 0);
    assert_eq!(
        harness.state(7, 1),
        (RouteState::Active, 80),
        "a route that delivers again has its former rank"
    );
}

#[test]
fn of_two_lossy_routes_neither_is_left_more_than_a_few_times() {
    let mut harness = two_ways();
    harness.events.clear();
    for _ in 0..600 {
        let over = harness.next(7).unwrap();
        harness.score(7, over, 1, 3);
        harness.wait(secs(1));
    }
    let switches = harness
        .events
        .iter()
        .filter(|event| matches!(event, crate::route::RouterOutput::Changed { .. }))
        .count();
    assert!(switches <= 60, "{switches} switches in ten minutes");
}

#[test]
fn an_infeasible_route_is_not_used_because_of_a_score() {
    let mut harness = RouterHarness::new(3);
    harness.announce(1, 7, SEQ, 40, 1).unwrap();
    harness.wait(secs(1));
    harness.announce(2, 7, SEQ, 100, 2).unwrap();
    harness.sent.clear();
    harness.score(7, 1, 0, 16);
    assert_eq!(harness.next(7), Some(1));
    // A newer seq is requested at once, so that the route becomes feasible.
    harness.wait(ms(1));
    let asks = |record: &_| matches!(record, crate::wire::route::Record::SeqnoRequest(_));
    assert!(harness.take_sent_to(2).iter().any(asks));
    harness.announce(2, 7, SEQ + 1, 100, 2).unwrap();
    assert_eq!(harness.next(7), Some(2));
}

#[test]
fn losses_of_a_failing_link_do_not_count_for_its_neighbour_and_scores_are_bounded() {
    let mut harness = two_ways();
    harness.score(7, 1, 0, 16);
    harness.router.neighbour_suspect(harness.now, 1, true);
    harness.router.neighbour_suspect(harness.now, 1, false);
    harness.drain_outputs();
    assert_eq!(harness.state(7, 1).1, 80);
    // A new link does not clear older losses, because they were not the link's.
    harness.score(7, 1, 0, 16);
    harness.wait(secs(5));
    harness.router.neighbour_down(harness.now, 1);
    harness.router.neighbour_up(harness.now, 9, LinkProperties::new(address(901), 40, 1400, true));
    harness.drain_outputs();
    harness.announce(9, 7, SEQ + 2, 40, 1).unwrap();
    harness.announce(2, 7, SEQ + 2, 40, 1).unwrap();
    harness.wait(secs(3));
    assert_eq!(harness.next(7), Some(2));
    // The last hop is the destination itself, so that there is no relay to judge.
    harness.announce(3, 903, SEQ, 0, 0).unwrap();
    harness.score(903, 3, 0, 16);
    assert_eq!(harness.state(903, 3), (RouteState::Active, 40));
    let memory = harness.router.scores.len();
    for number in 10_000..12_000 {
        harness.router.score(harness.now, &crate::address::Address::from_bytes([number as u8; 32]), 2, 0, 1);
        let mut bytes = [3; 32];
        bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
        harness.router.score(harness.now, &crate::address::Address::from_bytes(bytes), 2, 0, 16);
    }
    assert!(memory < 10 && harness.router.scores.len() <= 1024);
    harness.wait(secs(3600));
    assert!(harness.router.scores.is_empty());
}
