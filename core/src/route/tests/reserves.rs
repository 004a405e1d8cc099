//! Liars use up the quotas that they share with others, and the others are heard nevertheless.

use std::time::Duration;

use super::desk::{Desk, address, attributes, chain, signed_announce};
use super::net::ms;
use crate::route::{Location, NeighbourId};
use crate::stats::DropCause;
use crate::wire::route::{INFINITY, Record, SignedAnnounce, Update, key_hash};

const SEQ: u64 = 5 << 32;
/// The destination whose distance liars tell with false proofs, and its number.
const LIE: usize = 7;

fn number(destination: usize) -> u32 {
    u32::try_from(destination).unwrap()
}

/// An update with a true proof.
fn proved(destination: usize, metric: u16, hops: u8) -> Record {
    let chain = Some(chain(key_hash(&address(destination)), SEQ, hops));
    Record::Update(Update { idx: number(destination), metric, hops, chain })
}

/// A stranger of this host, in the network of all.
fn stranger(desk: &mut Desk, id: NeighbourId, host: u64) {
    desk.router.neighbour_location(id, Location { host, network: 9 });
    desk.router.neighbour_up(desk.now, id, address(900 + id as usize), 40, 1400, false);
    desk.take();
}

/// Tells a false proof of the distance to [`LIE`]; whether it was looked at.
fn lies(desk: &mut Desk, id: NeighbourId) -> bool {
    let lie = Update { idx: number(LIE), metric: 0, hops: 0, chain: Some([1; 16]) };
    desk.say(id, &[Record::Update(lie)]) == Err(DropCause::BadAnnounce)
}

/// The neighbour announces this announce of its own with a newer seq, for which the signature does not hold.
fn forges(desk: &mut Desk, id: NeighbourId, own: &SignedAnnounce, seq: u64) {
    let _ =
        desk.say(id, &[Record::Announce(SignedAnnounce { seq, ..own.clone() }, attributes(900 + id, 0, 0))]);
}

/// The distance of the route in use.
fn metric(desk: &Desk, destination: usize) -> Option<u16> {
    desk.fib.get(&address(destination)).map(|entry| entry.metric)
}

/// Lets the liars of ids 1 to `liars` lie, forge and keep the router busy for so long, and checks `holds` all the time.
fn attack(desk: &mut Desk, liars: u32, span: Duration, holds: impl Fn(&Desk)) {
    let until = desk.now + span;
    let announces: Vec<SignedAnnounce> =
        (1..=liars).map(|id| signed_announce(900 + id as usize, SEQ)).collect();
    while desk.now < until {
        for (id, own) in (1..=liars).zip(&announces) {
            let seq = SEQ + desk.now.as_nanos();
            forges(desk, id, own, seq);
            (0..4).for_each(|_| _ = lies(desk, id));
            desk.router.neighbour_worked(desk.now, id, ms(20));
        }
        holds(desk);
        desk.wait(ms(20));
    }
}

#[test]
fn liars_of_two_hosts_keep_no_other_of_their_network_from_being_heard() {
    const LIARS: u32 = 10;
    let innocent = LIARS + 1;
    let mut desk = Desk::new(0);
    for id in 1..=LIARS {
        stranger(&mut desk, id, u64::from(id % 2));
        desk.announce(id, 900 + id as usize, SEQ, 0, 0).unwrap();
        desk.announce(id, LIE, SEQ, 2_016, 63).unwrap();
    }
    stranger(&mut desk, innocent, 2);
    for destination in 20..30 {
        desk.announce(innocent, destination, SEQ, 200, 4).unwrap();
    }
    desk.wait(ms(2_000));
    let keeps = |desk: &Desk| {
        assert!((20..30).all(|destination| desk.next(destination) == Some(innocent)));
        assert_eq!(desk.router.neighbour_rests(desk.now, innocent), None, "it is listened to");
    };
    attack(&mut desk, LIARS, ms(12_000), keeps);
    assert!((1..=LIARS).all(|id| !lies(&mut desk, id)), "nothing more of the liars is looked at");
    for destination in 20..30 {
        desk.say(innocent, &[proved(destination, 150, 3)]).unwrap();
        assert_eq!(metric(&desk, destination), Some(190), "what comes nearer");
    }
    for destination in 30..40 {
        desk.announce(innocent, destination, SEQ, 200, 4).unwrap();
        assert_eq!(desk.next(destination), Some(innocent), "what is new");
    }
    attack(&mut desk, LIARS, ms(2_000), keeps);
}

