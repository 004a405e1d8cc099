//! The faults of a network, and the measurements of their effects.

use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use rouse_sim::{Fault, Sim, Violation};
use rouse_tests::SeededRandom;

use crate::args::{FaultKind, Scenario};
use crate::figures::Figures;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The time in which a mesh becomes calm after a start or a repair.
pub(crate) const CALM: Duration = secs(6);

/// The time after healing in which control messages about the fault are still sent and counted.
const AFTERMATH: Duration = secs(1);

/// Applies the scenario's fault, measures, and repairs. `steady` is the number of bytes that all nodes send per second without it.
pub(crate) fn strike(
    scenario: &Scenario,
    sim: &mut Sim,
    random: &mut SeededRandom,
    steady: f64,
    figures: &mut Figures,
) -> Result<(), Violation> {
    let patience = scenario.patience();
    match scenario.fault {
        FaultKind::None => Ok(()),
        FaultKind::Link | FaultKind::Loss => {
            let link = random.below(sim.links());
            sim.apply(Fault::Cut { link });
            measure(sim, patience, steady, figures)?;
            sim.apply(Fault::Heal { link });
            repaired(sim, patience)
        }
        FaultKind::Silence => silence(sim, random, patience, steady, figures),
        FaultKind::Node => {
            let node = random.below(sim.nodes());
            sim.apply(Fault::Kill { node });
            measure(sim, patience, steady, figures)?;
            sim.apply(Fault::Restart { node });
            repaired(sim, patience)
        }
        FaultKind::Restart | FaultKind::Wipe => {
            let node = random.below(sim.nodes());
            sim.apply(Fault::Kill { node });
            // In half of the cases the node is back before its neighbours have noticed.
            sim.run(if random.below(2) == 0 { ms(1) } else { secs(3) })?;
            let wipe = scenario.fault == FaultKind::Wipe;
            sim.apply(if wipe { Fault::RestartWiped { node } } else { Fault::Restart { node } });
            measure(sim, patience, steady, figures)?;
            repaired(sim, patience)
        }
        FaultKind::Partition => partition(sim, patience, steady, figures),
        FaultKind::Flap => flap(sim, random, patience, figures),
        FaultKind::Asymmetry => asymmetry(scenario, sim, random, figures),
        FaultKind::Mobility => mobility(scenario, sim, figures),
    }
}

fn measure(
    sim: &mut Sim,
    patience: Duration,
    steady: f64,
    figures: &mut Figures,
) -> Result<Duration, Violation> {
    let (begin, before) = (sim.elapsed(), sim.control_bytes());
    let took = sim.until_reachable(patience)?;
    sim.run(AFTERMATH)?;
    let usual = steady * (sim.elapsed() - begin).as_secs_f64();
    let more = (sim.control_bytes() - before) as f64 - usual;
    figures.heal.push(took);
    figures.bytes.push((more.max(0.0) / sim.nodes() as f64) as u64);
    Ok(took)
}

fn repaired(sim: &mut Sim, patience: Duration) -> Result<(), Violation> {
    sim.until_reachable(patience)?;
    sim.run(CALM)
}

/// A link with packets both ways falls silent.
fn silence(
    sim: &mut Sim,
    random: &mut SeededRandom,
    patience: Duration,
    steady: f64,
    figures: &mut Figures,
) -> Result<(), Violation> {
    let direct = |sim: &Sim, link| sim.ends(link).filter(|[a, b]| sim.path(*a, *b) == Some(vec![*a, *b]));
    let begin = random.below(sim.links());
    let links = (0..sim.links()).map(|link| (link + begin) % sim.links());
    let Some((link, [a, b])) = links.filter_map(|link| Some((link, direct(sim, link)?))).next() else {
        return Ok(());
    };
    let flows = [(a, b), (b, a)].map(|ends| sim.send(ends, ms(5), 200, secs(4)));
    sim.run(ms(500 + random.below(1000) as u64))?;
    sim.apply(Fault::Silence { link });
    measure(sim, patience, steady, figures)?;
    sim.run(secs(4))?;
    for flow in flows {
        let traffic = sim.traffic(flow);
        figures.packets.0 += traffic.sent;
        figures.packets.1 += traffic.arrived;
    }
    sim.apply(Fault::Heal { link });
    sim.until_reachable(patience)?;
    sim.run(CALM)
}

/// Cuts the half around node 0 off.
fn partition(sim: &mut Sim, patience: Duration, steady: f64, figures: &mut Figures) -> Result<(), Violation> {
    let mut inside = BTreeSet::from([0]);
    let mut open = VecDeque::from([0]);
    while let Some(at) = open.pop_front() {
        for link in sim.links_of(at) {
            let others = sim.ends(*link).unwrap_or_default();
            for other in others {
                if inside.len() < sim.nodes() / 2 && inside.insert(other) {
                    open.push_back(other);
                }
            }
        }
    }
    let crosses =
        |link: &usize| sim.ends(*link).is_some_and(|[a, b]| inside.contains(&a) != inside.contains(&b));
    let links: Vec<usize> = (0..sim.links()).filter(crosses).collect();
    for link in &links {
        sim.apply(Fault::Cut { link: *link });
    }
    sim.until_reachable(patience)?;
    sim.run(secs(60))?;
    for link in links {
        sim.apply(Fault::Heal { link });
    }
    measure(sim, patience, steady, figures)?;
    sim.run(CALM)
}

