//! Slow links: the table is sent within its share and the shortest routes first, while urgent records are not delayed.

use std::time::Duration;

use super::harness::{RouterHarness, address, identity, ms};
use crate::route::{LinkProperties, RouterOutput};
use crate::time::Time;
use crate::wire::route::{INFINITY, Record, SeqnoRequest, Update};

const SEQ: u64 = 5 << 32;
const RATE: u64 = 2_000;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A router with 200 destinations over its first neighbour. The ninth is behind a slow link that has just come up.
fn slow() -> RouterHarness {
    let mut harness = RouterHarness::new(2);
    for number in 10..210 {
        harness.announce(1, number, SEQ, 40 + number as u16, 1).unwrap();
    }
    harness.wait(secs(1800));
    harness.sent.clear();
    let link = LinkProperties { rate: Some(RATE), ..LinkProperties::new(address(909), 40, 1400, true) };
    harness.router.neighbour_up(harness.now, 9, link);
    harness.drain_outputs();
    harness
}

fn bytes(harness: &RouterHarness, to: u32, until: Time) -> u64 {
    let sent = harness.sent.iter().filter(|(at, id, _)| *id == to && *at <= until);
    sent.map(|(_, _, record)| super::harness::bytes_of(std::slice::from_ref(record)).len() as u64).sum()
}

#[test]
fn the_first_dump_is_sent_shortest_routes_first_within_half_of_the_link() {
    let mut harness = slow();
    let begin = harness.now;
    harness.wait(secs(1));
    let first = bytes(&harness, 9, begin + secs(1));
    assert!((RATE / 3..=RATE / 2 + 500).contains(&first), "{first} B in the first second");
    harness.wait(secs(10));
    let metrics: Vec<u16> = harness
        .take_sent_to(9)
        .iter()
        .filter_map(|record| match record {
            Record::Offer { attributes, .. } | Record::Announce(_, attributes) => Some(attributes.metric),
            _ => None,
        })
        .collect();
    assert_eq!(metrics.len(), 201);
    assert!(metrics.is_sorted());
}

#[test]
fn losses_and_requests_do_not_wait_for_the_dump() {
    let mut harness = slow();
    harness.wait(ms(500));
    harness.sent.clear();
    let now = harness.now;
    harness.update(1, 10, INFINITY, 0).unwrap();
    let lost = harness.sent.iter().any(|(at, id, record)| {
        *id == 9 && *at == now && matches!(record, Record::Update(Update { metric: INFINITY, .. }))
    });
    assert!(lost);
    harness
        .receive(9, &[Record::SeqnoRequest(SeqnoRequest { dst: address(0), seq: u64::MAX, ttl: 9, id: 1 })])
        .unwrap();
    assert!(matches!(harness.sent.last(), Some((at, 9, Record::Announce(..))) if *at == now));
    // A route that was lost before its turn is not sent at all.
    harness.update(1, 209, INFINITY, 0).unwrap();
    harness.wait(secs(20));
    assert!(!harness.sent.iter().any(|(_, id, record)| {
        *id == 9 && matches!(record, Record::Offer { key_hash, .. } if *key_hash == crate::wire::route::key_hash(&address(209)))
    }));
}

#[test]
fn renewals_take_a_fiftieth_and_all_are_sent_eventually() {
    let mut harness = slow();
    harness.wait(secs(60));
    for number in 10..210 {
        harness.announce(1, number, SEQ + 1, 40 + number as u16, 1).unwrap();
    }
    harness.sent.clear();
    let begin = harness.now;
    harness.wait(secs(600));
    for seconds in [70, 80, 100] {
        let span = u64::from(seconds as u32) * RATE / 50;
        let sent = bytes(&harness, 9, begin + secs(seconds));
        assert!(sent <= span + 100, "{sent} B in {seconds} s");
    }
    let renewed = |record: &Record| match record {
        Record::Offer { seq, .. } => *seq == SEQ + 1,
        Record::Announce(announce, _) => announce.seq == SEQ + 1,
        _ => false,
    };
    assert_eq!(harness.sent.iter().filter(|(_, id, record)| *id == 9 && renewed(record)).count(), 200);
    let early = harness.sent.iter().filter(|(at, id, _)| *id == 2 && *at <= begin + secs(61)).count();
    assert_eq!(early, 200, "a neighbour on a fast link has all within a minute");
    assert!(!harness.events.iter().any(|event| matches!(event, RouterOutput::Dropped(..))));
}

#[test]
fn seqs_raised_on_request_stay_within_the_share_of_renewals() {
    const SLOW: u64 = 1_200;
    let mut harness = RouterHarness::new(2);
    for number in 500..510 {
        harness.router.add_origin(harness.now, identity(number), 1000);
    }
    let link = LinkProperties { rate: Some(SLOW), ..LinkProperties::new(address(909), 40, 1400, true) };
    harness.router.neighbour_up(harness.now, 9, link);
    harness.wait(secs(60));
    harness.sent.clear();
    let begin = harness.now;
    for second in 0..60 {
        for number in 500..510 {
            let request = SeqnoRequest {
                dst: address(number),
                seq: u64::MAX,
                ttl: 9,
                id: second * 1000 + number as u32,
            };
            harness.receive(1, &[Record::SeqnoRequest(request)]).unwrap();
        }
        harness.wait(secs(1));
    }
    let sent = bytes(&harness, 9, begin + secs(60));
    assert!(sent > 0, "the neighbour on the slow link is sent raised seqs as well");
    // The last record is sent before its share is paid for.
    assert!(sent <= 60 * SLOW / 50 + 300, "{sent} B in a minute");
    let fast = bytes(&harness, 2, begin + secs(60));
    assert!(fast > 10 * sent, "neighbours on fast links are sent all of them: {fast} B");
}
