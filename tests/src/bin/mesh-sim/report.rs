//! The printed tables.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use crate::args::{FaultKind, Scenario, Shape};
use crate::figures::{Figures, Spread, bytes, resident, time};
use crate::run::{Outcome, run};

/// The bars of a scenario, where it has any (`bars.md`, "Mesh").
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bars {
    /// Time to reachability: of the cold start the longest, after a fault the 95th of a hundred.
    pub time: Option<Duration>,
    /// Bytes of control per node for a fault, the middle.
    pub bytes: Option<u64>,
}

const fn ms(millis: u64) -> Option<Duration> {
    Some(Duration::from_millis(millis))
}

impl Scenario {
    /// The bars of the scenario's row.
    pub(crate) fn bars(&self) -> Bars {
        if self.loss > 0.0 {
            return Bars::default();
        }
        let (time, bytes) = match (self.shape, self.nodes, self.fault) {
            (_, _, FaultKind::Restart) => (ms(1_000), None),
            (_, _, FaultKind::Wipe) => (ms(1_500), None),
            (_, _, FaultKind::Partition) => (ms(1_000), None),
            (Shape::Line, 2..=8, FaultKind::None) => (ms(300), None),
            (Shape::Geometric, 2..=1000, FaultKind::None) => {
                (if self.rate.is_some() { ms(30_000) } else { ms(2_000) }, None)
            }
            (Shape::Geometric, 2..=1000, FaultKind::Link | FaultKind::Node) => (ms(600), None),
            (Shape::Ring, 2..=16, FaultKind::Link | FaultKind::Silence) => (ms(400), None),
            (Shape::Grid, 2..=100, FaultKind::Link | FaultKind::Silence) => (ms(450), Some(3_000)),
            (Shape::Grid, 2..=100, FaultKind::Node) => (ms(600), Some(8_000)),
            _ => (None, None),
        };
        Bars { time, bytes }
    }
}

/// One line of a table: what, the middle, the 95th of a hundred, the greatest, and against which bar.
pub(crate) struct Line {
    pub what: &'static str,
    pub figures: [String; 3],
    pub bar: String,
    pub met: Option<bool>,
}

/// Runs a scenario and prints its table. Returns whether nothing was violated and every bar met.
pub(crate) fn run_and_print(scenario: &Scenario) -> bool {
    let last = scenario.seed.wrapping_add(scenario.seeds - 1);
    println!("{scenario}: seeds {}–{last}, {} fault(s) each\n", scenario.seed, scenario.rounds);
    let outcome = run(scenario, |seed| progress(scenario, seed));
    let lines = lines(scenario, &outcome);
    println!("{:<22}{:>12}{:>12}{:>12}   {:<10}", "", "p50", "p95", "max", "bar");
    for line in &lines {
        let [p50, p95, max] = &line.figures;
        println!("{:<22}{p50:>12}{p95:>12}{max:>12}   {:<10} {}", line.what, line.bar, verdict(line.met));
    }
    println!();
    print_costs(scenario, &outcome);
    print_failure(scenario, &outcome);
    outcome.failure.is_none() && lines.iter().all(|line| line.met != Some(false))
}

pub(crate) fn verdict(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "",
    }
}

/// Shows the progress on a terminal.
pub(crate) fn progress(scenario: &Scenario, seed: u64) {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        let number = seed.wrapping_sub(scenario.seed) + 1;
        // An error is ignored, since the progress is not needed for the result.
        let _ = write!(out, "\r{number} of {}\r", scenario.seeds);
    }
}

/// The failing seed, and the command that replays it alone.
pub(crate) fn print_failure(scenario: &Scenario, outcome: &Outcome) {
    if let Some((seed, violation)) = &outcome.failure {
        println!("\nVIOLATED with seed {seed}: {violation}\nreplay it alone:\n  {}", scenario.replay(*seed));
    }
}

fn print_costs(scenario: &Scenario, outcome: &Outcome) {
    let (now, most) = resident();
    let loops = match &outcome.failure {
        Some((_, rouse_sim::Violation::Loop { .. })) => 1,
        _ => 0,
    };
    let each = outcome.figures.memory as f64;
    println!("loops seen            {loops}, after {} events", outcome.figures.events);
    println!(
        "memory                {} resident, {} at most; a router's table {} ({:.0} B per destination, shared announces counted)",
        bytes(now as f64),
        bytes(most as f64),
        bytes(each),
        each / scenario.nodes.min(scenario.destinations) as f64
    );
    println!("wall time             {}", time(outcome.wall));
}

