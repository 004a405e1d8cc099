//! The arguments of `rouse`. The comments on them are its help texts.

mod journal;
mod service;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use rouse_core::{MessageId, Service};

pub(super) use self::journal::{InboxCommand, OutboxCommand};
pub(super) use self::service::{Serve, ServiceRequest};
use super::failure::CommandFailure;
use crate::names;
use crate::units::{self, Size};

/// Control the rouse daemon on this machine: send and receive messages, inspect the mesh, manage names and peers.
///
/// The daemon's socket is searched in --socket, ROUSE_SOCKET, --state-dir, the default state directory, and
/// /run/rouse/rouse.sock.
///
/// Exit code: 0 done; 1 no (no reply, not delivered, unhealthy, refused); 2 usage, configuration, mistyped address,
/// unknown name; 3 no daemon; 4 timed out; 130 interrupted, 143 terminated.
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
    /// The command
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Print this node's address, or manage further ones
    Id {
        /// The command; without one, print the address
        #[command(subcommand)]
        command: Option<IdCommand>,
    },
    /// Show the state of the node: uptime, network modules, counters, and problems with their remedies
    Status,
    /// List the neighbours
    Peers,
    /// List the routes
    Routes {
        /// Only routes to this address or name
        peer: Option<String>,
    },
    /// Send a message
    Send(Send),
    /// Receive messages, one by default: the sender, a tab and the text
    ///
    /// In a pipe each message is one line: line ends, tabs and backslashes of the text are written as \n, \t and \\,
    /// other characters that act on a terminal as \u001b. On a terminal further lines of the text are indented. --raw and
    /// --json change nothing.
    ///
    /// --exec runs a command for each message, one at a time and in their order, with the message on its standard input, and
    /// ROUSE_ID, ROUSE_FROM, ROUSE_FROM_NAME, ROUSE_TO, ROUSE_SERVICE, ROUSE_IN_REPLY_TO, ROUSE_SENT_AT and ROUSE_RECEIVED_AT
    /// in its environment. The message leaves its inbox when the command exits with 0. Otherwise it is given back: with
    /// --follow the command is run again after a pause that grows from 1 s to 1 min, without it the exit code is 1. A command
    /// may see a message again when it is interrupted, or when this program or the daemon is killed.
    Recv(Recv),
    /// Send a request to a service of a peer, and print the answer
    ///
    /// In a pipe the answer is printed byte for byte. Exit code 1 when the peer has no such service or the service failed.
    Request(ServiceRequest),
    /// Serve requests: run a command for each, with the request on its standard input; its standard output is the answer
    ///
    /// When the command fails or takes too long, the requester gets an error at once. The environment of the command is that
    /// of `recv --exec`: ROUSE_FROM and ROUSE_ID are the sender and the id of the request. A line is printed for each request.
    /// The service goes on when the daemon is started again.
    Serve(Serve),
    /// Measure the round trip to the node of a peer
    Ping(Ping),
    /// Check each stage on the way to a peer: name, address, route, link, reply, and with --deliver inbox; show the first that
    /// fails
    Probe(Probe),
    /// Measure the round trip to a peer and the loss; with --size also the throughput of messages
    Bench(Bench),
    /// Check this host and its daemon: sockets, multicast, buffers, firewall, clock, disk, state files, mesh key
    Doctor,
    /// Show each hop on the way to a peer
    Trace {
        /// An address or a name
        peer: String,
    },
    /// Manage the neighbours that are dialled
    Peer {
        /// The command
        #[command(subcommand)]
        command: PeerCommand,
    },
    /// Manage the address book; names are accepted wherever an address is
    Name {
        /// The command
        #[command(subcommand)]
        command: NameCommand,
    },
    /// Make or remove the key of a closed mesh; without a key the mesh is open to every node that reaches this one
    Mesh {
        /// The command
        #[command(subcommand)]
        command: MeshCommand,
    },
    /// List the durable messages that are not delivered yet, show one, or cancel one
    Outbox {
        /// The command; without one, list them
        #[command(subcommand)]
        command: Option<OutboxCommand>,
    },
    /// List the durable messages that were received and not acknowledged, show one, or list and revive the dead letters
    ///
    /// A message that was delivered 16 times without being acknowledged is a dead letter: it is no longer delivered.
    Inbox {
        /// The command; without one, list them
        #[command(subcommand)]
        command: Option<InboxCommand>,
    },
    /// Print events as they happen, one per line, also when the daemon is started again meanwhile
    Watch,
    /// Serve JSON-RPC on standard input and output, for scripts and programs in any language
    ///
    /// One document a line. A request is {"jsonrpc": "2.0", "id": 1, "method": "send", "params": {"peer": "bob", "text":
    /// "hi"}}. The daemon's socket speaks the same language. The file API.md in the sources of roused lists the methods.
    Api,
    /// Reload names, peers, allow and deny lists and log level from the daemon's configuration
    Reload,
    /// Stop the daemon, and wait until it has stopped
    Stop,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual pages of a program, for `man -l -`
    Man {
        /// The program
        #[arg(default_value = "rouse")]
        page: ManPage,
    },
}

/// The program of a manual page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ManPage {
    /// The command line, and each of its commands
    Rouse,
    /// The daemon
    Roused,
}

/// The commands for further addresses.
#[derive(Clone, Debug, Subcommand)]
pub enum IdCommand {
    /// Create a further address
    New {
        /// A label for the address
        label: Option<String>,
    },
    /// List the addresses and their owners
    List,
    /// Remove an address and delete its secret
    Remove {
        /// The address or its label
        address: String,
    },
}

