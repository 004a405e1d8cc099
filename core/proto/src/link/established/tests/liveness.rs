//! Detection of a neighbour that is gone, in a network with delay.

use super::*;
use crate::link::liveness::ANSWER_GAP;
use crate::wire::link::Vitals;
use LinkState::{Away, Down, Suspect, Up};

/// When the link of node 0 entered `state` for the first time, in milliseconds after `since`.
fn entered(pair: &Pair, since: Time, state: LinkState) -> u64 {
    let at = pair.states[0].iter().find(|(_, entered)| *entered == state);
    let (at, _) = at.unwrap_or_else(|| panic!("never {state:?}: {:?}", pair.states[0]));
    at + 5_000 - since.as_micros() / 1000
}

#[test]
fn an_idle_neighbour_that_becomes_silent_is_down_after_three_hellos() {
    for seed in 0..20 {
        let mut pair = Pair::settled(seed, ms(2));
        pair.run(ms(u64::from(seed) * 77));
        pair.cut();
        let cut = pair.now;
        pair.run(Duration::from_secs(6));
        assert!(entered(&pair, cut, Suspect) <= 2_700);
        let down = entered(&pair, cut, Down(DownReason::Silent));
        assert!((2_400..=3_700).contains(&down), "{down} ms");
        assert_eq!(pair.states[0].len(), 2);
        assert_eq!(pair.links[0].next_deadline(), None, "a link that is down has no timers");
        assert_eq!(
            *pair.transmitted[0].last().unwrap(),
            KIND_GOODBYE,
            "in case the neighbour still receives"
        );
    }
}

#[test]
fn with_traffic_silence_is_suspect_in_a_quarter_of_a_second_and_down_a_second_later() {
    for seed in 0..20 {
        let mut pair = Pair::settled(seed, ms(2));
        pair.traffic(0, ms(10), ms(500));
        pair.cut();
        let cut = pair.now;
        pair.traffic(0, ms(10), Duration::from_secs(3));
        let (suspect, down) = (entered(&pair, cut, Suspect), entered(&pair, cut, Down(DownReason::Silent)));
        assert!((185..=230).contains(&suspect), "{suspect} ms");
        assert!((suspect + 990..=suspect + 1_110).contains(&down), "{down} ms");
    }
}

#[test]
fn one_unanswered_packet_starts_a_suspicion() {
    let mut pair = Pair::settled(1, ms(2));
    pair.cut();
    let cut = pair.now;
    pair.packet(0);
    pair.run(Duration::from_secs(2));
    assert!(entered(&pair, cut, Suspect) <= 210);
    assert!(entered(&pair, cut, Down(DownReason::Silent)) <= 1_310);
}

#[test]
fn a_link_that_the_medium_cut_resumes_without_loss_when_it_is_back_in_time() {
    let mut pair = Pair::settled(1, ms(2));
    let wires = pair.wires;
    let cost = pair.links[0].metrics().cost;
    for round in 1..=10 {
        pair.cut();
        for node in 0..2 {
            pair.links[node].on_medium_cut(pair.now);
            pair.poll(node);
        }
        // One message is in flight when the cut begins, and one is sent while nothing gets through.
        pair.links[0].send_control(&[round; 100]).unwrap();
        pair.poll(0);
        pair.run(ms(200));
        pair.links[0].send_control(&[100 + round; 100]).unwrap();
        pair.poll(0);
        pair.run(ms(1_500));
        assert_eq!((pair.state(0), pair.state(1)), (Away, Away));
        let segments = pair.transmitted[0].iter().filter(|kind| **kind == KIND_CONTROL).count();
        pair.run(ms(1_000));
        let more = pair.transmitted[0].iter().filter(|kind| **kind == KIND_CONTROL).count();
        assert_eq!(segments, more, "segments wait, because they would not arrive");
        pair.wires = wires;
        pair.run(ms(1_200));
        assert_eq!((pair.state(0), pair.state(1)), (Up, Up));
        let heard: Vec<u8> = pair.control[1].iter().map(|message| message[0]).collect();
        assert_eq!(heard[heard.len() - 2..], [round, 100 + round], "both messages arrive in order");
    }
    assert_eq!(pair.control[1].len(), 20);
    let metrics = pair.links[0].metrics();
    assert!(
        metrics.loss < 0.15 && metrics.cost <= cost * 5 / 4,
        "frames lost during the cut do not count: {metrics:?}"
    );
    pair.cut();
    pair.links[0].on_medium_cut(pair.now);
    pair.poll(0);
    let cut = pair.now;
    pair.run(Duration::from_secs(6));
    assert_eq!(entered(&pair, cut, Down(DownReason::Cut)), 4_250);
}

