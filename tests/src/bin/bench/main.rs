//! Nodes beside bare sockets, in one run on one machine, over loopback:
//!
//!     cargo run --release -p rouse-tests --bin bench
//!
//! Messages of 64 B, 1 KiB and 60 kB from a node to a node, and over a relay; the round trip of 64 B; and the first message
//! between two addresses, which has to wait for their session. Beside each of the first two
//! stand bare sockets of the same shape, which encrypt nothing, acknowledge nothing and lose what they cannot take:
//! single datagrams by async-std's sockets, and trains by quinn-udp (GSO and GRO where the kernel has them), no
//! datagram longer than the 1200 bytes that nodes send. Only the ratios mean anything: machines differ.
#![forbid(unsafe_code)]

mod bare;
mod measure;
mod nodes;

use measure::Latency;
use nodes::Mesh;

const SIZES: [(usize, &str); 3] = [(64, "64 B"), (1024, "1 KiB"), (60_000, "60 kB")];

fn main() -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        eprintln!("built without optimisation: the ratios mean nothing. Run it with --release");
    }
    let meshes = [("node → node", Mesh::direct()?), ("node → relay → node", Mesh::relayed()?)];

    println!(
        "{:<21}{:>7}{:>12}{:>9}{:>12}{:>7}{:>12}{:>7}",
        "", "", "rouse", "", "datagrams", "", "trains", ""
    );
    let titles = ["message", "per second", "MB/s", "per second", "ratio", "per second", "ratio"];
    let [message, rate, bytes, singles, to_singles, trains, to_trains] = titles;
    println!(
        "{:<21}{message:>7}{rate:>12}{bytes:>9}{singles:>12}{to_singles:>7}{trains:>12}{to_trains:>7}",
        ""
    );
    for (name, mesh) in &meshes {
        for (size, label) in SIZES {
            let rouse = mesh.throughput(size)?;
            let singles = bare::throughput(size, bare::Shape::Single, mesh.has_relay())?;
            let trains = bare::throughput(size, bare::Shape::Train, mesh.has_relay())?;
            let megabytes = rouse * size as f64 / 1e6;
            print!("{name:<21}{label:>7}{rouse:>12.0}{megabytes:>9.1}");
            println!("{singles:>12.0}{:>7.2}{trains:>12.0}{:>7.2}", rouse / singles, rouse / trains);
        }
    }

    println!(
        "\n{:<21}{:>7}{:>12}{:>9}{:>12}{:>7}",
        "round trip", "", "rouse p50", "p99", "bare p50", "ratio"
    );
    for (name, mesh) in &meshes {
        let rouse = mesh.round_trip()?;
        let bare = bare::round_trip(mesh.has_relay())?;
        let Latency { p50, p99 } = rouse;
        let ratio = p50.as_secs_f64() / bare.p50.as_secs_f64();
        println!("{name:<21}{:>7}{:>12.1?}{:>9.1?}{:>12.1?}{ratio:>7.2}", "64 B", p50, p99, bare.p50);
    }
    for (_, mesh) in meshes {
        mesh.stop();
    }

    println!("\n{:<21}{:>7}{:>12}{:>9}{:>12}{:>7}", "session", "", "first p50", "p99", "next p50", "more");
    for (name, length) in [("over 1 link", 2), ("over 4 links", 5)] {
        let mesh = Mesh::row(length)?;
        let [first, next] = mesh.first_and_next()?;
        let more = first.p50.saturating_sub(next.p50);
        println!(
            "{name:<21}{:>7}{:>12.1?}{:>9.1?}{:>12.1?}{more:>10.1?}",
            "64 B", first.p50, first.p99, next.p50
        );
        mesh.stop();
    }
    Ok(())
}
