//! Parts that the fuzz targets and the benchmarks of several layers share.
//!
//! `internals` imports the entry points that `node` and `ipc` define for such tools, so the parts that those entry points need are
//! here, below them.

pub(crate) mod handshake_pair;
pub(crate) mod script;
