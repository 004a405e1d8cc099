//! The rules of the protocol, one by one, on a single router.

use std::time::Duration;

use super::harness::{RouterHarness, address, attributes, ms, signed_announce};
use crate::route::{FibEntry, LinkProperties};
use crate::stats::DropCause;
use crate::types::RouteState;
use crate::wire::route::{INFINITY, Record, Update, key_hash};

const SEQ: u64 = 5 << 32;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_shortest_route_is_used_and_the_second_best_is_the_alternate() {
    let mut harness = RouterHarness::new(3);
    for (id, metric) in [(1, 64), (2, 40), (3, 50)] {
        harness.announce(id, 7, SEQ, metric, 1).unwrap();
    }
    harness.router.neighbour_down(harness.now, 1);
    harness.drain_outputs();
    let entry = FibEntry { next: 2, alternate: Some(3), metric: 80, hops: 2, mtu: 1200 };
    assert_eq!(harness.fib.get(&address(7)), Some(&entry));
    let states: Vec<_> =
        harness.router.routes(harness.now).into_iter().map(|route| (route.neighbour, route.state)).collect();
    assert_eq!(states, [(2, RouteState::Active), (3, RouteState::Standby)]);
}

#[test]
fn a_route_at_or_above_the_feasibility_distance_is_neither_used_nor_an_alternate() {
    let mut harness = RouterHarness::new(3);
    harness.announce(1, 7, SEQ, 40, 1).unwrap();
    harness.wait(ms(20));
    // 80 was advertised, so that a neighbour at 80 may use this router.
    harness.announce(2, 7, SEQ, 80, 2).unwrap();
    assert_eq!(harness.fib[&address(7)].alternate, None);
    harness.announce(3, 7, SEQ, 79, 2).unwrap();
    assert_eq!(harness.fib[&address(7)].alternate, Some(3));
    harness.router.neighbour_down(harness.now, 1);
    harness.router.neighbour_down(harness.now, 3);
    harness.drain_outputs();
    assert_eq!(harness.next(7), None);
    assert_eq!(harness.router.routes(harness.now)[0].state, RouteState::Infeasible);
    harness.announce(2, 7, SEQ + 1, 80, 2).unwrap();
    assert_eq!(harness.next(7), Some(2), "a newer seq may be any distance away");
}

#[test]
fn an_alternate_that_is_infeasible_after_an_advert_is_removed() {
    let mut harness = RouterHarness::new(3);
    harness.announce(1, 7, SEQ, 200, 1).unwrap();
    harness.announce(2, 7, SEQ, 210, 1).unwrap();
    harness.wait(ms(20));
    assert_eq!(harness.fib[&address(7)].alternate, Some(2));
    harness.update(1, 7, 40, 1).unwrap();
    assert_eq!(harness.fib[&address(7)].alternate, Some(2), "no neighbour was sent the distance yet");
    harness.wait(secs(1));
    assert_eq!(harness.fib[&address(7)].alternate, None);
}

#[test]
fn a_feasible_route_stays_feasible_when_it_gets_longer() {
    let mut harness = RouterHarness::new(2);
    harness.announce(1, 7, SEQ, 40, 1).unwrap();
    harness.wait(ms(20));
    harness.update(1, 7, 500, 2).unwrap();
    assert_eq!(harness.next(7), Some(1), "a longer distance makes it no less feasible");
    harness.update(1, 7, INFINITY, 0).unwrap();
    harness.update(1, 7, 500, 2).unwrap();
    assert_eq!(harness.next(7), None, "once retracted, it has to prove it again");
}

#[test]
fn distances_below_their_hops_are_refused() {
    let mut harness = RouterHarness::new(2);
    assert_eq!(harness.announce(1, 7, SEQ, 63, 2), Err(DropCause::BadAnnounce));
    assert_eq!(harness.next(7), None);
    harness.announce(1, 7, SEQ, 64, 2).unwrap();
    assert_eq!(harness.update(1, 7, 95, 3), Err(DropCause::BadAnnounce));
    assert_eq!(harness.next(7), None, "a false distance retracts the route");
    assert_eq!(harness.announce(1, 8, SEQ, 4000, 64), Err(DropCause::BadAnnounce), "too many hops");
    assert_eq!(harness.announce(1, 8, SEQ, INFINITY, 1), Err(DropCause::BadAnnounce));
}

#[test]
fn sums_at_infinity_are_not_a_route() {
    let mut harness = RouterHarness::new(1);
    harness.announce(1, 7, SEQ, INFINITY - 40, 1).unwrap();
    assert_eq!(harness.next(7), None);
    harness.update(1, 7, INFINITY - 41, 1).unwrap();
    assert_eq!(harness.next(7), Some(1));
}

