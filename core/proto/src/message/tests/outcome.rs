//! Paths that drop packets are detected soon, and good ones are seldom suspected.

use super::pair::{CLEAN, Line, Pair, ms};
use crate::message::*;

/// The last sixteen attempts of each side, judged as the router does, and the time at which fewer than half had arrived.
#[derive(Default)]
struct Judge {
    windows: [(u16, u32); 2],
    verdicts: [Option<Time>; 2],
    reports: u32,
}

impl Judge {
    /// Runs for that long and counts each report.
    fn watch(&mut self, pair: &mut Pair, span: Duration) {
        let end = pair.now + span;
        while pair.now < end {
            pair.run(ms(1), |_| false);
            for (number, side) in pair.sides.iter_mut().enumerate() {
                let Some((delivered, lost)) = side.conversation.outcome(pair.now) else { continue };
                self.reports += 1;
                let (window, count) = &mut self.windows[number];
                let (delivered, lost) = (delivered.min(16), lost.min(16));
                let all = delivered + lost;
                for nth in 0..all {
                    let arrived = (nth + 1) * lost / all == nth * lost / all;
                    *window = *window << 1 | u16::from(arrived);
                }
                *count = (*count + all).min(16);
                if *count == 16 && window.count_ones() < 8 {
                    self.verdicts[number].get_or_insert(pair.now);
                }
            }
        }
    }

    fn verdict_after(&self, side: usize, begin: Time) -> Option<Duration> {
        self.verdicts[side].map(|at| at.since(begin))
    }
}

const DROPS_ALL: Line = Line { loss: [1000, 0], ..CLEAN };

#[test]
fn a_path_that_drops_everything_is_detected_within_a_second() {
    let mut judge = Judge::default();
    let mut pair = Pair::new(1, DROPS_ALL);
    let begin = pair.now;
    pair.send(0, "hello");
    judge.watch(&mut pair, ms(2_000));
    let cold = judge.verdict_after(0, begin).unwrap();
    assert!(cold <= ms(1_000), "{cold:?}");
    // It is sooner with a known round trip time, but not at the first time-out.
    let mut judge = Judge::default();
    let mut pair = Pair::new(1, CLEAN);
    pair.send(0, "hello");
    judge.watch(&mut pair, ms(500));
    pair.line = DROPS_ALL;
    pair.send(0, "again");
    let begin = pair.now;
    judge.watch(&mut pair, ms(2_000));
    let warm = judge.verdict_after(0, begin).unwrap();
    assert!(ms(250) < warm && warm <= ms(600), "{warm:?}");
}

#[test]
fn a_receiver_whose_acks_have_no_effect_detects_that_the_path_back_drops_them() {
    let mut judge = Judge::default();
    let mut pair = Pair::new(1, Line { loss: [0, 1000], ..CLEAN });
    let begin = pair.now;
    pair.send(0, "hello");
    judge.watch(&mut pair, ms(3_000));
    assert_eq!(pair.sides[1].inbox.len(), 1);
    let back = judge.verdict_after(1, begin).unwrap();
    assert!(back <= ms(2_500), "{back:?}");
}

#[test]
fn packets_are_sent_over_a_new_path_at_once_and_former_losses_do_not_count_for_it() {
    let mut judge = Judge::default();
    let mut pair = Pair::new(1, DROPS_ALL);
    pair.send(0, "hello");
    judge.watch(&mut pair, ms(1_000));
    pair.line = CLEAN;
    let (now, packets) = (pair.now, pair.sides[0].packets);
    pair.sides[0].conversation.on_path_change(now);
    pair.settle();
    assert!(pair.sides[0].packets > packets, "it does not wait for its timers");
    let mut judge = Judge::default();
    judge.watch(&mut pair, ms(20));
    assert_eq!(pair.sides[1].inbox.len(), 1);
    judge.watch(&mut pair, ms(3_000));
    assert_eq!((judge.reports, judge.verdicts), (0, [None, None]));
}

#[test]
fn the_first_silence_of_a_new_path_does_not_count_because_of_the_path_back() {
    let mut judge = Judge::default();
    let mut pair = Pair::new(1, DROPS_ALL);
    pair.send(0, "hello");
    judge.watch(&mut pair, ms(1_000));
    // The path there is good now, and the path back is not.
    pair.line.loss = [0, 1000];
    let now = pair.now;
    pair.sides[0].conversation.on_path_change(now);
    let mut judge = Judge::default();
    while judge.verdicts[1].is_none() {
        judge.watch(&mut pair, ms(1));
        assert!(pair.now.since(now) < ms(3_000));
    }
    assert_eq!(judge.verdicts[0], None, "the other end has to detect it first");
}

