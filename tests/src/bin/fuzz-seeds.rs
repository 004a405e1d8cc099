//! Writes what the fuzzers begin with: `cargo run -p rouse-tests --bin fuzz-seeds`, into `core/fuzz/seeds`.
//!
//! Handshakes and sealed frames are those of two nodes over UDP, as the cable between them saw them; what is sealed in
//! them, and what crosses the daemon's socket, comes from the library's own parts talking to each other.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_std::future::timeout;
use async_std::task::block_on;
use rouse_adversary::fuzz::{Seed, overheard, seeds};
use rouse_core::netmod::Netmod;
use rouse_core::{Identity, Node};
use rouse_netmod_udp::{Udp, UdpConfig};
use rouse_tests::{PATIENCE, Relay};

const ANYWHERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
/// No input is longer, so that the whole stays small enough to be kept with the sources.
const LONGEST: usize = 24 << 10;

fn main() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/fuzz/seeds");
    let mut seeds = seeds();
    for (name, key) in [("open", None), ("closed", Some([7; 32]))] {
        seeds.extend(overheard(name, &block_on(meet(key))?));
    }
    for (number, bytes) in rouse_netmod_udp::fuzz::beacons().into_iter().enumerate() {
        seeds.push(Seed { target: "beacon", name: format!("beacon-{number}"), bytes });
    }
    let (mut known, mut total) = (BTreeSet::new(), 0);
    for Seed { target, name, mut bytes } in seeds {
        bytes.truncate(LONGEST);
        if known.insert((target, bytes.clone())) {
            let folder = folder.join(target);
            fs::create_dir_all(&folder)?;
            fs::write(folder.join(name), &bytes).context("a seed cannot be written")?;
            total += bytes.len();
        }
    }
    println!("{} seeds, {total} bytes", known.len());
    Ok(())
}

/// The frames on the cable when one node dials another, sends it a message and pings it.
async fn meet(mesh_key: Option<[u8; 32]>) -> Result<Vec<Vec<u8>>> {
    let key = || mesh_key.map(Into::into);
    let udp = || {
        Udp::with(UdpConfig { listen: ANYWHERE, discover: false, mesh_key: key(), ..UdpConfig::default() })
    };
    let node = |number: u8| Node::builder().identity(Identity::from_seed(&[number; 32])).mesh_key(mesh_key);
    let listening = Arc::new(udp());
    let bob = node(2).netmod_arc(listening.clone()).start().await?;
    let cable = Relay::new(&listening.uri());
    let alice = node(1).netmod(udp()).peer(cable.uri()).start().await?;
    let talk = async {
        let sent = alice.send(&bob.address(), vec![1; 3000]).await?;
        bob.recv().await?;
        sent.delivered().await?;
        alice.ping(&bob.address(), Duration::from_secs(5)).await?;
        anyhow::Ok(())
    };
    timeout(PATIENCE, talk).await.context("the nodes do not find each other")??;
    alice.stop().await;
    bob.stop().await;
    Ok(cable.captured())
}
