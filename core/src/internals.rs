//! Access for this project's own tools: the hostile node, the fuzzers and the benchmarks.
//!
//! It is hidden behind the feature `internals`, because it may change with any release.

pub mod cost;
pub mod fuzz;
pub mod layers;
pub mod raw;
pub mod session_cost;
