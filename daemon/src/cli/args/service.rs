//! The arguments of `request` and `serve`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};
use rouse_core::Service;

use crate::names;
use crate::units;

/// A request to send.
#[derive(Clone, Debug, Args)]
#[command(
    group = ArgGroup::new("request_body").required(true).args(["text", "file"]),
    override_usage = "rouse request [OPTIONS] PEER SERVICE TEXT\n       rouse request [OPTIONS] PEER SERVICE -\n       rouse request [OPTIONS] PEER SERVICE --file PATH"
)]
pub struct ServiceRequest {
    /// The recipient: an address or a name
    pub peer: String,
    /// The service of the recipient, which `rouse serve` serves there
    #[arg(value_parser = names::service)]
    pub service: Service,
    /// The text to send; - reads any bytes from standard input
    pub text: Option<String>,
    /// Send the content of this file, at most 16 MiB
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// Send as this address of the node (or its name or label)
    #[arg(long = "as", value_name = "ADDR")]
    pub from: Option<String>,
    /// The longest time to wait for the answer [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub timeout: Option<Duration>,
    /// Print only the bytes of the answer, also on a terminal
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
}

/// The service to serve.
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// The name of the service
    #[arg(value_parser = names::service)]
    pub service: Service,
    /// Serve at this address of the node (or its name or label)
    #[arg(long = "as", value_name = "ADDR")]
    pub to: Option<String>,
    /// The number of commands that may run at a time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub parallel: u32,
    /// The longest time that a command may run; then it is ended, and the requester gets an error
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = units::duration)]
    pub timeout: Duration,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}
