//! The protocol of rouse, sans I/O.
//!
//! Bytes or events and the time go in, bytes and events come out. Nothing here opens a file or a socket, starts a task, waits,
//! reads a clock or draws a random number on its own account, so that the same code runs in the daemon, in an application, in
//! the simulator under a virtual clock, and under a fuzzer. The specification is `core/PROTOCOL.md` of the repository.
//!
//! | module | purpose |
//! |---|---|
//! | [`address`], [`identity`] | the public and the secret key that identify a node |
//! | [`wire`] | the formats, byte by byte |
//! | [`link`] | a session with a neighbour: handshake, seal, liveness, an ordered channel for control |
//! | [`peering`] | the nodes to dial, and the links to keep |
//! | [`route`] | announces, feasibility, metrics: the choice of the next hop to each destination |
//! | [`session`] | sessions between the ends of a conversation, over any number of relays |
//! | [`message`] | conversations: fragments, acknowledgements, congestion control, receipts |
//! | [`endpoint`], [`impairment`] | the handles of network modules, and a model of a bad medium |
//! | [`time`], [`stats`], [`types`] | the time that is passed in, the causes of drops, the values that applications see |
#![forbid(unsafe_code)]
// Everything here takes bytes from the network, and no input may end the program.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

pub mod address;
#[allow(clippy::arithmetic_side_effects, reason = "it formats text")]
pub mod endpoint;
#[allow(
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    reason = "its sums are of points and scalars of the curve"
)]
pub mod identity;
#[allow(clippy::arithmetic_side_effects, reason = "it is for simulations")]
pub mod impairment;
pub mod link;
pub mod message;
pub mod peering;
#[cfg(test)]
mod protocol_tests;
pub mod rate_limit;
pub mod route;
pub mod session;
#[allow(clippy::indexing_slicing, reason = "its tables have a place for each variant")]
pub mod stats;
pub mod time;
#[allow(clippy::arithmetic_side_effects, reason = "its sums are of clocks")]
pub mod types;
pub mod wire;
