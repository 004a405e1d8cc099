//! How much neighbours may introduce, and that none is kept out by another.

use super::desk::{Desk, address, attributes, signed_announce};
use super::net::ms;
use crate::route::{Location, NeighbourId, RouterConfig};
use crate::stats::DropCause;
use crate::wire::route::{INFINITY, Record, Update};

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
    let offer = |number: u32| Record::Offer {
        key_hash: u64::from(number),
        seq: SEQ,
        attributes: attributes(number, 32, 1),
    };
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

/// The link to a neighbour, made again: under another id, and by an identity of its own where it is a stranger.
fn again(desk: &mut Desk, id: NeighbourId, location: Option<Location>) {
    desk.router.neighbour_down(desk.now, id - 1);
    let number = if location.is_some() { 900 + id as usize } else { 900 };
    if let Some(location) = location {
        desk.router.neighbour_location(id, location);
    }
    desk.router.neighbour_up(desk.now, id, address(number), 40, 1400, location.is_none());
    desk.take();
}

/// A configured neighbour, a stranger that has an identity for each link, and one that has an address for each as well.
fn comers(nth: u32) -> [Option<Location>; 3] {
    [None, Some(Location { host: 5, network: 9 }), Some(Location { host: u64::from(nth), network: 9 })]
}

/// How many attempts, so many in each of so many sessions, are not refused by a quota.
fn admitted(
    kind: usize,
    (sessions, attempts): (u32, u32),
    mut attempt: impl FnMut(&mut Desk, NeighbourId) -> bool,
) -> u32 {
    let mut desk = Desk::with(0, RouterConfig { new_burst: 50, ..RouterConfig::default() });
    let mut admitted = 0;
    for nth in 1..=sessions {
        again(&mut desk, nth, comers(nth)[kind]);
        admitted += (0..attempts).map(|_| u32::from(attempt(&mut desk, nth))).sum::<u32>();
    }
    admitted
}

#[test]
fn a_new_session_does_not_begin_with_new_quotas() {
    // A host has what four neighbours have, and a network what eight have.
    for (kind, hosts) in [(0, 1), (1, 4), (2, 8)] {
        let mut number = 1_000;
        let destinations = admitted(kind, (10, 20), |desk, nth| {
            number += 1;
            desk.announce(nth, number, SEQ, 32, 1).is_ok()
        });
        assert_eq!(destinations, 50, "{kind}");
        let mut seq = SEQ;
        let signatures = admitted(kind, (12, 60), |desk, nth| {
            seq += 1;
            let mut forged = signed_announce(900 + nth as usize, seq);
            forged.signature[0] ^= 1;
            let said = Record::Announce(forged, attributes(8, 64, 2));
            desk.router.want_route(desk.now, &address(900 + nth as usize));
            desk.say(nth, &[said]) == Err(DropCause::BadAnnounce)
        });
        assert!((60 * hosts..=70 * hosts).contains(&signatures), "{kind}: {signatures} signatures");
        let announces: Vec<_> =
            (0..=40).map(|nth| signed_announce(900 + if kind == 0 { 0 } else { nth }, SEQ)).collect();
        let proofs = admitted(kind, (40, 125), |desk, nth| {
            let own = announces[nth as usize].clone();
            let _ = desk.say(nth, &[Record::Announce(own, attributes(7, 2_016, 63))]);
            let lie = Update { idx: 7, metric: 0, hops: 0, chain: Some([1; 16]) };
            desk.say(nth, &[Record::Update(lie)]) == Err(DropCause::BadAnnounce)
        });
        assert!((500 * hosts..=520 * hosts).contains(&proofs), "{kind}: {proofs} proofs");
    }
}

#[test]
fn false_proofs_are_soon_not_looked_at_and_what_was_not_is_asked_for_again() {
    let mut desk = Desk::new(2);
    desk.announce(1, 7, SEQ, 2_016, 63).unwrap();
    let (mut false_ones, mut later) = (0, 0);
    for _ in 0..3_000 {
        let lie = Update { idx: 7, metric: 0, hops: 0, chain: Some([1; 16]) };
        match desk.say(1, &[Record::Update(lie)]) {
            Err(DropCause::BadAnnounce) => false_ones += 1,
            Err(DropCause::VerifyLimit) => later += 1,
            other => panic!("{other:?}"),
        }
        desk.now = desk.now + ms(1);
    }
    assert!((500..650).contains(&false_ones), "{false_ones} looked at: 512 at once, 32 a second");
    assert_eq!(false_ones + later, 3_000);
    assert_eq!(desk.next(7), None, "nobody believes what was not looked at");
    // Another neighbour's proofs are looked at meanwhile.
    desk.announce(2, 7, SEQ, 64, 2).unwrap();
    assert_eq!(desk.next(7), Some(2));
    desk.sent.clear();
    desk.wait(ms(1_000));
    assert!(desk.heard(1).iter().any(|record| matches!(record, Record::Want { idx: 7 })));
    desk.say(1, &[Record::Announce(signed_announce(7, SEQ), attributes(7, 32, 1))]).unwrap();
    desk.wait(ms(20_000));
    assert_eq!(desk.next(7), Some(1));
}

#[test]
fn hosts_take_turns_however_many_identities_each_has() {
    let config = RouterConfig { new_burst: 10, ..RouterConfig::default() };
    let mut desk = Desk::with(0, config);
    // Thirty of one host, and one of another.
    for id in 1..=31 {
        desk.router.neighbour_location(id, Location { host: u64::from(id == 31), network: 9 });
        desk.router.neighbour_up(desk.now, id, address(900 + id as usize), 40, 1400, false);
    }
    let offer = |number: u32| Record::Offer {
        key_hash: u64::from(number),
        seq: SEQ,
        attributes: attributes(number, 32, 1),
    };
    for number in 1_000..1_100 {
        for id in 1..=31 {
            let _ = desk.say(id, &[offer(number * 100 + id)]);
        }
    }
    desk.sent.clear();
    desk.wait(ms(4_000));
    let wants = |by: NeighbourId| {
        desk.sent.iter().filter(|(_, to, record)| *to == by && matches!(record, Record::Want { .. })).count()
    };
    let crowd: usize = (1..=30).map(wants).sum();
    assert!((35..=45).contains(&wants(31)) && crowd.abs_diff(wants(31)) <= 2, "{} and {crowd}", wants(31));
    assert!((1..=30).all(|id| wants(id) <= 2), "and on one host its neighbours do");
}