#[test]
fn a_long_round_trip_causes_no_suspicion() {
    let mut pair = Pair::settled(1, ms(300));
    pair.traffic(0, ms(50), Duration::from_secs(10));
    assert_eq!(pair.states, [[], []]);
}

#[test]
fn a_suspect_neighbour_that_sends_a_frame_is_up_again() {
    let mut pair = Pair::settled(1, ms(2));
    let wires = pair.wires;
    pair.traffic(0, ms(10), ms(100));
    pair.cut();
    pair.traffic(0, ms(10), ms(500));
    assert_eq!(pair.state(0), Suspect);
    pair.wires = wires;
    pair.run(ms(120));
    assert_eq!(pair.state(0), Up);
    let states: Vec<_> = pair.states[0].iter().map(|(_, state)| *state).collect();
    assert_eq!(states, [Suspect, Up]);
}

#[test]
fn a_receiver_that_sends_nothing_else_answers_packets() {
    let mut pair = Pair::settled(1, ms(2));
    pair.transmitted = Default::default();
    pair.traffic(0, ms(1), Duration::from_secs(10));
    let answers = pair.transmitted[1].iter().filter(|kind| **kind == KIND_ANSWER).count();
    assert!((350..=500).contains(&answers), "{answers} answers in 10 s");
    assert!(!pair.transmitted[0].contains(&KIND_PROBE), "answers make probes unnecessary");
    assert_eq!(pair.states, [[], []]);
}

#[test]
fn a_receiver_that_sends_packets_does_not_answer_besides() {
    let mut pair = Pair::settled(1, ms(2));
    pair.transmitted = Default::default();
    for _ in 0..500 {
        pair.packet(0);
        pair.packet(1);
        pair.run(ms(10));
    }
    assert!(!pair.transmitted.iter().flatten().any(|kind| *kind == KIND_ANSWER));
}

#[test]
fn probes_are_answered_at_once_but_a_flood_of_them_is_not() {
    let mut pair = Pair::settled(1, ms(2));
    pair.transmitted = Default::default();
    pair.run(ms(50));
    let probe = plaintext(KIND_PROBE, &Vitals { sent: 0, echo: 0, held: 0, expected: 0, received: 0 });
    for _ in 0..1000 {
        pair.seal(0, &probe);
    }
    pair.run(ms(20));
    let answers = pair.transmitted[1].iter().filter(|kind| **kind == KIND_ANSWER).count();
    assert!((1..=5).contains(&answers), "{answers}");
}

#[test]
fn a_link_that_works_one_way_only_ends_on_both_sides() {
    let mut pair = Pair::settled(1, ms(2));
    pair.wires[0].loss = 100;
    pair.run(Duration::from_secs(5));
    assert_eq!(pair.state(1), Down(DownReason::Silent));
    assert_eq!(pair.state(0), Down(DownReason::Unheard), "the goodbye gave the reason");
}

