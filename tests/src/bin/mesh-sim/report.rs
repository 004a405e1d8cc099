//! What is printed.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use crate::args::{FaultKind, Scenario, Shape};
use crate::figures::{Spread, bytes, resident, time};
use crate::run::{Outcome, run};

/// What a scenario must show, where anything is demanded (`bars.md`, "Mesh").
#[derive(Clone, Copy, Debug, Default)]
pub struct Bars {
    /// Time to reachability: of the cold start the longest, after a fault the 95th of a hundred.
    pub time: Option<Duration>,
    /// Bytes of control per node for a fault, the middle.
    pub bytes: Option<u64>,
}

const fn ms(millis: u64) -> Option<Duration> {
    Some(Duration::from_millis(millis))
}

impl Scenario {
    /// Those of its own row, or, where it has none, none.
    pub fn bars(&self) -> Bars {
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
pub struct Line {
    pub what: &'static str,
    pub figures: [String; 3],
    pub bar: String,
    pub met: Option<bool>,
}

/// Runs a scenario and prints its table. Returns whether nothing was violated and every bar met.
pub fn run_and_print(scenario: &Scenario) -> bool {
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

pub fn verdict(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "",
    }
}

/// How far it is, for whoever watches.
pub fn progress(scenario: &Scenario, seed: u64) {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        let number = seed.wrapping_sub(scenario.seed) + 1;
        // Nobody is told of what cannot be shown.
        let _ = write!(out, "\r{number} of {}\r", scenario.seeds);
    }
}

/// The failing seed, and the command that replays it alone.
pub fn print_failure(scenario: &Scenario, outcome: &Outcome) {
    if let Some((seed, violation)) = &outcome.failure {
        println!("\nVIOLATED with seed {seed}: {violation}\nreplay it alone:\n  {}", scenario.replay(*seed));
    }
}

fn print_costs(scenario: &Scenario, outcome: &Outcome) {
    let (now, most) = resident();
    let loops = match &outcome.failure {
        Some((_, rouse_core::sim::Violation::Loop { .. })) => 1,
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
pub fn lines(scenario: &Scenario, outcome: &Outcome) -> Vec<Line> {
    let (figures, bars) = (&outcome.figures, scenario.bars());
    let mut lines = Vec::new();
    let cold_bar = bars.time.filter(|_| scenario.fault == FaultKind::None);
    if let Some(spread) = Spread::of(&figures.cold) {
        lines.push(Line {
            what: "cold start",
            met: cold_bar.map(|bar| spread.max <= bar),
            bar: cold_bar.map_or_else(String::new, time),
            figures: [spread.p50, spread.p95, spread.max].map(time),
        });
    }
    if let Some(spread) = Spread::of(&figures.heal) {
        lines.push(Line {
            what: "reachable again",
            met: bars.time.map(|bar| spread.p95 <= bar),
            bar: bars.time.map_or_else(String::new, time),
            figures: [spread.p50, spread.p95, spread.max].map(time),
        });
    }
    let counted = |values: &[u64]| {
        Spread::of(values).map(|spread| [spread.p50, spread.p95, spread.max].map(|value| bytes(value as f64)))
    };
    if let Some(figures) = counted(&figures.cold_bytes) {
        lines.push(Line { what: "start: sent per node", figures, bar: String::new(), met: None });
    }
    if let Some(shown) = counted(&figures.bytes) {
        let middle = Spread::of(&figures.bytes).map_or(0, |spread| spread.p50);
        lines.push(Line {
            what: "fault: sent per node",
            figures: shown,
            met: bars.bytes.map(|bar| middle <= bar),
            bar: bars.bytes.map_or_else(String::new, |bar| bytes(bar as f64)),
        });
    }
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
    let share = |share: f64| format!("{:.2} %", share * 100.0);
    add("steady B/s per node", &figures.steady, bytes, None);
    let ratio: Vec<f64> = figures.flapping.iter().zip(&figures.steady).map(|(one, two)| one / two).collect();
    add("flapping B/s per node", &figures.flapping, bytes, None);
    add("flapping ÷ steady", &ratio, |ratio| format!("{ratio:.2}"), Some((2.0, "2")));
    add("switches per 10 s", &figures.switches, |rate| format!("{rate:.2}"), Some((1.0, "1")));
    add("ETX off by", &figures.etx_off, share, Some((0.15, "15 %")));
    add("dark while moving", &figures.dark, share, None);
    add("pairs without a route", &figures.unknown, share, None);
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

/// How often lossy links were avoided, where it was worth while and where it was not.
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
        [line("avoided: others ≤ 2×", 0.0, 2.0, true), line("avoided: others dearer", 2.0, f64::MAX, false)];
    lines.into_iter().flatten().collect()
}
