//! Each layer alone, under a clock that is set by hand, which the cost table feeds with the costliest inputs that it finds.
//!
//! A layer takes one input after the other exactly as the running node passes them in, its outputs are taken and discarded, and
//! the caller advances its time. The cost of that is measured from outside, by the processor's clock and by a counting allocator.

mod daemon;
mod handshakes;
mod links;
mod node;
mod routers;

pub(crate) use daemon::{REQUESTS, RequestFields, SocketLayer, request};
pub(crate) use handshakes::HandshakeLayer;
pub(crate) use links::LinkLayer;
pub(crate) use node::{FriendStanding, NodeLayer};
pub(crate) use routers::RouterLayer;
