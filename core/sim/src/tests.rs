//! Tests of the simulator itself, whose verdicts are right and whose runs can be repeated, and of many routers on it.

mod faults;
mod mesh;
mod property;
mod rules;

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::Config as TestConfig;

use super::random::{pick, seeded};
use super::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn grid(seed: u64, fidelity: Fidelity) -> Sim {
    Sim::new(&Topology::Grid { width: 4, height: 4 }, Config { seed, fidelity, ..Config::default() })
}

#[test]
fn reachability_updated_by_each_change_equals_reachability_from_scratch() {
    for (seed, fidelity) in [(1, Fidelity::Route), (2, Fidelity::Route), (3, Fidelity::Link)] {
        let mut sim = grid(seed, fidelity);
        let mut random = seeded(seed);
        for _ in 0..60 {
            let (link, node) = (pick(&mut random, sim.links()), pick(&mut random, sim.nodes()));
            let fault = match pick(&mut random, 7) {
                0 => Fault::Cut { link },
                1 => Fault::Silence { link },
                5 => Fault::Unplug { link, end: node % 2 },
                2 => Fault::Kill { node },
                3 => Fault::Restart { node },
                4 => Fault::RestartWiped { node },
                _ => Fault::Heal { link },
            };
            sim.apply(fault);
            for _ in 0..5 {
                assert_eq!(sim.net.reach.recount(), sim.net.reach.reached_pairs(), "{fault:?}");
                sim.run(ms(pick(&mut random, 100) as u64)).unwrap();
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_gives_another() {
    let run = |seed, fidelity| {
        let mut sim = grid(seed, fidelity);
        let start = sim.until_reachable(ms(2_000)).unwrap();
        sim.apply(Fault::Cut { link: 3 });
        let again = sim.until_reachable(ms(2_000)).unwrap();
        sim.run(ms(3_000)).unwrap();
        (start, again, sim.control_bytes(), sim.events())
    };
    for fidelity in [Fidelity::Route, Fidelity::Link] {
        assert_eq!(run(5, fidelity), run(5, fidelity));
        assert_ne!(run(5, fidelity), run(6, fidelity));
    }
}

#[test]
fn links_renew_their_keys_without_loss() {
    let config = Config { seed: 4, fidelity: Fidelity::Link, ..Config::default() };
    let mut sim = Sim::new(&Topology::Line(3), config);
    sim.until_reachable(ms(1_000)).unwrap();
    let flow = sim.send((0, 2), ms(5), 200, Duration::from_secs(300));
    sim.run(Duration::from_secs(310)).unwrap();
    assert!(sim.net.sessions.iter().all(|session| session.held), "the links are those of the start");
    let rekeys: Vec<u32> =
        sim.net.sessions.iter().filter_map(|session| Some(session.link_sim.as_ref()?.rekeyed)).collect();
    assert!(rekeys.len() == 4 && rekeys.iter().all(|times| *times >= 2), "{rekeys:?}");
    let traffic = sim.traffic(flow);
    assert_eq!((traffic.sent, traffic.arrived), (60_000, 60_000));
}

#[test]
fn a_loop_is_found_and_described() {
    let mut sim = grid(1, Fidelity::Route);
    sim.until_reachable(ms(1_000)).unwrap();
    // Nodes 0 and 1 are each other's next hop towards 15.
    let ids = sim.net.links[0].sessions;
    sim.net.reach.set_next(15, 0, ids[0], None);
    sim.net.reach.set_next(15, 1, ids[1], None);
    let found = sim.net.reach.check(15, 0).unwrap_err();
    assert_eq!(found.to_string(), "a loop towards node 15: 0 → 1 → 0");
    // A loop through an alternate is found when alternates are followed.
    let mut sim = grid(1, Fidelity::Route);
    sim.until_reachable(ms(1_000)).unwrap();
    let straight = sim.net.reach.next(1, 15);
    sim.net.reach.set_next(15, 0, sim.net.links[0].sessions[0], None);
    sim.net.reach.set_next(15, 1, straight, sim.net.links[0].sessions[1]);
    assert_eq!(sim.net.reach.check(15, 1), Ok(()));
    sim.net.reach.thorough = true;
    assert!(matches!(sim.net.reach.check(15, 1), Err(Violation::Loop { towards: 15, .. })));
}

#[test]
fn a_disconnected_node_does_not_count_as_unreached_and_an_unreached_one_is_reported() {
    let mut sim = Sim::new(&Topology::Line(4), Config::default());
    sim.until_reachable(ms(500)).unwrap();
    sim.apply(Fault::Cut { link: 1 });
    sim.until_reachable(ms(500)).unwrap();
    assert_eq!((sim.path(0, 1), sim.path(1, 2)), (Some(vec![0, 1]), None));
    sim.apply(Fault::Heal { link: 1 });
    let late = sim.until_reachable(ms(1)).unwrap_err();
    assert!(matches!(late, Violation::Unreached { pairs: 8, .. }), "{late}");
    sim.until_reachable(ms(500)).unwrap();
    assert_eq!(sim.path(0, 3), Some(vec![0, 1, 2, 3]));
    assert_eq!(sim.nothing_refused(), Ok(()));
}

#[test]
fn a_slow_medium_delays_messages_and_a_lossy_one_loses_none() {
    let start = |config: Config| {
        let mut sim = Sim::new(&Topology::Grid { width: 5, height: 5 }, config);
        let took = sim.until_reachable(Duration::from_secs(30)).unwrap();
        sim.nothing_refused().unwrap();
        took
    };
    let plain = start(Config::default());
    let slow = start(Config { rate: Some(4_000), ..Config::default() });
    let lossy = start(Config { loss: 0.3, ..Config::default() });
    assert!(slow > plain * 4, "{plain:?} {slow:?}");
    assert!(lossy > plain && lossy < plain * 20, "{plain:?} {lossy:?}");
    let lossy = start(Config { loss: 0.3, fidelity: Fidelity::Link, ..Config::default() });
    assert!(lossy < Duration::from_secs(15), "{lossy:?}");
}

#[test]
fn silence_on_a_busy_link_is_detected_and_packets_are_routed_around_it() {
    for seed in 0..5 {
        let config = Config { seed, fidelity: Fidelity::Link, ..Config::default() };
        let mut sim = Sim::new(&Topology::Ring(6), config);
        sim.until_reachable(ms(1_000)).unwrap();
        let flow = sim.send((0, 1), ms(5), 200, Duration::from_secs(5));
        // A node that only receives expects no answers, so it detects the silence by missing hellos.
        sim.send((1, 0), ms(5), 200, Duration::from_secs(5));
        sim.run(ms(1_000)).unwrap();
        sim.apply(Fault::Silence { link: 0 });
        let took = sim.until_reachable(ms(1_000)).unwrap();
        assert!(took >= ms(100) && took <= ms(400), "{took:?}");
        sim.run(ms(4_500)).unwrap();
        let traffic = sim.traffic(flow);
        assert_eq!(traffic.sent, 1_000);
        assert!(traffic.gap <= ms(450) && traffic.arrived >= 910, "{traffic:?}");
        assert_eq!(traffic.duplicates, 0);
        // The repaired link is used again.
        sim.apply(Fault::Heal { link: 0 });
        sim.run(Duration::from_secs(30)).unwrap();
        assert_eq!(sim.path(0, 1), Some(vec![0, 1]));
    }
}

#[test]
fn a_flapping_link_keeps_its_session_and_costs_little_more_than_a_steady_one() {
    for seed in 0..3 {
        let config = Config { seed, fidelity: Fidelity::Link, ..Config::default() };
        let mut sim = Sim::new(&Topology::Ring(6), config);
        sim.until_reachable(ms(1_000)).unwrap();
        // No link is at rest in either minute, since a steady one would cost next to nothing then.
        for node in 0..6 {
            sim.send((node, (node + 1) % 6), ms(5_000), 20, Duration::from_secs(130));
        }
        sim.run(ms(6_000)).unwrap();
        let spent = |sim: &Sim, before: &[(&'static str, u64)]| -> Vec<(&'static str, u64)> {
            let was =
                |kind: &str| before.iter().find(|(known, _)| *known == kind).map_or(0, |(_, bytes)| *bytes);
            sim.control_kinds().iter().map(|(kind, bytes)| (*kind, bytes - was(kind))).collect()
        };
        let before = sim.control_kinds();
        sim.run(Duration::from_secs(60)).unwrap();
        let steady = spent(&sim, &before);
        sim.count_switches();
        let before = sim.control_kinds();
        for _ in 0..60 {
            sim.apply(Fault::Cut { link: 0 });
            sim.run(ms(500)).unwrap();
            sim.apply(Fault::Heal { link: 0 });
            sim.run(ms(500)).unwrap();
        }
        let flapping = spent(&sim, &before);
        let all = |kinds: &[(&str, u64)]| kinds.iter().map(|(_, bytes)| bytes).sum::<u64>();
        let of = |name: &str| {
            flapping.iter().filter(|(kind, _)| *kind == name).map(|(_, bytes)| bytes).sum::<u64>()
        };
        assert_eq!(of("handshake"), 0, "{flapping:?}");
        assert!(all(&flapping) <= all(&steady) * 2, "{steady:?} {flapping:?}");
        assert!(sim.most_switches() <= 2);
        sim.until_reachable(ms(1_000)).unwrap();
        // After a minute without a flap it is used as before.
        sim.run(Duration::from_secs(75)).unwrap();
        assert_eq!(sim.path(0, 1), Some(vec![0, 1]));
    }
}

#[test]
fn a_link_that_was_silent_for_too_long_is_dialled_again() {
    let config = Config { seed: 4, fidelity: Fidelity::Link, ..Config::default() };
    let mut sim = Sim::new(&Topology::Line(3), config);
    sim.until_reachable(ms(1_000)).unwrap();
    for (away, new_session) in [(ms(3_000), false), (ms(6_000), true)] {
        sim.run(Duration::from_secs(70)).unwrap();
        let handshakes =
            |sim: &Sim| sim.control_kinds().iter().find(|(kind, _)| *kind == "handshake").copied();
        let before = handshakes(&sim);
        sim.apply(Fault::Cut { link: 0 });
        sim.run(away).unwrap();
        assert_eq!(sim.path(1, 0), None, "no route leads there meanwhile");
        assert_eq!(sim.path(2, 0), None, "and other nodes have withdrawn the route");
        assert_eq!((sim.routes_of(1), sim.routes_of(2)), (1, 1));
        sim.apply(Fault::Heal { link: 0 });
        let took = sim.until_reachable(ms(2_000)).unwrap();
        assert!(took <= ms(1_200), "{took:?}");
        assert_eq!(handshakes(&sim) != before, new_session);
    }
}

#[test]
fn a_link_that_loses_much_in_one_direction_is_avoided_where_a_detour_costs_up_to_twice_as_much() {
    let (mut worth_while, mut switches) = (0, 0);
    for seed in 0..20 {
        let latency = (ms(1), ms(6));
        let config = Config { seed, fidelity: Fidelity::Link, latency, ..Config::default() };
        let mut sim = Sim::new(&Topology::Ring(3), config);
        sim.until_reachable(ms(1_000)).unwrap();
        sim.run(ms(10_000)).unwrap();
        let cost = |sim: &Sim, link| sim.measured(link).unwrap()[0].0;
        if cost(&sim, 1) + cost(&sim, 2) > cost(&sim, 0) * 2 {
            continue;
        }
        worth_while += 1;
        assert_eq!(sim.path(0, 1), Some(vec![0, 1]));
        sim.apply(Fault::Loss { link: 0, there: 0.4, back: 0.0 });
        sim.count_switches();
        sim.run(Duration::from_secs(135)).unwrap();
        assert_eq!(sim.path(0, 1), Some(vec![0, 2, 1]), "seed {seed}");
        // The measured loss fluctuates, which must not bring the link back into use.
        sim.run(Duration::from_secs(600)).unwrap();
        switches = sim.most_switches().max(switches);
    }
    assert!(worth_while >= 5, "{worth_while}");
    assert!(switches <= 3, "{switches}");
}

#[test]
fn moving_nodes_are_reachable_again_soon_after_they_stop() {
    for (seed, fidelity) in [(1, Fidelity::Route), (2, Fidelity::Route), (3, Fidelity::Link)] {
        let config = Config { seed, fidelity, ..Config::default() };
        let mut sim = Sim::new(&Topology::Geometric { nodes: 25, degree: 8.0 }, config);
        sim.until_reachable(ms(2_000)).unwrap();
        let links = sim.links();
        sim.roam(8.0, 0.05, Duration::from_secs(10));
        sim.run(Duration::from_secs(10)).unwrap();
        assert!(sim.links() > links, "new links came up");
        sim.until_reachable(Duration::from_secs(10)).unwrap();
        sim.nothing_refused().unwrap();
    }
}

#[test]
fn a_table_that_grows_too_large_ends_the_run() {
    let mut sim = grid(1, Fidelity::Route);
    sim.until_reachable(ms(1_000)).unwrap();
    // The bound is set below the number of destinations that nodes hold.
    sim.net.router_config.destinations = 8;
    sim.apply(Fault::Cut { link: 0 });
    let grown = sim.run(ms(100)).unwrap_err();
    assert!(matches!(grown, Violation::Bound { quantity: "destinations", bound: 9, .. }), "{grown}");
}

/// A step of a run with simulated links.
#[derive(Clone, Debug)]
enum Act {
    Fault(Fault),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let any = 0usize..1000;
    let share = 0u32..50;
    prop_oneof![
        3 => any.clone().prop_map(|link| Act::Fault(Fault::Cut { link })),
        3 => any.clone().prop_map(|link| Act::Fault(Fault::Silence { link })),
        2 => (any.clone(), 0usize..2).prop_map(|(link, end)| Act::Fault(Fault::Unplug { link, end })),
        3 => any.clone().prop_map(|link| Act::Fault(Fault::Heal { link })),
        2 => (any.clone(), share.clone(), share).prop_map(|(link, there, back)| {
            Act::Fault(Fault::Loss { link, there: f64::from(there) / 100.0, back: f64::from(back) / 100.0 })
        }),
        1 => any.clone().prop_map(|node| Act::Fault(Fault::Kill { node })),
        1 => any.clone().prop_map(|node| Act::Fault(Fault::Restart { node })),
        1 => any.prop_map(|node| Act::Fault(Fault::RestartWiped { node })),
        6 => (0u64..1_500).prop_map(Act::Wait),
    ]
}

/// The fault with its numbers reduced to existing nodes and links.
fn within(fault: Fault, nodes: usize, links: usize) -> Fault {
    match fault {
        Fault::Cut { link } => Fault::Cut { link: link % links },
        Fault::Silence { link } => Fault::Silence { link: link % links },
        Fault::Unplug { link, end } => Fault::Unplug { link: link % links, end },
        Fault::Heal { link } => Fault::Heal { link: link % links },
        Fault::Loss { link, there, back } => Fault::Loss { link: link % links, there, back },
        Fault::Kill { node } => Fault::Kill { node: node % nodes },
        Fault::Restart { node } => Fault::Restart { node: node % nodes },
        Fault::RestartWiped { node } => Fault::RestartWiped { node: node % nodes },
    }
}

proptest! {
    #![proptest_config(TestConfig { cases: 40, failure_persistence: None, ..TestConfig::default() })]

    #[test]
    fn with_simulated_links_nothing_loops_and_every_connected_pair_becomes_reachable(
        nodes in 3usize..9,
        more in proptest::collection::vec((0usize..9, 0usize..9), 0..8),
        seed in any::<u64>(),
        schedule in proptest::collection::vec(act(), 0..25),
    ) {
        let mut links: Links = (1..nodes).map(|node| (node / 2, node)).collect();
        links.extend(more);
        let config = Config { seed, fidelity: Fidelity::Link, thorough: true, ..Config::default() };
        let mut sim = Sim::new(&Topology::Custom { nodes, links }, config);
        for step in schedule {
            match step {
                Act::Fault(fault) => sim.apply(within(fault, nodes, sim.links())),
                Act::Wait(millis) => sim.run(ms(millis)).map_err(|violation| TestCaseError::fail(violation.to_string()))?,
            }
        }
        // A failed dial is repeated after half a minute at most.
        let healed = sim.until_reachable(Duration::from_secs(60));
        prop_assert!(healed.is_ok(), "{healed:?}");
        prop_assert_eq!(sim.nothing_refused(), Ok(()));
    }
}

#[test]
fn an_idle_end_that_sees_nothing_of_a_cut_is_found_out_by_the_search_of_the_other_end() {
    for seed in 0..10 {
        let config = Config { seed, fidelity: Fidelity::Link, ..Config::default() };
        let mut sim = Sim::new(&Topology::Ring(5), config);
        sim.until_reachable(ms(2_000)).unwrap();
        sim.run(ms(5_000 + 100 * seed)).unwrap();
        sim.apply(Fault::Unplug { link: 0, end: 0 });
        let took = sim.until_reachable(ms(5_000)).unwrap();
        assert!(took <= ms(600), "seed {seed}: {took:?}, as if two hellos had to stay out");
    }
}
