//! The command line, and the scenario that it describes.

use std::fmt;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use rouse_sim::{Config, Fidelity, Topology};

/// Meshes of nodes under a virtual clock: how fast they heal, what that costs, and that nothing loops.
///
/// Exit code: 0 all held; 1 an invariant was violated, or a bar missed; 2 usage.
#[derive(Debug, Parser)]
#[command(name = "mesh-sim", max_term_width = 100)]
pub(crate) struct Args {
    /// The shape of the network
    #[arg(long, value_enum, default_value_t = Shape::Grid)]
    topology: Shape,
    /// How many nodes
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    nodes: u32,
    /// Links that a node of a geometric network has, on the average
    #[arg(long, default_value_t = 8.0, value_parser = positive)]
    degree: f64,
    /// The fault
    #[arg(long, value_enum, default_value_t = FaultKind::Link)]
    fault: FaultKind,
    /// Routers over lossless channels, or real links over a lossy medium. Real links by default where the fault needs them
    #[arg(long, value_enum)]
    depth: Option<FidelityArg>,
    /// How many seeds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Faults one after the other in each network, each healed before the next
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The share of frames that every link loses each way. 0.1 by default with --fault loss, and 0 otherwise
    #[arg(long, value_parser = share)]
    loss: Option<f64>,
    /// Bytes per second that every link takes each way
    #[arg(long, value_parser = clap::value_parser!(u64).range(1000..))]
    rate: Option<u64>,
    /// Destinations that each node keeps at most
    #[arg(long, default_value_t = 32_768, value_parser = clap::value_parser!(u32).range(1..=32_768))]
    destinations: u32,
    /// Follow alternates too in the search for loops (small networks)
    #[arg(long)]
    thorough: bool,
    /// Instead of one scenario: every one that has a bar
    #[arg(long, conflicts_with_all = ["topology", "nodes", "degree", "fault", "depth", "seeds", "seed", "rounds", "loss",
        "rate", "destinations", "thorough"])]
    pub suite: bool,
    /// Of the suite, only those whose name contains this
    #[arg(long, requires = "suite", value_name = "TEXT")]
    pub only: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    Line,
    Ring,
    Star,
    Tree,
    /// As near to a square as the number of nodes allows
    Grid,
    /// Random places in a square, linked when near
    Geometric,
    /// Two geometric ones over one bridge
    Clusters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FaultKind {
    /// Nothing: the figure is that of the cold start
    None,
    /// A link is cut, and its ends notice at once
    Link,
    /// A busy link falls silent, which only timers detect
    Silence,
    /// A node is gone
    Node,
    /// Half the nodes are cut off for 60 s
    Partition,
    /// A link goes and comes once a second for 5 min
    Flap,
    /// A link is cut while every link loses frames
    Loss,
    /// A link loses 40 % one way
    Asymmetry,
    /// Every node moves about for 30 s
    Mobility,
    /// A node restarts, its state kept
    Restart,
    /// A node restarts, its state wiped and its clock a year back
    Wipe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FidelityArg {
    Route,
    Link,
}

/// A network and its fault, for a number of seeds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scenario {
    pub shape: Shape,
    pub nodes: usize,
    pub degree: f64,
    pub fault: FaultKind,
    pub depth: Fidelity,
    pub seeds: u64,
    pub seed: u64,
    pub rounds: u32,
    pub loss: f64,
    pub rate: Option<u64>,
    pub destinations: usize,
    pub thorough: bool,
}

impl Default for Scenario {
    fn default() -> Self {
        Scenario {
            shape: Shape::Grid,
            nodes: 100,
            degree: 8.0,
            fault: FaultKind::Link,
            depth: Fidelity::Route,
            seeds: 60,
            seed: 0,
            rounds: 1,
            loss: 0.0,
            rate: None,
            destinations: 32_768,
            thorough: false,
        }
    }
}

impl Args {
    /// The scenario of the command line.
    ///
    /// # Errors
    /// Options that contradict each other.
    pub(crate) fn scenario(&self) -> Result<Scenario, String> {
        let scenario = Scenario {
            shape: self.topology,
            nodes: self.nodes as usize,
            degree: self.degree,
            fault: self.fault,
            depth: match self.depth {
                Some(FidelityArg::Route) => Fidelity::Route,
                Some(FidelityArg::Link) => Fidelity::Link,
                None => self.fault.depth(),
            },
            seeds: self.seeds,
            seed: self.seed,
            rounds: self.rounds,
            loss: self.loss.unwrap_or(if self.fault == FaultKind::Loss { 0.1 } else { 0.0 }),
            rate: self.rate,
            destinations: self.destinations as usize,
            thorough: self.thorough,
        };
        scenario.check()?;
        Ok(scenario)
    }
}

impl FaultKind {
    fn depth(self) -> Fidelity {
        match self {
            FaultKind::Silence | FaultKind::Loss | FaultKind::Asymmetry | FaultKind::Flap => Fidelity::Link,
            _ => Fidelity::Route,
        }
    }
}