#[test]
fn a_loss_is_advertised_at_once_and_a_new_route_within_ten_milliseconds() {
    let mut harness = RouterHarness::new(2);
    harness.announce(1, 7, SEQ, 40, 1).unwrap();
    assert!(harness.advertised_to(2, 7).is_empty());
    let found = harness.now;
    harness.wait(ms(10));
    let advertised = harness.advertised_to(2, 7);
    assert_eq!(advertised.len(), 1);
    assert!(advertised[0].0.since(found) >= ms(5));
    assert_eq!(
        harness.advertised_to(1, 7).len(),
        1,
        "the next hop is sent it too, because it may need the route one day"
    );
    harness.update(1, 7, INFINITY, 0).unwrap();
    assert_eq!(harness.advertised_to(2, 7)[1..], [(harness.now, INFINITY)]);
}

#[test]
fn a_route_gives_way_when_another_was_better_by_an_eighth_for_two_seconds() {
    let mut harness = RouterHarness::new(2);
    harness.announce(1, 7, SEQ, 200, 1).unwrap();
    harness.announce(2, 7, SEQ, 171, 1).unwrap();
    harness.wait(secs(5));
    assert_eq!(harness.next(7), Some(1), "211 is not better than 240 by an eighth");
    harness.update(2, 7, 170, 1).unwrap();
    harness.wait(ms(1_900));
    assert_eq!(harness.next(7), Some(1));
    harness.update(2, 7, 190, 1).unwrap();
    harness.update(2, 7, 170, 1).unwrap();
    harness.wait(ms(1_900));
    assert_eq!(harness.next(7), Some(1), "the two seconds began again");
    harness.wait(ms(200));
    assert_eq!(harness.next(7), Some(2));
}

#[test]
fn a_suspect_route_is_left_at_once_and_nothing_is_retracted() {
    let mut harness = RouterHarness::new(3);
    harness.announce(1, 7, SEQ, 40, 1).unwrap();
    harness.announce(2, 7, SEQ, 60, 1).unwrap();
    harness.announce(1, 8, SEQ, 40, 1).unwrap();
    harness.wait(secs(1));
    harness.sent.clear();
    harness.router.neighbour_suspect(harness.now, 1, true);
    harness.drain_outputs();
    assert_eq!((harness.next(7), harness.next(8)), (Some(2), Some(1)), "the last resort is still used");
    assert_eq!(harness.fib[&address(7)].alternate, Some(1));
    harness.wait(ms(500));
    let retracts = |record: &Record| matches!(record, Record::Update(Update { metric: INFINITY, .. }));
    assert!(!harness.take_sent_to(3).iter().any(retracts));
    harness.router.neighbour_suspect(harness.now, 1, false);
    harness.wait(secs(3));
    assert_eq!(harness.next(7), Some(1), "better by an eighth for two seconds");
}

#[test]
fn changes_of_distance_are_advertised_less_and_less_often() {
    let mut harness = RouterHarness::new(2);
    harness.announce(1, 7, SEQ, 1000, 1).unwrap();
    harness.wait(ms(20));
    let begin = harness.now;
    for change in 0..1000u16 {
        harness.update(1, 7, 1000 - change % 2 * 100, 1).unwrap();
        harness.wait(ms(11));
    }
    let advertised: Vec<_> = harness.advertised_to(2, 7).into_iter().filter(|(at, _)| *at > begin).collect();
    let gaps: Vec<_> = advertised.windows(2).map(|pair| pair[1].0.since(pair[0].0)).collect();
    assert!(gaps.iter().all(|gap| *gap >= ms(195)), "{gaps:?}");
    assert!(gaps[gaps.len() - 2] >= ms(1_990), "{gaps:?}");
    assert!(advertised.len() <= 10, "{}", advertised.len());
    harness.wait(secs(10));
    harness.sent.clear();
    harness.update(1, 7, 500, 1).unwrap();
    harness.wait(ms(10));
    assert_eq!(harness.sent.len(), 2, "after a calm time the next change is advertised at once");
}

#[test]
fn a_renewed_announce_is_passed_on_within_a_minute_and_triggers_nothing() {
    let mut harness = RouterHarness::new(3);
    harness.announce(1, 7, SEQ, 40, 1).unwrap();
    harness.wait(secs(1800));
    harness.sent.clear();
    harness.announce(1, 7, SEQ + 1, 40, 1).unwrap();
    harness.wait(ms(20));
    assert!(harness.sent.is_empty());
    harness.wait(secs(60));
    let offered = |record: &Record| matches!(record, Record::Offer { seq, .. } if *seq == SEQ + 1);
    assert!(
        harness.take_sent_to(2).iter().any(offered),
        "an offer suffices, because it has the announce from elsewhere or requests it"
    );
    harness.announce(1, 7, SEQ + 2, 40, 1).unwrap();
    harness.wait(secs(120));
    assert!(
        harness
            .sent
            .iter()
            .all(|(_, _, record)| !matches!(record, Record::Offer { seq, .. } if *seq == SEQ + 2)),
        "a seq that was raised on request concerns only the requesters"
    );
}

