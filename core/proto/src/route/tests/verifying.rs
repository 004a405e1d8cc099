//! Verification that takes time: the order of a neighbour's records is kept, and no neighbour waits for another.

use std::time::Duration;

use super::harness::{
    RouterHarness, address, announce_by, attributes, bytes_of, chain, identity, ms, signed_announce,
};
use crate::identity::Identity;
use crate::route::{RouterConfig, RouterOutput};
use crate::stats::DropCause;
use crate::wire::route::{INFINITY, Record, RouteAttributes, Update, key_hash};

const SEQ: u64 = 5 << 32;

fn harness(neighbours: u32) -> RouterHarness {
    let mut harness = RouterHarness::new(neighbours);
    harness.jobs = Some(Vec::new());
    harness
}

/// The number of signatures in jobs.
fn waiting(harness: &RouterHarness) -> usize {
    harness.jobs.iter().flatten().map(crate::route::VerifyJob::len).sum()
}

fn dropped(harness: &RouterHarness, cause: DropCause) -> u64 {
    let count = |event: &RouterOutput| match event {
        RouterOutput::Dropped(other, count) if *other == cause => *count,
        _ => 0,
    };
    harness.events.iter().map(count).sum()
}

#[test]
fn updates_of_a_destination_whose_signature_is_being_verified_apply_afterwards() {
    let mut harness = harness(3);
    // Two of them are in jobs, and the third waits because no more jobs may run.
    harness.announce(1, 9, SEQ, 200, 2).unwrap();
    harness.announce(1, 7, SEQ, 200, 2).unwrap();
    harness.announce(1, 8, SEQ, 200, 2).unwrap();
    harness.update(1, 7, 90, 2).unwrap();
    harness.update(1, 8, INFINITY, 0).unwrap();
    // The number is given to another destination.
    harness.receive(1, &[Record::Announce(signed_announce(10, SEQ), attributes(9, 64, 2))]).unwrap();
    assert!(harness.fib.is_empty(), "no route is used before its signature is verified");
    harness.verify();
    assert_eq!(harness.fib[&address(7)].metric, 130);
    assert_eq!([8, 9, 10].map(|number| harness.next(number)), [None, None, Some(1)]);
    // A newer seq of a known destination: the older one is used until it is verified.
    harness.announce(1, 7, SEQ + 1, 300, 2).unwrap();
    harness.update(1, 7, 310, 2).unwrap();
    assert_eq!(harness.fib[&address(7)].metric, 130);
    harness.update(1, 7, INFINITY, 0).unwrap();
    assert_eq!(harness.next(7), None, "but a retraction concerns both");
    harness.verify();
    assert_eq!(harness.next(7), None);
    harness.sent.clear();
    harness.update(1, 7, 200, 2).unwrap();
    assert!(
        harness.take_sent_to(1).contains(&Record::Want { idx: 7 }),
        "the announce that the update refers to has to be requested"
    );
}

#[test]
fn offers_of_a_neighbour_that_is_down_are_dropped() {
    let mut harness = harness(2);
    harness.announce(1, 7, SEQ, 64, 2).unwrap();
    harness.router.neighbour_down(harness.now, 1);
    harness.verify();
    assert_eq!((harness.next(7), harness.router.destinations()), (None, 1));
}

#[test]
fn a_signature_is_verified_once_for_any_number_of_offers() {
    let mut harness = harness(4);
    harness.announce(1, 7, SEQ, 64, 2).unwrap();
    harness.announce(2, 7, SEQ, 80, 2).unwrap();
    let offer = Record::Offer { key_hash: key_hash(&address(7)), seq: SEQ, attributes: attributes(3, 72, 2) };
    harness.receive(3, std::slice::from_ref(&offer)).unwrap();
    assert!(harness.take_sent_to(3).is_empty(), "the announce is on its way from another neighbour");
    assert_eq!(waiting(&harness), 1);
    harness.verify();
    let routes = harness.router.routes(harness.now);
    assert_eq!(routes.iter().map(|route| route.neighbour).collect::<Vec<_>>(), [1, 2, 3]);
    harness.announce(4, 7, SEQ, 64, 2).unwrap();
    assert_eq!(waiting(&harness), 0, "and none is verified again");
}

#[test]
fn a_forged_announce_does_not_displace_the_true_one() {
    let mut harness = harness(3);
    let mut forged = signed_announce(7, SEQ);
    forged.signature[3] ^= 1;
    harness.receive(1, &[Record::Announce(forged, attributes(7, 64, 2))]).unwrap();
    let offer = Record::Offer { key_hash: key_hash(&address(7)), seq: SEQ, attributes: attributes(7, 72, 2) };
    harness.receive(2, &[offer]).unwrap();
    harness.announce(3, 7, SEQ, 80, 2).unwrap();
    harness.sent.clear();
    harness.verify();
    assert_eq!((harness.next(7), dropped(&harness, DropCause::BadAnnounce)), (Some(3), 1));
    assert_eq!(
        harness.take_sent_to(2)[0],
        Record::Want { idx: 7 },
        "the neighbour that only offered it is sent a WANT"
    );
}