/// The commands for peers that are dialled.
#[derive(Clone, Debug, Subcommand)]
pub enum PeerCommand {
    /// Dial a neighbour now and after each start
    Add {
        /// The neighbour: udp:HOST:PORT
        uri: String,
    },
    /// Stop dialling a neighbour
    Remove {
        /// The URI as it was added
        uri: String,
    },
    /// List the peers that are dialled, and where each was configured
    List,
}

/// The commands for the key of the mesh.
#[derive(Clone, Debug, Subcommand)]
pub enum MeshCommand {
    /// Close the mesh: make a key file in the state directory, or use the key that another node has made
    New {
        /// A key file of another node; - reads it from standard input
        file: Option<PathBuf>,
    },
    /// Show whether the mesh is open or closed, the key file and the fingerprint of the key
    Show,
    /// Open the mesh: remove the key file
    Leave,
}

/// The commands for names.
#[derive(Clone, Debug, Subcommand)]
pub enum NameCommand {
    /// Add a name for an address
    Add {
        /// The name
        name: String,
        /// The address
        address: String,
    },
    /// List the names
    List,
    /// Remove a name
    Remove {
        /// The name
        name: String,
    },
}

/// The state of a message that `send` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wait {
    /// The daemon has accepted it
    Queued,
    /// The recipient has it: on its disk, or a volatile one in an application
    Delivered,
}

/// A message to send.
#[derive(Clone, Debug, Args)]
#[command(
    group = ArgGroup::new("body").required(true).args(["text", "file"]),
    override_usage = "rouse send [OPTIONS] PEER TEXT\n       rouse send [OPTIONS] PEER -\n       rouse send [OPTIONS] PEER --file PATH"
)]
pub struct Send {
    /// The recipient: an address or a name
    pub peer: String,
    /// The text to send; - reads any bytes from standard input
    pub text: Option<String>,
    /// Send the content of this file, at most 16 MiB
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// Send as this address of the node (or its name or label)
    #[arg(long = "as", value_name = "ADDR")]
    pub from: Option<String>,
    /// The service of the recipient, which `rouse recv --service` receives there
    #[arg(long, value_name = "NAME", value_parser = names::mailbox)]
    pub service: Option<Service>,
    /// The id of the message to which this one replies
    #[arg(long, value_name = "ID", value_parser = message_id)]
    pub reply_to: Option<MessageId>,
    /// Keep the message in memory alone: it is accepted sooner, and is lost when the daemon ends
    #[arg(long)]
    pub volatile: bool,
    /// The time that the message waits for a recipient that is away [default: 7d]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub ttl: Option<Duration>,
    /// Return when the message has this state
    #[arg(long, value_name = "STATE", default_value = "queued")]
    pub wait: Wait,
    /// The longest time to wait: for room in the queue to the recipient, and for the delivery [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub timeout: Option<Duration>,
}

impl Send {
    /// The checks that clap cannot express.
    pub(super) fn check(&self) -> Result<(), CommandFailure> {
        match self.ttl {
            Some(ttl) if ttl < Duration::from_millis(1) => Err(CommandFailure::wrong(
                "the time to live of a message is at least a millisecond",
                "leave out --ttl for 7 days",
            )),
            _ => Ok(()),
        }
    }
}

/// The messages to receive.
#[derive(Clone, Debug, Args)]
pub struct Recv {
    /// Only messages from this address or name
    #[arg(long, value_name = "PEER")]
    pub from: Option<String>,
    /// Messages for this address of the node (or its name or label)
    #[arg(long = "as", value_name = "ADDR")]
    pub to: Option<String>,
    /// Messages for this service
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true, value_parser = names::mailbox)]
    pub service: Service,
    /// The number of messages to receive [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "follow")]
    pub count: Option<u64>,
    /// Receive until interrupted, also when the daemon is started again meanwhile
    #[arg(long)]
    pub follow: bool,
    /// Run this command with `sh -c` for each message, instead of printing it
    #[arg(long, value_name = "CMD", conflicts_with = "raw")]
    pub exec: Option<String>,
    /// The longest time that the command may run for one message
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = units::duration, requires = "exec")]
    pub exec_timeout: Duration,
    /// The longest time to wait in all; exit code 4 when not all arrived by then (with --follow: when none arrived)
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub timeout: Option<Duration>,
    /// Print only the bytes of the messages
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
}

fn message_id(text: &str) -> Result<MessageId, String> {
    text.parse().map_err(str::to_owned)
}

/// The peer to ping.
#[derive(Clone, Debug, Args)]
pub struct Ping {
    /// An address or a name
    pub peer: String,
    /// The number of pings
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
    /// The time between two pings
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = units::duration)]
    pub interval: Duration,
    /// The longest time to wait for each reply
    #[arg(short = 'W', long = "wait", value_name = "TIME", default_value = "5s", value_parser = units::duration)]
    pub timeout: Duration,
}

/// The peer to probe.
#[derive(Clone, Debug, Args)]
pub struct Probe {
    /// An address or a name
    pub peer: String,
    /// Also deliver an empty message, which an application of the peer has to receive
    #[arg(long)]
    pub deliver: bool,
    /// The longest time to wait for the reply, and for the delivery
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = units::duration)]
    pub timeout: Duration,
}

/// The peer to measure.
#[derive(Clone, Debug, Args)]
pub struct Bench {
    /// An address or a name
    pub peer: String,
    /// The time for each measurement
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = units::duration)]
    pub time: Duration,
    /// Also send messages of this size, which an application of the peer has to receive
    #[arg(long, value_name = "SIZE")]
    pub size: Option<Size>,
}
