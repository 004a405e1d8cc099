//! Real daemons in network namespaces, and the times in which they find and heal their paths:
//!
//!     cargo build --release -p roused && cargo run --release -p rouse-tests --bin mesh-live -- --topology ring --fault both-ends --runs 10
//!
//! Each run makes new cables, starts a daemon on each host at once, with nothing configured, and measures the time until every
//! pair has a path. Then one host sends to another, a cable or a relay on their path fails, and it measures the time until messages
//! arrive again, and until every pair that can have a path has one. Beside each time is that of the simulator for the same runs.
//! Needs root, and `ip` of iproute2.
#![forbid(unsafe_code)]

mod figures;
mod mesh;
mod options;
mod route_monitor;
mod run;
mod simulated;

use std::process::ExitCode;

use anyhow::{Context, ensure};
use async_signal::{Signal, Signals};
use clap::Parser;
use futures::StreamExt;
use rouse_tests::{Programs, may_make_namespaces, remove_namespaces};

use figures::Figures;
use options::Options;

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
    clean_up_on_signal()?;
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

/// Removes the network namespaces on a signal, because a process that a signal ends does not drop its values.
fn clean_up_on_signal() -> anyhow::Result<()> {
    let mut signals = Signals::new([Signal::Int, Signal::Term])?;
    std::thread::spawn(move || {
        futures::executor::block_on(signals.next());
        remove_namespaces();
        std::process::exit(130);
    });
    Ok(())
}