#[test]
fn a_route_expires_with_its_announce_and_the_distance_is_kept_a_little_longer() {
    let mut harness = RouterHarness::new(2);
    let old = Record::Announce(
        signed_announce(7, SEQ),
        crate::wire::route::RouteAttributes { remaining: 100, ..attributes(7, 40, 1) },
    );
    harness.receive(1, &[old]).unwrap();
    harness.wait(secs(99));
    assert_eq!(harness.next(7), Some(1));
    harness.wait(secs(32));
    assert_eq!(harness.next(7), None);
    assert_eq!(harness.advertised_to(2, 7).last().map(|advertised| advertised.1), Some(INFINITY));
    harness.announce(2, 7, SEQ, 80, 2).unwrap();
    assert_eq!(harness.next(7), None, "the neighbour may have that route from this router");
    harness.router.neighbour_down(harness.now, 2);
    harness.wait(secs(5600));
    assert_eq!(harness.router.destinations(), 1, "only our own address is left");
}

#[test]
fn lifetimes_are_counted_down_hop_by_hop() {
    let mut harness = RouterHarness::new(2);
    let old = Record::Announce(
        signed_announce(7, SEQ),
        crate::wire::route::RouteAttributes { remaining: 1000, ..attributes(7, 40, 1) },
    );
    harness.receive(1, std::slice::from_ref(&old)).unwrap();
    harness.wait(secs(10));
    harness.sent.clear();
    harness.router.neighbour_up(harness.now, 9, LinkProperties::new(address(909), 40, 1300, true));
    harness.drain_outputs();
    let left = harness.take_sent_to(9).into_iter().find_map(|record| match record {
        Record::Offer { key_hash: hash, attributes, .. } if hash == key_hash(&address(7)) => {
            Some(attributes.remaining)
        }
        _ => None,
    });
    assert!(left.is_some_and(|left| (980..=990).contains(&left)), "{left:?}");
    let wrong = Record::Announce(
        signed_announce(8, SEQ),
        crate::wire::route::RouteAttributes { remaining: 5401, ..attributes(8, 40, 1) },
    );
    assert_eq!(
        harness.receive(1, &[wrong]),
        Err(DropCause::BadAnnounce),
        "no copy outlives the lifetime that the origin set"
    );
}

#[test]
fn a_neighbour_with_the_announce_gets_an_offer_and_one_without_it_requests_it() {
    let mut harness = RouterHarness::new(2);
    harness.announce(1, 7, SEQ, 40, 1).unwrap();
    harness.wait(ms(20));
    let kinds = |records: Vec<Record>| -> Vec<&str> {
        let name = |record: &Record| match record {
            Record::Announce(..) => "announce",
            Record::Offer { .. } => "offer",
            Record::Update(_) => "update",
            _ => "other",
        };
        records.iter().map(name).collect()
    };
    let sent = harness.sent.clone();
    assert_eq!(kinds(harness.take_sent_to(1)), ["offer"]);
    harness.sent = sent;
    assert_eq!(kinds(harness.take_sent_to(2)), ["announce"]);
    // The other direction: an unknown announce is requested.
    let offer = Record::Offer { key_hash: key_hash(&address(8)), seq: SEQ, attributes: attributes(8, 40, 1) };
    harness.receive(1, std::slice::from_ref(&offer)).unwrap();
    assert_eq!(harness.take_sent_to(1), [Record::Want { idx: 8 }]);
    harness.announce(1, 8, SEQ, 40, 1).unwrap();
    harness
        .receive(
            2,
            &[Record::Offer { key_hash: key_hash(&address(8)), seq: SEQ, attributes: attributes(8, 50, 1) }],
        )
        .unwrap();
    assert_eq!(harness.fib[&address(8)].alternate, Some(2), "the announce arrived from the other neighbour");
    // A neighbour that requests it is sent it.
    harness.wait(secs(10));
    harness.sent.clear();
    harness.router.neighbour_up(harness.now, 9, LinkProperties::new(address(909), 40, 1300, true));
    harness.drain_outputs();
    let advertised = harness.take_sent_to(9);
    assert!(advertised.iter().all(|record| matches!(record, Record::Offer { .. })));
    for record in advertised {
        let Record::Offer { key_hash: hash, attributes, .. } = record else { continue };
        if hash == key_hash(&address(7)) {
            harness.receive(9, &[Record::Want { idx: attributes.idx }]).unwrap();
        }
    }
    harness.wait(ms(20));
    assert!(
        matches!(&harness.take_sent_to(9)[..], [Record::Announce(announce, _)] if announce.dst == address(7))
    );
}

