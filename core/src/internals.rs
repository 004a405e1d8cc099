//! Access for this project's own tools to the inside of a node, as far as it has no public entrance: the steps of the data path for
//! the benchmarks, and a node that receives opened packets for the cost table.
//!
//! It is hidden behind the feature `internals`, because it may change with any release.

pub mod cost;
pub mod session_cost;

pub use crate::node::cost::destination::NodeLayer;
