//! The steps of the fuzzers: one function for each fuzz target. It takes hostile bytes, must not panic by itself, and checks
//! invariants.
//!
//! A target's input is a script: a byte selects the next step, and the bytes after it are the step's arguments. Therefore every
//! state that a remote node, a neighbour or a local program can cause is the result of some bytes, a mutation of a script is
//! again a script, and the same bytes always have the same result. Time, keys and randomness come from the script or are fixed.
//! `seeds` writes scripts of real exchanges, so that the fuzzers begin beyond the first checks.
//!
//! The functions panic when an invariant is broken, since that is how fuzzers detect a failure. `core/fuzz` runs them under libFuzzer,
//! `tests/fuzz_seeds.rs` runs them over the seeds and mutations of them.

mod announce;
mod control;
mod frame;
mod handshake;
mod message;
mod packet;
mod records;
mod script;
mod seed;
mod seeds;
mod session;
mod socket;
mod text;

pub use announce::announce;
pub use control::control;
pub use frame::frame;
pub use handshake::handshake;
pub use message::message;
pub use packet::packet;
pub use seed::Seed;
pub use seeds::{overheard, seeds};
pub use session::session;
pub use socket::{client_socket, daemon_socket};
pub use text::text;

/// A fuzz target.
pub type FuzzTarget = fn(&[u8]);

/// The targets by name, except those of network modules.
pub const TARGETS: [(&str, FuzzTarget); 10] = [
    ("announce", announce),
    ("client_socket", client_socket),
    ("control", control),
    ("daemon_socket", daemon_socket),
    ("frame", frame),
    ("handshake", handshake),
    ("message", message),
    ("packet", packet),
    ("session", session),
    ("text", text),
];
