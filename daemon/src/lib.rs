//! The library behind the two programs: `roused`, the daemon, and `rouse`, the command line.
//!
//! The daemon is thin. [`config`] merges flags, environment and file; [`state`] is the state directory, which outlives
//! the daemon; [`admin`] administers addresses, names and peers; [`log`] writes through [`line_queue`], so that a
//! reader that does not read cannot block the daemon; and [`daemon`] starts a node and a socket and closes them in
//! order. The command line is [`cli`]: it finds the socket, sends a request and prints the answer. [`api`] serves JSON-RPC,
//! on the socket and as a command; [`http`] serves metrics and the status page.
//!
//! Imports have one direction: `daemon` → `api` and `http`, and `daemon` → `admin` → `config` → `log` → `line_queue`, and `admin` → `state`. All of them may
//! use [`text`], which makes foreign text safe to print, and [`units`].
#![forbid(unsafe_code)]

pub mod admin;
pub mod api;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod http;
pub mod line_queue;
pub mod log;
pub mod names;
pub mod state;
pub mod text;
pub mod units;
