//! Own addresses: raised on request, restored after a restart, moved and renewed.

use std::time::Duration;

use super::harness::{RouterHarness, address, attributes, identity, ms, signed_announce};
use crate::route::{LinkProperties, RouterOutput};
use crate::wire::route::{INFINITY, Record, SeqnoRequest};

const SEQ: u64 = 5 << 32;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn an_origin_raises_its_seq_by_one_on_request_and_in_a_bounded_rate() {
    let mut harness = RouterHarness::new(1);
    let ask = |seq, id| Record::SeqnoRequest(SeqnoRequest { dst: address(0), seq, ttl: 9, id });
    harness.receive(1, &[ask(u64::MAX, 1)]).unwrap();
    let raised = |records: Vec<Record>| {
        records.into_iter().find_map(|record| match record {
            Record::Announce(announce, _) => Some(announce.seq),
            _ => None,
        })
    };
    let first = raised(harness.take_sent_to(1)).unwrap();
    // The counter begins anywhere in the first 2^16.
    assert!(((1000 << 32) + 2..=(1000 << 32) + 0x1_0001).contains(&first), "{first:x}");
    for id in 2..1000 {
        harness.receive(1, &[ask(u64::MAX, id)]).unwrap();
    }
    let last = harness.sent.iter().filter_map(|(_, _, record)| match record {
        Record::Announce(announce, _) => Some(announce.seq),
        _ => None,
    });
    assert_eq!(last.max(), Some(first + 15), "sixteen at once");
}

#[test]
fn an_origin_jumps_above_its_past_and_gives_up_against_another_with_its_identity() {
    let mut harness = RouterHarness::new(2);
    let past = |epoch: u64| signed_announce(0, (epoch << 32) | 9);
    harness.receive(1, &[Record::YourHighest(past(2000))]).unwrap();
    let used = |epoch| RouterOutput::EpochUsed { address: address(0), epoch };
    assert_eq!(harness.events, [used(2001)]);
    harness.receive(2, &[Record::YourHighest(past(2000))]).unwrap();
    harness.receive(2, &[Record::YourHighest(past(2001))]).unwrap();
    assert_eq!(harness.events.len(), 2, "a lower seq changes nothing");
    harness.wait(ms(20));
    let advertised =
        |record: &Record| matches!(record, Record::Announce(announce, _) if announce.epoch() == 2002);
    assert!(harness.take_sent_to(1).iter().any(advertised));
    // Another node with the same identity that goes above this one each time.
    harness.receive(1, &[Record::Announce(past(2002), attributes(3, 40, 1))]).unwrap();
    assert_eq!(harness.events.len(), 3);
    harness.receive(1, &[Record::Announce(past(2003), attributes(3, 40, 1))]).unwrap();
    harness.receive(1, &[Record::Announce(past(2004), attributes(3, 40, 1))]).unwrap();
    assert_eq!(harness.events[3..], [RouterOutput::IdentityConflict(address(0))]);
    harness.wait(secs(601));
    harness.receive(1, &[Record::Announce(past(2004), attributes(3, 40, 1))]).unwrap();
    assert_eq!(harness.events[4..], [used(2005)], "after a while it tries again");
}

#[test]
fn an_origin_that_restarted_without_state_is_sent_its_highest_announce() {
    let mut harness = RouterHarness::new(2);
    harness.announce(1, 7, SEQ, 40, 1).unwrap();
    harness.router.neighbour_down(harness.now, 1);
    harness.sent.clear();
    harness.router.neighbour_up(harness.now, 9, LinkProperties::new(address(7), 40, 1300, true));
    harness.drain_outputs();
    assert_eq!(
        harness.take_sent_to(9)[0],
        Record::YourHighest(signed_announce(7, SEQ)),
        "as soon as its link is up"
    );
    harness.announce(1 + 1, 8, SEQ, 40, 1).unwrap();
    harness.wait(ms(20));
    harness.router.neighbour_down(harness.now, 2);
    harness.sent.clear();
    harness.announce(9, 8, 3 << 32, 40, 1).unwrap();
    let highest = Record::YourHighest(signed_announce(8, SEQ));
    assert!(harness.take_sent_to(9).contains(&highest), "and over other links, when they carry an old epoch");
    // The announce travels along the route to its origin.
    let mut relay = RouterHarness::new(2);
    relay.announce(1, 8, 3 << 32, 40, 1).unwrap();
    relay.wait(secs(1));
    relay.sent.clear();
    relay.receive(2, &[Record::YourHighest(signed_announce(8, SEQ))]).unwrap();
    assert_eq!(relay.take_sent_to(1), [Record::YourHighest(signed_announce(8, SEQ))]);
    relay.announce(1, 8, 6 << 32, 40, 1).unwrap();
    let answered =
        |record: &Record| matches!(record, Record::Announce(announce, _) if announce.seq == 6 << 32);
    assert!(relay.take_sent_to(2).iter().any(answered));
}

