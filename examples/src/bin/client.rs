//! Sends and receives through the daemon, which has to run (`cargo run --release`).
//!
//! ```sh
//! cargo run -p rouse-examples --bin client
//! cargo run -p rouse-examples --bin client -- rouse1… "dinner is ready"
//! ```
//!
//! With an address and a text it sends that, and waits until an application there has received it. Without, it writes to itself and reads what
//! it wrote. An application that wants a node of its own instead changes one line: see `embed`.

use std::env;

use anyhow::Context;
use rouse_core::{Address, Client};

#[async_std::main]
async fn main() -> anyhow::Result<()> {
    let node = Client::connect_default().await?;
    println!("the daemon's address is {}", node.address());

    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => note_to_oneself(&node).await,
        [peer, text] => deliver(&node, &peer.parse().context("the first argument")?, text).await,
        _ => anyhow::bail!("an address and a text are needed, or nothing"),
    }
}

async fn deliver(node: &Client, peer: &Address, text: &str) -> anyhow::Result<()> {
    let sent = node.send(peer, text).await?;
    println!("queued as {}", sent.id);
    let receipt = sent.delivered().await?;
    println!("delivered in {} µs", receipt.elapsed_us);
    Ok(())
}

async fn note_to_oneself(node: &Client) -> anyhow::Result<()> {
    let me = node.address();
    // A message is delivered when it has been received, so one waits beside the other.
    let receive = async {
        // Only what comes from this sender: other messages stay where they are, for others.
        let message = node.recv_from(&me).await?;
        println!("{} wrote: {}", message.from.short(), String::from_utf8_lossy(&message.body));
        anyhow::Ok(())
    };
    futures::try_join!(deliver(node, &me, "hello, daemon"), receive)?;
    Ok(())
}
