//! The command line.

use std::time::Duration;

use clap::Parser;

/// Whole nodes in a simulation: real nodes with journals on simulated disks and media, under a virtual clock, with faults that
/// a seed decides. Each seed is a run of its own; the rules that every message must keep are checked during it.
///
/// Exit code: 0 all rules held; 1 one was broken; 2 usage.
#[derive(Debug, Parser)]
#[command(name = "node-sim", max_term_width = 100)]
pub(crate) struct Args {
    /// Run this seed alone
    #[arg(long, conflicts_with_all = ["seeds", "seconds", "file"])]
    pub(crate) seed: Option<u64>,
    /// Print each event of the run
    #[arg(long, requires = "seed")]
    pub(crate) trace: bool,
    /// Run so many seeds, one after the other
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seeds: Option<u64>,
    /// Run fresh seeds for so many seconds
    #[arg(long, conflicts_with = "seeds", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: Option<u64>,
    /// The first seed of --seeds or --seconds. By default --seeds begins with 0, and --seconds with one that the time decides
    #[arg(long, value_name = "SEED")]
    pub(crate) from: Option<u64>,
    /// Run the seeds of a file: one a line, the rest of the line is a comment
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<std::path::PathBuf>,
    /// The seconds after the last fault within which all messages have to arrive
    #[arg(long, default_value_t = PATIENCE)]
    pub(crate) patience: u64,
    /// Go on after a seed that breaks a rule
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// The seeds that run at the same time, one on each core by default
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Print a line for each seed
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

/// The default of `--patience`.
const PATIENCE: u64 = 120;

impl Args {
    pub(crate) fn jobs(&self) -> Option<usize> {
        self.jobs.map(usize::from)
    }

    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }

    /// The options that replay a seed as it was run.
    pub(crate) fn replay(&self) -> String {
        if self.patience == PATIENCE { String::new() } else { format!(" --patience {}", self.patience) }
    }

    /// The time for fresh seeds.
    pub(crate) fn time(&self) -> Option<Duration> {
        self.seconds.map(Duration::from_secs)
    }
}
