//! The path of a packet through the node: received and forwarded, originated and transmitted, and the probes that measure it.
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

pub(crate) mod awaiting_route;
mod deferred;
pub(crate) mod probe;
mod receive;
mod transmit;

pub(crate) use deferred::DeferredWork;
pub(crate) use receive::packets_arrived;
pub(crate) use transmit::{hand_over, originate, originate_over, payload_mtu, route, send_portion};
