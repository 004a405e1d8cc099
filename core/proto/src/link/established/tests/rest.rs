//! Hellos of links at rest: how rare they become, and what is noticed nevertheless.

use super::*;
use crate::link::liveness::HELLO_INTERVAL;
use crate::link::liveness::rest::{HELLO_INTERVAL_AT_REST, MAX_STATED, REST_AFTER, REST_MARGIN};
use crate::wire::link::{CAPABILITY_REST, KIND_REST, RestHello, Vitals};
use LinkState::{Down, Suspect, Up};

const MINUTE: Duration = Duration::from_secs(60);

/// A pair that has measured its first round trip. Both nodes understand hellos that state the next one.
fn resting(seed: u8) -> Pair {
    let mut pair = Pair::settled(seed, ms(2));
    pair.links = pair.links.map(|link| link.with_capabilities(CAPABILITY_REST));
    pair
}

/// The frames that node 0 transmits in a time.
fn transmitted_in(pair: &mut Pair, time: Duration) -> usize {
    let before = pair.transmitted[0].len();
    pair.run(time);
    pair.transmitted[0].len() - before
}

/// The time from now until node 0 enters `state`.
fn time_to(pair: &mut Pair, state: LinkState) -> Duration {
    let since = pair.now;
    while pair.state(0) != state {
        assert!(pair.now.since(since) < MINUTE, "never {state:?}");
        pair.run(ms(1));
    }
    pair.now.since(since)
}

#[test]
fn hellos_become_rare_at_rest_and_the_link_stays_up() {
    for seed in 0..20 {
        let mut pair = resting(seed);
        let first = transmitted_in(&mut pair, REST_AFTER);
        assert!((8..=12).contains(&first), "{first} frames in the first ten seconds");
        pair.run(ms(10_000));
        // The five minutes contain no frame but hellos.
        let frames = transmitted_in(&mut pair, 5 * MINUTE);
        assert!((53..=69).contains(&frames), "{frames} frames in five minutes");
        assert_eq!((pair.states[0].len(), pair.states[1].len()), (0, 0));
        assert_eq!(pair.links[0].metrics().loss, 0.0);
    }
}

#[test]
fn a_neighbour_that_does_not_understand_them_gets_ordinary_hellos_every_second() {
    let mut pair = Pair::settled(1, ms(2));
    pair.links[0].liveness.enable_rest();
    pair.run(MINUTE);
    assert!(pair.transmitted[0].contains(&KIND_REST));
    assert!(!pair.transmitted[1].contains(&KIND_REST));
    let frames = pair.transmitted[1].len();
    assert!((53..=70).contains(&frames), "{frames} frames in a minute");
    assert_eq!((pair.states[0].len(), pair.states[1].len()), (0, 0));
}

#[test]
fn a_packet_in_either_direction_ends_the_rest_of_both_ends() {
    for from in 0..2 {
        let mut pair = resting(1);
        pair.run(MINUTE);
        pair.packet(from);
        let frames = transmitted_in(&mut pair, REST_AFTER - HELLO_INTERVAL);
        assert!((7..=11).contains(&frames), "{frames} frames in nine seconds");
        pair.run(ms(20_000));
        let frames = transmitted_in(&mut pair, MINUTE);
        assert!((10..=15).contains(&frames), "{frames} frames in the minute after");
    }
}

#[test]
fn a_silent_neighbour_is_missed_by_the_first_packet_as_soon_as_without_a_rest() {
    for seed in 0..20 {
        let mut pair = resting(seed);
        pair.run(MINUTE + ms(u64::from(seed) * 277));
        pair.cut();
        pair.packet(0);
        let suspect = time_to(&mut pair, Suspect);
        assert!(suspect <= ms(210), "{suspect:?}");
    }
}

#[test]
fn a_silent_neighbour_is_down_within_eight_seconds_of_rest() {
    for seed in 0..20 {
        let mut pair = resting(seed);
        pair.run(MINUTE + ms(u64::from(seed) * 277));
        pair.cut();
        let down = time_to(&mut pair, Down(DownReason::Silent));
        let most = HELLO_INTERVAL_AT_REST.mul_f64(1.125) + REST_MARGIN + ms(1_200);
        assert!(down <= most, "{down:?}");
    }
}

/// The number of probes that node 0 has transmitted.
fn probes_of(pair: &Pair) -> usize {
    pair.transmitted[0].iter().filter(|kind| **kind == KIND_PROBE).count()
}

#[test]
fn a_hello_that_is_lost_at_rest_costs_a_probe_and_not_the_link() {
    let mut pair = resting(1);
    pair.run(MINUTE);
    pair.wires[1].loss = 100;
    let (hellos, probes) = (pair.transmitted[1].len(), probes_of(&pair));
    while pair.transmitted[1].len() == hellos {
        pair.run(ms(1));
    }
    pair.wires[1].loss = 0;
    pair.run(MINUTE);
    assert_eq!(probes_of(&pair), probes + 1);
    assert_eq!((pair.state(0), pair.state(1)), (Up, Up));
    assert!(pair.states.iter().flatten().all(|(_, state)| *state == Up), "{:?}", pair.states);
}

#[test]
fn hellos_stay_frequent_on_a_link_that_loses_frames() {
    let mut pair = resting(3);
    pair.wires[1].loss = 30;
    let frames = transmitted_in(&mut pair, 5 * MINUTE);
    assert!(frames > 250, "{frames} frames in five minutes");
}

#[test]
fn a_hello_cannot_state_a_silence_of_a_minute() {
    let mut pair = resting(1);
    let clock = pair.links[1].clock(pair.now);
    let vitals = Vitals { sent: clock, echo: 0, held: Vitals::NO_ECHO, expected: 1, received: 1 };
    pair.seal(1, &plaintext(KIND_REST, &RestHello { vitals, next_ms: u16::MAX }));
    pair.run(ms(3));
    pair.cut();
    let suspect = time_to(&mut pair, Suspect);
    assert!(suspect <= MAX_STATED + REST_MARGIN + ms(200), "{suspect:?}");
}