#[test]
fn a_goodbye_ends_the_link_at_once() {
    let mut pair = Pair::settled(1, ms(2));
    let goodbye = pair.links[0].goodbye();
    assert_eq!(goodbye, [KIND_GOODBYE, 1]);
    pair.seal(0, &goodbye);
    assert_eq!(pair.state(0), Down(DownReason::Closed));
    pair.run(ms(3));
    assert_eq!(pair.state(1), Down(DownReason::Goodbye));
    assert_eq!(pair.links[1].send_control(b"x"), Err(ControlFull));
    let mut frame = Vec::new();
    pair.sealers[0].seal(|out| out.push(KIND_PACKET), &mut frame).unwrap();
    assert_eq!(pair.links[1].handle_frame(pair.now, &mut frame), Err(DropCause::UnknownSession));
}

#[test]
fn an_exhausted_key_ends_the_link_without_a_goodbye() {
    let mut pair = Pair::settled(1, ms(2));
    pair.transmitted = Default::default();
    pair.links[0].on_key_exhausted();
    pair.poll(0);
    assert_eq!(pair.state(0), Down(DownReason::Exhausted));
    assert_eq!(pair.transmitted[0], [] as [u8; 0]);
}

#[test]
fn a_busy_machine_does_not_give_up_its_neighbour() {
    for sleep in [300, 1_000, 3_000, 10_000] {
        let mut pair = Pair::settled(1, ms(2));
        for _ in 0..5 {
            // Node 0 sleeps. Frames that arrive meanwhile are read after its timers have run, which is the harder
            // order.
            pair.packet(0);
            pair.asleep[0] = pair.now + ms(sleep);
            let until = pair.now + ms(sleep);
            while pair.now < until {
                // Node 1 must not give up node 0, because only node 0 is tested.
                pair.links[1].liveness.on_frame(pair.now);
                pair.run(ms(50));
            }
            pair.run(ms(100));
        }
        assert!(
            !pair.states[0].iter().any(|(_, state)| matches!(state, Down(_))),
            "slept {sleep} ms: {:?}",
            pair.states
        );
    }
}

#[test]
fn a_machine_that_is_always_late_still_detects_a_silent_neighbour() {
    let mut pair = Pair::settled(1, ms(2));
    pair.cut();
    let cut = pair.now;
    pair.packet(0);
    let mut late = 0;
    while pair.state(0) != Down(DownReason::Silent) && late < 500 {
        let due = pair.links[0].next_deadline().unwrap();
        pair.asleep[0] = due + ms(40);
        pair.run(ms(45));
        late += 1;
    }
    assert!(entered(&pair, cut, Down(DownReason::Silent)) <= 4_000);
}

#[test]
fn a_neighbour_with_a_very_long_round_trip_stays_up() {
    let mut pair = Pair::new(1, Wire::good(ms(900)));
    pair.run(Duration::from_secs(30));
    let down = |state: &(u64, LinkState)| matches!(state.1, Down(_));
    assert!(!pair.states.iter().flatten().any(down), "{:?}", pair.states);
    assert_eq!(pair.links[0].metrics().rtt.map(|rtt| rtt.as_millis()), Some(1_800));
}

#[test]
fn the_first_round_trip_is_known_at_once_in_every_order_of_events() {
    for seed in 0..=255 {
        let mut rng = ChaCha20Rng::from_seed([seed; 32]);
        let mut random = |below: u32| u64::from(rng.next_u32() % below);
        let wire =
            Wire { jitter: Duration::from_micros(random(2_000)), ..Wire::good(Duration::from_micros(50)) };
        let mut pair = Pair::new(seed, wire);
        // Meanwhile both sides send control messages and packets.
        for _ in 0..random(20) {
            let from = random(2) as usize;
            match random(2) {
                0 => pair.packet(from),
                _ => pair.links[from].send_control(&[3; 100]).unwrap(),
            }
            pair.poll(from);
            pair.run(Duration::from_micros(random(500)));
        }
        pair.run(Duration::from_micros(50 * 3) + wire.jitter * 3 + ANSWER_GAP);
        let known = pair.links.each_ref().map(|link| link.metrics().rtt.is_some());
        assert_eq!(known, [true; 2], "seed {seed}");
    }
}
