//! Hostile neighbours: forgeries, replays, invented identities and random bytes.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use super::harness::{
    RouterHarness, address, announce_by, attributes, bytes_of, identity, ms, signed_announce,
};
use crate::identity::Identity;
use crate::route::{RouterConfig, RouterOutput};
use crate::stats::DropCause;
use crate::wire::route::{INFINITY, Record, RouteAttributes, SeqnoRequest, Update, key_hash};

const SEQ: u64 = 5 << 32;

#[test]
fn replayed_announces_change_nothing() {
    let mut harness = RouterHarness::new(3);
    harness.announce(1, 7, SEQ, 80, 2).unwrap();
    harness.wait(ms(20));
    harness.announce(1, 7, SEQ + 1, 80, 2).unwrap();
    harness.update(1, 7, 90, 2).unwrap();
    harness.wait(Duration::from_secs(100));
    harness.announce(1, 7, 6 << 32, 80, 2).unwrap();
    harness.wait(Duration::from_secs(100));
    let before = harness.fib.clone();
    harness.sent.clear();
    for seq in [SEQ, SEQ + 1] {
        harness.announce(2, 7, seq, 0, 0).unwrap();
        harness.wait(ms(5_000));
        assert_eq!(harness.fib, before);
    }
    let to_others = harness.sent.iter().filter(|(_, id, _)| *id != 2).count();
    assert_eq!(to_others, 0, "it is not passed on");
    // The same holds for announces of the router's own past, and for those that others still have.
    harness.receive(2, &[Record::Announce(signed_announce(0, 999 << 32), attributes(9, 40, 1))]).unwrap();
    harness.receive(2, &[Record::YourHighest(signed_announce(0, 999 << 32))]).unwrap();
    assert!(harness.events.iter().all(|event| !matches!(event, RouterOutput::EpochUsed { .. })));
    // When the genuine route is lost, a replayed one is not used but causes a request.
    harness.router.neighbour_down(harness.now, 1);
    harness.drain_outputs();
    assert_eq!(harness.next(7), None);
}

#[test]
fn a_forged_or_altered_announce_is_refused() {
    let mut harness = RouterHarness::new(2);
    let honest = bytes_of(&[Record::Announce(signed_announce(7, SEQ), attributes(7, 40, 1))]);
    let mut mallory = announce_by(&identity(8), SEQ);
    mallory.dst = address(7);
    let forged = Record::Announce(mallory.clone(), attributes(7, 40, 1));
    assert_eq!(harness.receive(1, &[forged]), Err(DropCause::BadAnnounce));
    for at in 1..1 + 96 + 64 {
        let mut altered = honest.clone();
        altered[at] ^= 0x10;
        let refused = harness.receive_bytes(1, &altered);
        // A forger is soon ignored, because each forgery uses up its quota.
        harness.wait(ms(50));
        assert!(
            matches!(refused, Err(DropCause::BadAnnounce | DropCause::MalformedPacket)),
            "byte {at}: {refused:?}"
        );
    }
    assert!(harness.fib.is_empty());
    assert_eq!(harness.router.destinations(), 1);
    harness.receive_bytes(1, &honest).unwrap();
    assert_eq!(harness.next(7), Some(1));
    // A forged higher seq is neither used nor passed on towards the origin.
    mallory.seq = SEQ + 9;
    assert_eq!(harness.receive(2, &[Record::YourHighest(mallory.clone())]), Err(DropCause::BadAnnounce));
    assert_eq!(
        harness.receive(2, &[Record::Announce(mallory, attributes(7, 32, 1))]),
        Err(DropCause::BadAnnounce)
    );
    let mut twin = signed_announce(8, 2000 << 32);
    twin.dst = address(0);
    assert_eq!(harness.receive(2, &[Record::YourHighest(twin)]), Err(DropCause::BadAnnounce));
    assert!(harness.events.iter().all(|event| !matches!(event, RouterOutput::EpochUsed { .. })));
}

