//! Loss detection and probes: the rules of RFC 9002, one by one.

use super::pair::ms;
use crate::message::recovery::Recovery;
use crate::message::*;
use crate::wire::message::Ack;

const fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn part(number: u64) -> Piece {
    Piece::Part { seq: number, from: 0, to: 1000 }
}

/// A sender after packets 0 to `count - 1`, one per millisecond, each with one piece.
fn sent(count: u64) -> Recovery {
    let mut recovery = Recovery::new(0);
    recovery.congestion.set_packet(1000);
    for number in 0..count {
        assert_eq!(recovery.next_number(), number);
        recovery.on_sent(at(number), 1000, &[part(number)]);
    }
    recovery
}

fn ack(recovery: &mut Recovery, now: Time, ranges: &[(u64, u64)]) -> (Vec<Piece>, Vec<Piece>) {
    let mut ack = Ack::new(0);
    for &(low, high) in ranges {
        assert!(ack.push(low, high));
    }
    let (mut arrived, mut lost) = (Vec::new(), Vec::new());
    let accepted = recovery.on_ack(now, &ack, |piece, has_arrived| match has_arrived {
        true => arrived.push(piece),
        false => lost.push(piece),
    });
    assert!(accepted.is_ok());
    (arrived, lost)
}

#[test]
fn a_packet_is_lost_when_the_third_after_it_has_arrived() {
    let mut recovery = sent(4);
    assert_eq!(ack(&mut recovery, at(100), &[(2, 2)]), (vec![part(2)], vec![]));
    assert_eq!(ack(&mut recovery, at(100), &[(2, 3)]), (vec![part(3)], vec![part(0)]));
    assert!(recovery.is_in_flight(), "packet 1 may still arrive");
}

#[test]
fn a_packet_is_lost_a_little_more_than_a_round_trip_after_it_was_sent() {
    let mut recovery = sent(2);
    // The round trip is 16 ms, and 9/8 of it are 18 ms, which is the time threshold.
    assert_eq!(ack(&mut recovery, at(17), &[(1, 1)]), (vec![part(1)], vec![]));
    assert_eq!(recovery.deadline(), Some(at(18)));
    let mut lost = Vec::new();
    recovery.on_timeout(at(17), |piece| lost.push(piece));
    assert_eq!(lost, []);
    recovery.on_timeout(at(18), |piece| lost.push(piece));
    assert_eq!(lost, [part(0)]);
    assert_eq!(recovery.deadline(), None);
    assert_eq!(recovery.probes, 0, "it is no probe timeout");
}

#[test]
fn silence_causes_probes_at_growing_intervals() {
    let mut recovery = sent(3);
    // The time of the first packet, since those after it do not put the probe off.
    let mut now = at(0);
    let mut gaps = Vec::new();
    let mut probed = Vec::new();
    for _ in 0..8 {
        let deadline = recovery.deadline().expect("a packet is in flight");
        gaps.push(deadline.since(now));
        now = deadline;
        recovery.on_timeout(now, |piece| probed.push(piece));
        assert_eq!(recovery.probes, 2);
    }
    // The initial 100 ms, four times half of it as the variation, and 25 ms for the delay of an ack.
    assert_eq!(gaps[..4], [ms(325), ms(650), ms(1300), ms(2600)]);
    assert_eq!(gaps[4..], [ms(5000); 4], "up to the longest interval");
    assert_eq!(probed, [part(0), part(1), part(2)], "the oldest first, and each once");
    ack(&mut recovery, now, &[(0, 0)]);
    assert_eq!((recovery.probe_timeouts(), recovery.probes), (0, 0));
}

#[test]
fn a_probed_packet_that_is_lost_is_not_sent_a_third_time() {
    let mut recovery = sent(1);
    recovery.on_timeout(at(400), |_| {});
    for number in 1..4 {
        recovery.on_sent(at(400), 1000, &[part(number)]);
    }
    assert_eq!(ack(&mut recovery, at(410), &[(1, 3)]).1, []);
    assert!(!recovery.is_in_flight());
}

#[test]
fn persistent_congestion_closes_the_window() {
    for (gap, closes) in [(1, false), (400, true)] {
        let mut recovery = sent(1);
        ack(&mut recovery, at(10), &[(0, 0)]);
        recovery.congestion.app_limited = false;
        for number in 1..8 {
            recovery.on_sent(at(20 + number * gap), 1000, &[part(number)]);
        }
        let (_, lost) = ack(&mut recovery, at(30 + 8 * gap), &[(7, 7)]);
        assert!(lost.len() >= 4);
        let window = recovery.congestion.window();
        assert_eq!(window == 2000, closes, "{window}");
    }
}

#[test]
fn abandoned_packets_do_not_reduce_the_window() {
    let mut recovery = sent(5);
    let window = recovery.congestion.window();
    let mut lost = Vec::new();
    recovery.abandon(|piece| lost.push(piece));
    assert_eq!(lost, [0, 1, 2, 3, 4].map(part));
    assert_eq!((recovery.congestion.window(), recovery.deadline()), (window, None));
    assert_eq!(recovery.next_number(), 5, "numbers are not used again");
    assert_eq!(recovery.open_distance(), 0);
}

#[test]
fn an_ack_for_a_packet_never_sent_is_an_error() {
    let mut recovery = sent(3);
    let mut ack = Ack::new(0);
    ack.push(0, 3);
    assert_eq!(recovery.on_ack(at(5), &ack, |_, _| {}), Err(()));
}
