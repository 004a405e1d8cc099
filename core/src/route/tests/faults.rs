//! Faults in networks of every shape, against the bars of the mesh.

use std::time::Duration;

use super::net::{Net, ms, pick, seeded};
use super::topology;

/// The 95th of a hundred.
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
        let mut net = Net::new(8, &topology::line(8), seed);
        let took = net.heals_within(ms(300));
        assert!(took.is_some(), "seed {seed}");
        assert_eq!(net.drops(), 0);
    }
}

#[test]
fn every_shape_is_reachable_within_300_ms_of_a_cold_start() {
    let shapes = [
        topology::ring(16),
        topology::star(20),
        topology::tree(31),
        topology::grid(6, 6),
        topology::geometric(50, 6.0, &mut seeded(5)),
    ];
    for (seed, links) in shapes.iter().enumerate() {
        let nodes = links.iter().map(|(a, b)| *a.max(b)).max().unwrap() + 1;
        let mut net = Net::new(nodes, links, seed as u64);
        let took = net.heals_within(ms(400));
        assert!(took.is_some_and(|took| took <= ms(300)), "shape {seed}: {took:?}");
        net.run(ms(3_000));
        net.assert_reachable();
        assert_eq!(net.drops(), 0);
    }
}

#[test]
fn a_cut_ring_of_sixteen_is_whole_again_within_400_ms() {
    let mut times = Vec::new();
    let mut bytes = Vec::new();
    for seed in 0..20 {
        let mut net = Net::settled(16, &topology::ring(16), seed);
        let before = net.bytes();
        net.cut(pick(&mut seeded(seed), 16));
        times.push(net.heals_within(ms(5_000)).expect("a ring heals"));
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
        let mut net = Net::settled(100, &topology::grid(10, 10), round);
        for seed in 0..10 {
            let before = net.bytes();
            fault(&mut net, round * 100 + seed);
            times.push(net.heals_within(ms(5_000)).expect("a grid heals"));
            bytes.push((net.bytes() - before) / 100);
            net.run(ms(500));
            for node in 0..100 {
                if !net.nodes[node].alive {
                    let epoch = net.nodes[node].epoch + 1;
                    net.start(node, epoch);
                }
            }
            for link in 0..net.link_count() {
                net.raise(link);
            }
            net.run(ms(6_000));
            net.assert_reachable();
        }
        assert_eq!(net.drops(), 0);
    }
    (times, bytes)
}

#[test]
fn a_grid_is_whole_again_within_450_ms_of_a_cut_link() {
    let (times, bytes) = grid_faults(|net, seed| {
        let link = pick(&mut seeded(seed), net.link_count());
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
