//! rouse: a peer message router, as a library.
//!
//! Nodes that can reach each other form a mesh without a server. Any node can send a message to any other by its
//! [`Address`], which is a public key; the mesh finds a route over as many nodes as necessary, and a message waits while
//! its recipient is away.
//!
//! # Quick start
//!
//! Two nodes on a medium in memory; with `rouse_netmod_udp::Udp` in place of it they are on a network.
//!
//! ```
//! use rouse_core::netmod::mem::MemNet;
//! use rouse_core::{Identity, Node};
//!
//! # futures::executor::block_on(async {
//! let net = MemNet::new(7);
//! let alice = Node::builder().identity(Identity::generate()).netmod(net.netmod("alice")).start().await?;
//! let bob = Node::builder().identity(Identity::generate()).netmod(net.netmod("bob")).start().await?;
//!
//! let sent = alice.send(&bob.address(), "hello").await?;   // waits until they have found each other
//! let message = bob.recv_from(&alice.address()).await?;     // wakes when it is written
//! assert_eq!(&message.body[..], b"hello");
//! sent.delivered().await?;                                  // bob has received it
//! # alice.stop().await; bob.stop().await;
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! [`Node::open`] keeps the identity and the messages that wait in a folder, so that a node goes on after a restart.
//! [`Client`] has the same methods, and uses the daemon `roused` instead of running a node.
//!
//! # The map
//!
//! Data flows one way:
//!
//! ```text
//!  medium ─▶ netmod worker ─▶ neighbour's Inbox<frame> ─▶ open_frames ▶ packet
//!             (a batch in,      wakes that neighbour's       │
//!              one write)       receive future               ├─ for another node ─▶ FIB ─▶ egress of the next link ─▶ seal ─▶ netmod
//!                                                            ├─ control ─▶ router ─▶ FIB
//!                                                            └─ for us ─▶ conversation ─▶ sender's Inbox<Message>
//!                                                                                           wakes node.recv_from(peer)
//!  application ─▶ conversation (gather) ─▶ FIB ─▶ egress of the next link ─▶ seal ─▶ netmod
//! ```
//!
//! | module | purpose |
//! |---|---|
//! | [`notify`], [`inbox`] | a cell and a queue that wake their waiting readers exactly when they are written to |
//! | [`address`], [`identity`] | the public and the secret key that identify a node |
//! | [`netmod`] | network modules: the trait, and a medium in memory |
//! | `wire` | the wire format |
//! | `link` | a session with a neighbour: handshake, seal, liveness, an ordered channel for control (pure) |
//! | `route` | announces, feasibility, metrics: the choice of the next hop to each destination (pure) |
//! | `message` | conversations: fragments, acknowledgements, congestion control, receipts (pure) |
//! | `egress` | the queue to one neighbour: choose by class, seal, send in batches |
//! | [`node`] | the async shell where sockets, timers, tasks and the pure parts meet |
//! | [`ipc`] | the daemon's socket: the server, and [`Client`] |
//! | [`stats`] | counters: every drop has a cause, and every cause a counter |
//!
//! The pure parts read no clock, draw no random numbers and do no I/O: bytes or events and the time go in, actions
//! come out. So the same code runs in the daemon, in an application and in a simulation.
#![forbid(unsafe_code)]

/// Public for the daemon, which keeps its state in the same way; no promises to others.
#[doc(hidden)]
pub mod atomic_file;
mod egress;
mod hash;
mod identity_file;
pub mod ipc;
pub mod netmod;
pub mod node;
mod rt;
mod serving;
pub mod types;

pub use rouse_inbox::{inbox, notify};
/// The durable store of messages.
pub use rouse_journal as journal;
pub use rouse_proto::{address, session, time};
pub(crate) use rouse_proto::{endpoint, impairment, link, message, peering, rate_limit, route, wire};

/// Identities, and the files that keep their secrets.
pub mod identity {
    pub use crate::identity_file::{Identity, IdentityError};
}

/// Counters. Each drop is counted by its cause, so that `rouse status` can explain lost frames, packets and messages.
pub mod stats {
    pub(crate) use rouse_proto::stats::Stats;
    pub use rouse_proto::stats::{Counter, DropCause};
}

pub use address::{Address, AddressError};
pub use identity::{Identity, IdentityError};
pub use ipc::Client;
pub use node::{
    Events, Limits, Mailbox, Messages, Node, NodeBuilder, NodeFailure, OpenError, PeerError, Sent,
    StartError, Stopped,
};
pub use rt::{VirtualProcess, VirtualRuntime};
pub use types::{
    Body, Dialled, Event, Health, Hop, Level, MAX_MESSAGE, Mesh, Message, MessageId, MessageKind,
    NetmodState, NetmodStatus, Outgoing, Peer, PeerState, PingError, Pong, Protection, Queued, Receipt,
    RemovedPeer, RequestError, Route, RouteState, SendError, Service, ServiceTooLong, Status, Timestamp,
    Unfinished, UnreadMessage, Waiting, WaitingMessage,
};

/// Counts allocations, for the tests that bound the memory which an input may hold.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

/// Runs a test in a process of its own, since [`allocated`] counts for the whole process. `path` is that of the test in the
/// crate.
#[cfg(test)]
pub(crate) fn run_alone(path: &str, test: impl FnOnce()) {
    if std::env::var_os("ROUSE_TEST_ALONE").is_some() {
        return test();
    }
    let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", path, "--nocapture"]);
    let output = command.env("ROUSE_TEST_ALONE", "1").output().expect("it runs");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.contains("1 passed"), "see above");
}

/// Bytes that the process has allocated and not freed.
#[cfg(test)]
pub(crate) fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    // Both counters include the growth and the shrinking of reallocations.
    stats.bytes_allocated - stats.bytes_deallocated
}