#[test]
fn a_node_hosts_many_addresses_and_gives_them_up() {
    let mut harness = RouterHarness::new(2);
    harness.router.add_origin(harness.now, identity(5), 77);
    harness.wait(ms(20));
    assert_eq!(harness.events, [RouterOutput::EpochUsed { address: address(5), epoch: 77 }]);
    assert_eq!(harness.advertised_to(2, 5).len(), 1);
    assert!(harness.router.routes(harness.now).is_empty(), "own addresses are not listed");
    harness.router.remove_origin(&address(5));
    harness.drain_outputs();
    assert_eq!(harness.advertised_to(2, 5).last().map(|advertised| advertised.1), Some(INFINITY));
    // It moves to another node.
    harness.announce(1, 5, (78 << 32) | 1, 0, 0).unwrap();
    assert_eq!(harness.next(5), Some(1));
    // It moves back, with a seq above the other node's.
    harness.router.add_origin(harness.now, identity(5), 78);
    harness.drain_outputs();
    assert_eq!(harness.events.last(), Some(&RouterOutput::EpochUsed { address: address(5), epoch: 79 }));
    assert_eq!(harness.next(5), None);
}

#[test]
fn an_own_announce_is_renewed_every_half_hour() {
    let mut harness = RouterHarness::new(1);
    harness.wait(secs(2 * 3600));
    let seqs: Vec<_> = harness
        .take_sent_to(1)
        .into_iter()
        .filter_map(|record| match record {
            Record::Announce(announce, _) => Some(announce.seq),
            Record::Offer { seq, .. } => Some(seq),
            _ => None,
        })
        .collect();
    let first = seqs[0];
    assert_eq!(first >> 32, 1000);
    assert_eq!(seqs, [first, first + 1, first + 2, first + 3]);
}

#[test]
fn an_address_that_has_moved_away_is_reached_where_it_is_now() {
    let mut harness = RouterHarness::new(2);
    // It is in use elsewhere before it is removed here.
    let elsewhere = Record::Announce(signed_announce(0, (1000 << 32) + 0x2_0000), attributes(3, 40, 1));
    for epoch in [1002, 1004, 1006, 1008] {
        harness
            .receive(1, &[Record::Announce(signed_announce(0, epoch << 32), attributes(3, 40, 1))])
            .unwrap();
    }
    harness.receive(1, std::slice::from_ref(&elsewhere)).unwrap();
    harness.sent.clear();
    harness.router.remove_origin(&address(0));
    harness.drain_outputs();
    assert!(
        harness.take_sent_to(1).contains(&Record::Want { idx: 3 }),
        "the neighbour that advertised it is sent a WANT"
    );
    harness.receive(1, &[Record::Announce(signed_announce(0, 1010 << 32), attributes(3, 40, 1))]).unwrap();
    assert_eq!(harness.next(0), Some(1));
}

#[test]
fn an_idx_of_an_own_address_does_not_stand_for_the_destination_that_replaces_it() {
    let mut harness = RouterHarness::new(1);
    harness.receive(1, &[Record::Announce(signed_announce(0, 900 << 32), attributes(3, 40, 1))]).unwrap();
    harness.router.remove_origin(&address(0));
    harness.wait(secs(5400 + 120));
    assert_eq!(harness.router.destinations(), 0);
    harness.announce(1, 8, SEQ, 40, 1).unwrap();
    harness.update(1, 3, 900, 1).unwrap();
    assert_eq!(harness.fib[&address(8)].metric, 80);
}

#[test]
fn an_origin_that_is_raised_often_renews_its_announce_once_per_interval() {
    let mut harness = RouterHarness::new(1);
    let before = harness.router.timers();
    for id in 0..1000 {
        harness
            .receive(1, &[Record::SeqnoRequest(SeqnoRequest { dst: address(0), seq: u64::MAX, ttl: 9, id })])
            .unwrap();
        harness.wait(ms(100));
    }
    assert!(harness.router.timers() <= before + 2, "{}", harness.router.timers());
    harness.wait(secs(200));
    harness.sent.clear();
    harness.wait(secs(1800 + 60));
    let renewed = |(_, _, record): &&(_, _, Record)| {
        matches!(record, Record::Announce(announce, _) if announce.dst == address(0))
            || matches!(record, Record::Offer { .. })
    };
    assert_eq!(harness.sent.iter().filter(renewed).count(), 1);
}
