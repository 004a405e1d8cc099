//! What may be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::failure::CommandFailure;
use crate::units;

/// Talk to the rouse daemon on this machine: send and receive messages, see the mesh, look after names and peers.
///
/// The daemon's socket is looked for in --socket, ROUSE_SOCKET, --state-dir, the default state directory, and
/// /run/rouse/rouse.sock.
///
/// Exit code: 0 done; 1 no (no reply, not delivered, unhealthy, refused); 2 usage, configuration, mistyped address,
/// unknown name; 3 no daemon; 4 timed out; 130 interrupted.
#[derive(Clone, Debug, Parser)]
#[command(name = "rouse", version, max_term_width = 100)]
pub struct Cli {
    /// The daemon's socket
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "state_dir")]
    pub socket: Option<PathBuf>,
    /// The daemon's state directory
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Print JSON: one document, or one per line for recv, ping, trace and watch
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Print this node's address, or look after further ones
    Id {
        /// Without one: print the address
        #[command(subcommand)]
        command: Option<IdCommand>,
    },
    /// How the node is: uptime, network modules, counters, and what to do where something is wrong
    Status,
    /// The neighbours
    Peers,
    /// The routes
    Routes {
        /// Only those to this address or name
        peer: Option<String>,
    },
    /// Send a message
    Send(Send),
    /// Receive messages; one, unless told otherwise
    Recv(Recv),
    /// Round trips to a peer's node
    Ping(Ping),
    /// Each hop on the way to a peer
    Trace {
        /// An address or a name
        peer: String,
    },
    /// Look after the neighbours that are dialled
    Peer {
        /// What to do
        #[command(subcommand)]
        command: PeerCommand,
    },
    /// Look after the address book; names are accepted wherever an address is
    Name {
        /// What to do
        #[command(subcommand)]
        command: NameCommand,
    },
    /// Print what happens, one event per line
    Watch,
    /// Have the daemon read names, peers and log level from its configuration again
    Reload,
    /// Stop the daemon, and wait until it has stopped
    Stop,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual, for `man -l -`
    Man,
}

/// Further addresses.
#[derive(Clone, Debug, Subcommand)]
pub enum IdCommand {
    /// Make one more address
    New {
        /// What to call it
        label: Option<String>,
    },
    /// The addresses and whose they are
    List,
    /// Remove an address, and its secret for good
    Remove {
        /// The address or its label
        address: String,
    },
}

/// Peers that are dialled.
#[derive(Clone, Debug, Subcommand)]
pub enum PeerCommand {
    /// Dial a neighbour now, and remember it
    Add {
        /// Where: udp:HOST:PORT
        uri: String,
    },
    /// Dial it no more
    Remove {
        /// As it was added
        uri: String,
    },
    /// What is dialled, and where that was said
    List,
}

/// Names.
#[derive(Clone, Debug, Subcommand)]
pub enum NameCommand {
    /// Give an address a name
    Add {
        /// The name
        name: String,
        /// The address
        address: String,
    },
    /// The names
    List,
    /// Forget a name
    Remove {
        /// The name
        name: String,
    },
}

/// How far a message is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wait {
    /// Until the daemon has accepted it
    Queued,
    /// Until an application of the recipient has received it
    Delivered,
}

/// A message to send.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["text", "file"]))]
pub struct Send {
    /// The recipient: an address or a name
    pub peer: String,
    /// What to send; - reads any bytes from standard input
    pub text: Option<String>,
    /// Send the content of this file, at most 16 MiB
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// Send as this address of the node (or its name or label)
    #[arg(long = "as", value_name = "ADDR")]
    pub from: Option<String>,
    /// How long the message waits for a recipient that is away [default: 7d]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub ttl: Option<Duration>,
    /// Return when the daemon has accepted it, or when an application of the recipient has received it: `rouse recv` there, say
    #[arg(long, value_name = "STATE", default_value = "queued")]
    pub wait: Wait,
    /// The longest to wait [default for `--wait delivered`: 30s]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub timeout: Option<Duration>,
}

impl Send {
    /// What clap cannot check.
    pub(super) fn check(&self) -> Result<(), CommandFailure> {
        match self.ttl {
            Some(ttl) if ttl < Duration::from_millis(1) => Err(CommandFailure::wrong(
                "a message lives for at least a millisecond",
                "leave out --ttl for 7 days",
            )),
            _ => Ok(()),
        }
    }
}

/// Which messages to receive.
#[derive(Clone, Debug, Args)]
pub struct Recv {
    /// Only messages from this address or name
    #[arg(long, value_name = "PEER")]
    pub from: Option<String>,
    /// Messages for this address of the node (or its name or label)
    #[arg(long = "as", value_name = "ADDR")]
    pub to: Option<String>,
    /// How many [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "follow")]
    pub count: Option<u64>,
    /// Go on for ever
    #[arg(long)]
    pub follow: bool,
    /// The longest to wait in all; exit code 4 when not all came by then (with --follow: when none came)
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub timeout: Option<Duration>,
    /// Print the bytes of the messages and nothing else
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
}

/// Whom to ping.
#[derive(Clone, Debug, Args)]
pub struct Ping {
    /// An address or a name
    pub peer: String,
    /// How often, a second apart
    #[arg(short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
}
