//! One scenario, seed by seed.

use std::time::{Duration, Instant};

use rouse_sim::{Fidelity, Sim, Violation};
use rouse_tests::SeededRandom;

use crate::args::{FaultKind, Scenario};
use crate::faults::{self, CALM, control_rate};
use crate::figures::Figures;

/// The time for which the traffic without a fault is measured.
const QUIET: Duration = Duration::from_secs(10);

/// The result of a scenario.
pub(crate) struct Outcome {
    pub figures: Figures,
    /// The seed with a violation, and the violation.
    pub failure: Option<(u64, Violation)>,
    pub wall: Duration,
}

/// Runs all seeds, or those up to the first that violates something. `progress` is called before each.
pub(crate) fn run(scenario: &Scenario, mut progress: impl FnMut(u64)) -> Outcome {
    let begin = Instant::now();
    let mut figures = Figures::default();
    let mut failure = None;
    for seed in (0..scenario.seeds).map(|number| scenario.seed.wrapping_add(number)) {
        progress(seed);
        if let Err(violation) = run_seed(scenario, seed, &mut figures) {
            failure = Some((seed, violation));
            break;
        }
    }
    Outcome { figures, failure, wall: begin.elapsed() }
}

fn run_seed(scenario: &Scenario, seed: u64, figures: &mut Figures) -> Result<(), Violation> {
    let mut sim = Sim::new(&scenario.topology(), scenario.config(seed));
    let nodes = sim.nodes() as u64;
    if scenario.destinations < scenario.nodes {
        // No table can hold every node, so the figure is the share of pairs without a route at the end.
        sim.run(Duration::from_secs(60))?;
        figures.unknown.push(sim.unreached_pairs() as f64 / (nodes * nodes) as f64);
        figures.cold_bytes.push(sim.control_bytes() / nodes);
    } else {
        figures.cold.push(sim.until_reachable(scenario.patience())?);
        figures.cold_bytes.push(sim.control_bytes() / nodes);
    }
    if scenario.fault != FaultKind::None {
        sim.run(CALM)?;
        let mut random = SeededRandom(seed);
        let steady =
            control_rate(&mut sim, if scenario.depth == Fidelity::Link { QUIET } else { Duration::ZERO })?;
        for _ in 0..scenario.rounds {
            faults::strike(scenario, &mut sim, &mut random, steady, figures)?;
        }
    }
    figures.memory = (0..sim.nodes()).map(|node| sim.memory(node)).max().unwrap_or(0).max(figures.memory);
    figures.events += sim.events();
    // New destinations are admitted at a limited rate, and tables may be small. Only then may honest nodes be refused anything.
    if scenario.destinations >= scenario.nodes && scenario.nodes <= 2_000 {
        sim.nothing_refused()?;
    }
    Ok(())
}
