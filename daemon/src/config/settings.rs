//! The checked configuration and its parts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use rouse_core::Address;
use rouse_core::node::{Limits, NeighbourFilter};

use crate::log::LogFormat;

/// The checked configuration of a daemon.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The configuration file, if one was given.
    pub file: Option<PathBuf>,
    /// The directory of everything that outlives the daemon.
    pub state_dir: PathBuf,
    /// The name of the node.
    pub name: Option<String>,
    /// The network modules.
    pub netmods: Vec<NetmodConfig>,
    /// The peers to dial, as URIs.
    pub peers: Vec<String>,
    /// The file with the key of a closed mesh.
    pub mesh_key: Option<PathBuf>,
    /// The addresses that may become neighbours.
    pub neighbour_filter: NeighbourFilter,
    /// The bounds of the node.
    pub limits: Limits,
    /// The bytes of all messages in the journal; `None` for no journal.
    pub journal: Option<u64>,
    /// The socket that programs connect to.
    pub api: ApiSocket,
    /// The address of the metrics and the status page, on the loopback; `None` when there are none.
    pub http: Option<SocketAddr>,
    /// The log level, or a list of levels by module.
    pub log_level: String,
    /// The format of log lines.
    pub log_format: LogFormat,
    /// The address book of the configuration.
    pub names: BTreeMap<String, Address>,
}

/// The configuration of one network module. The only kind so far is UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetmodConfig {
    /// The listen address: `[::]:7700`.
    pub listen: String,
    /// Whether it searches for neighbours by multicast.
    pub discover: bool,
    /// The interfaces for that, as patterns of their names.
    pub interfaces: Vec<String>,
}

impl Default for NetmodConfig {
    fn default() -> Self {
        NetmodConfig { listen: DEFAULT_LISTEN.to_owned(), discover: true, interfaces: vec!["*".to_owned()] }
    }
}

/// All addresses of the host, with the default port, or a free one when that is taken.
const DEFAULT_LISTEN: &str = "[::]";

/// The place of the socket that programs connect to, and the users that may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiSocket {
    /// A socket in the state directory, for the owner alone.
    StateDir,
    /// A socket at this path, for the owner and the socket's group.
    At(PathBuf),
}
