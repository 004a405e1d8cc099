//! The measurements of a link: timers, round trip, loss and cost.

use super::*;

#[test]
fn an_idle_link_wakes_about_once_a_second() {
    let mut pair = Pair::settled(1, ms(1));
    pair.timers = [0; 2];
    pair.transmitted = Default::default();
    pair.run(Duration::from_secs(100));
    for node in 0..2 {
        let (timers, frames) = (pair.timers[node], pair.transmitted[node].len());
        assert!((85..=115).contains(&timers), "{timers} timers in 100 s");
        assert!((85..=115).contains(&frames), "{frames} frames in 100 s");
        assert!(pair.transmitted[node].iter().all(|kind| *kind == KIND_HELLO));
        assert_eq!(pair.state(node), LinkState::Up);
    }
    assert_eq!(pair.drops, [[], []]);
}

#[test]
fn the_round_trip_is_measured_by_the_first_one() {
    let mut pair = Pair::new(1, Wire::good(ms(10)));
    pair.run(ms(40));
    for link in &pair.links {
        let metrics = link.metrics();
        assert_eq!((metrics.rtt, metrics.rtt_min), (Some(ms(20)), Some(ms(20))));
        assert_eq!(metrics.cost, 72, "32 and two for each millisecond");
        assert_eq!(metrics.loss, 0.0);
    }
    assert_eq!(pair.costs, [[72], [72]]);
}

#[test]
fn the_time_for_which_an_echo_was_held_is_no_part_of_the_round_trip() {
    let mut pair = Pair::settled(2, ms(5));
    pair.run(Duration::from_secs(30));
    for link in &pair.links {
        let rtt = link.metrics().rtt.unwrap();
        assert!(rtt.abs_diff(ms(10)) <= Duration::from_micros(2), "{rtt:?}");
    }
}

#[test]
fn jitter_is_smoothed_and_the_minimum_round_trip_found() {
    let mut pair = Pair::new(3, Wire { jitter: ms(20), ..Wire::good(ms(10)) });
    pair.run(Duration::from_secs(60));
    for link in &pair.links {
        let metrics = link.metrics();
        let (rtt, least) = (metrics.rtt.unwrap(), metrics.rtt_min.unwrap());
        assert!(least >= ms(20) && least <= ms(30), "{least:?}");
        assert!(rtt >= ms(30) && rtt <= ms(50), "{rtt:?}");
    }
    assert_eq!(pair.states, [[], []], "jitter causes no suspicion");
}

/// Runs with 40 % of the frames of node 0 lost, and returns the costs that both sides measure. The round trip is
/// negligible, so that the cost is 32 times the square of the ETX.
fn lossy(seed: u8, run: impl Fn(&mut Pair)) -> [u16; 2] {
    let mut pair = Pair::new(seed, Wire::good(Duration::from_micros(10)));
    pair.wires[0].loss = 40;
    run(&mut pair);
    let down = |state: &(u64, LinkState)| matches!(state.1, LinkState::Down(_));
    assert!(!pair.states.iter().flatten().any(down), "seed {seed}: {:?}", pair.states);
    [0, 1].map(|node| pair.links[node].metrics().cost)
}

fn share_within_the_bar(costs: &[u16]) -> f64 {
    // ETX 1 / 0.6, within 15 %.
    let etx = |cost: &u16| (f64::from(*cost) / 32.0).sqrt();
    let within = costs.iter().filter(|cost| (etx(cost) * 0.6 - 1.0).abs() <= 0.15);
    within.count() as f64 / costs.len() as f64
}

#[test]
fn forty_percent_lost_one_way_are_found_within_two_idle_minutes() {
    let costs: Vec<u16> =
        (0..50).flat_map(|seed| lossy(seed, |pair| pair.run(Duration::from_secs(120)))).collect();
    assert!(share_within_the_bar(&costs) >= 0.95, "{costs:?}");
}

#[test]
fn forty_percent_lost_one_way_are_found_within_twenty_seconds_of_traffic() {
    let costs: Vec<u16> = (0..20)
        .flat_map(|seed| lossy(seed, |pair| pair.traffic(0, ms(5), Duration::from_secs(20))))
        .collect();
    assert!(share_within_the_bar(&costs) >= 0.95, "{costs:?}");
}

#[test]
fn a_link_that_recovers_reports_its_lower_cost() {
    let mut pair = Pair::new(4, Wire::good(ms(1)));
    pair.wires[0].loss = 50;
    pair.traffic(0, ms(5), Duration::from_secs(10));
    assert!(pair.links[0].metrics().cost > 50);
    assert!((pair.links[0].metrics().loss - 0.5).abs() < 0.1);
    pair.wires[0].loss = 0;
    pair.traffic(0, ms(5), Duration::from_secs(20));
    assert!(pair.links[0].metrics().cost <= 40);
    assert!(pair.costs[0].len() < 25, "small changes are not reported: {:?}", pair.costs[0]);
    let (reported, cost) = (*pair.costs[0].last().unwrap(), pair.links[0].metrics().cost);
    assert!(reported.abs_diff(cost) <= reported / 8);
}

#[test]
fn frames_and_bytes_are_counted() {
    let mut pair = Pair::settled(5, ms(1));
    let before = pair.links[1].metrics();
    for _ in 0..10 {
        pair.packet(0);
    }
    pair.run(ms(5));
    let (sender, receiver) = (pair.links[0].metrics(), pair.links[1].metrics());
    assert_eq!((sender.frames_out, sender.bytes_out), (10, 2300));
    assert_eq!((receiver.frames_in - before.frames_in, receiver.bytes_in - before.bytes_in), (10, 2300));
    assert_eq!(pair.packets, [0, 10]);
}

#[test]
fn a_lossy_link_sends_twice_as_many_hellos_until_its_loss_is_measured() {
    let mut pair = Pair::settled(6, ms(1));
    pair.wires[0].loss = 30;
    pair.run(Duration::from_secs(20));
    pair.transmitted = Default::default();
    pair.run(Duration::from_secs(40));
    let hellos = |pair: &Pair| pair.transmitted[0].iter().filter(|kind| **kind == KIND_HELLO).count();
    assert!(hellos(&pair) > 65, "{}", hellos(&pair));
    pair.traffic(0, ms(20), Duration::from_secs(20));
    pair.transmitted = Default::default();
    pair.run(Duration::from_secs(40));
    assert!(hellos(&pair) < 50, "{}", hellos(&pair));
}
