//! Real daemons in network namespaces, and how fast they find and heal their ways:
//!
//!     cargo build --release -p roused && cargo run --release -p rouse-tests --bin mesh-live -- --topology ring --fault both-ends --runs 10
//!
//! Each run lays the cables anew, starts a daemon on each host at once, with nothing configured, and takes the time until every
//! pair has a way. Then one host sends to another, a cable or a relay on their way fails, and it takes the time until messages arrive
//! again, and until every pair that can have a way has one. Beside each time stands that of the simulator for the same runs.
//! Needs root, and `ip` of iproute2.
#![forbid(unsafe_code)]

mod book;
mod figures;
mod mesh;
mod run;
mod simulated;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use async_signal::{Signal, Signals};
use clap::Parser;
use futures::StreamExt;
use rouse_tests::{Cut, Programs, Topology, may_make_namespaces, remove_namespaces};

use figures::Figures;

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// Nothing: only the start and the rest are measured.
    None,
    /// `ip link set down` at the sender's end of a cable on the way: the other end sees nothing.
    LinkDown,
    /// Both ends of a cable on the way lose their carrier.
    BothEnds,
    /// A cable on the way goes dark, and nobody's interface goes down: only timers can tell.
    Silent,
    /// `kill -9` of a relay on the way.
    Kill,
}

impl Fault {
    fn cut(self) -> Option<Cut> {
        match self {
            Fault::LinkDown => Some(Cut::OneEnd),
            Fault::BothEnds => Some(Cut::BothEnds),
            Fault::Silent => Some(Cut::Silent),
            Fault::None | Fault::Kill => None,
        }
    }
}

/// Real daemons in network namespaces: how fast they find and heal their ways.
#[derive(Debug, Parser)]
#[command(after_help = figures::OTHERS)]
pub struct Options {
    /// line, ring or grid (8, 6 and 4×4 hosts), or with a size: ring:12, grid:5
    #[arg(long, default_value = "ring")]
    topology: Topology,
    /// What fails on the way between two hosts
    #[arg(long, value_enum, default_value = "both-ends")]
    fault: Fault,
    /// How often
    #[arg(long, default_value_t = 10)]
    runs: usize,
    /// Messages a second between the two hosts; 0 for none: then idle neighbours must be missed
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// Seconds of rest before the fault, over which bytes and processor time are taken
    #[arg(long, default_value_t = 3)]
    rest: u64,
    /// Prints each run's figures
    #[arg(long)]
    verbose: bool,
    /// Keeps what each daemon logs, at the level debug, in this folder
    #[arg(long)]
    logs: Option<PathBuf>,
}

fn main() -> ExitCode {
    match measure(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mesh-live: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn measure(options: &Options) -> anyhow::Result<()> {
    ensure!(may_make_namespaces(), "network namespaces need root, and `ip` of iproute2");
    let programs = programs()?;
    clean_up_when_told()?;
    if cfg!(debug_assertions) {
        eprintln!(
            "built without optimisation: the figures are longer than they need be. Run it with --release"
        );
    }
    let mut all = Vec::new();
    for number in 0..options.runs {
        let figures = run::run(&programs, options, number)?;
        if options.verbose {
            eprintln!("run {}: {figures:?}", number + 1);
        }
        all.push(figures);
    }
    let simulated: anyhow::Result<Vec<Figures>> =
        (0..options.runs).map(|number| simulated::run(options, number)).collect();
    Figures::print(options, &all, &simulated.context("the same in the simulator")?);
    Ok(())
}

/// The two programs, beside this one.
fn programs() -> anyhow::Result<Programs> {
    let this = std::env::current_exe().context("where this program is")?;
    let folder = this.parent().context("this program is in a folder")?;
    let (roused, rouse) = (folder.join("roused"), folder.join("rouse"));
    for program in [&roused, &rouse] {
        let profile = if cfg!(debug_assertions) { "" } else { " --release" };
        ensure!(
            program.exists(),
            "{} is not there: build it with `cargo build{profile} -p roused`",
            program.display()
        );
    }
    Ok(Programs::new(roused, rouse))
}

/// On ctrl-C nothing is dropped: what was made outside of this process is removed here.
fn clean_up_when_told() -> anyhow::Result<()> {
    let mut signals = Signals::new([Signal::Int, Signal::Term])?;
    std::thread::spawn(move || {
        futures::executor::block_on(signals.next());
        remove_namespaces();
        std::process::exit(130);
    });
    Ok(())
}

/// How long anything may take, before a run has failed.
const PATIENCE: Duration = Duration::from_secs(60);
