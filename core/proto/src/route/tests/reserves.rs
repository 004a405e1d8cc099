//! Reserves: neighbours that use up a quota that they share with others do not silence the others.

use std::time::Duration;

use super::harness::{RouterHarness, address, attributes, chain, ms, signed_announce};
use crate::route::{LinkProperties, Location, NeighbourId};
use crate::stats::DropCause;
use crate::wire::route::{INFINITY, Record, SignedAnnounce, Update, key_hash};

const SEQ: u64 = 5 << 32;
/// The destination whose distance hostile neighbours advertise with false proofs, and its number.
const FALSE_CLAIM: usize = 7;

fn number(destination: usize) -> u32 {
    u32::try_from(destination).unwrap()
}

/// An update with a genuine proof.
fn proved(destination: usize, metric: u16, hops: u8) -> Record {
    let chain = Some(chain(key_hash(&address(destination)), SEQ, hops));
    Record::Update(Update { idx: number(destination), metric, hops, chain })
}

/// A stranger on this host, in the network of all others.
fn stranger(harness: &mut RouterHarness, id: NeighbourId, host: u64) {
    let link = LinkProperties::new(address(900 + id as usize), 40, 1400, false);
    let location = Some(Location { host, network: 9 });
    harness.router.neighbour_up(harness.now, id, LinkProperties { location, ..link });
    harness.drain_outputs();
}

/// Receives a false proof of the distance to [`FALSE_CLAIM`]; returns whether it was verified.
fn lies(harness: &mut RouterHarness, id: NeighbourId) -> bool {
    let lie = Update { idx: number(FALSE_CLAIM), metric: 0, hops: 0, chain: Some([1; 16]) };
    harness.receive(id, &[Record::Update(lie)]) == Err(DropCause::BadAnnounce)
}

/// The neighbour sends this announce with a newer seq, for which its signature does not hold.
fn forges(harness: &mut RouterHarness, id: NeighbourId, own: &SignedAnnounce, seq: u64) {
    let _ = harness
        .receive(id, &[Record::Announce(SignedAnnounce { seq, ..own.clone() }, attributes(900 + id, 0, 0))]);
}

/// The distance of the route in use.
fn metric(harness: &RouterHarness, destination: usize) -> Option<u16> {
    harness.fib.get(&address(destination)).map(|entry| entry.metric)
}

/// Lets the hostile neighbours with ids 1 to `hostile` send false proofs and forgeries, and checks `holds` all the time.
fn attack(harness: &mut RouterHarness, hostile: u32, span: Duration, holds: impl Fn(&RouterHarness)) {
    let until = harness.now + span;
    let announces: Vec<SignedAnnounce> =
        (1..=hostile).map(|id| signed_announce(900 + id as usize, SEQ)).collect();
    while harness.now < until {
        for (id, own) in (1..=hostile).zip(&announces) {
            let seq = SEQ + harness.now.as_nanos();
            forges(harness, id, own, seq);
            (0..4).for_each(|_| _ = lies(harness, id));
            harness.router.neighbour_worked(harness.now, id, ms(20));
        }
        holds(harness);
        harness.wait(ms(20));
    }
}

#[test]
fn hostile_neighbours_on_two_hosts_silence_no_other_of_their_network() {
    const LIARS: u32 = 10;
    let innocent = LIARS + 1;
    let mut harness = RouterHarness::new(0);
    for id in 1..=LIARS {
        stranger(&mut harness, id, u64::from(id % 2));
        harness.announce(id, 900 + id as usize, SEQ, 0, 0).unwrap();
        harness.announce(id, FALSE_CLAIM, SEQ, 2_016, 63).unwrap();
    }
    stranger(&mut harness, innocent, 2);
    for destination in 20..30 {
        harness.announce(innocent, destination, SEQ, 200, 4).unwrap();
    }
    harness.wait(ms(2_000));
    let keeps = |harness: &RouterHarness| {
        assert!((20..30).all(|destination| harness.next(destination) == Some(innocent)));
        assert_eq!(harness.router.neighbour_rests(harness.now, innocent), None, "its messages are read");
    };
    attack(&mut harness, LIARS, ms(12_000), keeps);
    assert!((1..=LIARS).all(|id| !lies(&mut harness, id)), "no more of the false proofs are verified");
    for destination in 20..30 {
        harness.receive(innocent, &[proved(destination, 150, 3)]).unwrap();
        assert_eq!(metric(&harness, destination), Some(190), "a shorter distance is accepted");
    }
    for destination in 30..40 {
        harness.announce(innocent, destination, SEQ, 200, 4).unwrap();
        assert_eq!(harness.next(destination), Some(innocent), "what is new");
    }
    attack(&mut harness, LIARS, ms(2_000), keeps);
}

