//! The control channel over a faulty network.

use super::*;
use crate::link::control::MAX_MESSAGE;

fn message(n: u32, rng: &mut ChaCha20Rng) -> Vec<u8> {
    let length = match n % 7 {
        0 => MAX_MESSAGE,
        1 => 4,
        _ => 4 + rng.next_u32() as usize % 600,
    };
    let mut message = vec![n as u8; length];
    message[..4].copy_from_slice(&n.to_le_bytes());
    message
}

#[test]
fn all_messages_arrive_once_and_in_order_despite_loss_duplicates_and_reordering() {
    for seed in 0..12 {
        let bad = Wire { delay: ms(2), jitter: ms(8), loss: 30, duplicates: 30, ..Wire::good(ms(2)) };
        let mut pair = Pair::new(seed, bad);
        let mut sent: [Vec<Vec<u8>>; 2] = Default::default();
        let mut rng = ChaCha20Rng::from_seed([seed; 32]);
        for n in 0..150 {
            for (link, sent) in pair.links.iter_mut().zip(&mut sent) {
                let message = message(n, &mut rng);
                link.send_control(&message).unwrap();
                sent.push(message);
            }
            if n % 10 == 0 {
                pair.poll(0);
                pair.poll(1);
                pair.run(ms(3));
            }
        }
        pair.poll(0);
        pair.poll(1);
        pair.run(Duration::from_secs(60));
        for (node, sent) in sent.iter().enumerate() {
            let got = &pair.control[1 - node];
            assert!(got == sent, "seed {seed}: {} of 150", got.len());
            assert_eq!(pair.links[node].metrics().control_queued, 0);
            assert_eq!(pair.state(node), LinkState::Up);
        }
        let odd = |cause: &DropCause| !matches!(cause, DropCause::Duplicate | DropCause::Replay);
        assert!(!pair.drops.iter().flatten().any(odd), "{:?}", pair.drops);
    }
}

#[test]
fn small_messages_share_segments() {
    let mut pair = Pair::settled(1, ms(2));
    pair.transmitted = Default::default();
    for n in 0..100u8 {
        pair.links[0].send_control(&[n; 20]).unwrap();
    }
    pair.poll(0);
    assert_eq!(pair.transmitted[0], [KIND_CONTROL; 2], "2200 bytes in two segments");
    pair.run(ms(20));
    assert_eq!(pair.control[1].len(), 100);
    assert_eq!(pair.transmitted[1], [KIND_ACK]);
}

#[test]
fn a_lone_segment_is_acknowledged_within_five_milliseconds() {
    let mut pair = Pair::settled(1, ms(2));
    pair.transmitted = Default::default();
    pair.links[0].send_control(b"hello").unwrap();
    pair.poll(0);
    pair.run(ms(2));
    assert_eq!(pair.transmitted[1], [] as [u8; 0], "the acknowledgement waits for a segment");
    pair.run(ms(5));
    assert_eq!(pair.transmitted[1], [KIND_ACK]);
    assert_eq!(pair.control[1], [b"hello".as_slice()]);
}

#[test]
fn a_segment_in_the_other_direction_carries_the_acknowledgement() {
    let mut pair = Pair::settled(1, ms(2));
    pair.transmitted = Default::default();
    pair.links[0].send_control(b"question").unwrap();
    pair.poll(0);
    pair.run(ms(3));
    pair.links[1].send_control(b"answer").unwrap();
    pair.poll(1);
    pair.run(ms(3));
    assert_eq!(pair.transmitted[1], [KIND_CONTROL]);
    assert_eq!(pair.links[0].metrics().control_queued, 0);
}

#[test]
fn a_lost_segment_is_repeated_before_its_time_out_when_later_ones_have_arrived() {
    let mut pair = Pair::settled(1, ms(50));
    for n in 0..8u8 {
        pair.wires[0].loss = if n == 2 { 100 } else { 0 };
        pair.links[0].send_control(&[n; 1000]).unwrap();
        pair.poll(0);
    }
    pair.run(ms(170));
    assert_eq!(pair.control[1].len(), 8, "one round trip later, not after a time-out");
    assert_eq!(pair.links[0].metrics().control_repeated, 1);
}

#[test]
fn an_idle_control_channel_has_no_timers() {
    let mut pair = Pair::settled(1, ms(2));
    pair.links[0].send_control(b"hello").unwrap();
    pair.poll(0);
    pair.run(ms(100));
    assert_eq!(pair.links[0].outgoing.deadline(&pair.links[0].rtt), None);
    assert_eq!(pair.links[1].incoming.due(), None);
}

#[test]
fn a_neighbour_that_does_not_acknowledge_becomes_suspect() {
    let mut pair = Pair::settled(1, ms(2));
    pair.cut();
    pair.links[0].send_control(b"hello").unwrap();
    pair.poll(0);
    pair.run(ms(210));
    assert_eq!(pair.state(0), LinkState::Suspect);
}

#[test]
fn a_large_transfer_is_paced_by_acknowledgements() {
    let mut pair = Pair::settled(1, ms(10));
    let mut sent = 0;
    while pair.links[0].send_control(&[sent as u8; 1000]).is_ok() {
        sent += 1;
    }
    assert!((1040..1050).contains(&sent), "{sent} kB fit the queue");
    pair.transmitted = Default::default();
    pair.poll(0);
    assert_eq!(pair.transmitted[0].len(), 16);
    pair.run(Duration::from_secs(2));
    assert_eq!(pair.control[1].len(), sent);
    assert_eq!(pair.links[0].metrics().control_repeated, 0);
}
