//! Tests of peering with real links on one medium.

use super::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn all_linked(lan: &Lan, nodes: usize) -> bool {
    (0..nodes).all(|a| (0..a).all(|b| lan.are_linked(a, b)))
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_gives_another() {
    let run = |seed| {
        let mut lan = Lan::new(LanConfig { seed, nodes: 5, loss: 0.1, ..LanConfig::default() });
        lan.start_within(0..5, ms(500));
        let took = lan.until(ms(20_000), |lan| all_linked(lan, 5)).expect("all are linked");
        lan.run(ms(2_000));
        (took, lan.events())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn two_nodes_that_discover_each_other_in_several_networks_have_one_session_and_keep_it() {
    for seed in 0..60 {
        let mut lan = Lan::new(LanConfig { seed, nodes: 2, networks: 2, ..LanConfig::default() });
        lan.start_within(0..2, ms(300));
        let took = lan.until(ms(2_000), |lan| lan.are_linked(0, 1));
        assert!(took.is_some_and(|took| took < ms(1_000)), "seed {seed}: {took:?}");
        lan.run(ms(40_000));
        assert!(lan.are_linked(0, 1));
        for node in 0..2 {
            let counts = lan.counts(node);
            assert_eq!((counts.links, counts.replaced_in_use), (1, 0), "seed {seed}, node {node}");
        }
    }
}
