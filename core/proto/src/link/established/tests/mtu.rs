//! Discovery of the path MTU above the base.

use super::*;
use crate::wire::link::{KIND_MTU_PROBE, MtuAnswer};

/// A pair that may try frames of up to 1452 bytes; only node 0 sends packets.
fn probing(seed: u8, wire: Wire) -> Pair {
    let mut pair = Pair::new(seed, wire);
    for link in &mut pair.links {
        link.mtu = PathMtu::new(1200, 1200, 1452);
    }
    pair
}

impl Pair {
    fn mtu(&self) -> usize {
        self.links[0].mtu.current()
    }

    /// Packets in frames as long as may be, one every 10 ms.
    fn bulk(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let length = self.mtu();
            self.seal(0, &vec![KIND_PACKET; length - Sealer::OVERHEAD]);
            self.links[0].note_sent(self.now, 1, length);
            self.links[0].note_longest(self.now, 1, length);
            self.poll(0);
            self.run(ms(10));
        }
    }

    fn probes(&self) -> usize {
        self.transmitted[0].iter().filter(|kind| **kind == KIND_MTU_PROBE).count()
    }
}

#[test]
fn longer_frames_are_tried_step_by_step_once_they_are_wanted() {
    let mut pair = probing(1, Wire::good(ms(2)));
    pair.run(Duration::from_secs(60));
    assert_eq!(pair.probes(), 0, "an idle link probes nothing");
    pair.bulk(Duration::from_secs(4));
    assert_eq!(pair.mtus[0].iter().map(|(_, mtu)| *mtu).collect::<Vec<_>>(), [1400, 1452]);
    assert_eq!(pair.mtus[1], []);
    assert_eq!(pair.drops, [[], []]);
}

#[test]
fn a_probe_has_the_tried_length_and_its_answer_is_short() {
    let mut mtu = PathMtu::new(1200, 1200, 1452);
    mtu.on_sent(Time::ZERO, 300, 1200);
    let probe = mtu.poll(Time::ZERO, None, Time::ZERO, false).unwrap();
    assert_eq!(probe.len() + Sealer::OVERHEAD, 1400);
    assert_eq!((&probe[..5], probe[5..].iter().all(|byte| *byte == 0)), (&[9, 1, 0, 0, 0][..], true));
    let mut pair = probing(1, Wire::good(ms(2)));
    pair.links[1].on_mtu_probe(&[7, 0, 0, 0, 0, 0], 1400).unwrap();
    let Some(LinkOutput::Transmit(answer)) = pair.links[1].poll_output(pair.now) else { panic!("no answer") };
    assert_eq!(answer, [10, 7, 0, 0, 0, 0x78, 0x05]);
    assert_eq!(pair.links[1].on_mtu_probe(&[7, 0, 0, 0, 0], 35), Err(DropCause::MalformedPacket));
}

#[test]
fn a_length_that_is_lost_is_not_tried_again_for_ten_minutes() {
    let mut pair = probing(2, Wire { hole: 1420, ..Wire::good(ms(2)) });
    pair.bulk(Duration::from_secs(10));
    assert_eq!(pair.mtu(), 1400);
    let cost = pair.links[0].metrics().cost;
    assert!(cost <= 45, "three lost probes must not raise the cost: {cost}");
    pair.wires[0].hole = usize::MAX;
    pair.bulk(Duration::from_secs(580));
    assert_eq!(pair.mtu(), 1400);
    pair.bulk(Duration::from_secs(30));
    assert_eq!(pair.mtu(), 1452);
}

#[test]
fn a_black_hole_is_detected_in_two_seconds_and_tried_again_at_growing_intervals() {
    let mut pair = probing(3, Wire::good(ms(2)));
    pair.bulk(Duration::from_secs(10));
    assert_eq!(pair.mtu(), 1452);
    pair.wires[0].hole = 1300;
    let opened = pair.now.as_micros() / 1000 - 5_000;
    pair.bulk(Duration::from_secs(800));
    let (fell, mtu) = pair.mtus[0][2];
    assert_eq!((mtu, pair.mtus[0].len()), (1200, 3));
    assert!(fell - opened <= 2_000, "{} ms", fell - opened);
    assert!(!pair.states.iter().flatten().any(|(_, state)| matches!(state, LinkState::Down(_))));
    pair.wires[0].hole = usize::MAX;
    pair.bulk(Duration::from_secs(600));
    assert_eq!(pair.mtu(), 1452);
}