#[test]
fn refusals_beyond_the_first_of_a_message_are_counted_too() {
    let mut harness = RouterHarness::new(1);
    let mut forged = signed_announce(8, SEQ);
    forged.dst = address(7);
    let mut bytes = Vec::new();
    for idx in 0..5 {
        bytes.extend(bytes_of(&[Record::Announce(forged.clone(), attributes(idx, 40, 1))]));
    }
    bytes.extend(bytes_of(&[Record::Announce(signed_announce(9, SEQ), attributes(9, 40, 1))]));
    bytes.push(0xff);
    assert_eq!(harness.receive_bytes(1, &bytes), Err(DropCause::MalformedPacket));
    let dropped: Vec<_> =
        harness.events.iter().filter(|event| matches!(event, RouterOutput::Dropped(..))).cloned().collect();
    assert_eq!(dropped, [RouterOutput::Dropped(DropCause::BadAnnounce, 5)]);
    assert_eq!(harness.next(9), Some(1), "a correct record is applied");
    assert_eq!(harness.receive_bytes(1, &[]), Err(DropCause::MalformedPacket));
    assert_eq!(harness.receive_bytes(1, &[3; 4097]), Err(DropCause::MalformedPacket));
    assert_eq!(harness.receive_bytes(99, &bytes), Err(DropCause::UnknownSession));
}

/// A number below `below`.
fn pick(random: &mut ChaCha8Rng, below: usize) -> usize {
    random.next_u32() as usize % below
}

#[test]
fn random_bytes_of_every_kind_do_no_harm() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut harness = RouterHarness::new(4);
    let samples = [
        Record::Announce(signed_announce(7, SEQ), attributes(7, 40, 1)),
        Record::Announce(signed_announce(0, SEQ), attributes(6, 40, 1)),
        Record::Offer { key_hash: key_hash(&address(7)), seq: SEQ, attributes: attributes(7, 50, 1) },
        Record::Offer { key_hash: 77, seq: SEQ, attributes: attributes(8, 50, 1) },
        Record::Offer { key_hash: key_hash(&address(0)), seq: u64::MAX, attributes: attributes(9, 50, 1) },
        Record::Want { idx: 1 },
        Record::Update(Update { idx: 7, metric: 60, hops: 1, chain: None }),
        Record::Update(Update::retract(7)),
        Record::SeqnoRequest(SeqnoRequest { dst: address(7), seq: SEQ + 1, ttl: 9, id: 1 }),
        Record::SeqnoRequest(SeqnoRequest { dst: address(0), seq: u64::MAX, ttl: 0, id: 2 }),
        Record::YourHighest(signed_announce(7, SEQ)),
        Record::YourHighest(signed_announce(0, SEQ)),
    ];
    for _ in 0..20_000 {
        let mut bytes = Vec::new();
        for _ in 0..=pick(&mut random, 3) {
            bytes.extend(bytes_of(&[samples[pick(&mut random, samples.len())].clone()]));
        }
        for _ in 0..pick(&mut random, 4) {
            let at = pick(&mut random, bytes.len());
            bytes[at] = (random.next_u32() & 0xff) as u8;
        }
        if pick(&mut random, 10) == 0 {
            bytes.truncate(pick(&mut random, bytes.len()));
        }
        let from = 1 + pick(&mut random, 4) as u32;
        let _ = harness.receive_bytes(from, &bytes);
        harness.wait(ms(1));
        harness.sent.clear();
        harness.events.clear();
    }
    assert_eq!(harness.router.destinations(), 2);
    assert!(harness.router.memory() < 200_000, "{}", harness.router.memory());
}

/// Announces of invented identities, twenty in a message.
fn inventions(from: usize, count: usize) -> Vec<(Vec<u8>, usize)> {
    let all: Vec<usize> = (from..from + count).collect();
    all.chunks(20)
        .map(|chunk| {
            let records: Vec<Record> = chunk
                .iter()
                .map(|number| {
                    let mut seed = [0xee; 32];
                    seed[..8].copy_from_slice(&(*number as u64).to_le_bytes());
                    Record::Announce(
                        announce_by(&Identity::from_seed(&seed), SEQ),
                        attributes(1_000 + u32::try_from(number - from).unwrap(), 32, 1),
                    )
                })
                .collect();
            (bytes_of(&records), chunk.len())
        })
        .collect()
}

fn dropped(harness: &mut RouterHarness, refused: &Result<(), DropCause>) -> u64 {
    let events = std::mem::take(&mut harness.events);
    let more = events.iter().map(|event| match event {
        RouterOutput::Dropped(DropCause::DestinationLimit, count) => *count,
        _ => 0,
    });
    u64::from(*refused == Err(DropCause::DestinationLimit)) + more.sum::<u64>()
}