#[test]
fn a_good_path_is_never_suspected_and_causes_no_report() {
    let mut judge = Judge::default();
    let mut pair = Pair::new(2, CLEAN);
    for _ in 0..50 {
        let body = pair.body(20_000);
        pair.send(0, body);
        pair.send(1, "and back");
        judge.watch(&mut pair, ms(30));
    }
    judge.watch(&mut pair, ms(3_000));
    assert_eq!(judge.reports, 0);
    assert_eq!(pair.sides[1].inbox.len(), 50);
}

/// The verdicts on a path over which twenty messages carry 600 kB, a quarter of a second apart.
fn verdicts(seed: u64, line: Line) -> Judge {
    let mut judge = Judge::default();
    let mut pair = Pair::new(seed, line);
    for _ in 0..20 {
        let body = pair.body(30_000);
        pair.send(0, body);
        judge.watch(&mut pair, ms(250));
    }
    judge.watch(&mut pair, ms(2_000));
    judge
}

#[test]
fn lossy_and_narrow_paths_are_seldom_suspected() {
    let lossy = Line { loss: [150, 150], jitter: ms(3), duplicate: 20, ..CLEAN };
    let narrow = Line { rate: Some((200_000, ms(30))), ..CLEAN };
    // Its queue holds two packets beyond the one that is being sent.
    let narrower = Line { rate: Some((50_000, ms(50))), ..CLEAN };
    for (name, line, seeds) in [("lossy", lossy, 100), ("narrow", narrow, 3), ("narrower", narrower, 3)] {
        let judges: Vec<Judge> = (0..seeds).map(|seed| verdicts(seed, line)).collect();
        let suspected = judges.iter().filter(|judge| judge.verdicts != [None, None]).count();
        println!("{name}: {suspected} of {seeds} suspected");
        // Paths without random loss need few seeds, because each seed gives the same result.
        assert!(suspected * 100 <= seeds as usize, "{name}: {suspected} of {seeds} suspected");
        assert!(judges.iter().any(|judge| judge.reports > 0), "{name}: losses are reported");
    }
}

/// The time until a path is detected that loses that many of 1000 packets at first, and then all.
fn time_to_detect(seed: u64, loss: u32) -> Duration {
    let mut judge = Judge::default();
    let mut pair = Pair::new(seed, Line { loss: [loss, loss], ..CLEAN });
    for _ in 0..4 {
        let body = pair.body(30_000);
        pair.send(0, body);
        judge.watch(&mut pair, ms(500));
    }
    pair.line = DROPS_ALL;
    let begin = pair.now;
    judge.verdicts = [None, None];
    pair.send(0, "again");
    while judge.verdicts[0].is_none() {
        judge.watch(&mut pair, ms(10));
        assert!(pair.now.since(begin) < ms(20_000));
    }
    judge.verdict_after(0, begin).unwrap()
}

#[test]
fn a_lossy_path_that_begins_to_drop_everything_is_detected_a_little_later() {
    for (loss, usual, most) in [(0, 600, 600), (50, 1_200, 2_500), (150, 2_500, 5_000)] {
        let mut took: Vec<Duration> = (0..21).map(|seed| time_to_detect(seed, loss)).collect();
        took.sort_unstable();
        assert!(took[10] <= ms(usual) && took[20] <= ms(most), "{loss} of 1000 lost before: {took:?}");
    }
}

#[test]
fn a_path_that_drops_two_of_three_packets_is_detected_within_seconds() {
    for seed in 0..20 {
        let mut judge = Judge::default();
        let mut pair = Pair::new(seed, CLEAN);
        pair.send(0, "hello");
        judge.watch(&mut pair, ms(500));
        pair.line.loss = [667, 0];
        let begin = pair.now;
        let body = pair.body(200_000);
        pair.send(0, body);
        judge.watch(&mut pair, ms(10_000));
        let took = judge.verdict_after(0, begin).unwrap();
        assert!(took <= ms(3_000), "seed {seed}: {took:?}");
    }
}