/// Announces of invented identities, a few in a message.
fn inventions(range: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    let numbers: Vec<u32> = range.collect();
    let record = |number: &u32| {
        let mut seed = [0xee; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        Record::Announce(announce_by(&Identity::from_seed(&seed), SEQ), attributes(*number, 32, 1))
    };
    numbers.chunks(16).map(|chunk| bytes_of(&chunk.iter().map(record).collect::<Vec<_>>())).collect()
}

#[test]
fn invented_identities_cost_no_signature_beyond_their_quota_and_delay_no_other() {
    let config = RouterConfig { new_burst: 100, ..RouterConfig::default() };
    let mut harness = RouterHarness::with(2, config);
    harness.jobs = Some(Vec::new());
    let mut refused = 0;
    for message in inventions(0..3000) {
        refused += u64::from(harness.receive_bytes(2, &message).is_err());
        refused += std::mem::take(&mut harness.events).iter().fold(0, |sum, event| match event {
            RouterOutput::Dropped(DropCause::DestinationLimit, count) => sum + count,
            _ => sum,
        });
    }
    assert_eq!(refused, 2900);
    harness.announce(1, 7, SEQ, 64, 2).unwrap();
    let jobs = harness.jobs.as_mut().unwrap();
    assert!(jobs.len() <= 2, "a few jobs at a time");
    // Two results return, and the next job begins with an announce of the other neighbour because neighbours take turns.
    for job in std::mem::take(jobs) {
        harness.router.verified(harness.now, job.run());
    }
    harness.drain_outputs();
    let job = harness.jobs.as_mut().unwrap().remove(0);
    harness.router.verified(harness.now, job.run());
    harness.drain_outputs();
    assert_eq!(harness.next(7), Some(1));
    harness.verify();
    assert_eq!(harness.router.destinations(), 1 + 100 + 1);
}

#[test]
fn announces_beyond_the_rate_of_verification_are_bounded_counted_and_requested_again() {
    let mut harness = harness(2);
    let mut seen = 0;
    for message in inventions(0..2000) {
        seen += u64::from(harness.receive_bytes(1, &message) == Err(DropCause::VerifyLimit));
    }
    let limited = seen + dropped(&harness, DropCause::VerifyLimit);
    assert_eq!(limited, 2000 - 1024);
    assert!(harness.router.memory() < 1 << 20, "{}", harness.router.memory());
    harness.verify();
    assert_eq!(harness.router.destinations(), 1 + 1024);
    harness.sent.clear();
    harness.jobs = None;
    // The neighbour answers each WANT.
    for _ in 0..40 {
        harness.wait(ms(50));
        let wants: Vec<u32> = harness
            .take_sent_to(1)
            .iter()
            .filter_map(|record| match record {
                Record::Want { idx } => Some(*idx),
                _ => None,
            })
            .collect();
        for idx in wants {
            for message in inventions(idx..idx + 1) {
                harness.receive_bytes(1, &message).unwrap();
            }
        }
    }
    assert_eq!(
        harness.router.destinations(),
        1 + 2000,
        "no postponed announce is lost, and none is charged twice"
    );
}

#[test]
fn a_forger_is_soon_ignored_and_others_are_not() {
    let mut harness = harness(2);
    harness.jobs = None;
    harness.announce(2, 7, SEQ, 64, 2).unwrap();
    let mut verified = 0;
    for n in 0..2000u64 {
        let mut forged = signed_announce(7, SEQ + 1 + n);
        forged.signature[0] ^= 1;
        verified += u32::from(
            harness.receive(1, &[Record::Announce(forged, attributes(7, 64, 2))])
                == Err(DropCause::BadAnnounce),
        );
        harness.wait(ms(1));
    }
    assert!((60..300).contains(&verified), "{verified} signatures in two seconds");
    harness.announce(2, 7, SEQ + 1, 64, 2).unwrap();
    assert!(harness.router.routes(harness.now).iter().any(|route| route.seq == SEQ + 1));
}

#[test]
fn an_update_while_a_newer_announce_is_requested_does_not_count_as_a_forgery() {
    let mut harness = RouterHarness::new(2);
    harness.announce(1, 7, SEQ, 200, 5).unwrap();
    let newer =
        Record::Offer { key_hash: key_hash(&address(7)), seq: SEQ + 1, attributes: attributes(7, 210, 5) };
    signed_announce(7, SEQ + 1);
    harness.receive(1, &[newer]).unwrap();
    // Fewer hops, with the proof for the announce that is missing here.
    let proof = chain(key_hash(&address(7)), SEQ + 1, 3);
    let nearer = Update { idx: 7, metric: 120, hops: 3, chain: Some(proof) };
    harness.receive(1, &[Record::Update(nearer)]).unwrap();
    assert_eq!(harness.next(7), Some(1));
    let attributes = RouteAttributes { chain: proof, ..attributes(7, 120, 3) };
    harness.receive(1, &[Record::Announce(signed_announce(7, SEQ + 1), attributes)]).unwrap();
    assert_eq!(harness.fib[&address(7)].metric, 160);
    harness.wait(Duration::from_secs(1));
    assert_eq!(dropped(&harness, DropCause::BadAnnounce), 0);
    assert_eq!(identity(7).address(), address(7));
}