#[test]
fn ten_thousand_invented_identities_are_bounded_and_no_real_route_is_lost() {
    let mut harness = RouterHarness::new(2);
    for number in 10..60 {
        harness.announce(1, number, SEQ, 200, 5).unwrap();
    }
    let memory = harness.router.memory();
    let mut refused = 0;
    for (message, _) in inventions(0, 10_000) {
        let result = harness.receive_bytes(2, &message);
        refused += dropped(&mut harness, &result);
    }
    assert_eq!(harness.router.destinations(), 1 + 50 + 2048);
    assert_eq!(refused, 10_000 - 2048);
    assert!((10..60).all(|number| harness.next(number) == Some(1)));
    let each = (harness.router.memory() - memory) / 2048;
    assert!(each <= 500, "{each} B for each destination, one neighbour offering it and two advertised of it");
    harness.sent.clear();
    harness.wait(Duration::from_secs(10));
    let wants = harness.sent.iter().filter(|(_, _, record)| matches!(record, Record::Want { .. })).count();
    assert!((195..=205).contains(&wants), "the others are admitted at twenty a second: {wants}");
    // The other neighbour has a quota of its own.
    harness.announce(1, 70, SEQ, 200, 5).unwrap();
    assert_eq!(harness.next(70), Some(1));
}

#[test]
fn a_full_table_evicts_destinations_of_the_neighbour_with_the_most() {
    let config = RouterConfig { destinations: 100, ..RouterConfig::default() };
    let mut harness = RouterHarness::with(2, config);
    for number in 10..40 {
        harness.announce(1, number, SEQ, 900, 20).unwrap();
    }
    // The first destination of the greedy neighbour is in use.
    harness.announce(2, 41, SEQ, 64, 2).unwrap();
    harness.router.want_route(harness.now, &address(41));
    for (message, _) in inventions(0, 1_000) {
        let _ = harness.receive_bytes(2, &message);
        harness.wait(ms(10));
        assert!(harness.router.destinations() <= 101);
    }
    assert!((10..40).all(|number| harness.next(number) == Some(1)), "the genuine ones are all there");
    assert_eq!(harness.next(41), Some(2));
    let routes = harness.fib.len();
    assert!(routes <= 101, "{routes}");
    harness.wait(Duration::from_secs(6));
    harness.announce(1, 42, SEQ, 900, 20).unwrap();
    assert_eq!(harness.next(42), Some(1), "there is room for a later destination");
}

#[test]
fn an_evicted_destination_is_retracted_and_not_installed_again_before_all_know() {
    let config = RouterConfig { destinations: 3, ..RouterConfig::default() };
    let mut harness = RouterHarness::with(2, config);
    for (number, metric) in [(10, 64), (11, 900)] {
        harness.announce(1, number, SEQ, metric, 2).unwrap();
    }
    harness.wait(ms(20));
    harness.announce(1, 12, SEQ, 64, 2).unwrap();
    assert_eq!(
        (harness.next(10), harness.next(11), harness.next(12)),
        (Some(1), None, Some(1)),
        "the farthest goes"
    );
    assert_eq!(harness.advertised_to(2, 11).last().map(|advertised| advertised.1), Some(INFINITY));
    assert_eq!(harness.announce(2, 11, SEQ, 940, 3), Err(DropCause::DestinationLimit));
    harness.wait(Duration::from_secs(6));
    harness.router.remove_origin(&address(0));
    harness.announce(2, 11, SEQ, 940, 3).unwrap();
    assert_eq!(harness.next(11), Some(2));
}

#[test]
fn many_requests_cause_no_flood() {
    let mut harness = RouterHarness::new(3);
    for number in 10..20 {
        harness.announce(1, number, SEQ, 64, 2).unwrap();
    }
    harness.wait(Duration::from_secs(5));
    harness.sent.clear();
    for id in 0..10_000u32 {
        let request = SeqnoRequest { dst: address(10), seq: u64::MAX - u64::from(id), ttl: 255, id };
        harness.receive(2, &[Record::SeqnoRequest(request)]).unwrap();
    }
    assert_eq!(harness.sent.len(), 1, "requests for one destination are limited in rate");
    harness.sent.clear();
    let wants: Vec<Record> = (0..20).map(|idx| Record::Want { idx }).collect();
    for _ in 0..1_000 {
        harness.receive(2, &wants).unwrap();
    }
    harness.wait(ms(1_000));
    assert!(harness.sent.len() <= 300, "{}", harness.sent.len());
    // A genuine request meanwhile is answered with any newer seq.
    harness
        .receive(3, &[Record::SeqnoRequest(SeqnoRequest { dst: address(10), seq: SEQ + 1, ttl: 9, id: 1 })])
        .unwrap();
    harness.sent.clear();
    harness.announce(1, 10, SEQ + 1, 64, 2).unwrap();
    let answered =
        |record: &Record| matches!(record, Record::Announce(announce, _) if announce.seq == SEQ + 1);
    assert!(harness.take_sent_to(3).iter().any(answered));
}