impl Scenario {
    fn check(&self) -> Result<(), String> {
        if self.fault == FaultKind::Asymmetry && self.depth == Fidelity::Route {
            return Err("--fault asymmetry is about what links measure: it needs --depth link".into());
        }
        if self.shape == Shape::Grid && self.nodes > 3 && self.width() == 1 {
            let near = (self.nodes as f64).sqrt().round() as usize;
            return Err(format!(
                "{} nodes make no grid but a line: try --nodes {}, or --topology line",
                self.nodes,
                near * near
            ));
        }
        if self.shape == Shape::Clusters && self.nodes < 4 {
            return Err("two clusters need --nodes 4 at least".into());
        }
        if self.thorough && self.nodes > 400 {
            return Err("--thorough is for networks of up to 400 nodes".into());
        }
        let needs_detour = matches!(self.fault, FaultKind::Silence);
        if needs_detour && matches!(self.shape, Shape::Line | Shape::Star | Shape::Tree) {
            return Err(format!("in a {} there is no path around a silent link", name(self.shape)));
        }
        Ok(())
    }

    /// Nodes in a row of a grid.
    fn width(&self) -> usize {
        let root = (self.nodes as f64).sqrt() as usize;
        (1..=root).rev().find(|width| self.nodes.is_multiple_of(*width)).unwrap_or(1)
    }

    pub(crate) fn topology(&self) -> Topology {
        let nodes = self.nodes;
        match self.shape {
            Shape::Line => Topology::Line(nodes),
            Shape::Ring => Topology::Ring(nodes),
            Shape::Star => Topology::Star(nodes),
            Shape::Tree => Topology::Tree(nodes),
            Shape::Grid => Topology::Grid { width: nodes / self.width(), height: self.width() },
            Shape::Geometric => Topology::Geometric { nodes, degree: self.degree },
            Shape::Clusters => Topology::Clusters(nodes),
        }
    }

    pub(crate) fn config(&self, seed: u64) -> Config {
        Config {
            seed,
            fidelity: self.depth,
            loss: self.loss,
            rate: self.rate,
            destinations: self.destinations,
            thorough: self.thorough,
            ..Config::default()
        }
    }

    /// The command that runs one seed of it alone.
    pub(crate) fn replay(&self, seed: u64) -> String {
        let Scenario {
            shape, nodes, degree, fault, depth, rounds, loss, rate, destinations, thorough, ..
        } = self;
        let mut command = format!(
            "cargo run --release -p rouse-tests --bin mesh-sim -- --topology {} --nodes {nodes} --fault {} \
             --depth {} --seed {seed} --seeds 1",
            name(*shape),
            name(*fault),
            if *depth == Fidelity::Link { "link" } else { "route" },
        );
        let defaults = Scenario::default();
        let mut add = |option: &str, value: String| command.push_str(&format!(" --{option} {value}"));
        if *shape == Shape::Geometric && *degree != defaults.degree {
            add("degree", degree.to_string());
        }
        if *rounds != 1 {
            add("rounds", rounds.to_string());
        }
        if *loss != 0.0 || *fault == FaultKind::Loss {
            add("loss", loss.to_string());
        }
        if let Some(rate) = rate {
            add("rate", rate.to_string());
        }
        if *destinations != defaults.destinations {
            add("destinations", destinations.to_string());
        }
        if *thorough {
            command.push_str(" --thorough");
        }
        command
    }

    /// The longest that anything may take to heal before it counts as dark.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(match (self.fault, self.rate, self.destinations < self.nodes) {
            (_, Some(_), _) => 600,
            // Some of many links fail at once, and each side has to find out.
            (FaultKind::Mobility | FaultKind::Loss, _, _) => 30,
            _ if self.loss > 0.0 => 30,
            _ => 10,
        })
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", name(self.shape))?;
        if let Topology::Grid { width, height } = self.topology() {
            write!(f, " {width}×{height}")?;
        }
        let depth = if self.depth == Fidelity::Link { "real links" } else { "routers" };
        write!(f, ", {} nodes, fault {}, {depth}", self.nodes, name(self.fault))?;
        if self.loss > 0.0 {
            write!(f, ", {} % lost", self.loss * 100.0)?;
        }
        if let Some(rate) = self.rate {
            write!(f, ", {rate} B/s per link")?;
        }
        if self.destinations < self.nodes {
            write!(f, ", {} destinations each", self.destinations)?;
        }
        Ok(())
    }
}

/// The name on the command line.
fn name<T: ValueEnum>(value: T) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=0.9).contains(&share) => Ok(share),
        Ok(_) => Err("a share from 0 to 0.9 is wanted, for example 0.1".into()),
        Err(_) => Err("a number is wanted, for example 0.1".into()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number <= 1000.0 => Ok(number),
        Ok(_) => Err("a number above 0 and up to 1000 is wanted".into()),
        Err(_) => Err("a number is wanted, for example 8".into()),
    }
}
