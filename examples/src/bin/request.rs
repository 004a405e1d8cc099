//! A request and its answer: one node serves the squares of numbers, another one requests them.
//!
//! ```sh
//! cargo run -p rouse-examples --bin request
//! ```
//!
//! Both nodes run in this process, and could as well run on two machines. Through the daemon, the verbs of `Client` are
//! the same; on a command line they are `rouse serve` and `rouse request`.

use std::time::Duration;

use anyhow::Context;
use futures::future::{Either, select};
use rouse_core::{Address, Message, Node, RequestError};
use rouse_netmod_udp::{Udp, UdpConfig};

const TIMEOUT: Duration = Duration::from_secs(30);

#[async_std::main]
async fn main() -> anyhow::Result<()> {
    let udp = || anyhow::Ok(Udp::with(UdpConfig { discover: false, ..UdpConfig::listen_on("127.0.0.1:0")? }));
    let server = Node::builder().netmod(udp()?).start().await?;
    let at = server.status().await.netmods.first().context("it has a netmod")?.uri.clone();
    let client = Node::builder().netmod(udp()?).peer(&at).start().await?;

    // `serve` runs until the node stops or its future is dropped.
    let serving = Box::pin(server.serve("square", square));
    let requesting = Box::pin(request(&client, server.address()));
    match select(serving, requesting).await {
        Either::Left((stopped, _)) => stopped?,
        Either::Right((done, _)) => done?,
    }
    client.stop().await;
    Ok(())
}

/// The answer to a request. The requester gets an error at once, instead of a time-out.
async fn square(request: Message) -> Result<String, String> {
    let text = String::from_utf8_lossy(&request.body);
    let number: i64 = text.parse().map_err(|_| format!("{text} is not a number"))?;
    Ok((number * number).to_string())
}

async fn request(node: &Node, peer: Address) -> anyhow::Result<()> {
    for number in ["7", "12", "many"] {
        match node.request(&peer, "square", number, TIMEOUT).await {
            Ok(answer) => println!("the square of {number} is {}", String::from_utf8_lossy(&answer.body)),
            Err(RequestError::Failed { text, .. }) => println!("no square: {text}"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
