//! The configuration in effect as the text of a configuration file with comments.

use std::collections::BTreeSet;
use std::fmt::{Display, Write};

use rouse_core::Address;
use rouse_core::node::Limits;

use super::settings::{ApiSocket, Config};
use crate::units::Size;

/// Prints `config`.
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
    write_node(config, out)?;
    write_limits(&config.limits, config.journal, out)?;
    write_daemon(config, out)
}

/// The tables of the node, its network modules and its mesh.
fn write_node(config: &Config, out: &mut String) -> std::fmt::Result {
    writeln!(out, "# The configuration of roused that is in effect. Save it and use it with --config FILE.")?;
    writeln!(out, "# The state directory is set by --state-dir, not in this file: {:?}\n", config.state_dir)?;

    writeln!(out, "[node]")?;
    writeln!(out, "# The name of this node, shown in its own status; empty for no name.")?;
    writeln!(out, "name = {}\n", quoted(config.name.as_deref().unwrap_or_default()))?;

    for (at, netmod) in config.netmods.iter().enumerate() {
        writeln!(out, "[[netmod]]")?;
        writeln!(out, "kind = \"udp\"")?;
        writeln!(out, "# Without a port it is 7700, or a free one when that is taken.")?;
        writeln!(out, "listen = {}", quoted(&netmod.listen))?;
        writeln!(
            out,
            "# Whether to search for neighbours by multicast, and the interfaces for that: `*` is any run of letters, `!veth*` excludes."
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
    writeln!(out, "key = {}", quoted(key.unwrap_or_default().display()))?;
    writeln!(
        out,
        "# The only nodes that may become neighbours (all when it is empty), and those that may not: addresses or names."
    )?;
    let addresses = |all: &BTreeSet<Address>| list(all.iter().map(Address::to_string));
    writeln!(out, "allow = {}", addresses(&config.neighbour_filter.allow.clone().unwrap_or_default()))?;
    writeln!(out, "deny = {}\n", addresses(&config.neighbour_filter.deny))
}

/// The table of limits.
fn write_limits(limits: &Limits, journal: Option<u64>, out: &mut String) -> std::fmt::Result {
    writeln!(out, "[limits]")?;
    writeln!(out, "# The most neighbours with a link at a time.")?;
    writeln!(out, "neighbours = {}", limits.neighbours)?;
    writeln!(out, "# The most conversations with other addresses at a time.")?;
    writeln!(out, "senders = {}", limits.senders)?;
    writeln!(out, "# The most destinations in the routing table.")?;
    writeln!(out, "destinations = {}", limits.destinations)?;
    writeln!(out, "# The most frames of one neighbour that wait to be handled.")?;
    writeln!(out, "inbox_frames = {}", limits.inbox_frames)?;
    writeln!(out, "# The most messages of one sender that wait to be received.")?;
    writeln!(out, "inbox_messages = {}", limits.inbox_messages)?;
    writeln!(out, "# The most bytes of messages that have not arrived completely; at least 48 MiB.")?;
    writeln!(out, "reassembly = {}", quoted(Size(limits.reassembly as u64)))?;
    if let Some(journal) = journal {
        writeln!(
            out,
            "# The most bytes of messages in the journal, one half of which is for those to be sent."
        )?;
        writeln!(out, "journal = {}", quoted(Size(journal)))?;
    }
    writeln!(out)
}

/// The tables of the socket, the log and the names.
fn write_daemon(config: &Config, out: &mut String) -> std::fmt::Result {
    writeln!(out, "[api]")?;
    writeln!(
        out,
        "# The socket that programs connect to: \"unix\" is one in the state directory, for its owner alone;"
    )?;
    writeln!(out, "# \"unix:/run/rouse/rouse.sock\" is one that the group of the socket may use too.")?;
    let listen = match &config.api {
        ApiSocket::StateDir => "unix".to_owned(),
        ApiSocket::At(path) => format!("unix:{}", path.display()),
    };
    writeln!(out, "listen = {}\n", quoted(listen))?;

    writeln!(out, "[http]")?;
    writeln!(
        out,
        "# Metrics (/metrics) and a status page, read-only, on the loopback: 127.0.0.1:9464; empty for none."
    )?;
    let listen = config.http.map(|address| address.to_string()).unwrap_or_default();
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
