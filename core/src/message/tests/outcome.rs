//! Ways that swallow packets are found out soon, and good ones are seldom suspected.

use super::pair::{CLEAN, Line, Pair, ms};
use crate::message::*;

/// The last sixteen attempts of each side, as a router judges them, and when a side's fell below half.
#[derive(Default)]
struct Judge {
    windows: [(u16, u32); 2],
    verdicts: [Option<Time>; 2],
    reports: u32,
}

impl Judge {
    /// Runs for so long, and hears each report.
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

const SWALLOWS: Line = Line { loss: [1000, 0], ..CLEAN };

#[test]
fn a_way_that_swallows_everything_is_found_out_within_a_second() {
    let mut judge = Judge::default();
    let mut pair = Pair::new(1, SWALLOWS);
    let begin = pair.now;
    pair.send(0, "hello");
    judge.watch(&mut pair, ms(2_000));
    let cold = judge.verdict_after(0, begin).unwrap();
    assert!(cold <= ms(1_000), "{cold:?}");
    // With a round trip that is known it is sooner, but not at the first silence.
    let mut judge = Judge::default();
    let mut pair = Pair::new(1, CLEAN);
    pair.send(0, "hello");
    judge.watch(&mut pair, ms(500));
    pair.line = SWALLOWS;
    pair.send(0, "again");
    let begin = pair.now;
    judge.watch(&mut pair, ms(2_000));
    let warm = judge.verdict_after(0, begin).unwrap();
    assert!(ms(250) < warm && warm <= ms(600), "{warm:?}");
}

#[test]
fn who_acknowledges_in_vain_finds_out_that_the_way_back_swallows() {
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
fn another_way_is_tried_at_once_and_the_losses_of_the_last_are_not_its_own() {
    let mut judge = Judge::default();
    let mut pair = Pair::new(1, SWALLOWS);
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
fn the_first_silence_of_a_new_way_is_forgiven_because_of_the_way_back() {
    let mut judge = Judge::default();
    let mut pair = Pair::new(1, SWALLOWS);
    pair.send(0, "hello");
    judge.watch(&mut pair, ms(1_000));
    // Now the way there is good, and the way back is not.
    pair.line.loss = [0, 1000];
    let now = pair.now;
    pair.sides[0].conversation.on_path_change(now);
    let mut judge = Judge::default();
    while judge.verdicts[1].is_none() {
        judge.watch(&mut pair, ms(1));
        assert!(pair.now.since(now) < ms(3_000));
    }
    assert_eq!(judge.verdicts[0], None, "the other end is to find out first");
}

#[test]
fn a_good_way_is_never_suspected_and_costs_no_word() {
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

/// The verdicts on a way over which 600 kB go in twenty messages, a quarter of a second apart.
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
fn lossy_and_narrow_ways_are_seldom_suspected() {
    let lossy = Line { loss: [150, 150], jitter: ms(3), duplicate: 20, ..CLEAN };
    let narrow = Line { rate: Some((200_000, ms(30))), ..CLEAN };
    // It bears two packets beyond the one that is being sent.
    let narrower = Line { rate: Some((50_000, ms(50))), ..CLEAN };
    for (name, line, seeds) in [("lossy", lossy, 100), ("narrow", narrow, 3), ("narrower", narrower, 3)] {
        let judges: Vec<Judge> = (0..seeds).map(|seed| verdicts(seed, line)).collect();
        let suspected = judges.iter().filter(|judge| judge.verdicts != [None, None]).count();
        println!("{name}: {suspected} of {seeds} suspected");
        // Without loss by chance, every seed is the same.
        assert!(suspected * 100 <= seeds as usize, "{name}: {suspected} of {seeds} suspected");
        assert!(judges.iter().any(|judge| judge.reports > 0), "{name}: losses are reported");
    }
}

/// The time until a way that loses so many of 1000 packets at first, and then all, is found out.
fn found_out(seed: u64, loss: u32) -> Duration {
    let mut judge = Judge::default();
    let mut pair = Pair::new(seed, Line { loss: [loss, loss], ..CLEAN });
    for _ in 0..4 {
        let body = pair.body(30_000);
        pair.send(0, body);
        judge.watch(&mut pair, ms(500));
    }
    pair.line = SWALLOWS;
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
fn a_lossy_way_that_begins_to_swallow_everything_is_found_out_a_little_later() {
    for (loss, usual, most) in [(0, 600, 600), (50, 1_200, 2_500), (150, 2_500, 5_000)] {
        let mut took: Vec<Duration> = (0..21).map(|seed| found_out(seed, loss)).collect();
        took.sort_unstable();
        assert!(took[10] <= ms(usual) && took[20] <= ms(most), "{loss} of 1000 lost before: {took:?}");
    }
}

#[test]
fn a_way_that_swallows_two_of_three_packets_is_found_out_within_seconds() {
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
