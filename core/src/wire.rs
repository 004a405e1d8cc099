//! Frames and packets: what goes over the wire, byte by byte.
//!
//! [`codec`] is the only file that knows how values become bytes. Each layer keeps its own shapes in a file of
//! its own here. The specification is `core/PROTOCOL.md`: golden vectors in the tests hold the code to it, and decode its
//! examples.

pub(crate) mod codec;
pub(crate) mod link;
pub(crate) mod message;
pub(crate) mod packet;
pub(crate) mod route;
