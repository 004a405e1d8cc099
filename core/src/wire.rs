//! Frames and packets: what goes over the wire, byte by byte.
//!
//! [`codec`] is the only file that knows how values become bytes. Each layer keeps its own shapes in a file of
//! its own here. What each file says first is the
//! specification, byte by byte; golden vectors in the tests hold it to that.

pub(crate) mod codec;
pub(crate) mod link;
pub(crate) mod message;
pub(crate) mod packet;
pub(crate) mod route;
