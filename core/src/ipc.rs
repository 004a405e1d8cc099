//! The daemon's socket: programs on this machine send and receive through a node that runs in another process.
//!
//! It stands beside [`Node`](crate::node::Node), above everything else. A [`Server`] offers the verbs of a node over a
//! Unix socket, and [`Client`] has the same verbs at the other end of it. Frames and routes of the mesh do not appear
//! here.
//!
//! ```text
//!  application ─▶ Client ─▶ outbox ─▶ socket ─▶ frames ─▶ call ─▶ Node, Admin
//!                  calls ◀─ frames ◀─ socket ◀─ outbox ◀─ reply
//! ```
//!
//! The module [`protocol`] defines the bytes: a greeting with a version each way, then length-delimited values, with many
//! calls under way at once. A program that crashes, hangs or breaks the rules does not harm others, because:
//!
//! - Each connection is bounded: in calls under way and their bytes, in messages fetched but not confirmed, in bytes
//!   waiting to be written. The number of connections is bounded too, and so are the resources that they share (see
//!   `quotas`).
//! - The owner gets a connection to stop the daemon, whatever the other connections do (see
//!   [`Client::find_to_administer`]).
//! - A message that was fetched but not confirmed goes back to the head of its inbox when its connection ends.
//! - A request that was fetched and not answered fails when its connection ends, so that its requester need not wait.
//! - A connection whose client reads nothing for a while, although bytes wait to be written, is closed.
//! - A malformed frame closes its connection, and no other.
//! - The user id that the kernel reports decides which user may do what, see [`Admin`].

mod admin;
mod admission;
mod client;
mod client_connection;
mod client_journal;
mod client_requests;
mod client_send;
mod connect;
mod credit;
mod error;
mod event_count;
mod frame;
mod frame_memory;
mod lifecycle;
mod lookup;
mod mailbox;
mod outbox;
pub mod protocol;
mod provisional;
mod quotas;
mod running_calls;
mod sent;
mod served_requests;
mod server;
mod server_connection;
mod session;
mod socket;
mod subscription;
#[cfg(test)]
mod tests;
mod text_protocol;
mod unconfirmed;

pub use admin::{Admin, AdminError, Denial, IdentityInfo, NameInfo, PeerInfo, Source};
pub use admission::MAX_CONNECTIONS;
pub use client::Client;
pub use error::{ClientError, ConnectError};
pub use lookup::{MAX_SOCKET_PATH, SYSTEM_SOCKET, Search, socket_path, state_dir};
pub use mailbox::{ClientMailbox, ClientMessages, Delivery};
pub use sent::ClientSent;
pub use server::{Server, serve_stream};
pub use socket::{Access, BindError};
pub use subscription::{Subscription, Tracing};
pub use text_protocol::TextProtocol;
