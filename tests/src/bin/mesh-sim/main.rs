//! Meshes under a virtual clock, compared with their bars:
//!
//!     cargo run --release -p rouse-tests --bin mesh-sim -- --topology grid --nodes 100 --fault link --seeds 60
//!     cargo run --release -p rouse-tests --bin mesh-sim -- --suite
//!
//! It runs one scenario for many seeds, or the whole suite. Each seed is a network of its own that starts, suffers a fault, and has
//! to heal. A violated invariant ends the program with the command that reproduces it.
#![forbid(unsafe_code)]

mod args;
mod faults;
mod figures;
mod peering;
mod report;
mod run;
mod suite;

use std::process::ExitCode;

use clap::Parser;

use args::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    if cfg!(debug_assertions) {
        eprintln!("built without optimisation: this takes ten times as long. Run it with --release");
    }
    let held = if args.suite {
        suite::run(args.only.as_deref())
    } else {
        match args.scenario() {
            Ok(scenario) => report::run_and_print(&scenario),
            Err(error) => {
                eprintln!("error: {error}\n\nFor more information, try '--help'.");
                return ExitCode::from(2);
            }
        }
    };
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
