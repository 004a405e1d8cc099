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
mod message;
mod plan;
mod simulation;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;
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
    let jobs = args.jobs().unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let all = Mutex::new(Progress { seeds, count: 0, failed: 0, totals: Totals::default() });
    thread::scope(|scope| (0..jobs).for_each(|_| drop(scope.spawn(|| work(&args, &all, begin)))));
    let Progress { count, failed, totals, .. } = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    println!("{count} seeds, {failed} failed, {rate:.1} seeds/s; {totals}");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The seeds that are left, and the results so far.
struct Progress {
    seeds: Seeds,
    count: u64,
    failed: u64,
    totals: Totals,
}

/// Runs seeds until none is left, one has failed, or the time is over.
fn work(args: &Args, all: &Mutex<Progress>, begin: Instant) {
    let lock = || all.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let mut progress = lock();
        let is_over = args.time().is_some_and(|time| begin.elapsed() >= time);
        let has_failed = progress.failed > 0 && !args.keep_going;
        let Some(seed) = progress.seeds.next().filter(|_| !is_over && !has_failed) else { return };
        progress.count += 1;
        drop(progress);
        let result = run(seed, args);
        let mut progress = lock();
        match result {
            Ok(outcome) => progress.totals.add(&outcome),
            Err(text) => {
                progress.failed += 1;
                let command = "cargo run --release -p rouse-tests --bin node-sim --";
                println!("seed {seed}: {text}\nreplay it: {command} --seed {seed}{}", args.replay());
            }
        }
    }
}

type Seeds = Box<dyn Iterator<Item = u64> + Send>;

/// The seeds to run.
fn seeds(args: &Args) -> Result<Seeds, String> {
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
