//! What the tools of this project reach into, and an application does not: the hostile node, the fuzzers, the benchmarks.
//!
//! Behind the feature `internals`, hidden, and without any promise.

pub mod cost;
pub mod fuzz;
pub mod layers;
pub mod raw;
