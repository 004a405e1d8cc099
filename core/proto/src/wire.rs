//! The wire format: frames, packets and records, byte by byte.
//!
//! Each layer has a file here that defines its formats. [`codec`] is the only file that names the serialization library, so that
//! it can be replaced. The specification is `core/PROTOCOL.md`; tests compare the code with its examples and with fixed bytes.

pub mod codec;
pub mod link;
pub mod message;
pub mod packet;
pub mod route;
pub mod session;
