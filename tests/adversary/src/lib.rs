//! Peers of a node that follow no rule: the steps of the fuzzers, and a link that sends anything. The nodes beside them are
//! whole ones: served to a program over a stream, or wired to a raw link under a virtual clock.
//!
//! It uses public items of the library only, as any other program could.
#![forbid(unsafe_code)]

pub mod fuzz;
pub mod raw;
mod served_node;
mod wired_node;

pub use served_node::{OWNER, ServedNode, identity};
pub use wired_node::WiredNode;