/// False proofs verified in ten seconds, from that many hostile addresses on one host; `lasting` links, or ten new
/// ones a second.
fn looked_at(addresses: u32, lasting: bool) -> u32 {
    let mut harness = RouterHarness::new(0);
    let known =
        Record::Announce(signed_announce(FALSE_CLAIM, SEQ), attributes(number(FALSE_CLAIM), 2_016, 63));
    let mut up = Vec::new();
    let mut next = 1;
    let mut counted = 0;
    for step in 0..200 {
        if up.len() < addresses as usize || !lasting {
            let most = if lasting { addresses } else { 1 };
            for _ in 0..most {
                if up.len() >= addresses as usize {
                    harness.router.neighbour_down(harness.now, up.remove(0));
                }
                stranger(&mut harness, next, 5);
                up.push(next);
                next += 1;
            }
        }
        for id in &up {
            // The destination is known, so that only the quota of proofs matters.
            let mut looks = true;
            looks &= harness.receive(*id, std::slice::from_ref(&known)) != Err(DropCause::VerifyLimit);
            for _ in 0..512 {
                looks = looks && lies(&mut harness, *id);
                counted += u32::from(looks && step >= 100);
            }
        }
        harness.wait(ms(100));
    }
    counted
}

#[test]
fn many_addresses_of_one_host_have_no_more_proofs_verified_than_a_few() {
    // A host has 128 false proofs a second verified.
    for (addresses, lasting) in [(4, true), (100, true), (20, false)] {
        let counted = looked_at(addresses, lasting);
        assert!(counted <= 1_300, "{addresses} addresses, lasting {lasting}: {counted} in ten seconds");
    }
}

#[test]
fn an_unverified_proof_makes_no_route_shorter_and_retracts_none() {
    let mut harness = RouterHarness::new(2);
    harness.announce(1, FALSE_CLAIM, SEQ, 2_016, 63).unwrap();
    harness.announce(1, 8, SEQ, 200, 4).unwrap();
    harness.announce(1, 9, SEQ, 200, 4).unwrap();
    while lies(&mut harness, 1) {}
    assert_eq!(harness.receive(1, &[proved(8, 100, 2)]), Err(DropCause::VerifyLimit));
    assert_eq!(metric(&harness, 8), Some(240), "no nearer");
    assert_eq!(harness.receive(1, &[proved(8, 300, 2)]), Err(DropCause::VerifyLimit));
    assert_eq!(metric(&harness, 8), Some(340), "a longer distance needs no proof");
    assert_eq!(harness.receive(1, &[proved(8, 100, 2)]), Err(DropCause::VerifyLimit));
    assert_eq!(metric(&harness, 8), Some(340), "only a proof makes it shorter");
    assert_eq!(harness.announce(1, 9, SEQ + 1, 100, 2), Err(DropCause::VerifyLimit));
    assert_eq!(metric(&harness, 9), Some(240), "nor does a newer seq withdraw it");
    // Another route with a proof is selected.
    harness.announce(2, 8, SEQ, 64, 2).unwrap();
    harness.wait(ms(2_100));
    assert_eq!(harness.next(8), Some(2));
    harness.update(2, 8, INFINITY, 0).unwrap();
    // A retraction needs no quota, and a later distance has no effect before it is proved.
    for destination in [8, 9] {
        harness.update(1, destination, INFINITY, 0).unwrap();
        assert_eq!(harness.next(destination), None);
        let _ = harness.receive(1, &[proved(destination, 100, 2)]);
        assert_eq!(harness.next(destination), None);
    }
    harness.wait(ms(30_000));
    let asked = |idx| harness.sent.iter().any(|(_, to, record)| *to == 1 && *record == Record::Want { idx });
    assert!(asked(8) && asked(9), "it is requested again");
    harness.announce(1, 8, SEQ, 100, 2).unwrap();
    assert_eq!(metric(&harness, 8), Some(140));
}

#[test]
fn an_unproved_route_under_another_idx_retracts_the_one_before() {
    let mut harness = RouterHarness::new(1);
    harness.announce(1, FALSE_CLAIM, SEQ, 2_016, 63).unwrap();
    harness.announce(1, 8, SEQ, 200, 4).unwrap();
    while lies(&mut harness, 1) {}
    let renamed = Record::Announce(signed_announce(8, SEQ), attributes(88, 100, 2));
    assert_eq!(harness.receive(1, &[renamed]), Err(DropCause::VerifyLimit));
    assert_eq!(harness.next(8), None, "a retraction of number 88 would not affect it");
}