#[test]
fn after_a_black_hole_longer_frames_are_tried_after_one_minute_and_then_two() {
    let mut pair = probing(4, Wire::good(ms(2)));
    pair.bulk(Duration::from_secs(10));
    let mut waits = Vec::new();
    for _ in 0..3 {
        pair.wires[0].hole = 1300;
        pair.bulk(Duration::from_secs(3));
        assert_eq!(pair.mtu(), 1200);
        let (fell, _) = *pair.mtus[0].last().unwrap();
        pair.wires[0].hole = usize::MAX;
        pair.mtus = Default::default();
        while pair.mtus[0].is_empty() {
            pair.bulk(ms(500));
        }
        waits.push((pair.mtus[0][0].0 - fell) / 1000);
        pair.bulk(Duration::from_secs(2));
    }
    assert_eq!(waits, [60, 120, 240]);
}

#[test]
fn loss_alone_is_no_black_hole() {
    for seed in 0..10 {
        let mut pair = probing(seed, Wire::good(ms(2)));
        pair.bulk(Duration::from_secs(10));
        for wire in &mut pair.wires {
            wire.loss = 10;
        }
        pair.bulk(Duration::from_secs(60));
        assert_eq!(pair.mtu(), 1452, "seed {seed}");
    }
}

#[test]
fn a_path_that_carries_nothing_is_no_black_hole() {
    let mut mtu = PathMtu::new(1200, 1200, 1452);
    let mut now = Time::from_millis(1000);
    mtu.on_sent(now, 300, 1200);
    for (id, length) in [(1, 1400), (2, 1452)] {
        mtu.poll(now, None, now, false).unwrap();
        mtu.on_answer(now, MtuAnswer { id, length });
    }
    let mut fall = |heard: Option<Time>| {
        now = now + Duration::from_secs(2);
        mtu.on_sent(now, 1, 1452);
        let heard = heard.unwrap_or(now + ms(100));
        while let Some(due) = mtu.deadline() {
            now = due;
            mtu.poll(now, None, heard, false);
        }
        mtu.current()
    };
    assert_eq!(fall(Some(Time::from_millis(1000))), 1452, "nothing was heard at all");
    assert_eq!(fall(None), 1200);
}

#[test]
fn a_frame_that_the_medium_refuses_lowers_the_length_at_once() {
    let mut pair = probing(6, Wire::good(ms(2)));
    pair.bulk(Duration::from_secs(10));
    let now = pair.now;
    pair.links[0].on_frame_too_long(now, 1400);
    pair.poll(0);
    assert_eq!(pair.mtu(), 1200);
    let mut pair = probing(7, Wire { hole: 1300, ..Wire::good(ms(2)) });
    pair.bulk(Duration::from_secs(3));
    let probes = pair.probes();
    let now = pair.now;
    pair.links[0].on_frame_too_long(now, 1400);
    pair.bulk(Duration::from_secs(30));
    assert_eq!((pair.mtu(), pair.probes()), (1200, probes), "a refused probe is not sent again");
}

#[test]
fn nothing_is_tried_when_the_base_is_the_maximum() {
    let mut pair = Pair::new(8, Wire::good(ms(2)));
    pair.bulk(Duration::from_secs(30));
    assert_eq!((pair.mtu(), pair.probes()), (1200, 0));
}

#[test]
fn answers_without_a_probe_change_nothing() {
    let mut mtu = PathMtu::new(1200, 1200, 1452);
    let answer = |id, length| MtuAnswer { id, length };
    mtu.on_answer(Time::ZERO, answer(0, 1452));
    mtu.on_sent(Time::ZERO, 300, 1200);
    for wrong in [answer(1, 1452), answer(2, 1400), answer(1, u16::MAX)] {
        mtu.on_answer(Time::ZERO, wrong);
    }
    assert_eq!(mtu.current(), 1200);
    mtu.on_answer(Time::ZERO, answer(1, 1400));
    assert_eq!(mtu.current(), 1400);
}
