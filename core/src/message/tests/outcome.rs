//! How soon a way that swallows packets is found out, and how seldom a good one is suspected.

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
                for arrived in [(delivered, 1), (lost, 0)].map(|(times, bit)| (times.min(16), bit)) {
                    (0..arrived.0).for_each(|_| *window = *window << 1 | arrived.1);
                    *count = (*count + arrived.0).min(16);
                }
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

#[test]
fn neither_lossy_nor_narrow_ways_are_suspected() {
    let lossy = Line { loss: [150, 150], jitter: ms(3), duplicate: 20, ..CLEAN };
    let narrow = Line { rate: Some((200_000, ms(30))), ..CLEAN };
    for (seed, line) in [(3, lossy), (6, lossy), (5, narrow)] {
        let mut judge = Judge::default();
        let mut pair = Pair::new(seed, line);
        for _ in 0..20 {
            let body = pair.body(30_000);
            pair.send(0, body);
            judge.watch(&mut pair, ms(250));
        }
        judge.watch(&mut pair, ms(5_000));
        assert_eq!(judge.verdicts, [None, None], "seed {seed}");
        assert!(judge.reports > 0, "losses are reported");
    }
}
