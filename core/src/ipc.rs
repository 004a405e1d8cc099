//! The daemon's socket: programs on this machine send and receive through a node that runs elsewhere.
//!
//! It stands beside [`Node`](crate::node::Node), above everything else. A [`Server`] hands a node's verbs out over a
//! Unix socket, and [`Client`] has the same verbs on the other side of it. Nothing here knows frames or routes.
//!
//! ```text
//!  application ─▶ Client ─▶ outbox ─▶ socket ─▶ frames ─▶ call ─▶ Node, Admin
//!                  calls ◀─ frames ◀─ socket ◀─ outbox ◀─ reply
//! ```
//!
//! What crosses the socket stands in `proto`: a greeting with a version each way, then length-delimited values, many
//! calls under way at once. What keeps a program that crashes, hangs or lies from harming anybody else:
//!
//! - Each connection is bounded: in calls under way and their bytes, in messages fetched but not confirmed, in bytes
//!   waiting to be written. The number of connections is bounded too, and what they have in common (see `quotas`).
//! - The owner gets in to stop the daemon, whatever the other connections are (see [`Client::find_to_administer`]).
//! - A message that was fetched but not confirmed goes back to the head of its inbox when its connection ends.
//! - A connection that takes nothing for a while, although something is to be written, is closed.
//! - A malformed frame closes its connection, and no other.
//! - Who may do what is decided by the user id that the kernel tells, see [`Admin`].

mod admin;
mod client;
mod client_connection;
mod connect;
#[cfg(feature = "internals")]
pub(crate) mod cost;
mod credit;
mod error;
mod event_count;
mod frame;
#[cfg(feature = "internals")]
pub(crate) mod fuzz;
mod lookup;
mod mailbox;
mod outbox;
mod protocol;
mod quotas;
mod server;
mod server_connection;
mod session;
mod socket;
#[cfg(test)]
mod tests;
mod unconfirmed;

pub use admin::{Admin, AdminError, Denial, IdentityInfo, NameInfo, PeerInfo, Source};
pub use client::{Client, Sent, Subscription, Tracing};
pub use error::{ClientError, ConnectError};
pub use lookup::{MAX_SOCKET_PATH, SYSTEM_SOCKET, Search, socket_path, state_dir};
pub use mailbox::{Delivery, Mailbox, Messages};
pub use server::{MAX_CONNECTIONS, Server};
pub use socket::{Access, BindError};
