//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use rouse_tests::{Cut, Topology};

/// The figures of other routers on a machine of this kind, as measured beside this project.
pub(crate) const OTHERS: &str = "\
Others on a machine of this kind, daemons in namespaces as here:
  ring of 6, cable cut / silent cut / relay killed: Yggdrasil 3.9-13 s / 3-13 s / 0.01-7 s; Babel 15-20 s, with 1 s hellos 5-6 s
  line of 8, all started, end to end:               Yggdrasil 2.05 s; Babel 0.6-7.6 s
  at rest per node, bytes/s sent, CPU, RSS:         Yggdrasil 389, 0.29 %, 13 MiB; Babel 39, 0.014 %, 2.3 MiB";

/// A run has failed when a step of it takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The fault of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Fault {
    /// Nothing: only the start and the rest are measured.
    None,
    /// `ip link set down` at the sender's end of a cable on the path: the other end sees nothing.
    LinkDown,
    /// Both ends of a cable on the path lose their carrier.
    BothEnds,
    /// A cable on the path loses all frames while every interface stays up, so that only timers detect it.
    Silent,
    /// `kill -9` of a relay on the path.
    Kill,
}

impl Fault {
    pub(crate) fn cut(self) -> Option<Cut> {
        match self {
            Fault::LinkDown => Some(Cut::OneEnd),
            Fault::BothEnds => Some(Cut::BothEnds),
            Fault::Silent => Some(Cut::Silent),
            Fault::None | Fault::Kill => None,
        }
    }
}

/// Real daemons in network namespaces: how fast they find and heal their paths.
#[derive(Debug, Parser)]
#[command(after_help = OTHERS)]
pub(crate) struct Options {
    /// line, ring or grid (8, 6 and 4×4 hosts), or with a size: ring:12, grid:5
    #[arg(long, default_value = "ring")]
    pub topology: Topology,
    /// The fault on the path between two hosts
    #[arg(long, value_enum, default_value = "both-ends")]
    pub fault: Fault,
    /// The number of runs
    #[arg(long, default_value_t = 10)]
    pub runs: usize,
    /// Messages a second between the two hosts; 0 for none: then idle neighbours must be missed
    #[arg(long, default_value_t = 1000)]
    pub rate: u32,
    /// Seconds of rest before the fault, over which bytes and processor time are taken
    #[arg(long, default_value_t = 3)]
    pub rest: u64,
    /// Prints each run's figures
    #[arg(long)]
    pub verbose: bool,
    /// Keeps what each daemon logs, at the level debug, in this folder
    #[arg(long)]
    pub logs: Option<PathBuf>,
}
