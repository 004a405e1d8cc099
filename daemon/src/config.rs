//! The configuration of the daemon. A flag takes precedence over the environment, the environment over the file, the
//! file over the defaults.
//!
//! [`Flags`] holds the first two (clap reads `ROUSE_*` where a flag is missing), `file` the third. [`Config::load`]
//! merges them and checks everything that can be checked without opening a socket.

mod file;
mod locations;
mod merge;
mod print;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use clap::Parser;
use clap::builder::FalseyValueParser;
use rouse_core::netmod::{Netmod, NetmodError};
use rouse_core::node::Limits;
use rouse_core::{Address, ipc};
use rouse_netmod_udp::{Udp, UdpConfig};
use zeroize::Zeroizing;

use crate::log::LogFormat;
use file::ConfigFile;
use locations::ValueLocations;
use merge::merge;

/// The rouse daemon: a peer message router.
///
/// It needs no configuration: it creates an identity, listens, finds its neighbours, and prints `ready ADDRESS SOCKET`
/// on standard output. SIGTERM and SIGINT stop it in order. SIGHUP, like `rouse reload`, reads names, peers and the log
/// level again; the rest of the configuration takes effect at the next start.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "roused", version, max_term_width = 100)]
pub struct Flags {
    /// The configuration file; without one the defaults apply
    #[arg(long, value_name = "FILE", env = "ROUSE_CONFIG")]
    pub config: Option<PathBuf>,
    /// The directory of the identity, the address book and the socket [default: $STATE_DIRECTORY, else
    /// $XDG_STATE_HOME/rouse, else ~/.local/state/rouse]
    #[arg(long, value_name = "DIR", env = "ROUSE_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Listen on this address instead of those of the file: udp:HOST:PORT; may be repeated
    #[arg(long, value_name = "URI", env = "ROUSE_LISTEN", value_delimiter = ',')]
    pub listen: Vec<String>,
    /// Dial this neighbour in addition to those of the file: udp:HOST:PORT; may be repeated
    #[arg(long, value_name = "URI", env = "ROUSE_PEER", value_delimiter = ',')]
    pub peer: Vec<String>,
    /// Do not search for neighbours by multicast
    #[arg(long, env = "ROUSE_NO_DISCOVER", value_parser = FalseyValueParser::new())]
    pub no_discover: bool,
    /// The name of this node, shown in its own status
    #[arg(long, value_name = "NAME", env = "ROUSE_NAME")]
    pub name: Option<String>,
    /// The log level: error, warn, info, debug, trace, or a list such as info,rouse_core=debug
    #[arg(long, value_name = "LEVEL", env = "ROUSE_LOG")]
    pub log: Option<String>,
    /// The format of log lines
    #[arg(long, value_name = "FORMAT", env = "ROUSE_LOG_FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
    /// Check the configuration, report the first error, and exit
    #[arg(long)]
    pub check: bool,
    /// Print the configuration in effect, in the format of the file, and exit
    #[arg(long)]
    pub print_config: bool,
}

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
    /// The bounds of the node.
    pub limits: Limits,
    /// The socket that programs connect to.
    pub api: ApiSocket,
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

/// The errors of a configuration. Each message contains the place of the fault and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A value in the file is wrong.
    #[error("{path}, line {line}: {text}", path = path.display())]
    At {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The fault and the remedy.
        text: String,
    },
    /// A value is wrong that is not on one line of the file, such as a flag.
    #[error("{0}")]
    Value(String),
    /// No flag, environment variable or home directory determines the state directory.
    #[error("cannot determine the state directory: set HOME, or name one with --state-dir")]
    NoStateDir,
}

impl Config {
    /// Merges flags, environment, file and defaults.
    ///
    /// # Errors
    /// [`ConfigError`] for the first fault.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        let (file, locations) = match &flags.config {
            Some(path) => {
                let text = fs::read_to_string(path)
                    .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
                ConfigFile::parse(path, &text)?
            }
            None => <(ConfigFile, ValueLocations)>::default(),
        };
        let state_dir = flags.state_dir.clone().or_else(ipc::state_dir).ok_or(ConfigError::NoStateDir)?;
        merge(flags, file, &locations, state_dir)
    }

    /// The path of the socket that programs connect to.
    pub fn socket(&self) -> PathBuf {
        match &self.api {
            ApiSocket::StateDir => ipc::socket_path(&self.state_dir),
            ApiSocket::At(path) => path.clone(),
        }
    }

    /// The key of the mesh, if it is a closed one.
    ///
    /// # Errors
    /// When the file cannot be read or contains no key.
    pub fn read_mesh_key(&self) -> Result<Option<Zeroizing<[u8; 32]>>, ConfigError> {
        self.mesh_key.as_deref().map(read_mesh_key).transpose()
    }

    /// Settings that work but are unsafe, each with the remedy.
    pub fn warnings(&self) -> Vec<String> {
        let mode =
            |path: &PathBuf| Some((path.display().to_string(), fs::metadata(path).ok()?.mode() & 0o777));
        let key = self.mesh_key.as_ref().and_then(mode).filter(|(_, mode)| mode & 0o004 != 0);
        let text = |(path, mode)| {
            format!(
                "{path}: every user of this machine can read the mesh key (mode {mode:o}): chmod 600 {path}"
            )
        };
        key.map(text).into_iter().collect()
    }

    /// The network modules, not yet open.
    ///
    /// # Errors
    /// When the configuration of one could never work.
    pub fn make_netmods(
        &self,
        mesh_key: Option<&Zeroizing<[u8; 32]>>,
    ) -> Result<Vec<impl Netmod + use<>>, NetmodError> {
        let make = |netmod: &NetmodConfig| {
            Ok(Udp::with(UdpConfig {
                discover: netmod.discover,
                interfaces: netmod.interfaces.clone(),
                mesh_key: mesh_key.cloned(),
                ..UdpConfig::listen_on(&netmod.listen)?
            }))
        };
        self.netmods.iter().map(make).collect()
    }

    /// The configuration as the text of a file that has the same effect.
    pub fn to_toml(&self) -> String {
        print::print(self)
    }
}

/// The most bytes that are read from a key file. A key is 45 bytes of text; the bound exists in case that the path is
/// that of a large file.
const MAX_KEY_FILE: u64 = 4096;

fn read_mesh_key(path: &Path) -> Result<Zeroizing<[u8; 32]>, ConfigError> {
    let read = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut text = Zeroizing::new(String::with_capacity(MAX_KEY_FILE as usize));
    let file = fs::File::open(path).map_err(read)?;
    io::Read::read_to_string(&mut io::Read::take(file, MAX_KEY_FILE), &mut text).map_err(read)?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text.trim()).map(Zeroizing::new);
    let key = bytes.ok().and_then(|bytes| <[u8; 32]>::try_from(&bytes[..]).ok());
    key.map(Zeroizing::new).ok_or_else(|| {
        let text = "not 32 bytes in base64; make a key with `head -c 32 /dev/urandom | base64`";
        ConfigError::At { path: path.to_owned(), line: 1, text: text.to_owned() }
    })
}

#[cfg(test)]
mod tests;
