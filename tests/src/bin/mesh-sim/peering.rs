//! Scenarios of nodes on one medium: discovery, dials, and the choice and replacement of links.

use std::time::{Duration, Instant};

use rouse_sim::{Lan, LanConfig};

use crate::figures::{Spread, time};
use crate::report::verdict;

/// The time after which a run counts as failed.
const PATIENCE: Duration = Duration::from_secs(600);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The result of one seed: a time, `None` when it was too long, and a count.
struct Measured(Option<Duration>, u64);

/// A scenario, with the bounds of its two figures.
struct PeeringScenario {
    name: &'static str,
    seeds: u64,
    run: fn(u64) -> Measured,
    time: (&'static str, Duration),
    count: (&'static str, u64),
}

fn scenarios() -> Vec<PeeringScenario> {
    let scenario = |name, run, time, count| PeeringScenario { name, seeds: 60, run, time, count };
    vec![
        PeeringScenario {
            seeds: 20,
            ..scenario(
                "peering: discovery, 12 nodes on one medium",
                discovery,
                ("all linked", ms(1_000)),
                ("links beyond one each", 0),
            )
        },
        scenario(
            "peering: dials, 2 nodes, 30 % lost",
            lossy_dials,
            // About the time of one dial, which repeats its initiation four times.
            ("linked", ms(8_000)),
            ("links replaced in use", 0),
        ),
        scenario(
            "peering: simultaneous opening, 2 nodes in 2 networks",
            simultaneous_opening,
            ("linked", ms(1_000)),
            ("links beyond one each", 0),
        ),
        scenario(
            "peering: replacement, a node restarts amid traffic",
            replacement,
            ("no packet arrives", ms(1_000)),
            ("links beyond two each", 0),
        ),
        PeeringScenario {
            seeds: 20,
            ..scenario(
                "peering: a full node, 9 nodes with 4 places each",
                full_node,
                ("a free place is taken", ms(30_000)),
                ("handshake frames/min, each", 60),
            )
        },
        scenario(
            "peering: a renumbered host, amid traffic",
            renumbered_host,
            // A beacon that overtakes the last frame from the old endpoint counts for nothing; the next one comes 1 s later.
            ("no packet arrives", ms(1_500)),
            ("links replaced in use", 0),
        ),
        scenario(
            "peering: both hosts renumbered, amid traffic",
            both_renumbered,
            ("no packet arrives", ms(2_000)),
            ("links beyond two each", 0),
        ),
    ]
}

/// The links of all nodes beyond this many each.
fn beyond(lan: &Lan, nodes: usize, each: u64) -> u64 {
    (0..nodes).map(|node| lan.counts(node).links.saturating_sub(each)).sum()
}

/// The links of two nodes that were replaced although they were in use.
fn replaced_in_use(lan: &Lan) -> u64 {
    (0..2).map(|node| lan.counts(node).replaced_in_use).sum()
}

fn discovery(seed: u64) -> Measured {
    const NODES: usize = 12;
    let mut lan = Lan::new(LanConfig { seed, nodes: NODES, loss: 0.01, ..LanConfig::default() });
    lan.start_within(0..NODES, ms(2_000));
    lan.run(ms(2_000));
    let took = lan.until(PATIENCE, |lan| (0..NODES).all(|a| (0..a).all(|b| lan.are_linked(a, b))));
    lan.run(ms(30_000));
    Measured(took, beyond(&lan, NODES, NODES as u64 - 1))
}

fn lossy_dials(seed: u64) -> Measured {
    let mut lan = Lan::new(LanConfig { seed, nodes: 2, loss: 0.3, ..LanConfig::default() });
    lan.start_within(0..2, ms(300));
    let took = lan.until(PATIENCE, |lan| lan.are_linked(0, 1));
    lan.run(ms(60_000));
    Measured(took, replaced_in_use(&lan))
}

fn simultaneous_opening(seed: u64) -> Measured {
    let mut lan = Lan::new(LanConfig { seed, nodes: 2, networks: 2, ..LanConfig::default() });
    lan.start_within(0..2, ms(300));
    let took = lan.until(PATIENCE, |lan| lan.are_linked(0, 1));
    lan.run(ms(60_000));
    Measured(took, beyond(&lan, 2, 1))
}

/// Two linked nodes, the first of which sends packets to the second.
fn amid_traffic(seed: u64) -> (Lan, usize) {
    let mut lan = Lan::new(LanConfig { seed, nodes: 2, networks: 2, ..LanConfig::default() });
    lan.start_within(0..2, ms(300));
    lan.until(PATIENCE, |lan| lan.are_linked(0, 1));
    lan.run(ms(20_000));
    let flow = lan.send((0, 1), ms(5), Duration::from_secs(20));
    lan.run(ms(2_000));
    (lan, flow)
}

/// The longest time without a packet, if the two nodes have a link in the end.
fn gap(lan: &Lan, flow: usize) -> Option<Duration> {
    lan.are_linked(0, 1).then(|| lan.traffic(flow).gap)
}

fn replacement(seed: u64) -> Measured {
    let (mut lan, flow) = amid_traffic(seed);
    lan.restart(1);
    lan.run(ms(15_000));
    Measured(gap(&lan, flow), beyond(&lan, 2, 2))
}

fn renumbered_host(seed: u64) -> Measured {
    let (mut lan, flow) = amid_traffic(seed);
    lan.renumber((seed % 2) as usize);
    lan.run(ms(15_000));
    Measured(gap(&lan, flow), replaced_in_use(&lan))
}

fn both_renumbered(seed: u64) -> Measured {
    let (mut lan, flow) = amid_traffic(seed);
    lan.renumber(0);
    lan.renumber(1);
    lan.run(ms(15_000));
    Measured(gap(&lan, flow), beyond(&lan, 2, 2))
}

fn full_node(seed: u64) -> Measured {
    const NODES: usize = 9;
    const PLACES: usize = 4;
    let mut lan = Lan::new(LanConfig { seed, nodes: NODES, neighbours: PLACES, ..LanConfig::default() });
    lan.start_within(0..NODES, ms(2_000));
    lan.run(ms(120_000));
    let frames = |lan: &Lan| (0..NODES).map(|node| lan.counts(node).handshake_frames).sum::<u64>();
    let before = frames(&lan);
    lan.run(ms(60_000));
    let each = (frames(&lan) - before) / NODES as u64;
    // A node with all places taken loses a neighbour.
    let Some((full, lost)) = (0..NODES)
        .filter(|node| lan.links_of(*node) == PLACES)
        .find_map(|full| (0..NODES).find(|other| lan.are_linked(full, *other)).map(|lost| (full, lost)))
    else {
        return Measured(None, each);
    };
    lan.kill(lost);
    let noticed = lan.until(PATIENCE, |lan| lan.links_of(full) < PLACES);
    let taken = noticed.and_then(|_| lan.until(PATIENCE, |lan| lan.links_of(full) == PLACES));
    Measured(taken, each)
}

/// Runs the scenarios with `only` in their names, and prints a line for each figure. Returns whether every bound held.
pub(crate) fn run_all(only: &str) -> bool {
    let mut held = true;
    for scenario in scenarios().into_iter().filter(|scenario| scenario.name.contains(only)) {
        let begun = Instant::now();
        let measured: Vec<Measured> = (0..scenario.seeds).map(scenario.run).collect();
        let late: Vec<u64> =
            (0..).zip(&measured).filter(|(_, one)| one.0.is_none()).map(|(seed, _)| seed).collect();
        let times: Vec<Duration> = measured.iter().filter_map(|one| one.0).collect();
        let counts: Vec<u64> = measured.iter().map(|one| one.1).collect();
        let (figure, bar) = scenario.time;
        let met = late.is_empty() && times.iter().all(|took| *took <= bar);
        let spread = Spread::of(&times).map(|spread| [spread.p50, spread.p95, spread.max].map(time));
        print_line(scenario.name, figure, spread, &time(bar), met);
        let (figure, bar) = scenario.count;
        let met_count = counts.iter().all(|count| *count <= bar);
        let spread = Spread::of(&counts)
            .map(|spread| [spread.p50, spread.p95, spread.max].map(|count| count.to_string()));
        print_line("", figure, spread, &bar.to_string(), met_count);
        println!("{:<62}{} runs, {} of wall time", "", scenario.seeds, time(begun.elapsed()));
        if !late.is_empty() {
            println!("{:<62}not within {}: seeds {late:?}", "", time(PATIENCE));
        }
        held &= met && met_count;
    }
    held
}

fn print_line(name: &str, figure: &str, spread: Option<[String; 3]>, bar: &str, met: bool) {
    let [p50, p95, max] = spread.unwrap_or_else(|| ["–"; 3].map(str::to_owned));
    println!("{name:<62}{figure:<24}{p50:>11}{p95:>11}{max:>11}   {bar:<9}{:>9}", verdict(Some(met)));
}
