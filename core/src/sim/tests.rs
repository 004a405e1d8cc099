//! The simulator itself: that its verdicts can be trusted, and that its runs can be had again.

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
fn who_reaches_whom_is_the_same_counted_change_by_change_and_from_scratch() {
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
fn links_renew_their_keys_and_nothing_is_lost_by_it() {
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
fn a_loop_is_found_and_named() {
    let mut sim = grid(1, Fidelity::Route);
    sim.until_reachable(ms(1_000)).unwrap();
    // 0 and 1 send each other what is for 15.
    let ids = sim.net.links[0].sessions;
    sim.net.reach.set_next(15, 0, ids[0], None);
    sim.net.reach.set_next(15, 1, ids[1], None);
    let found = sim.net.reach.check(15, 0).unwrap_err();
    assert_eq!(found.to_string(), "a loop towards node 15: 0 → 1 → 0");
    // By an alternate it is found when alternates are followed.
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
fn whoever_is_cut_off_is_not_dark_and_who_is_not_reached_in_time_is_named() {
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
fn a_slow_medium_takes_its_time_and_a_lossy_one_loses_no_message() {
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
fn silence_on_a_busy_link_is_found_out_and_packets_go_around_it() {
    for seed in 0..5 {
        let config = Config { seed, fidelity: Fidelity::Link, ..Config::default() };
        let mut sim = Sim::new(&Topology::Ring(6), config);
        sim.until_reachable(ms(1_000)).unwrap();
        let flow = sim.send((0, 1), ms(5), 200, Duration::from_secs(5));
        // Who only receives has nothing to wait for, and finds out by the hellos that stay out.
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
        // Healed, it is used again.
        sim.apply(Fault::Heal { link: 0 });
        sim.run(Duration::from_secs(30)).unwrap();
        assert_eq!(sim.path(0, 1), Some(vec![0, 1]));
    }
}

#[test]
fn a_link_that_comes_and_goes_once_a_second_keeps_its_session_and_costs_little_more_than_one_that_rests() {
    for seed in 0..3 {
        let config = Config { seed, fidelity: Fidelity::Link, ..Config::default() };
        let mut sim = Sim::new(&Topology::Ring(6), config);
        sim.until_reachable(ms(1_000)).unwrap();
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
        // When it has stayed for a minute it is used as before.
        sim.run(Duration::from_secs(75)).unwrap();
        assert_eq!(sim.path(0, 1), Some(vec![0, 1]));
    }
}

#[test]
fn a_link_that_was_away_for_too_long_is_made_anew() {
    let config = Config { seed: 4, fidelity: Fidelity::Link, ..Config::default() };
    let mut sim = Sim::new(&Topology::Line(3), config);
    sim.until_reachable(ms(1_000)).unwrap();
    for (away, anew) in [(ms(3_000), false), (ms(6_000), true)] {
        sim.run(Duration::from_secs(70)).unwrap();
        let handshakes =
            |sim: &Sim| sim.control_kinds().iter().find(|(kind, _)| *kind == "handshake").copied();
        let before = handshakes(&sim);
        sim.apply(Fault::Cut { link: 0 });
        sim.run(away).unwrap();
        assert_eq!(sim.path(1, 0), None, "nothing leads there meanwhile");
        assert_eq!(sim.path(2, 0), None, "and others know");
        assert_eq!((sim.routes_of(1), sim.routes_of(2)), (1, 1));
        sim.apply(Fault::Heal { link: 0 });
        let took = sim.until_reachable(ms(2_000)).unwrap();
        assert!(took <= ms(1_200), "{took:?}");
        assert_eq!(handshakes(&sim) != before, anew);
    }
}

#[test]
fn a_link_that_loses_much_one_way_is_avoided_where_the_way_around_costs_up_to_twice_as_much() {
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
        // What is measured of it wavers: that is no reason to come back.
        sim.run(Duration::from_secs(600)).unwrap();
        switches = sim.most_switches().max(switches);
    }
    assert!(worth_while >= 5, "{worth_while}");
    assert!(switches <= 3, "{switches}");
}

#[test]
fn who_moves_about_is_reachable_again_soon_after_it_rests() {
    for (seed, fidelity) in [(1, Fidelity::Route), (2, Fidelity::Route), (3, Fidelity::Link)] {
        let config = Config { seed, fidelity, ..Config::default() };
        let mut sim = Sim::new(&Topology::Geometric { nodes: 25, degree: 8.0 }, config);
        sim.until_reachable(ms(2_000)).unwrap();
        let links = sim.links();
        sim.roam(8.0, 0.05, Duration::from_secs(10));
        sim.run(Duration::from_secs(10)).unwrap();
        assert!(sim.links() > links, "new neighbours were met");
        sim.until_reachable(Duration::from_secs(10)).unwrap();
        sim.nothing_refused().unwrap();
    }
}

#[test]
fn a_table_that_grows_too_large_ends_the_run() {
    let mut sim = grid(1, Fidelity::Route);
    sim.until_reachable(ms(1_000)).unwrap();
    // As if nodes had been allowed fewer than they hold.
    sim.net.router_config.destinations = 8;
    sim.apply(Fault::Cut { link: 0 });
    let grown = sim.run(ms(100)).unwrap_err();
    assert!(matches!(grown, Violation::Bound { quantity: "destinations", bound: 9, .. }), "{grown}");
}

/// What happens to a network with real links.
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

/// The fault with numbers that are there.
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
    fn over_real_links_nothing_loops_either_and_whoever_is_connected_becomes_reachable(
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
        // Who was dialled in vain is dialled again after half a minute at most.
        let healed = sim.until_reachable(Duration::from_secs(60));
        prop_assert!(healed.is_ok(), "{healed:?}");
        prop_assert_eq!(sim.nothing_refused(), Ok(()));
    }
}
