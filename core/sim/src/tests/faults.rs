//! Faults in networks of every shape, against the bars of the mesh.

use std::time::Duration;

use super::mesh::{assert_reachable, network, settled};
use super::ms;
use crate::Topology;
use crate::net::Net;
use crate::random::{pick, seeded};
use crate::topology::{self, Links};

/// The 95th percentile.
fn p95(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[(times.len() * 95).div_ceil(100) - 1]
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

#[test]
fn a_line_of_eight_is_reachable_end_to_end_within_300_ms_of_a_cold_start() {
    for seed in 0..20 {
        let mut net = network(8, &topology::line(8), seed);
        let took = net.time_to_reach_all(ms(300));
        assert!(took.is_some(), "seed {seed}");
        assert_eq!(net.drops(), 0);
    }
}

#[test]
fn every_shape_is_reachable_within_300_ms_of_a_cold_start() {
    let shapes = [
        topology::ring(16),
        Topology::Star(20).draw(&mut seeded(0)).links,
        Topology::Tree(31).draw(&mut seeded(0)).links,
        topology::grid(6, 6),
        topology::geometric(50, 6.0, &mut seeded(5)).links,
    ];
    for (seed, links) in shapes.iter().enumerate() {
        let nodes = links.iter().map(|(a, b)| *a.max(b)).max().unwrap() + 1;
        let mut net = network(nodes, links, seed as u64);
        let took = net.time_to_reach_all(ms(400));
        assert!(took.is_some_and(|took| took <= ms(300)), "shape {seed}: {took:?}");
        net.run(ms(3_000));
        assert_reachable(&mut net);
        assert_eq!(net.drops(), 0);
    }
}

#[test]
fn a_cut_ring_of_sixteen_is_whole_again_within_400_ms() {
    let mut times = Vec::new();
    let mut bytes = Vec::new();
    for seed in 0..20 {
        let mut net = settled(16, &topology::ring(16), seed);
        let before = net.bytes();
        net.cut(pick(&mut seeded(seed), 16));
        times.push(net.time_to_reach_all(ms(5_000)).expect("a ring heals"));
        bytes.push((net.bytes() - before) / 16);
        assert_eq!(net.drops(), 0);
    }
    println!("ring: {:?} {} B", p95(times.clone()), median(bytes));
    assert!(p95(times.clone()) <= ms(400), "{times:?}");
}

fn grid_faults(fault: impl Fn(&mut Net, u64)) -> (Vec<Duration>, Vec<u64>) {
    let mut times = Vec::new();
    let mut bytes = Vec::new();
    for round in 0..2 {
        let mut net = settled(100, &topology::grid(10, 10), round);
        for seed in 0..10 {
            let before = net.bytes();
            fault(&mut net, round * 100 + seed);
            times.push(net.time_to_reach_all(ms(5_000)).expect("a grid heals"));
            bytes.push((net.bytes() - before) / 100);
            net.run(ms(500));
            for node in 0..100 {
                if !net.nodes[node].alive {
                    let epoch = net.nodes[node].epoch + 1;
                    net.start(node, epoch);
                }
            }
            for link in 0..net.links.len() {
                net.raise(link);
            }
            net.run(ms(6_000));
            assert_reachable(&mut net);
        }
        assert_eq!(net.drops(), 0);
    }
    (times, bytes)
}

#[test]
fn a_grid_is_whole_again_within_450_ms_of_a_cut_link() {
    let (times, bytes) = grid_faults(|net, seed| {
        let link = pick(&mut seeded(seed), net.links.len());
        net.cut(link);
    });
    println!("grid link: {:?} {} B", p95(times.clone()), median(bytes.clone()));
    assert!(p95(times.clone()) <= ms(450), "{times:?}");
    assert!(median(bytes.clone()) <= 3_000, "{bytes:?}");
}

#[test]
fn a_grid_is_whole_again_within_600_ms_of_a_lost_node() {
    let (times, bytes) = grid_faults(|net, seed| net.kill(pick(&mut seeded(seed), 100)));
    println!("grid node: {:?} {} B", p95(times.clone()), median(bytes.clone()));
    assert!(p95(times.clone()) <= ms(600), "{times:?}");
    assert!(median(bytes.clone()) <= 8_000, "{bytes:?}");
}

/// Two rings of eight over one bridge, the last link.
fn clusters() -> Links {
    let mut links = topology::ring(8);
    links.extend(topology::ring(8).iter().map(|(a, b)| (a + 8, b + 8)));
    links.push((0, 8));
    links
}

#[test]
fn a_mesh_that_was_parted_for_a_minute_is_one_again_within_a_second() {
    for seed in 0..5 {
        let mut net = settled(16, &clusters(), seed);
        net.cut(16);
        net.run(Duration::from_secs(60));
        assert_reachable(&mut net);
        assert_eq!(net.reach.known(3), 7, "routes to the other side have expired");
        net.raise(16);
        let took = net.time_to_reach_all(ms(1_000));
        assert!(took.is_some(), "seed {seed}");
        assert_eq!(net.drops(), 0);
    }
}

#[test]
fn a_mesh_that_changed_while_it_was_parted_is_one_again_within_a_second() {
    for seed in 0..5 {
        let mut net = settled(16, &clusters(), seed);
        net.cut(16);
        net.run(Duration::from_secs(10));
        // One node restarts with its epoch, one without any state, and each side loses a link.
        for (node, epoch) in [(10, 1001), (12, 1)] {
            net.kill(node);
            net.run(ms(500));
            net.start(node, epoch);
        }
        net.cut(3);
        net.cut(14);
        net.run(Duration::from_secs(50));
        assert_reachable(&mut net);
        net.raise(16);
        let took = net.time_to_reach_all(ms(1_000));
        assert!(took.is_some(), "seed {seed}: {:?}", net.unreached_pair());
    }
}

#[test]
fn a_restarted_node_is_reachable_within_a_second_even_without_its_memory() {
    for seed in 0..6 {
        let mut net = settled(36, &topology::grid(6, 6), seed);
        let mut random = seeded(seed);
        // With its epoch, and with the clock of a year ago.
        for (epoch, bar) in [(1_001, 1_000), (1, 1_500), (1, 1_500)] {
            let node = pick(&mut random, 36);
            net.kill(node);
            // The node may be back before all others have noticed its absence.
            net.run(ms(if seed % 2 == 0 { 1 } else { 3_000 }));
            net.start(node, epoch);
            let took = net.time_to_reach_all(ms(bar));
            assert!(took.is_some(), "seed {seed}, node {node}, epoch {epoch}: {:?}", net.unreached_pair());
            net.run(ms(3_000));
            assert!(net.nodes[node].epoch >= 1_001);
            assert_eq!(net.nodes[node].conflicts, 0);
        }
        assert_eq!(net.drops(), 0);
    }
}

#[test]
fn a_forgetful_node_behind_a_forgetful_neighbour_is_reachable_again() {
    let mut net = settled(6, &topology::line(6), 1);
    net.kill(5);
    net.kill(4);
    net.run(ms(2_000));
    net.start(4, 1);
    net.run(ms(2_000));
    net.start(5, 1);
    let took = net.time_to_reach_all(ms(1_500));
    assert!(took.is_some(), "{:?}", net.unreached_pair());
    assert_eq!(net.nodes[5].epoch, 1_001);
}

#[test]
fn a_flapping_link_disturbs_a_little_and_then_hardly_at_all() {
    let mut net = settled(6, &topology::ring(6), 4);
    let bytes = net.bytes();
    net.count_switches();
    for _ in 0..300 {
        net.cut(2);
        net.run(ms(500));
        assert_reachable(&mut net);
        net.raise(2);
        net.run(ms(500));
    }
    let most = net.most_switches();
    assert!(most <= 30, "{most} switches in 300 s");
    let rate = (net.bytes() - bytes) / 6 / 300;
    assert!(rate <= 100, "{rate} B/s per node");
    net.run(Duration::from_secs(120));
    assert_reachable(&mut net);
}

#[test]
fn links_whose_quality_changes_cause_no_loop_and_leave_every_node_reachable() {
    for seed in 0..4 {
        let mut random = seeded(seed + 50);
        let links = topology::geometric(30, 5.0, &mut random).links;
        let mut net = settled(30, &links, seed);
        net.reach.thorough = true;
        for _ in 0..60 {
            let cost = 32 + u16::try_from(pick(&mut random, 900)).unwrap();
            let link = pick(&mut random, links.len());
            net.set_cost(link, cost);
            net.run(ms(300));
            assert_reachable(&mut net);
        }
        assert_eq!(net.drops(), 0);
    }
}
