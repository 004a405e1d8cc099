//! The pure layer between handshakes and a node.
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

/// The neighbours that a node has at most, unless it is configured otherwise.
pub const NEIGHBOURS: usize = 256;

pub mod dials;
pub mod early_frames;
pub mod slots;
