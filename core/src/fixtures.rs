//! A part that the benchmarks of several layers share.

pub(crate) mod handshake_pair;
