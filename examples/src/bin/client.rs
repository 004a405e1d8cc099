//! Sends and receives through the daemon, which has to run (`cargo run --release`).
//!
//! ```sh
//! cargo run -p rouse-examples --bin client
//! cargo run -p rouse-examples --bin client -- rouse1… "dinner is ready"
//! ```
//!
//! With an address and a text, it sends the text and waits until an application there has received it. Without
//! arguments, it sends a message to itself and receives it. An application with a node of its own differs in one line:
//! see `embed`.

use std::env;

use anyhow::Context;
use rouse_core::{Address, Client};

#[async_std::main]
async fn main() -> anyhow::Result<()> {
    let node = Client::connect_default().await?;
    println!("the daemon's address is {}", node.address());

    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => send_to_itself(&node).await,
        [peer, text] => deliver(&node, &peer.parse().context("the first argument")?, text).await,
        _ => anyhow::bail!("usage: client [ADDRESS TEXT]"),
    }
}

async fn deliver(node: &Client, peer: &Address, text: &str) -> anyhow::Result<()> {
    let sent = node.send(peer, text).await?;
    println!("queued as {}", sent.id);
    let receipt = sent.delivered().await?;
    println!("delivered in {} µs", receipt.elapsed_us);
    Ok(())
}

async fn send_to_itself(node: &Client) -> anyhow::Result<()> {
    let me = node.address();
    // A message is delivered only when it has been received, so that both have to be awaited together.
    let receive = async {
        // This receives messages of this sender only, and leaves others to other applications.
        let message = node.recv_from(&me).await?;
        println!("{} wrote: {}", message.from.short(), String::from_utf8_lossy(&message.body));
        anyhow::Ok(())
    };
    futures::try_join!(deliver(node, &me, "hello, daemon"), receive)?;
    Ok(())
}