/// A link that flaps is down for half of each second.
const HALF: Duration = ms(500);
const FLAPS: u32 = 300;

fn flap(
    sim: &mut Sim,
    random: &mut SeededRandom,
    patience: Duration,
    figures: &mut Figures,
) -> Result<(), Violation> {
    let nodes = sim.nodes() as f64;
    figures.steady.push(control_rate(sim, secs(120))? / nodes);
    let link = random.below(sim.links());
    sim.count_switches();
    let before = sim.control_bytes();
    for _ in 0..FLAPS {
        sim.apply(Fault::Cut { link });
        sim.run(HALF)?;
        sim.apply(Fault::Heal { link });
        sim.run(HALF)?;
    }
    let seconds = (HALF * 2 * FLAPS).as_secs_f64();
    figures.flapping.push((sim.control_bytes() - before) as f64 / seconds / nodes);
    figures.switches.push(f64::from(sim.most_switches()) * 10.0 / seconds);
    figures.heal.push(sim.until_reachable(patience)?);
    sim.run(secs(90))
}

/// The share of frames that arrive on the bad way.
const ARRIVE: f64 = 0.6;

/// A link loses 40 % one way: found out in two idle minutes, or, in a network of its own, in 20 s of traffic; and avoided
/// where another way costs up to twice as much as the link did.
fn asymmetry(
    scenario: &Scenario,
    sim: &mut Sim,
    random: &mut SeededRandom,
    figures: &mut Figures,
) -> Result<(), Violation> {
    let link = random.below(sim.links());
    let config = rouse_sim::Config { seed: random.below(1 << 32) as u64, ..scenario.config(0) };
    let mut busy = Sim::new(&scenario.topology(), config);
    busy.until_reachable(scenario.patience())?;
    busy.run(CALM)?;
    let busy_link = random.below(busy.links());
    worsen(sim, link, None, figures)?;
    worsen(&mut busy, busy_link, Some(secs(20)), figures)
}

fn worsen(
    sim: &mut Sim,
    link: usize,
    traffic: Option<Duration>,
    figures: &mut Figures,
) -> Result<(), Violation> {
    let (Some([a, b]), Some(before)) = (sim.ends(link), sim.measured(link)) else { return Ok(()) };
    sim.apply(Fault::Loss { link, there: 1.0 - ARRIVE, back: 0.0 });
    match traffic {
        Some(span) => {
            // The packets are for the neighbour itself, so that they use the link whichever path the routes take meanwhile.
            sim.send((a, b), ms(5), 200, span);
            sim.send((b, a), ms(5), 200, span);
            sim.run(span)?;
        }
        None => sim.run(secs(120))?,
    }
    let Some(after) = sim.measured(link) else { return Ok(()) };
    for (before, after) in before.into_iter().zip(after) {
        // The cost goes by the square of the expected number of transmissions.
        let etx = (f64::from(after.0) / f64::from(before.0)).sqrt();
        figures.etx_off.push((etx * ARRIVE - 1.0).abs());
    }
    // A better route is used after it has been better for two seconds. One that could loop needs a newer sequence number first,
    // which is requested at most every ten seconds.
    sim.run(secs(15))?;
    if let Some(around) = around(sim, link) {
        let ratio = f64::from(around) / f64::from(before[0].0);
        let avoided = sim.path(a, b).is_some_and(|path| path.len() > 2);
        figures.around.push((ratio, avoided));
    }
    Ok(())
}

/// The cost of the best path from one end of a link to the other without the link.
fn around(sim: &Sim, without: usize) -> Option<u32> {
    let [from, to] = sim.ends(without)?;
    let mut best = HashMap::from([(from, 0)]);
    let mut open = BinaryHeap::from([(std::cmp::Reverse(0), from)]);
    while let Some((std::cmp::Reverse(cost), at)) = open.pop() {
        if at == to {
            return Some(cost);
        }
        for link in sim.links_of(at).iter().filter(|link| **link != without) {
            let (Some(ends), Some(measured)) = (sim.ends(*link), sim.measured(*link)) else { continue };
            let side = usize::from(ends[1] == at);
            let (other, cost) = (ends[1 - side], cost + u32::from(measured[side].0));
            if best.get(&other).is_none_or(|known| cost < *known) {
                best.insert(other, cost);
                open.push((std::cmp::Reverse(cost), other));
            }
        }
    }
    None
}

/// In sides of the square per second: of ten kilometres, that is 70 km/h.
const SPEED: f64 = 0.002;
const WALK: Duration = secs(30);

fn mobility(scenario: &Scenario, sim: &mut Sim, figures: &mut Figures) -> Result<(), Violation> {
    let pairs = (sim.nodes() * sim.nodes()) as f64;
    sim.roam(scenario.degree, SPEED, WALK);
    let mut dark = 0.0;
    let steps = WALK.as_millis() / 50;
    for _ in 0..steps {
        sim.run(ms(50))?;
        dark += sim.unreached_pairs() as f64 / pairs;
    }
    figures.dark.push(dark / steps as f64);
    figures.heal.push(sim.until_reachable(scenario.patience())?);
    Ok(())
}

/// Bytes of control per second of the whole network while nothing happens, over `span`.
pub(crate) fn control_rate(sim: &mut Sim, span: Duration) -> Result<f64, Violation> {
    if span.is_zero() {
        return Ok(0.0);
    }
    let before = sim.control_bytes();
    sim.run(span)?;
    Ok((sim.control_bytes() - before) as f64 / span.as_secs_f64())
}
