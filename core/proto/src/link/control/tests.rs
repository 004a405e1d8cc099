//! The two halves of the control channel, without a network between them.

use std::time::Duration;

use super::*;
use crate::link::quality::RttEstimator;
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::link::{Acknowledged, Segment, split};

const NOTHING: Acknowledged = Acknowledged { ack: 0, sack: 0 };

fn numbers(outgoing: &mut ControlSender, now: Time) -> Vec<u32> {
    std::iter::from_fn(|| outgoing.poll(now, NOTHING))
        .map(|segment| split::<Segment>(&segment[1..]).unwrap().0.sequence)
        .collect()
}

#[test]
fn a_message_has_from_1_to_4096_bytes() {
    let mut outgoing = ControlSender::new(1200);
    assert_eq!(outgoing.push(&[]), Err(ControlFull));
    assert_eq!(outgoing.push(&[1; 4097]), Err(ControlFull));
    assert_eq!(outgoing.push(&[1; 70_000]), Err(ControlFull));
    assert_eq!(outgoing.push(&[1; 4096]), Ok(()));
    assert_eq!(outgoing.push(&[1]), Ok(()));
    assert_eq!(outgoing.queued(), 4096 + 1 + 4);
}

#[test]
fn the_queue_is_bounded_and_empties_with_acknowledgements() {
    let mut outgoing = ControlSender::new(1200);
    while outgoing.push(&[1; 4096]).is_ok() {}
    assert!(outgoing.queued() <= QUEUE && outgoing.queued() > QUEUE - 4098);
    let mut ack = 0;
    loop {
        let sent = numbers(&mut outgoing, Time::ZERO).len() as u32;
        if sent == 0 {
            break;
        }
        ack += sent;
        outgoing.acknowledge(Acknowledged { ack, sack: 0 }).unwrap();
    }
    assert_eq!(outgoing.queued(), 0);
    assert_eq!(ack as usize, (255 * 4098usize).div_ceil(MAX_BODY));
}

#[test]
fn a_segment_fits_the_frame_of_a_small_link() {
    for mtu in [512, 1200, 9000] {
        let mut outgoing = ControlSender::new(mtu);
        outgoing.push(&[1; 4096]).unwrap();
        let segment = outgoing.poll(Time::ZERO, NOTHING).unwrap();
        assert_eq!(segment.len() + Sealer::OVERHEAD, mtu.min(1200));
    }
}

#[test]
fn time_outs_double_until_an_acknowledgement_arrives() {
    let mut outgoing = ControlSender::new(1200);
    let mut rtt = RttEstimator::default();
    rtt.sample(Time::ZERO, Duration::from_millis(1));
    outgoing.push(&[1; 100]).unwrap();
    let mut now = Time::from_millis(100);
    let mut waits = Vec::new();
    assert_eq!(numbers(&mut outgoing, now), [0]);
    for _ in 0..9 {
        let due = outgoing.deadline(&rtt).unwrap();
        waits.push(due.since(now).as_millis());
        now = due;
        outgoing.handle_timeout(now, &rtt);
        assert_eq!(numbers(&mut outgoing, now), [0]);
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    outgoing.push(&[1; 3000]).unwrap();
    assert_eq!(numbers(&mut outgoing, now), [1, 2, 3]);
    outgoing.acknowledge(Acknowledged { ack: 1, sack: 0 }).unwrap();
    assert_eq!(outgoing.deadline(&rtt).unwrap().since(now).as_millis(), 10);
}

#[test]
fn gaps_are_filled_and_nothing_else_is_repeated() {
    let mut outgoing = ControlSender::new(1200);
    for _ in 0..10 {
        outgoing.push(&[1; 1151]).unwrap();
    }
    assert_eq!(numbers(&mut outgoing, Time::ZERO), (0..10).collect::<Vec<_>>());
    // Segments 3, 4, 6, 7 and 8 have arrived. 2 and 5 are lost, because three later ones have overtaken each.
    outgoing.acknowledge(Acknowledged { ack: 2, sack: 0b111011 }).unwrap();
    assert_eq!(numbers(&mut outgoing, Time::ZERO), [2, 5]);
    outgoing.acknowledge(Acknowledged { ack: 2, sack: 0b111011 }).unwrap();
    assert_eq!(numbers(&mut outgoing, Time::ZERO), [] as [u32; 0]);
    outgoing.acknowledge(Acknowledged { ack: 10, sack: 0 }).unwrap();
    assert_eq!(outgoing.queued(), 0);
}

#[test]
fn an_acknowledgement_of_a_segment_that_was_never_sent_is_refused_and_changes_nothing() {
    let mut outgoing = ControlSender::new(1200);
    for _ in 0..10 {
        outgoing.push(&[1; 1151]).unwrap();
    }
    assert_eq!(numbers(&mut outgoing, Time::ZERO).len(), 10);
    assert_eq!(outgoing.acknowledge(Acknowledged { ack: 4, sack: 0 }), Ok(()));
    let waits = outgoing.queued();
    for (ack, sack) in [(11, 0), (u32::MAX / 2, 0), (10, 1), (4, 1 << 5), (9, 1), (4, 1 << 63)] {
        let refused = outgoing.acknowledge(Acknowledged { ack, sack });
        assert_eq!(refused, Err(DropCause::MalformedPacket), "ack {ack}, sack {sack:b}");
        assert_eq!(outgoing.queued(), waits, "ack {ack}, sack {sack:b}");
    }
    // An acknowledgement that was overtaken contains nothing new. It is no error, because paths reorder frames.
    for (ack, sack) in [(3, 0), (0, 0b11), (3, 1 << 5)] {
        assert_eq!(outgoing.acknowledge(Acknowledged { ack, sack }), Ok(()), "ack {ack}, sack {sack:b}");
        assert_eq!(outgoing.queued(), waits);
    }
    assert_eq!(
        outgoing.acknowledge(Acknowledged { ack: 4, sack: 1 << 4 }),
        Ok(()),
        "the last segment has arrived"
    );
    assert_eq!(outgoing.acknowledge(Acknowledged { ack: 10, sack: 0 }), Ok(()));
    assert_eq!(outgoing.queued(), 0);
}

#[test]
fn segment_numbers_wrap_around_at_32_bits() {
    let now = Time::ZERO;
    let (mut outgoing, mut incoming) = (ControlSender::new(1200), ControlReceiver::default());
    outgoing.start_at(u32::MAX - 5);
    incoming.start_at(u32::MAX - 5);
    for n in 0..100u8 {
        outgoing.push(&[n; 500]).unwrap();
        while let Some(plaintext) = outgoing.poll(now, NOTHING) {
            let (segment, body) = split::<Segment>(&plaintext[1..]).unwrap();
            incoming.segment(now, segment.sequence, body).unwrap();
            outgoing.acknowledge(incoming.acknowledged()).unwrap();
        }
        assert_eq!(incoming.message().unwrap().unwrap(), [n; 500].as_slice());
    }
}

#[test]
fn messages_that_are_not_fetched_are_bounded() {
    let mut incoming = ControlReceiver::default();
    let mut refused = 0;
    for sequence in 0..1000 {
        refused += u32::from(incoming.segment(Time::ZERO, sequence, &[1; MAX_BODY]).is_err());
    }
    assert!(refused > 700, "{refused}");
}
