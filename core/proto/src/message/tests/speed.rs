//! The utilisation of a line, in virtual time.

use super::pair::*;
use crate::message::*;

/// The bytes per second of bodies of `size`, over 10 s after 2 s in which the rate of the line is found.
fn goodput(line: Line, size: usize) -> f64 {
    let mut pair = Pair::new(1, line);
    let body = pair.body(size);
    let mut start = None;
    let end = pair.now + Duration::from_secs(12);
    while pair.now < end {
        let at = Timestamp(pair.now.as_micros() / 1000);
        while pair.sides[0].conversation.send(pair.now, at, DAY, body.clone()).is_ok() {}
        pair.step();
        if start.is_none() && pair.now.as_micros() > 2_000_000 {
            start = Some((pair.now, pair.sides[1].inbox.len()));
        }
    }
    let (from, before) = start.expect("it takes longer than two seconds");
    let bytes = (pair.sides[1].inbox.len() - before) * size;
    bytes as f64 / pair.now.since(from).as_secs_f64()
}

#[test]
fn a_clean_line_is_utilised_to_more_than_four_fifths() {
    for (rate, size) in [(1_000_000, 1000), (10_000_000, 10_000), (10_000_000, 100), (2_000_000, 300_000)] {
        let line = Line { rate: Some((rate, ms(20))), ..CLEAN };
        let share = goodput(line, size) / rate as f64;
        assert!(share > 0.8, "{rate} B/s in messages of {size}: {share:.2}");
    }
}

#[test]
fn one_loss_in_a_hundred_costs_what_new_reno_costs() {
    let line = Line { rate: Some((10_000_000, ms(20))), loss: [10, 10], ..CLEAN };
    let share = goodput(line, 10_000) / reno(10);
    assert!(share > 0.7, "{share:.2} of what the model of Mathis et al. gives");
}

#[test]
fn ten_losses_in_a_hundred_do_not_stop_the_transfer() {
    let line = Line { loss: [100, 100], ..CLEAN };
    let share = goodput(line, 10_000) / reno(100);
    assert!(share > 0.4, "{share:.2} of what the model of Mathis et al. gives");
}

/// The rate in bytes per second of a NewReno sender at a loss of `loss` thousandths, a round trip of 10 ms and packets
/// of 1200 bytes: `1200 / rtt · sqrt(3 / 2p)` (Mathis et al. 1997).
fn reno(loss: u32) -> f64 {
    1200.0 / 0.010 * (3.0 / (2.0 * f64::from(loss) / 1000.0)).sqrt()
}

#[test]
fn one_way_traffic_needs_one_ack_for_two_packets() {
    let mut pair = Pair::new(1, Line { rate: Some((1_000_000, ms(1000))), ..CLEAN });
    for _ in 0..1000 {
        pair.send(0, vec![1; 1000]);
    }
    assert!(pair.run(Duration::from_secs(10), |pair| pair.delivered(0).len() == 1000));
    let (there, back) = (pair.sides[0].packets, pair.sides[1].packets);
    assert!(there < 1050, "{there}");
    assert!((450..560).contains(&back), "{back}");
}