/// The lines of a scenario's table.
pub(crate) fn lines(scenario: &Scenario, outcome: &Outcome) -> Vec<Line> {
    let figures = &outcome.figures;
    let mut lines = times(scenario, figures);
    lines.extend(volumes(scenario, figures));
    lines.extend(ratios(figures));
    if figures.packets.0 > 0 {
        let (sent, arrived) = figures.packets;
        let lost = (sent - arrived) as f64 / sent as f64;
        lines.push(Line {
            what: "packets lost",
            figures: [String::new(), String::new(), share(lost)],
            bar: String::new(),
            met: None,
        });
    }
    lines.extend(around(&figures.around));
    lines
}

/// The times of the start and of the healing.
fn times(scenario: &Scenario, figures: &Figures) -> Vec<Line> {
    let bars = scenario.bars();
    let cold_bar = bars.time.filter(|_| scenario.fault == FaultKind::None);
    let cold = Spread::of(&figures.cold).map(|spread| Line {
        what: "cold start",
        met: cold_bar.map(|bar| spread.max <= bar),
        bar: cold_bar.map_or_else(String::new, time),
        figures: [spread.p50, spread.p95, spread.max].map(time),
    });
    let heal = Spread::of(&figures.heal).map(|spread| Line {
        what: "reachable again",
        met: bars.time.map(|bar| spread.p95 <= bar),
        bar: bars.time.map_or_else(String::new, time),
        figures: [spread.p50, spread.p95, spread.max].map(time),
    });
    cold.into_iter().chain(heal).collect()
}

/// The bytes that a node sends for the start and for a fault.
fn volumes(scenario: &Scenario, figures: &Figures) -> Vec<Line> {
    let bar = scenario.bars().bytes;
    let shown = |spread: &Spread<u64>| [spread.p50, spread.p95, spread.max].map(|value| bytes(value as f64));
    let start = Spread::of(&figures.cold_bytes).map(|spread| Line {
        what: "start: sent per node",
        figures: shown(&spread),
        bar: String::new(),
        met: None,
    });
    let fault = Spread::of(&figures.bytes).map(|spread| Line {
        what: "fault: sent per node",
        figures: shown(&spread),
        met: bar.map(|bar| spread.p50 <= bar),
        bar: bar.map_or_else(String::new, |bar| bytes(bar as f64)),
    });
    start.into_iter().chain(fault).collect()
}

/// The rates and shares that a scenario measures.
fn ratios(figures: &Figures) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut add = |what, values: &[f64], show: fn(f64) -> String, bar: Option<(f64, &str)>| {
        if let Some(spread) = Spread::of(values) {
            lines.push(Line {
                what,
                figures: [spread.p50, spread.p95, spread.max].map(show),
                bar: bar.map_or_else(String::new, |bar| bar.1.to_owned()),
                met: bar.map(|bar| spread.p95 <= bar.0),
            });
        }
    };
    let ratio: Vec<f64> = figures.flapping.iter().zip(&figures.steady).map(|(one, two)| one / two).collect();
    add("steady B/s per node", &figures.steady, bytes, None);
    add("flapping B/s per node", &figures.flapping, bytes, None);
    add("flapping ÷ steady", &ratio, |ratio| format!("{ratio:.2}"), Some((2.0, "2")));
    add("switches per 10 s", &figures.switches, |rate| format!("{rate:.2}"), Some((1.0, "1")));
    add("ETX off by", &figures.etx_off, share, Some((0.15, "15 %")));
    add("dark while moving", &figures.dark, share, None);
    add("pairs without a route", &figures.unknown, share, None);
    lines
}

fn share(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// The number of lossy links that were avoided, where another path was cheap enough and where it was not.
fn around(ways: &[(f64, bool)]) -> Vec<Line> {
    let line = |what, from: f64, to: f64, demanded: bool| {
        let within: Vec<bool> =
            ways.iter().filter(|(ratio, _)| *ratio > from && *ratio <= to).map(|(_, taken)| *taken).collect();
        let taken = within.iter().filter(|taken| **taken).count();
        (!within.is_empty()).then(|| Line {
            what,
            figures: [String::new(), String::new(), format!("{taken} of {}", within.len())],
            bar: if demanded { "all".into() } else { String::new() },
            met: demanded.then_some(taken == within.len()),
        })
    };
    let lines =
        [line("avoided: others ≤ 2×", 0.0, 2.0, true), line("avoided: others costly", 2.0, f64::MAX, false)];
    lines.into_iter().flatten().collect()
}
