//! Paths that carry less than the base.

use super::*;

/// A pair over a medium that carries 512 bytes with certainty. Frames longer than `hole` are lost.
fn unsure(seed: u8, hole: usize) -> Pair {
    let mut pair = Pair::new(seed, Wire { hole, ..Wire::good(ms(2)) });
    for link in &mut pair.links {
        link.mtu = PathMtu::new(512, 1200, 1452);
    }
    pair
}

/// The maximum of the tried lengths that this path carries.
fn best(hole: usize) -> usize {
    [512, 640, 768, 950, 1080, 1200].into_iter().rev().find(|length| *length <= hole).unwrap()
}

impl Pair {
    /// Packets as long as may be, one every 10 ms; frames longer than `refused` are refused by the medium.
    fn load(&mut self, time: Duration, refused: usize) {
        let end = self.now + time;
        while self.now < end {
            let length = self.links[0].mtu.current();
            if length > refused {
                self.links[0].on_frame_too_long(self.now, length);
            } else {
                self.seal(0, &vec![KIND_PACKET; length - Sealer::OVERHEAD]);
                self.links[0].note_sent(self.now, 1, length);
                self.links[0].note_longest(self.now, 1, length);
            }
            self.poll(0);
            self.run(ms(10));
        }
    }

    fn is_up(&self) -> bool {
        !self.states.iter().flatten().any(|(_, state)| *state != LinkState::Up)
    }
}

#[test]
fn a_narrow_path_that_drops_long_frames_is_detected_within_a_second() {
    for hole in [512, 660, 972, 1100, 1199] {
        let mut pair = unsure(1, hole);
        pair.run(Duration::from_secs(5));
        pair.load(ms(1000), usize::MAX);
        assert_eq!(pair.links[0].mtu.current(), best(hole), "a hole above {hole}");
        let before = pair.packets[1];
        pair.load(Duration::from_secs(50), usize::MAX);
        assert_eq!(pair.packets[1] - before, 5000, "every packet gets through");
        assert!(pair.is_up(), "a hole above {hole}");
    }
}

#[test]
fn a_narrow_medium_that_refuses_long_frames_is_detected_at_once() {
    for hole in [512, 660, 972, 1100, 1199] {
        let mut pair = unsure(2, hole);
        pair.load(ms(100), hole);
        assert_eq!(pair.links[0].mtu.current(), best(hole), "a medium that takes {hole}");
        // The refusal of a frame that was queued before the length fell is no new evidence.
        let now = pair.now;
        pair.links[0].on_frame_too_long(now, 1200);
        assert_eq!(pair.links[0].mtu.current(), best(hole));
    }
}

#[test]
fn a_path_that_becomes_narrow_and_wide_again_is_followed() {
    let mut pair = unsure(3, usize::MAX);
    pair.load(Duration::from_secs(10), usize::MAX);
    assert_eq!(pair.links[0].mtu.current(), 1452);
    pair.wires[0].hole = 972;
    pair.load(Duration::from_secs(5), usize::MAX);
    assert_eq!(pair.links[0].mtu.current(), 950);
    pair.wires[0].hole = usize::MAX;
    pair.load(Duration::from_secs(130), usize::MAX);
    assert_eq!(pair.links[0].mtu.current(), 1452);
}

#[test]
fn a_link_that_carries_only_short_frames_probes_nothing() {
    let mut pair = unsure(4, 512);
    pair.traffic(0, ms(50), Duration::from_secs(60));
    assert!(!pair.transmitted[0].contains(&KIND_MTU_PROBE));
    assert_eq!(pair.packets[1], 1200);
}

#[test]
fn loss_alone_does_not_lower_the_length_for_long() {
    for seed in 0..10 {
        let mut pair = unsure(seed, usize::MAX);
        pair.load(Duration::from_secs(10), usize::MAX);
        for wire in &mut pair.wires {
            wire.loss = 10;
        }
        pair.load(Duration::from_secs(60), usize::MAX);
        assert!(pair.links[0].mtu.current() >= 1200, "seed {seed}: {}", pair.links[0].mtu.current());
    }
}

#[test]
fn the_control_stream_crosses_a_narrow_path_from_its_first_segment_on() {
    for hole in [512, 972] {
        let mut pair = unsure(5, hole);
        for n in 0..50 {
            pair.links[0].send_control(&[n; 4000]).unwrap();
        }
        pair.poll(0);
        pair.run(Duration::from_secs(5));
        assert_eq!(pair.control[1].len(), 50, "a hole above {hole}");
        assert!(pair.is_up());
    }
}

#[test]
fn on_a_good_path_control_segments_are_long_after_one_round_trip() {
    let mut pair = unsure(6, usize::MAX);
    for n in 0..50 {
        pair.links[0].send_control(&[n; 4000]).unwrap();
    }
    pair.poll(0);
    pair.run(Duration::from_secs(5));
    assert_eq!(pair.control[1].len(), 50);
    let segments = pair.transmitted[0].iter().filter(|kind| **kind == KIND_CONTROL).count();
    assert!(segments < 200_000 / 1153 + 32, "{segments} segments");
}
