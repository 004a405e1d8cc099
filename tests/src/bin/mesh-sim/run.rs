//! One scenario, seed by seed.

use std::time::{Duration, Instant};

use rouse_core::sim::{Fidelity, Sim, Violation};

use crate::args::{FaultKind, Scenario};
use crate::faults;
use crate::figures::Figures;

/// After a start or a repair, until all is calm.
pub const CALM: Duration = Duration::from_secs(6);
/// What goes on while nothing happens is measured for so long.
const QUIET: Duration = Duration::from_secs(10);

/// What came of a scenario.
pub struct Outcome {
    pub figures: Figures,
    /// The seed that violated something, and what.
    pub failure: Option<(u64, Violation)>,
    pub wall: Duration,
}

/// Runs all seeds, or those up to the first that violates something. `progress` is called before each.
pub fn run(scenario: &Scenario, mut progress: impl FnMut(u64)) -> Outcome {
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
        // Nobody can know everybody: the figure is who knows whom in the end.
        sim.run(Duration::from_secs(60))?;
        figures.unknown.push(sim.unreached_pairs() as f64 / (nodes * nodes) as f64);
        figures.cold_bytes.push(sim.control_bytes() / nodes);
    } else {
        figures.cold.push(sim.until_reachable(scenario.patience())?);
        figures.cold_bytes.push(sim.control_bytes() / nodes);
    }
    if scenario.fault != FaultKind::None {
        sim.run(CALM)?;
        let mut draw = Draw(seed);
        let steady = quiet(&mut sim, if scenario.depth == Fidelity::Link { QUIET } else { Duration::ZERO })?;
        for _ in 0..scenario.rounds {
            faults::strike(scenario, &mut sim, &mut draw, steady, figures)?;
        }
    }
    figures.memory = (0..sim.nodes()).map(|node| sim.memory(node)).max().unwrap_or(0).max(figures.memory);
    figures.events += sim.events();
    // New destinations are let in at a rate, and tables may be small: only then honest nodes are refused anything.
    if scenario.destinations >= scenario.nodes && scenario.nodes <= 2_000 {
        sim.nothing_refused()?;
    }
    Ok(())
}

/// Bytes of control per second of the whole network while nothing happens, over `span`.
pub fn quiet(sim: &mut Sim, span: Duration) -> Result<f64, Violation> {
    if span.is_zero() {
        return Ok(0.0);
    }
    let before = sim.control_bytes();
    sim.run(span)?;
    Ok((sim.control_bytes() - before) as f64 / span.as_secs_f64())
}

/// Which link, which node: drawn from the seed (SplitMix64).
pub struct Draw(pub u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `below`; 0 when that is 0.
    pub fn below(&mut self, below: usize) -> usize {
        ((u128::from(self.next()) * below as u128) >> 64) as usize
    }
}