#[test]
fn an_idx_that_is_reused_removes_its_old_route() {
    let mut harness = RouterHarness::new(1);
    harness.announce(1, 7, SEQ, 40, 1).unwrap();
    harness.receive(1, &[Record::Announce(signed_announce(8, SEQ), attributes(7, 40, 1))]).unwrap();
    assert_eq!((harness.next(7), harness.next(8)), (None, Some(1)));
    harness.update(1, 7, INFINITY, 0).unwrap();
    assert_eq!(harness.next(8), None);
}

#[test]
fn a_route_gives_way_when_another_was_better_by_a_sixteenth_for_ten_seconds() {
    let mut harness = RouterHarness::new(3);
    harness.announce(1, 8, SEQ, 200, 1).unwrap();
    harness.wait(ms(20));
    harness.announce(2, 8, SEQ, 185, 1).unwrap();
    harness.announce(1, 9, SEQ, 200, 1).unwrap();
    harness.wait(ms(20));
    harness.announce(2, 9, SEQ, 186, 1).unwrap();
    harness.wait(ms(9_900));
    assert_eq!(harness.next(8), Some(1));
    // It fluctuates for a moment, so that the ten seconds begin again.
    harness.update(2, 8, 190, 1).unwrap();
    harness.update(2, 8, 185, 1).unwrap();
    harness.wait(ms(9_900));
    assert_eq!(harness.next(8), Some(1));
    harness.wait(ms(200));
    assert_eq!(harness.next(8), Some(2), "225 is better than 240 by a sixteenth");
    harness.wait(secs(60));
    assert_eq!(harness.next(9), Some(1), "226 is not");
    // The way back takes as long, so that there are no two changes within ten seconds.
    harness.update(2, 8, 216, 1).unwrap();
    harness.wait(ms(9_900));
    assert_eq!(harness.next(8), Some(2));
    harness.wait(ms(200));
    assert_eq!(harness.next(8), Some(1));
}

#[test]
fn small_changes_of_cost_are_not_advertised() {
    let mut harness = RouterHarness::new(2);
    harness.announce(1, 7, SEQ, 40, 1).unwrap();
    harness.wait(secs(1));
    harness.sent.clear();
    harness.router.neighbour_cost(1, 44);
    harness.wait(secs(1));
    assert!(harness.sent.is_empty());
    harness.router.neighbour_cost(1, 45);
    harness.wait(secs(1));
    assert_eq!(harness.advertised_to(2, 7), [], "the idx was given before");
    assert!(harness.take_sent_to(2).contains(&Record::Update(Update {
        idx: 1,
        metric: 85,
        hops: 2,
        chain: None
    })));
}

#[test]
fn the_routes_to_one_destination_are_those_of_the_whole_list() {
    let mut harness = RouterHarness::new(3);
    for (from, number, metric, hops) in [(1, 7, 40, 1), (2, 7, 60, 1), (3, 7, 900, 3), (1, 8, 40, 1)] {
        harness.announce(from, number, SEQ, metric, hops).unwrap();
        harness.wait(ms(20));
    }
    harness.update(2, 7, INFINITY, 0).unwrap();
    for number in [0, 7, 8, 9] {
        let listed =
            harness.router.routes(harness.now).into_iter().filter(|one| one.destination == address(number));
        assert_eq!(harness.router.routes_to(harness.now, &address(number)), listed.collect::<Vec<_>>());
    }
    assert_eq!(harness.router.routes_to(harness.now, &address(7)).len(), 3);
    assert_eq!(harness.router.routes_to(harness.now, &address(0)), [], "none to its own address");
}

#[test]
fn a_destination_that_has_gone_is_not_listed_and_its_feasibility_distance_is_kept() {
    let mut harness = RouterHarness::new(3);
    harness.announce(1, 7, SEQ, 80, 2).unwrap();
    harness.announce(2, 7, SEQ, 90, 2).unwrap();
    harness.wait(ms(20));
    let listed = |harness: &RouterHarness| {
        let routes = harness.router.routes(harness.now);
        assert_eq!(routes, harness.router.routes_to(harness.now, &address(7)));
        routes.iter().map(|route| (route.neighbour, route.state)).collect::<Vec<_>>()
    };
    assert_eq!(listed(&harness), [(1, RouteState::Active), (2, RouteState::Standby)]);
    harness.update(1, 7, INFINITY, 0).unwrap();
    assert_eq!(listed(&harness), [(1, RouteState::Retracted), (2, RouteState::Active)]);
    harness.update(2, 7, INFINITY, 0).unwrap();
    assert_eq!(listed(&harness), []);
    // An infeasible route is listed but not used, because it may become feasible.
    harness.announce(3, 7, SEQ, 200, 3).unwrap();
    assert_eq!(
        (listed(&harness).last().copied(), harness.next(7)),
        (Some((3, RouteState::Infeasible)), None)
    );
}
