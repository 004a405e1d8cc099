//! The harness of the whole-program tests: daemons that are started and cleaned up, commands and their output, a relay
//! that loses datagrams, networks of network namespaces, and a hostile node.
//!
//! No test sleeps in the hope that something has happened by then: [`until`] looks repeatedly, and panics at its deadline.
//! Every daemon has a state directory of its own, a home of its own, listens to loopback on a port that the system
//! chose and does not discover, unless a test configures it otherwise.
#![forbid(unsafe_code)]

mod cables;
mod capture;
mod daemon;
pub mod handshake_pair;
pub mod hostile;
mod lan;
mod meshes;
mod namespace;
mod process;
mod program;
mod random;
mod relay;
mod strain;
mod stream;
mod terminal;
mod trials;
mod wait;

pub use cables::{Cables, Cut, Topology};
pub use capture::Capture;
pub use daemon::{Daemon, DaemonBuilder, Sending};
pub use lan::{Family, Lan};
pub use namespace::{Namespace, may_make_namespaces, may_use_nft, remove_namespaces};
pub use process::{Usage, usage, wait_until_read};
pub use program::{Output, Programs, Running, built_program};
pub use random::SeededRandom;
pub use relay::Relay;
pub use strain::{Noticed, Strain};
pub use stream::{Outcome, Stream};
pub use terminal::on_terminal;
pub use trials::{run_in_namespaces, run_in_namespaces_and_with_nft, run_timed_in_namespaces};
pub use wait::{PATIENCE, until};

/// The programs that cargo built for this test; only in tests of the package `roused`.
#[macro_export]
macro_rules! programs {
    () => {
        $crate::Programs::new(env!("CARGO_BIN_EXE_roused"), env!("CARGO_BIN_EXE_rouse"))
    };
}
