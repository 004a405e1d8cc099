//! A hostile node, against a daemon of one's own:
//!
//!     cargo run -p rouse-tests --bin hostile -- --to 127.0.0.1:7700 invent --count 10000 --seconds 10
//!
//! It runs one attack for a limited time, prints the counts of what it sent and what came back, and ends. `rouse status` of the
//! daemon counts the inputs that were refused. It sends to loopback, private and link-local addresses only, unless --anywhere is given.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use clap::builder::PossibleValuesParser;
use rouse_tests::hostile::{ATTACKS, Attack, Target};

/// A hostile node, which shows how a daemon bears an attack.
#[derive(Parser)]
#[command(after_long_help = list())]
struct Arguments {
    /// The attack; --help lists them all
    #[arg(value_parser = PossibleValuesParser::new(ATTACKS.iter().map(|attack| attack.name)), hide_possible_values = true)]
    attack: String,
    /// The daemon to attack
    #[arg(long, value_name = "ADDRESS:PORT")]
    to: SocketAddr,
    /// A second daemon, for attacks between two
    #[arg(long, value_name = "ADDRESS:PORT")]
    also: Option<SocketAddr>,
    /// For how long, at most
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// How much of it, at most: identities, handshakes, datagrams or rounds
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    count: u64,
    /// The mesh key, as 64 hexadecimal digits
    #[arg(long, value_name = "KEY", value_parser = key)]
    mesh_key: Option<[u8; 32]>,
    /// Another number gives another course of the attack, and other identities
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Attack an address that is neither loopback nor private. Only where you may!
    #[arg(long)]
    anywhere: bool,
}

fn list() -> String {
    let attacks = ATTACKS.iter().map(|attack| format!("  {:<20}{}\n", attack.name, attack.about));
    format!("Attacks:\n{}", attacks.collect::<String>())
}

fn key(text: &str) -> Result<[u8; 32], String> {
    let mut key = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return Err("a key is 64 hexadecimal digits".to_owned());
    }
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|error| error.to_string())?;
    }
    Ok(key)
}

fn is_near(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

fn main() -> Result<()> {
    let Arguments { attack, to, also, seconds, count, mesh_key, seed, anywhere } = Arguments::parse();
    for at in [Some(to), also].into_iter().flatten() {
        if !anywhere && !is_near(at.ip()) {
            bail!("{at} is neither loopback nor private: add --anywhere if you may attack it");
        }
    }
    let target = Target { to, also, time: Duration::from_secs(seconds), count, mesh_key, seed };
    let Some(attack) = Attack::named(&attack) else { bail!("there is no attack {attack}") };
    print!("{}", attack.run(&target)?);
    Ok(())
}
