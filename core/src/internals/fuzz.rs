//! One function for each fuzz target: hostile bytes go in, nothing may panic, and what is promised must hold.
//!
//! A target's input is a script: a byte says what happens next, the bytes after it with what. So every state that a
//! stranger, a neighbour or a local program can bring about is some row of bytes, a mutation of a script is again a
//! script, and the same bytes always do the same. Time, keys and randomness come from the script or are fixed.
//! `seeds` writes scripts of exchanges that really happen, for the fuzzers to begin with.
//!
//! The functions panic when a promise is broken: that is what they are for. `core/fuzz` runs them under libFuzzer,
//! `tests/fuzz_seeds.rs` runs them over the seeds and mutations of them.

mod announce;
mod control;
mod frame;
mod handshake;
mod message;
mod packet;
mod script;
mod seeds;
mod text;

pub use crate::ipc::fuzz::{client_socket, daemon_socket};
pub use announce::announce;
pub use control::control;
pub use frame::frame;
pub use handshake::handshake;
pub use message::message;
pub use packet::packet;
pub(crate) use script::Script;
pub use seeds::{Seed, overheard, seeds};
pub use text::text;

/// A fuzz target.
pub type Target = fn(&[u8]);

/// The targets of this crate by name.
pub const TARGETS: [(&str, Target); 9] = [
    ("announce", announce),
    ("client_socket", client_socket),
    ("control", control),
    ("daemon_socket", daemon_socket),
    ("frame", frame),
    ("handshake", handshake),
    ("message", message),
    ("packet", packet),
    ("text", text),
];