/// False proofs looked at in ten seconds, of so many addresses of one host that lie all the time; `lasting` links, or ten new
/// ones a second.
fn looked_at(addresses: u32, lasting: bool) -> u32 {
    let mut desk = Desk::new(0);
    let known = Record::Announce(signed_announce(LIE, SEQ), attributes(number(LIE), 2_016, 63));
    let mut up = Vec::new();
    let mut next = 1;
    let mut counted = 0;
    for step in 0..200 {
        if up.len() < addresses as usize || !lasting {
            let most = if lasting { addresses } else { 1 };
            for _ in 0..most {
                if up.len() >= addresses as usize {
                    desk.router.neighbour_down(desk.now, up.remove(0));
                }
                stranger(&mut desk, next, 5);
                up.push(next);
                next += 1;
            }
        }
        for id in &up {
            // The destination is known, so it is about the quota of proofs alone.
            let mut looks = true;
            looks &= desk.say(*id, std::slice::from_ref(&known)) != Err(DropCause::VerifyLimit);
            for _ in 0..512 {
                looks = looks && lies(&mut desk, *id);
                counted += u32::from(looks && step >= 100);
            }
        }
        desk.wait(ms(100));
    }
    counted
}

#[test]
fn many_addresses_of_one_host_have_no_more_looked_at_than_a_few() {
    // A host has 128 a second.
    for (addresses, lasting) in [(4, true), (100, true), (20, false)] {
        let counted = looked_at(addresses, lasting);
        assert!(counted <= 1_300, "{addresses} addresses, lasting {lasting}: {counted} in ten seconds");
    }
}

#[test]
fn a_proof_that_is_not_looked_at_brings_no_route_nearer_and_withdraws_none() {
    let mut desk = Desk::new(2);
    desk.announce(1, LIE, SEQ, 2_016, 63).unwrap();
    desk.announce(1, 8, SEQ, 200, 4).unwrap();
    desk.announce(1, 9, SEQ, 200, 4).unwrap();
    while lies(&mut desk, 1) {}
    assert_eq!(desk.say(1, &[proved(8, 100, 2)]), Err(DropCause::VerifyLimit));
    assert_eq!(metric(&desk, 8), Some(240), "no nearer");
    assert_eq!(desk.say(1, &[proved(8, 300, 2)]), Err(DropCause::VerifyLimit));
    assert_eq!(metric(&desk, 8), Some(340), "to be farther needs no proof");
    assert_eq!(desk.say(1, &[proved(8, 100, 2)]), Err(DropCause::VerifyLimit));
    assert_eq!(metric(&desk, 8), Some(340), "only a proof brings it back");
    assert_eq!(desk.announce(1, 9, SEQ + 1, 100, 2), Err(DropCause::VerifyLimit));
    assert_eq!(metric(&desk, 9), Some(240), "nor does a newer seq withdraw it");
    // Another route that is proved to be better is taken.
    desk.announce(2, 8, SEQ, 64, 2).unwrap();
    desk.wait(ms(2_100));
    assert_eq!(desk.next(8), Some(2));
    desk.update(2, 8, INFINITY, 0).unwrap();
    // A retraction needs no quota, and what is told after it is nothing before it is proved.
    for destination in [8, 9] {
        desk.update(1, destination, INFINITY, 0).unwrap();
        assert_eq!(desk.next(destination), None);
        let _ = desk.say(1, &[proved(destination, 100, 2)]);
        assert_eq!(desk.next(destination), None);
    }
    desk.wait(ms(30_000));
    let asked = |idx| desk.sent.iter().any(|(_, to, record)| *to == 1 && *record == Record::Want { idx });
    assert!(asked(8) && asked(9), "it is asked for again");
    desk.announce(1, 8, SEQ, 100, 2).unwrap();
    assert_eq!(metric(&desk, 8), Some(140));
}

#[test]
fn an_unproved_route_under_another_number_withdraws_the_one_before() {
    let mut desk = Desk::new(1);
    desk.announce(1, LIE, SEQ, 2_016, 63).unwrap();
    desk.announce(1, 8, SEQ, 200, 4).unwrap();
    while lies(&mut desk, 1) {}
    let renamed = Record::Announce(signed_announce(8, SEQ), attributes(88, 100, 2));
    assert_eq!(desk.say(1, &[renamed]), Err(DropCause::VerifyLimit));
    assert_eq!(desk.next(8), None, "a retraction of number 88 would not be about it");
}
