//! The socket from end to end: a server, clients, and raw connections that break the rules.
#![allow(clippy::unwrap_used)]

mod client;
mod cost;
mod frames;
mod hostile;
mod setup;
