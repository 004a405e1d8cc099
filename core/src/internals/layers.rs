//! Each layer alone, under a clock that is set by hand: what the cost table feeds with the dearest inputs that it finds.
//!
//! A layer takes one input after the other exactly as the running node hands it in, its outputs are taken and thrown away, and
//! it is told how time passes. What that costs is measured from outside, by the processor's clock and by a counting allocator.

mod handshakes;
mod links;
mod routers;

pub use crate::ipc::cost::{REQUESTS, RequestFields, SocketLayer, request};
pub use crate::node::cost::destination::NodeLayer;
pub use handshakes::HandshakeLayer;
pub use links::LinkLayer;
pub use routers::RouterLayer;
