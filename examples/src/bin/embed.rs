//! A node inside an async-std application: two parts of a greenhouse that communicate without a server.
//!
//! ```sh
//! cargo run -p rouse-examples --bin embed
//! ```
//!
//! The sensor reports to the controller, which answers with an instruction. Both run in this process, each with a node
//! of its own, and could as well run on two machines. `embed_tokio` is the same program under tokio.

use anyhow::Context;
use async_std::task;
use rouse_core::{Address, Identity, Node};
use rouse_netmod_udp::{Udp, UdpConfig};

const READINGS: [i32; 4] = [19, 24, 31, 22];

#[async_std::main]
async fn main() -> anyhow::Result<()> {
    let controller = start(None).await?;
    // Port 0 selects a free port; the status contains it.
    let at = controller.status().await.netmods.first().context("it has a netmod")?.uri.clone();
    let sensor = start(Some(&at)).await?;

    let reporting = task::spawn(report(sensor, controller.address()));
    control(&controller, READINGS.len()).await?;
    reporting.await?;
    controller.stop().await;
    Ok(())
}

/// Starts a node that is reachable on this machine only. On a LAN, `Udp::bind("[::]")` listens on all addresses and
/// finds its neighbours without a peer.
async fn start(peer: Option<&str>) -> anyhow::Result<Node> {
    let udp = Udp::with(UdpConfig { discover: false, ..UdpConfig::listen_on("127.0.0.1:0")? });
    let builder = Node::builder().identity(Identity::generate()).netmod(udp);
    let builder = match peer {
        Some(peer) => builder.peer(peer),
        None => builder,
    };
    Ok(builder.start().await?)
}

/// The sensor. There may be no route yet when it starts; the message then waits.
async fn report(node: Node, controller: Address) -> anyhow::Result<()> {
    for reading in READINGS {
        let receipt = node.send(&controller, reading.to_string()).await?.delivered().await?;
        let answer = node.recv_from(&controller).await?;
        println!("sensor: {reading} °C reported in {} µs: {}", receipt.elapsed_us, text(&answer.body));
    }
    node.stop().await;
    Ok(())
}

/// The controller: it answers each report.
async fn control(node: &Node, reports: usize) -> anyhow::Result<()> {
    for _ in 0..reports {
        let message = node.recv().await?;
        let degrees: i32 = text(&message.body).parse()?;
        let answer = if degrees > 25 { "open the window" } else { "all is well" };
        node.send(&message.from, answer).await?;
    }
    Ok(())
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}
