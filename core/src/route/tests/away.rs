//! Links that are away for a moment: what was said over them holds when they are back.

use super::desk::Desk;
use super::net::ms;
use crate::types::RouteState;
use crate::wire::route::{INFINITY, Record};

const SEQ: u64 = 5 << 32;

/// The distances that UPDATEs told this neighbour, and how many other records it was sent.
fn told(desk: &mut Desk, to: u32) -> (Vec<u16>, usize) {
    let records = desk.heard(to);
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
fn while_a_link_is_away_nothing_goes_over_it_and_when_it_is_back_all_that_was_said_holds() {
    let mut desk = Desk::new(3);
    for number in 10..30 {
        desk.announce(1, number, SEQ, 40, 1).unwrap();
    }
    desk.announce(2, 10, SEQ, 60, 1).unwrap();
    desk.wait(ms(5_000));
    desk.sent.clear();
    desk.router.neighbour_away(desk.now, 1, true);
    desk.wait(ms(500));
    assert_eq!((desk.next(10), desk.next(11)), (Some(2), None));
    let states: Vec<RouteState> = desk
        .router
        .routes(desk.now)
        .iter()
        .filter(|route| route.neighbour == 1)
        .map(|route| route.state)
        .collect();
    // Of the others no way is left, and they are not listed.
    assert_eq!(states, [RouteState::Retracted]);
    // The third hears what is lost, at once; so does the first, but no more than that.
    let sent = desk.sent.clone();
    assert_eq!(told(&mut desk, 3).0.iter().filter(|metric| **metric == INFINITY).count(), 19);
    desk.sent = sent;
    assert_eq!(told(&mut desk, 1), (vec![INFINITY; 19], 0));
    desk.router.neighbour_away(desk.now, 1, false);
    desk.wait(ms(5_000));
    assert_eq!((desk.next(10), desk.next(11)), (Some(1), Some(1)), "without a word of the neighbour");
    assert!(!desk.router.routes(desk.now).iter().any(|route| route.state == RouteState::Retracted));
}

#[test]
fn a_link_that_is_back_costs_only_what_has_changed_meanwhile() {
    let mut desk = Desk::new(2);
    for number in 10..60 {
        desk.announce(2, number, SEQ, 40, 1).unwrap();
    }
    desk.wait(ms(5_000));
    desk.sent.clear();
    desk.router.neighbour_away(desk.now, 1, true);
    desk.wait(ms(100));
    desk.update(2, 10, 200, 1).unwrap();
    desk.update(2, 11, INFINITY, 0).unwrap();
    desk.announce(2, 70, SEQ, 40, 1).unwrap();
    desk.wait(ms(900));
    assert_eq!(told(&mut desk, 1), (vec![INFINITY], 0), "only what is lost");
    desk.router.neighbour_away(desk.now, 1, false);
    desk.wait(ms(500));
    assert_eq!(told(&mut desk, 1), (vec![240], 1), "one distance, one that is new");
    // Away ever again it is a link that flaps: it is the last resort, and told nothing at first.
    desk.router.neighbour_cost(desk.now, 2, 160);
    desk.announce(1, 80, SEQ, 40, 1).unwrap();
    desk.announce(2, 80, SEQ, 40, 1).unwrap();
    desk.wait(ms(3_000));
    assert_eq!(desk.next(80), Some(1));
    for _ in 0..2 {
        desk.router.neighbour_away(desk.now, 1, true);
        desk.wait(ms(500));
        desk.router.neighbour_away(desk.now, 1, false);
        desk.wait(ms(500));
    }
    desk.sent.clear();
    desk.update(2, 12, 300, 1).unwrap();
    desk.router.neighbour_away(desk.now, 1, true);
    desk.wait(ms(500));
    desk.router.neighbour_away(desk.now, 1, false);
    desk.wait(ms(900));
    assert_eq!((desk.next(80), told(&mut desk, 1)), (Some(2), (vec![], 0)));
    desk.wait(ms(60_000));
    assert_eq!(desk.next(80), Some(1));
    desk.router.neighbour_down(desk.now, 1);
    desk.take();
    assert_eq!(desk.next(80), Some(2));
}
