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

pub(crate) mod dials;
pub(crate) mod early_frames;
pub(crate) mod slots;
