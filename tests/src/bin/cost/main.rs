//! The cost of each kind of input at worst, by a search for the costliest.
//!
//! For handshake frames, contents of data frames, control records, packets, message frames, requests of clients and beacons: the
//! processor's time and the memory held for each byte received, on the layers of the running node under a clock that is set by
//! hand. Ends with an error when an input costs more than its bound.
#![forbid(unsafe_code)]

mod beacons;
mod handshakes;
mod layer;
mod layers;
mod links;
mod measure;
mod messages;
mod meter;
mod pools;
mod recipe;
mod routers;
mod search;
mod sessions;
mod sockets;
mod table;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::layer::Subject;
use crate::measure::Meter;
use crate::search::search;
use crate::table::{HELD, RATIO, Row, head};

const SUBJECTS: &[Subject] = &[
    handshakes::SUBJECT,
    links::SUBJECT,
    routers::SUBJECT,
    messages::SUBJECT,
    sessions::SUBJECT,
    sockets::SUBJECT,
    beacons::SUBJECT,
];

/// Searches for the costliest input of each kind, and prints its cost.
///
/// Times are the processor's, for each byte received; an ordinary input is one of the same length at the same layer. Memory
/// is what is held for each byte received, and whether it is given back after a minute of silence. The costliest input by time and
/// that by memory stand below each row.
#[derive(Parser)]
#[command(name = "cost", version)]
struct Arguments {
    /// Seconds for the whole search.
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// From which all that is tried comes: the same seed tries the same first.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only inputs whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let Arguments { seconds, seed, only, json } = Arguments::parse();
    let wanted = |subject: &Subject| {
        let kinds = subject.kinds.iter().enumerate();
        let kinds = kinds.filter(|(_, kind)| !kind.prepares && kind.name.contains(&only));
        kinds.map(|(nth, _)| nth).collect::<Vec<_>>()
    };
    let share = |subject: &Subject| subject.weight * wanted(subject).len() as u32;
    let all: u32 = SUBJECTS.iter().map(share).sum();
    if all == 0 {
        eprintln!("cost: no kind of input has `{only}` in its name; without --only all are listed");
        return ExitCode::FAILURE;
    }
    let each = Duration::from_secs_f64(seconds.clamp(0.1, 86_400.0) / f64::from(all));
    let mut rows = Vec::new();
    if !json {
        print!("{}", head());
    }
    for subject in SUBJECTS {
        let kinds = wanted(subject);
        if kinds.is_empty() {
            continue;
        }
        let meter = Meter::of(subject);
        for kind in kinds {
            let found = search(subject, &meter, kind, seed.wrapping_add(kind as u64), each * subject.weight);
            let mut row = Row::new(subject, kind, &found);
            if !json || row.complaint().is_some() {
                row = row.shown_by(subject, &found.simplified(subject, &meter));
            }
            if !json {
                print!("{}", row.lines());
            }
            rows.push(row);
        }
    }
    if json {
        let rows: Vec<_> = rows.iter().map(Row::json).collect();
        println!("{}", serde_json::Value::from(rows));
    }
    let complaints: Vec<String> = rows.iter().filter_map(Row::complaint).collect();
    for complaint in &complaints {
        eprintln!("cost: {complaint}");
    }
    if complaints.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "cost: no input may cost more than {RATIO} ordinary ones of its length, or hold more than {HELD} bytes a byte"
    );
    ExitCode::FAILURE
}
