//! A peer message router, as a library.
#![forbid(unsafe_code)]

pub mod address;
mod egress;
pub mod identity;
pub mod inbox;
pub mod ipc;
mod link;
mod message;
pub mod netmod;
pub mod node;
pub mod notify;
mod route;
mod rt;
pub mod stats;
mod sync;
pub mod time;
pub mod types;
mod waitlist;
mod wire;

pub use address::{Address, AddressError};
pub use identity::{Identity, IdentityError};
pub use ipc::Client;
pub use types::*;
