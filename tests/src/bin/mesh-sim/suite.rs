//! Every row of the bars that a simulation can show.

use std::time::Duration;

use rouse_sim::{Fidelity, Sim, Violation};

use crate::args::{FaultKind, Scenario, Shape};
use crate::faults::control_rate;
use crate::figures::{bytes, time};
use crate::peering;
use crate::report::{lines, print_failure, progress, verdict};
use crate::run;

fn scenario(shape: Shape, nodes: usize, fault: FaultKind, seeds: u64) -> Scenario {
    Scenario { shape, nodes, fault, seeds, ..Scenario::default() }
}

fn deep(scenario: Scenario) -> Scenario {
    Scenario { depth: Fidelity::Link, ..scenario }
}

fn scenarios() -> Vec<Scenario> {
    use FaultKind::{Asymmetry, Flap, Link, Loss, Mobility, Node, None, Partition, Restart, Silence, Wipe};
    use Shape::{Clusters, Geometric, Grid, Line, Ring};
    let thousand = |fault, seeds, rounds| Scenario { rounds, ..scenario(Geometric, 1000, fault, seeds) };
    vec![
        scenario(Line, 8, None, 60),
        deep(scenario(Line, 8, None, 60)),
        scenario(Ring, 16, Link, 60),
        deep(scenario(Ring, 16, Silence, 60)),
        scenario(Grid, 100, Link, 60),
        deep(scenario(Grid, 100, Silence, 20)),
        scenario(Grid, 100, Node, 60),
        Scenario { loss: 0.1, ..deep(scenario(Grid, 100, Loss, 20)) },
        thousand(None, 1, 1),
        Scenario { rate: Some(64_000), ..thousand(None, 1, 1) },
        thousand(Link, 1, 20),
        thousand(Node, 1, 20),
        scenario(Clusters, 100, Partition, 20),
        scenario(Grid, 100, Partition, 20),
        deep(scenario(Ring, 6, Flap, 5)),
        deep(scenario(Grid, 100, Flap, 1)),
        deep(Scenario { degree: 8.0, ..scenario(Geometric, 12, Asymmetry, 30) }),
        scenario(Grid, 100, Restart, 40),
        scenario(Grid, 100, Wipe, 40),
        scenario(Geometric, 100, Mobility, 10),
        deep(scenario(Geometric, 60, Mobility, 5)),
    ]
}

/// Runs what has `only` in its name, prints a line for each figure; returns whether all held.
fn run_all(only: &str) -> bool {
    let mut held = true;
    println!(
        "{:<62}{:<24}{:>11}{:>11}{:>11}   {:<9}{:>9}",
        "scenario", "figure", "p50", "p95", "max", "bar", ""
    );
    for scenario in scenarios().into_iter().filter(|scenario| scenario.to_string().contains(only)) {
        let outcome = run::run(&scenario, |seed| progress(&scenario, seed));
        let mut name = scenario.to_string();
        for line in lines(&scenario, &outcome) {
            let [p50, p95, max] = &line.figures;
            println!(
                "{name:<62}{:<24}{p50:>11}{p95:>11}{max:>11}   {:<9}{:>9}",
                line.what,
                line.bar,
                verdict(line.met)
            );
            held &= line.met != Some(false);
            name.clear();
        }
        let seeds = scenario.seeds * u64::from(scenario.rounds);
        let (now, _) = crate::figures::resident();
        println!(
            "{:<62}{seeds} runs, {} events, no loop, {} of wall time, {} resident",
            "",
            outcome.figures.events,
            time(outcome.wall),
            bytes(now as f64)
        );
        print_failure(&scenario, &outcome);
        held &= outcome.failure.is_none();
    }
    held
}

/// Packets sent at once when a line of eight is reachable end to end, and how many arrived.
fn line_under_load(seed: u64) -> Result<(u64, u64), Violation> {
    let line = deep(scenario(Shape::Line, 8, FaultKind::None, 1));
    let mut sim = Sim::new(&line.topology(), line.config(seed));
    sim.until_reachable(line.patience())?;
    let flow = sim.send((0, 7), Duration::from_millis(1), 200, Duration::from_secs(10));
    sim.run(Duration::from_secs(11))?;
    let traffic = sim.traffic(flow);
    Ok((traffic.sent, traffic.arrived))
}

/// Bytes per second and node of a geometric network of a thousand: of links that are idle, and of routes over an hour, in
/// which each announce is renewed twice.
fn steady(nodes: usize) -> Result<(f64, f64), Violation> {
    let links = deep(scenario(Shape::Geometric, nodes, FaultKind::None, 1));
    let mut sim = Sim::new(&links.topology(), links.config(1));
    sim.until_reachable(links.patience())?;
    sim.run(Duration::from_secs(10))?;
    let idle = control_rate(&mut sim, Duration::from_secs(30))? / nodes as f64;
    let routes = scenario(Shape::Geometric, nodes, FaultKind::None, 1);
    let mut sim = Sim::new(&routes.topology(), routes.config(1));
    sim.until_reachable(routes.patience())?;
    sim.run(Duration::from_secs(60))?;
    let renewing = control_rate(&mut sim, Duration::from_secs(3600))? / nodes as f64;
    Ok((idle, renewing))
}

/// Prints the violation and the command that reproduces it, because these rows have seeds of their own.
fn replay(name: &str, violation: &Violation) -> String {
    let command = "cargo run --release -p rouse-tests --bin mesh-sim -- --suite --only";
    format!("{violation}; replay it alone: {command} '{name}'")
}

/// The whole suite, or what has `only` in its name.
pub(crate) fn run(only: Option<&str>) -> bool {
    let only = only.unwrap_or("");
    let mut held = run_all(only);
    held &= peering::run_all(only);
    let mut show = |name: &str, figure: &str, bar: &str, met: bool| {
        println!("{name:<62}{figure:<57}   {bar:<9}{:>9}", verdict(Some(met)));
        held &= met;
    };
    let name = "line, 8 nodes, 1 k packets/s from the start, real links";
    if name.contains(only) {
        let all: Result<Vec<_>, _> = (0..10).map(line_under_load).collect();
        match all {
            Ok(all) => {
                let (sent, arrived) = all.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
                show(name, &format!("{} of {sent} packets lost", sent - arrived), "0", sent == arrived);
            }
            Err(violation) => show(name, &replay(name, &violation), "", false),
        }
    }
    let name = "geometric, 1000 nodes, nothing happens";
    if name.contains(only) {
        match steady(1000) {
            Ok((idle, renewing)) => {
                let sum = idle + renewing;
                let figure =
                    format!("{}/s per node: links {}, routes {}", bytes(sum), bytes(idle), bytes(renewing));
                show(name, &figure, "2.5 kB/s", sum <= 2_500.0);
            }
            Err(violation) => show(name, &replay(name, &violation), "", false),
        }
    }
    println!("\n{}", if held { "every bar is met" } else { "NOT every bar is met" });
    held
}
