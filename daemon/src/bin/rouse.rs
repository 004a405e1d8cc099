//! The program `rouse`: the command line of the daemon.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    async_std::task::block_on(roused_lib::cli::main())
}
