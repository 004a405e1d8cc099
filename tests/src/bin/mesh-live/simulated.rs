//! The same run in the simulator: the same cables, the same pair, the same fault, the same code, and a virtual clock.

use std::time::Duration;

use anyhow::{Context, ensure};
use rouse_sim::{self as sim, Fidelity, Sim};
use rouse_tests::Cut;

use crate::figures::Figures;
use crate::options::{Fault, Options, PATIENCE};
use crate::run;

/// The delay of a bridge between two namespaces.
const LATENCY: (Duration, Duration) = (Duration::from_micros(20), Duration::from_micros(100));
/// The time for which packets flow after the fault. It is longer than the longest silence, which a timer ends.
const AFTER: Duration = Duration::from_secs(5);

/// Run number `number`, simulated.
pub(crate) fn run(options: &Options, number: usize) -> anyhow::Result<Figures> {
    let links = options.topology.cables();
    let topology = sim::Topology::Custom { nodes: options.topology.hosts(), links: links.clone() };
    let config = sim::Config {
        seed: number as u64,
        fidelity: Fidelity::Link,
        latency: LATENCY,
        ..sim::Config::default()
    };
    let mut sim = Sim::new(&topology, config);
    let mut figures = Figures { from_ready: Some(sim.until_reachable(PATIENCE)?), ..Figures::default() };
    if options.fault == Fault::None {
        return Ok(figures);
    }
    sim.run(Duration::from_secs(3) + Duration::from_secs(options.rest))?;
    let (from, to) = run::pair(options, number);
    // Messages one way and their acknowledgements the other way: the stream stops when either direction does.
    let flows = (options.rate > 0).then(|| {
        let every = Duration::from_secs(1) / options.rate;
        [(from, to), (to, from)].map(|ends| sim.send(ends, every, run::PACKET, run::WARM + AFTER))
    });
    sim.run(run::WARM)?;
    let path = sim.path(from, to).context("the two have a path")?;
    let at = run::which(options.fault, &path, number)?;
    sim.apply(match options.fault.cut() {
        None => sim::Fault::Kill { node: path[at] },
        Some(cut) => {
            let ends = [path[at], path[at + 1]];
            let is_it = |&link: &usize| sim.ends(link).is_some_and(|[a, b]| ends == [a, b] || ends == [b, a]);
            let link = (0..sim.links()).find(is_it).context("neighbours have a link")?;
            match cut {
                Cut::OneEnd => sim::Fault::Unplug { link, end: 0 },
                Cut::BothEnds => sim::Fault::Cut { link },
                Cut::Silent => sim::Fault::Silence { link },
            }
        }
    });
    if options.topology.survives() {
        figures.routes = Some(sim.until_reachable(PATIENCE)?);
    }
    sim.run(AFTER)?;
    for traffic in flows.into_iter().flatten().map(|flow| sim.traffic(flow)) {
        ensure!(traffic.duplicates == 0, "{} packets came twice", traffic.duplicates);
        figures.silence = figures.silence.max(Some(traffic.gap));
    }
    Ok(figures)
}
