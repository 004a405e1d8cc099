//! Whole nodes in a deterministic simulation, checked against the rules of messages:
//!
//!     cargo run --release -p rouse-tests --bin node-sim -- --seconds 60
//!     cargo run --release -p rouse-tests --bin node-sim -- --seed 7 --trace
//!
//! Each seed is a mesh of its own, whose nodes run with real links, routes, sessions and journals while their processes,
//! disks, cables and clocks fail. A broken rule ends the program with the command that replays its seed.
#![forbid(unsafe_code)]

mod application;
mod args;
mod ledger;
mod machine;
mod medium;
mod plan;
mod simulation;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;

use args::Args;
use simulation::Outcome;

fn main() -> ExitCode {
    let args = Args::parse();
    let seeds = match seeds(&args) {
        Ok(seeds) => seeds,
        Err(error) => {
            eprintln!("error: {error}\n\nFor more information, try '--help'.");
            return ExitCode::from(2);
        }
    };
    let begin = Instant::now();
    let (mut count, mut failed, mut totals) = (0u64, 0u64, Totals::default());
    for seed in seeds {
        if args.time().is_some_and(|time| begin.elapsed() >= time) {
            break;
        }
        count += 1;
        match run(seed, &args) {
            Ok(outcome) => totals.add(&outcome),
            Err(text) => {
                failed += 1;
                println!(
                    "seed {seed}: {text}\nreplay it: cargo run --release -p rouse-tests --bin node-sim -- --seed {seed}{}",
                    args.replay()
                );
                if !args.keep_going {
                    break;
                }
            }
        }
    }
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    println!("{count} seeds, {failed} failed, {rate:.1} seeds/s; {totals}");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The seeds to run.
fn seeds(args: &Args) -> Result<Box<dyn Iterator<Item = u64>>, String> {
    if let Some(seed) = args.seed {
        return Ok(Box::new(std::iter::once(seed)));
    }
    if let Some(file) = &args.file {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let parse = |line: &str| line.split_whitespace().next().map(str::parse::<u64>);
        let seeds: Result<Vec<_>, _> =
            text.lines().filter(|line| !line.starts_with('#')).filter_map(parse).collect();
        let seeds = seeds.map_err(|error| format!("{}: {error}", file.display()))?;
        return Ok(Box::new(seeds.into_iter()));
    }
    // Fresh seeds differ from run to run, so that each run of the checks looks at others.
    let fresh = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() << 20;
    let first = args.from.unwrap_or_else(|| if args.seconds.is_some() { fresh() } else { 0 });
    let count = args.seeds.unwrap_or(if args.seconds.is_some() { u64::MAX } else { 100 });
    Ok(Box::new((0..count).map(move |number| first.wrapping_add(number))))
}

/// Runs a seed. An error is the rule that it broke.
fn run(seed: u64, args: &Args) -> Result<Outcome, String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| simulation::run(seed, args.patience(), args.trace)));
    let outcome = outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        format!(
            "a panic: {}",
            text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a text")
        )
    })?;
    if args.verbose || args.seed.is_some() {
        let Outcome { hash, steps, counts, elapsed, healing, .. } = &outcome;
        println!(
            "seed {seed}: hash {hash:016x}, {steps} polls, {:.1} s, healed in {:.1} s, {counts:?}",
            elapsed.as_secs_f64(),
            healing.as_secs_f64()
        );
    }
    match &outcome.violation {
        Some(text) => Err(text.clone()),
        None => Ok(outcome),
    }
}

/// Sums over all seeds.
#[derive(Default)]
struct Totals {
    accepted: u64,
    delivered: u64,
    expired: u64,
    refused: u64,
    simulated: Duration,
    longest: Duration,
}

impl Totals {
    fn add(&mut self, outcome: &Outcome) {
        self.accepted += outcome.counts.accepted;
        self.delivered += outcome.counts.delivered;
        self.expired += outcome.counts.expired;
        self.refused += outcome.counts.refused;
        self.simulated += outcome.elapsed;
        self.longest = self.longest.max(outcome.healing);
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} messages accepted, {} delivered, {} expired, {} refused, {:.0} s simulated, healed in {:.1} s at most",
            self.accepted,
            self.delivered,
            self.expired,
            self.refused,
            self.simulated.as_secs_f64(),
            self.longest.as_secs_f64()
        )
    }
}
