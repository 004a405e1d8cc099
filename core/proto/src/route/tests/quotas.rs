//! Quotas of new destinations, signatures and proofs: they are bounded, and no neighbour uses up another's.

use super::harness::{RouterHarness, address, attributes, ms, signed_announce};
use crate::route::{LinkProperties, Location, NeighbourId, RouterConfig};
use crate::stats::DropCause;
use crate::wire::route::{INFINITY, Record, Update};

const SEQ: u64 = 5 << 32;

#[test]
fn unconfigured_neighbours_share_one_quota() {
    let config = RouterConfig { new_burst: 10, ..RouterConfig::default() };
    let mut harness = RouterHarness::with(0, config);
    for id in 1..=3 {
        harness.router.neighbour_up(
            harness.now,
            id,
            LinkProperties::new(address(900 + id as usize), 40, 1400, id == 3),
        );
    }
    let refused = |harness: &mut RouterHarness, id, numbers: std::ops::Range<usize>| {
        numbers.filter(|number| harness.announce(id, *number, SEQ, 32, 1).is_err()).count()
    };
    assert_eq!(refused(&mut harness, 1, 10..18), 0);
    assert_eq!(refused(&mut harness, 2, 20..28), 6);
    assert_eq!(refused(&mut harness, 3, 30..40), 0, "a configured neighbour has a quota of its own");
    assert_eq!(harness.announce(2, 902, SEQ, 0, 0), Ok(()), "a neighbour itself needs no quota");
    harness.router.want_route(harness.now, &address(50));
    assert_eq!(
        harness.announce(2, 50, SEQ, 32, 1),
        Ok(()),
        "a destination that an application sends to needs none either"
    );
}

#[test]
fn a_neighbour_with_many_destinations_does_not_use_up_the_shared_quota() {
    let config = RouterConfig { new_burst: 10, ..RouterConfig::default() };
    let mut harness = RouterHarness::with(0, config);
    for id in 1..=3 {
        harness.router.neighbour_up(
            harness.now,
            id,
            LinkProperties::new(address(900 + id as usize), 40, 1400, false),
        );
    }
    let offer = |number: u32| Record::Offer {
        key_hash: u64::from(number),
        seq: SEQ,
        attributes: attributes(number, 32, 1),
    };
    let wants = |harness: &RouterHarness, by: u32| {
        harness
            .sent
            .iter()
            .filter(|(_, to, record)| *to == by && matches!(record, Record::Want { .. }))
            .count()
    };
    let mut number = 1_000;
    let mut flood = |harness: &mut RouterHarness, by| {
        number += 1;
        let _ = harness.receive(by, &[offer(number)]);
    };
    (0..2_000).for_each(|_| flood(&mut harness, 1));
    for number in 100..120 {
        let _ = harness.receive(2, &[offer(number)]);
    }
    // The three share twenty a second, and two of them always have more.
    for _ in 0..6_000 {
        flood(&mut harness, 1);
        flood(&mut harness, 3);
        harness.wait(ms(1));
    }
    assert_eq!(wants(&harness, 2), 20, "the others had {} and {}", wants(&harness, 1), wants(&harness, 3));
    assert!(wants(&harness, 1) + wants(&harness, 2) + wants(&harness, 3) <= 10 + 20 * 6 + 1);
    assert!(wants(&harness, 3) > 30, "{}", wants(&harness, 3));
}

#[test]
fn a_neighbour_whose_updates_alternate_fills_no_memory_with_timers() {
    let mut harness = RouterHarness::new(3);
    harness.announce(1, 7, SEQ, 4_000, 1).unwrap();
    harness.announce(2, 7, SEQ, 3_990, 1).unwrap();
    harness.wait(ms(20_000));
    let before = harness.router.timers.len();
    for _ in 0..3_000 {
        // Slightly better, much better, worse, retracted.
        for metric in [3_600, 2_000, 3_990, INFINITY, 3_990] {
            harness.update(2, 7, metric, u8::from(metric != INFINITY)).unwrap();
            harness.now = harness.now + std::time::Duration::from_micros(50);
        }
    }
    let armed = harness.router.timers.len();
    assert!(armed <= before + 8, "{armed} timers, {before} before");
    // The timers that remain still fire.
    harness.update(2, 7, 2_000, 1).unwrap();
    harness.wait(ms(2_100));
    assert_eq!(harness.next(7), Some(2));
}

/// A new link to a neighbour under another id; a stranger also has a new identity.
fn again(harness: &mut RouterHarness, id: NeighbourId, location: Option<Location>) {
    harness.router.neighbour_down(harness.now, id - 1);
    let number = if location.is_some() { 900 + id as usize } else { 900 };
    let link = LinkProperties::new(address(number), 40, 1400, location.is_none());
    harness.router.neighbour_up(harness.now, id, LinkProperties { location, ..link });
    harness.drain_outputs();
}

/// A configured neighbour, a stranger with an identity for each link, and one with an address for each as well.
fn comers(nth: u32) -> [Option<Location>; 3] {
    [None, Some(Location { host: 5, network: 9 }), Some(Location { host: u64::from(nth), network: 9 })]
}

