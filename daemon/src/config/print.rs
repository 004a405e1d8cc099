//! The configuration in effect, as a file with comments.

use std::fmt::{Display, Write};

use super::{ApiSocket, Config};
use crate::units::Size;

pub(super) fn print(config: &Config) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write(config, &mut out);
    out
}

/// A TOML string.
fn quoted(text: impl Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.map(quoted).collect::<Vec<_>>().join(", "))
}

fn write(config: &Config, out: &mut String) -> std::fmt::Result {
    writeln!(out, "# The configuration of roused as it is in effect. Give it back with --config FILE.")?;
    writeln!(out, "# The state directory is not set here but by --state-dir: {:?}\n", config.state_dir)?;

    writeln!(out, "[node]")?;
    writeln!(out, "# What this node is called, in its own status; empty for no name.")?;
    writeln!(out, "name = {}\n", quoted(config.name.as_deref().unwrap_or_default()))?;

    for (at, netmod) in config.netmods.iter().enumerate() {
        writeln!(out, "[[netmod]]")?;
        writeln!(out, "kind = \"udp\"")?;
        writeln!(out, "# Without a port it is 7700, or a free one when that is taken.")?;
        writeln!(out, "listen = {}", quoted(&netmod.listen))?;
        writeln!(
            out,
            "# Whether to look for neighbours, and on which interfaces: `*` is any run of letters, `!veth*` excludes."
        )?;
        writeln!(out, "discover = {}", netmod.discover)?;
        writeln!(out, "interfaces = {}", list(netmod.interfaces.iter().cloned()))?;
        writeln!(out, "# Neighbours to dial: HOST:PORT.")?;
        let peers = config.peers.iter().filter(|_| at == 0);
        let peers = peers.map(|uri| uri.strip_prefix("udp:").unwrap_or(uri).to_owned());
        writeln!(out, "peers = {}\n", list(peers))?;
    }

    writeln!(out, "[mesh]")?;
    writeln!(
        out,
        "# A file with 32 random bytes in base64: only nodes with the same key become neighbours."
    )?;
    let key = config.mesh_key.as_ref().map(|path| std::path::absolute(path).unwrap_or(path.clone()));
    writeln!(out, "key = {}\n", quoted(key.unwrap_or_default().display()))?;

    let limits = &config.limits;
    writeln!(out, "[limits]")?;
    writeln!(out, "# Neighbours with a link at once.")?;
    writeln!(out, "neighbours = {}", limits.neighbours)?;
    writeln!(out, "# Conversations with other addresses at once.")?;
    writeln!(out, "senders = {}", limits.senders)?;
    writeln!(out, "# Destinations in the routing table.")?;
    writeln!(out, "destinations = {}", limits.destinations)?;
    writeln!(out, "# Frames waiting to be read from one neighbour.")?;
    writeln!(out, "inbox_frames = {}", limits.inbox_frames)?;
    writeln!(out, "# Messages waiting to be received from one sender.")?;
    writeln!(out, "inbox_messages = {}", limits.inbox_messages)?;
    writeln!(out, "# Bytes of messages that have not yet arrived whole; 48 MiB at least.")?;
    writeln!(out, "reassembly = {}\n", quoted(Size(limits.reassembly as u64)))?;

    writeln!(out, "[api]")?;
    writeln!(
        out,
        "# Where programs connect: \"unix\" is a socket in the state directory, for its owner alone;"
    )?;
    writeln!(out, "# \"unix:/run/rouse/rouse.sock\" one for the group of the socket too.")?;
    let listen = match &config.api {
        ApiSocket::StateDir => "unix".to_owned(),
        ApiSocket::At(path) => format!("unix:{}", path.display()),
    };
    writeln!(out, "listen = {}\n", quoted(listen))?;

    writeln!(out, "[log]")?;
    writeln!(out, "# error, warn, info, debug, trace, or a list such as info,rouse_core=debug.")?;
    writeln!(out, "level = {}\n", quoted(&config.log_level))?;

    writeln!(out, "# Names that are accepted wherever an address is.")?;
    writeln!(out, "[names]")?;
    for (name, address) in &config.names {
        writeln!(out, "{} = \"{address}\"", quoted(name))?;
    }
    Ok(())
}