#[test]
fn a_route_with_an_mtu_below_that_of_every_link_is_refused() {
    // Otherwise it would be selected for its metric, and no packet would fit.
    let least =
        u16::try_from(crate::endpoint::MIN_MTU - crate::link::Sealer::OVERHEAD - crate::wire::packet::HEADER)
            .unwrap();
    let mut harness = RouterHarness::new(2);
    let lie =
        Record::Announce(signed_announce(7, SEQ), RouteAttributes { mtu: least - 1, ..attributes(7, 40, 1) });
    assert_eq!(harness.receive(1, &[lie]), Err(DropCause::BadAnnounce));
    assert_eq!(harness.next(7), None);
    harness
        .receive(
            1,
            &[Record::Announce(
                signed_announce(7, SEQ),
                RouteAttributes { mtu: least, ..attributes(7, 40, 1) },
            )],
        )
        .unwrap();
    assert_eq!(harness.next(7), Some(1));
    let offer = Record::Offer {
        key_hash: key_hash(&address(7)),
        seq: SEQ,
        attributes: RouteAttributes { mtu: 0, ..attributes(8, 40, 1) },
    };
    assert_eq!(harness.receive(2, &[offer]), Err(DropCause::BadAnnounce));
}

#[test]
fn a_destination_that_flaps_without_end_is_advertised_less_and_less_often() {
    let mut harness = RouterHarness::new(2);
    harness.announce(1, 7, SEQ, 40, 1).unwrap();
    harness.wait(ms(20));
    for _ in 0..400 {
        harness.update(1, 7, INFINITY, 0).unwrap();
        harness.wait(ms(15));
        harness.update(1, 7, 40, 1).unwrap();
        harness.wait(ms(15));
    }
    let advertised = harness.advertised_to(2, 7);
    let lost = advertised.iter().filter(|(_, metric)| *metric == INFINITY).count();
    assert!((5..20).contains(&lost), "{lost} times lost, of 400");
    assert_eq!(harness.next(7), Some(1), "the router itself uses it at once");
    // When it stays it is advertised, and after a calm time it is advertised at once like any other.
    harness.wait(Duration::from_secs(3));
    assert!(harness.advertised_to(2, 7).last().is_some_and(|(_, metric)| *metric < INFINITY));
    harness.sent.clear();
    harness.wait(Duration::from_secs(4));
    let now = harness.now;
    harness.update(1, 7, INFINITY, 0).unwrap();
    harness.update(1, 7, 40, 1).unwrap();
    harness.wait(ms(50));
    let sent: Vec<_> = harness.sent.iter().filter(|(_, to, _)| *to == 2).collect();
    assert!(sent.iter().all(|(at, ..)| at.since(now) <= ms(10)) && sent.len() == 2, "{sent:?}");
}

#[test]
fn a_destination_that_flaps_slowly_is_held_down_as_well() {
    let mut harness = RouterHarness::new(2);
    harness.announce(1, 7, SEQ, 40, 1).unwrap();
    harness.wait(ms(20));
    // Slower than the longest hold-down, which would otherwise be forgotten between two losses.
    for _ in 0..20 {
        harness.update(1, 7, INFINITY, 0).unwrap();
        harness.wait(ms(1));
        harness.update(1, 7, 40, 1).unwrap();
        harness.wait(ms(3500));
    }
    let now = harness.now;
    harness.sent.clear();
    harness.update(1, 7, INFINITY, 0).unwrap();
    harness.update(1, 7, 40, 1).unwrap();
    harness.wait(ms(2500));
    let found: Vec<_> = harness.sent.iter().filter(|(at, to, _)| *to == 2 && at.since(now) > ms(0)).collect();
    assert!(found.iter().all(|(at, ..)| at.since(now) >= ms(2000)) && !found.is_empty(), "{found:?}");
}