/// Attempts that no quota refuses, over several sessions.
fn admitted(
    kind: usize,
    (sessions, attempts): (u32, u32),
    mut attempt: impl FnMut(&mut RouterHarness, NeighbourId) -> bool,
) -> u32 {
    let mut harness = RouterHarness::with(0, RouterConfig { new_burst: 50, ..RouterConfig::default() });
    let mut admitted = 0;
    for nth in 1..=sessions {
        again(&mut harness, nth, comers(nth)[kind]);
        admitted += (0..attempts).map(|_| u32::from(attempt(&mut harness, nth))).sum::<u32>();
    }
    admitted
}

#[test]
fn a_new_session_does_not_begin_with_full_quotas() {
    // A host has the allowance of four neighbours, and a network that of eight.
    for (kind, hosts) in [(0, 1), (1, 4), (2, 8)] {
        let mut number = 1_000;
        let destinations = admitted(kind, (10, 20), |harness, nth| {
            number += 1;
            harness.announce(nth, number, SEQ, 32, 1).is_ok()
        });
        assert_eq!(destinations, 50, "{kind}");
        let mut seq = SEQ;
        let signatures = admitted(kind, (12, 60), |harness, nth| {
            seq += 1;
            let mut forged = signed_announce(900 + nth as usize, seq);
            forged.signature[0] ^= 1;
            let claim = Record::Announce(forged, attributes(8, 64, 2));
            harness.router.want_route(harness.now, &address(900 + nth as usize));
            harness.receive(nth, &[claim]) == Err(DropCause::BadAnnounce)
        });
        assert!((60 * hosts..=70 * hosts).contains(&signatures), "{kind}: {signatures} signatures");
        let announces: Vec<_> =
            (0..=40).map(|nth| signed_announce(900 + if kind == 0 { 0 } else { nth }, SEQ)).collect();
        let proofs = admitted(kind, (40, 125), |harness, nth| {
            let own = announces[nth as usize].clone();
            let _ = harness.receive(nth, &[Record::Announce(own, attributes(7, 2_016, 63))]);
            let lie = Update { idx: 7, metric: 0, hops: 0, chain: Some([1; 16]) };
            harness.receive(nth, &[Record::Update(lie)]) == Err(DropCause::BadAnnounce)
        });
        assert!((500 * hosts..=520 * hosts).contains(&proofs), "{kind}: {proofs} proofs");
    }
}

#[test]
fn false_proofs_are_soon_not_verified_and_unverified_routes_are_requested_again() {
    let mut harness = RouterHarness::new(2);
    harness.announce(1, 7, SEQ, 2_016, 63).unwrap();
    let (mut false_ones, mut later) = (0, 0);
    for _ in 0..3_000 {
        let lie = Update { idx: 7, metric: 0, hops: 0, chain: Some([1; 16]) };
        match harness.receive(1, &[Record::Update(lie)]) {
            Err(DropCause::BadAnnounce) => false_ones += 1,
            Err(DropCause::VerifyLimit) => later += 1,
            other => panic!("{other:?}"),
        }
        harness.now = harness.now + ms(1);
    }
    assert!((500..650).contains(&false_ones), "{false_ones} verified: 512 at once, 32 a second");
    assert_eq!(false_ones + later, 3_000);
    assert_eq!(harness.next(7), None, "a route with an unverified proof is not used");
    // Another neighbour's proofs are verified meanwhile, because its account is not charged.
    harness.announce(2, 7, SEQ, 64, 2).unwrap();
    assert_eq!(harness.next(7), Some(2));
    harness.sent.clear();
    harness.wait(ms(1_000));
    assert!(harness.take_sent_to(1).iter().any(|record| matches!(record, Record::Want { idx: 7 })));
    harness.receive(1, &[Record::Announce(signed_announce(7, SEQ), attributes(7, 32, 1))]).unwrap();
    harness.wait(ms(20_000));
    assert_eq!(harness.next(7), Some(1));
}

#[test]
fn hosts_take_turns_regardless_of_their_number_of_identities() {
    let config = RouterConfig { new_burst: 10, ..RouterConfig::default() };
    let mut harness = RouterHarness::with(0, config);
    // Thirty neighbours on one host, and one on another.
    for id in 1..=31 {
        let link = LinkProperties::new(address(900 + id as usize), 40, 1400, false);
        let location = Some(Location { host: u64::from(id == 31), network: 9 });
        harness.router.neighbour_up(harness.now, id, LinkProperties { location, ..link });
    }
    let offer = |number: u32| Record::Offer {
        key_hash: u64::from(number),
        seq: SEQ,
        attributes: attributes(number, 32, 1),
    };
    for number in 1_000..1_100 {
        for id in 1..=31 {
            let _ = harness.receive(id, &[offer(number * 100 + id)]);
        }
    }
    harness.sent.clear();
    harness.wait(ms(4_000));
    let wants = |by: NeighbourId| {
        harness
            .sent
            .iter()
            .filter(|(_, to, record)| *to == by && matches!(record, Record::Want { .. }))
            .count()
    };
    let crowd: usize = (1..=30).map(wants).sum();
    assert!((35..=45).contains(&wants(31)) && crowd.abs_diff(wants(31)) <= 2, "{} and {crowd}", wants(31));
    assert!((1..=30).all(|id| wants(id) <= 2), "and so do the neighbours on one host");
}
