//! The figures of a run, and the table of all.

use std::time::Duration;

use rouse_tests::{Outcome, Topology};

use crate::options::{Fault, OTHERS, Options};

/// The explanation of the row on routes.
const IDLE: &str = "\
routes: an end of a cable that nothing flows over misses its neighbour after two hellos, 2.4 s; a message over it has it
found in a fifth of a second, and those that flow when it happens are in the row above";

/// The figures of one run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// Until every pair had a way: from the first daemon's start, from the last one's readiness.
    pub start: Option<Duration>,
    pub from_ready: Option<Duration>,
    /// Bytes a second and the share of a processor of a node at rest, and the most memory of one.
    pub rest_bytes: f64,
    pub rest_cpu: f64,
    pub rss: u64,
    /// How long the command took that made the fault; it is within the times that follow.
    pub took: Option<Duration>,
    /// From the fault until every pair had a way.
    pub routes: Option<Duration>,
    /// Bytes of a node from the fault until then, the stream's included.
    pub fault_bytes: f64,
    pub stream: Option<Outcome>,
    /// The stream's longest silence after the fault.
    pub silence: Option<Duration>,
}

impl Figures {
    /// Prints the table.
    pub(crate) fn print(options: &Options, all: &[Figures], simulated: &[Figures]) {
        println!(
            "{:?}, fault {:?}, {} messages/s, {} runs",
            options.topology,
            options.fault,
            options.rate,
            all.len()
        );
        println!("{:<44}{:^27}   {:^27}{:>6}", "", "real daemons", "simulated", "");
        let columns = format!("{:>9}{:>9}{:>9}", "p50", "p95", "max");
        println!("{:<44}{columns}   {columns}{:>6}", "milliseconds", "bar");
        let times = |what: &str, bar: Option<u64>, figure: fn(&Figures) -> Option<Duration>| {
            let bar = bar.map_or(String::new(), |bar| bar.to_string());
            let [real, virtual_] = [all, simulated].map(|runs| spread(runs.iter().filter_map(figure)));
            if !real.trim().is_empty() {
                println!("{what:<44}{real}   {virtual_}{bar:>6}");
            }
        };
        let cold = matches!(options.topology, Topology::Line(_)).then_some(300);
        let heal = match (options.topology, options.fault) {
            (_, Fault::None) => None,
            (Topology::Grid(_), Fault::Kill) => Some(600),
            (Topology::Grid(_), _) => Some(450),
            _ => Some(400),
        };
        times("every pair has a way, from the first start", None, |one| one.start);
        times("  from the last daemon's readiness", cold, |one| one.from_ready);
        times("messages: longest silence before the fault", None, |one| Some(one.stream?.before));
        times("messages: silence after the fault", heal, |one| one.silence);
        times("routes: every pair has a way again", heal, |one| one.routes);
        times("  of which the command that made the fault", None, |one| one.took);
        let sum = |figure: fn(&Outcome) -> u64| streams(all).map(figure).sum::<u64>();
        println!(
            "messages: {} sent, {} lost, {} doubled (bar 0, 0)",
            sum(|one| one.sent),
            sum(|one| one.lost),
            sum(|one| one.doubled)
        );
        let mean =
            |figure: fn(&Figures) -> f64| all.iter().map(figure).sum::<f64>() / all.len().max(1) as f64;
        println!(
            "a node at rest: {:.0} B/s sent, {:.2} % CPU, {:.1} MiB RSS at most",
            mean(|one| one.rest_bytes),
            mean(|one| one.rest_cpu) * 100.0,
            all.iter().map(|one| one.rss).max().unwrap_or(0) as f64 / f64::from(1 << 20)
        );
        if options.fault != Fault::None && options.rate == 0 {
            println!(
                "a node sent {:.0} B from the fault until it had healed for 1.5 s",
                mean(|one| one.fault_bytes)
            );
        }
        if options.fault != Fault::None {
            println!("{IDLE}");
        }
        println!("\n{OTHERS}");
    }
}

fn streams(all: &[Figures]) -> impl Iterator<Item = &Outcome> {
    all.iter().filter_map(|one| one.stream.as_ref())
}

/// The median, the 95th percentile and the most, in milliseconds: three columns, empty where there is nothing.
fn spread(values: impl Iterator<Item = Duration>) -> String {
    let mut values: Vec<Duration> = values.collect();
    values.sort_unstable();
    let at = |share: f64| {
        let value = values.get((values.len().saturating_sub(1) as f64 * share).ceil() as usize);
        value.map_or(String::new(), |value| format!("{:.1}", value.as_secs_f64() * 1e3))
    };
    format!("{:>9}{:>9}{:>9}", at(0.5), at(0.95), at(1.0))
}
