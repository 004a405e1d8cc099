//! A chat between terminals on one machine, on a LAN, or over relays.
//!
//! ```sh
//! cargo run -p rouse-examples --bin chat -- ada
//! cargo run -p rouse-examples --bin chat -- grace        (in a second terminal)
//! ```
//!
//! Every participant in the same room receives the lines that you type; the end of the input (Ctrl-D) ends the program.
//! Other participants are found by multicast, or at the addresses of `--peer`:
//!
//! ```sh
//! chat NAME [--room ROOM] [--listen ADDRESS:PORT] [--peer udp:ADDRESS:PORT]
//! ```
//!
//! A room is a closed mesh with the name of the room as its key. This shows how a closed mesh is made; it is not
//! secret, since everyone with the name can join.

use std::collections::HashSet;
use std::env;

use anyhow::{Context, bail};
use async_std::io::prelude::BufReadExt;
use async_std::io::{BufReader, stdin};
use futures::{StreamExt, select};
use rouse_core::{Address, Event, Identity, Message, Node};
use rouse_netmod_udp::{Udp, UdpConfig};

struct Options {
    name: String,
    room: String,
    listen: String,
    peers: Vec<String>,
}

impl Options {
    fn parse() -> anyhow::Result<Self> {
        let mut arguments = env::args().skip(1);
        let name = arguments.next().context("a name is missing: chat NAME")?;
        let mut options = Options { name, room: "lobby".into(), listen: "[::]:0".into(), peers: Vec::new() };
        while let Some(flag) = arguments.next() {
            let value = arguments.next().with_context(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--room" => options.room = value,
                "--listen" => options.listen = value,
                "--peer" => options.peers.push(value),
                _ => bail!("unknown option {flag}: known are --room, --listen and --peer"),
            }
        }
        Ok(options)
    }

    fn key(&self) -> anyhow::Result<[u8; 32]> {
        let name = self.room.as_bytes();
        let mut key = [0; 32];
        key.get_mut(..name.len()).context("the name of a room has at most 32 bytes")?.copy_from_slice(name);
        Ok(key)
    }
}

#[async_std::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse()?;
    let key = options.key()?;
    let udp = Udp::with(UdpConfig { mesh_key: Some(key.into()), ..UdpConfig::listen_on(&options.listen)? });
    let mut builder = Node::builder().identity(Identity::generate()).mesh_key(key).netmod(udp);
    for peer in options.peers {
        builder = builder.peer(peer);
    }
    let node = builder.start().await?;
    for netmod in node.status().await.netmods {
        println!("* listening at {}", netmod.uri);
    }

    let mut present = HashSet::new();
    let (mut events, mut messages) = (node.events().fuse(), node.messages().fuse());
    let mut lines = BufReader::new(stdin()).lines().fuse();
    loop {
        select! {
            line = lines.next() => match line {
                Some(line) => broadcast(&node, &present, &options.name, &line?).await?,
                None => break,
            },
            message = messages.next() => match message {
                Some(message) => show(&message),
                None => break,
            },
            event = events.next() => match event {
                Some((_, event)) => track_presence(&mut present, event),
                None => break,
            },
        }
    }
    node.stop().await;
    Ok(())
}

/// Sends a line to every participant. `send` returns when the message is accepted, not when it has arrived.
async fn broadcast(node: &Node, present: &HashSet<Address>, name: &str, line: &str) -> anyhow::Result<()> {
    if present.is_empty() {
        println!("* no other participant yet");
    }
    for peer in present {
        node.send(peer, format!("{name}: {line}")).await?;
    }
    Ok(())
}

fn show(message: &Message) {
    // Text from other nodes may contain control sequences, which must not reach the terminal.
    let text: String = String::from_utf8_lossy(&message.body).chars().filter(|c| !c.is_control()).collect();
    println!("{text}");
}

/// Tracks the participants. A participant is present while there is a route to it, over any number of relays.
fn track_presence(present: &mut HashSet<Address>, event: Event) {
    let Event::RouteChanged { destination, next_hop, .. } = event else { return };
    if next_hop.is_some() {
        if present.insert(destination) {
            println!("* {} came", destination.short());
        }
    } else if present.remove(&destination) {
        println!("* {} left", destination.short());
    }
}
