//! The wire format: frames, packets and records, byte by byte.
//!
//! Each layer has a file here that defines its formats. [`codec`] is the only file that names the serialization library, so that
//! it can be replaced. The specification is `core/PROTOCOL.md`; tests compare the code with its examples and with fixed bytes.

pub(crate) mod codec;
pub(crate) mod link;
pub(crate) mod message;
pub(crate) mod packet;
pub(crate) mod route;
pub(crate) mod session;
