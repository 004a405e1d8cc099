//! How much neighbours may introduce, and that none is kept out by another.

use super::desk::{Desk, address, tail};
use super::net::ms;
use crate::route::RouterConfig;
use crate::wire::route::{INFINITY, Record};

const SEQ: u64 = 5 << 32;

#[test]
fn neighbours_that_nobody_configured_share_one_quota() {
    let config = RouterConfig { new_burst: 10, ..RouterConfig::default() };
    let mut desk = Desk::with(0, config);
    for id in 1..=3 {
        desk.router.neighbour_up(desk.now, id, address(900 + id as usize), 40, 1400, id == 3);
    }
    let refused = |desk: &mut Desk, id, numbers: std::ops::Range<usize>| {
        numbers.filter(|number| desk.announce(id, *number, SEQ, 32, 1).is_err()).count()
    };
    assert_eq!(refused(&mut desk, 1, 10..18), 0);
    assert_eq!(refused(&mut desk, 2, 20..28), 6);
    assert_eq!(refused(&mut desk, 3, 30..40), 0, "a configured one has its own");
    assert_eq!(desk.announce(2, 902, SEQ, 0, 0), Ok(()), "a neighbour itself needs no quota");
    desk.router.want_route(desk.now, &address(50));
    assert_eq!(desk.announce(2, 50, SEQ, 32, 1), Ok(()), "nor does whom an application sends to");
}

#[test]
fn who_has_much_to_introduce_keeps_nobody_else_out_of_the_quota_that_they_share() {
    let config = RouterConfig { new_burst: 10, ..RouterConfig::default() };
    let mut desk = Desk::with(0, config);
    for id in 1..=3 {
        desk.router.neighbour_up(desk.now, id, address(900 + id as usize), 40, 1400, false);
    }
    let offer =
        |number: u32| Record::Offer { key_hash: u64::from(number), seq: SEQ, tail: tail(number, 32, 1) };
    let wants = |desk: &Desk, by: u32| {
        desk.sent.iter().filter(|(_, to, record)| *to == by && matches!(record, Record::Want { .. })).count()
    };
    let mut number = 1_000;
    let mut flood = |desk: &mut Desk, by| {
        number += 1;
        let _ = desk.say(by, &[offer(number)]);
    };
    (0..2_000).for_each(|_| flood(&mut desk, 1));
    for number in 100..120 {
        let _ = desk.say(2, &[offer(number)]);
    }
    // Twenty a second for the three of them, of which two always want more.
    for _ in 0..6_000 {
        flood(&mut desk, 1);
        flood(&mut desk, 3);
        desk.wait(ms(1));
    }
    assert_eq!(wants(&desk, 2), 20, "the others had {} and {}", wants(&desk, 1), wants(&desk, 3));
    assert!(wants(&desk, 1) + wants(&desk, 2) + wants(&desk, 3) <= 10 + 20 * 6 + 1);
    assert!(wants(&desk, 3) > 30, "{}", wants(&desk, 3));
}

#[test]
fn who_says_now_this_and_now_that_fills_no_memory_with_timers() {
    let mut desk = Desk::new(3);
    desk.announce(1, 7, SEQ, 4_000, 1).unwrap();
    desk.announce(2, 7, SEQ, 3_990, 1).unwrap();
    desk.wait(ms(20_000));
    let before = desk.router.timers.len();
    for _ in 0..3_000 {
        // Better by little, better by much, worse, gone.
        for metric in [3_600, 2_000, 3_990, INFINITY, 3_990] {
            desk.update(2, 7, metric, u8::from(metric != INFINITY)).unwrap();
            desk.now = desk.now + std::time::Duration::from_micros(50);
        }
    }
    let armed = desk.router.timers.len();
    assert!(armed <= before + 8, "{armed} timers, {before} before");
    // And what was to be looked at is.
    desk.update(2, 7, 2_000, 1).unwrap();
    desk.wait(ms(2_100));
    assert_eq!(desk.next(7), Some(2));
}
