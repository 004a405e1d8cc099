#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod inbox;
pub mod notify;
mod sync;
mod wait_list;

pub use inbox::{Closed, Full, Inbox};
pub use notify::Notify;
