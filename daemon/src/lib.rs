//! What the two programs are made of: `roused`, the daemon, and `rouse`, the command line.
//!
//! The daemon is thin: [`config`] says what to run, [`state`] keeps what outlives it, [`admin`] looks after addresses,
//! names and peers, and [`daemon`] puts a node and a socket together and ends them in order. The command line is
//! [`cli`]: it finds the socket, asks, and prints.
#![forbid(unsafe_code)]

pub mod admin;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod line_queue;
pub mod log;
pub mod names;
pub mod state;
pub mod units;
