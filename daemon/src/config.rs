//! What the daemon is told: flags, over the environment, over a file, over defaults.
//!
//! [`Flags`] holds the first two (clap reads `ROUSE_*` where a flag is missing), `file` the third. [`Config::load`] puts
//! them together and checks all that can be checked without opening anything.

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
/// It needs no configuration: it makes an identity, listens, finds its neighbours, and says `ready ADDRESS SOCKET` on
/// standard output. SIGTERM and SIGINT stop it in order. SIGHUP, like `rouse reload`, reads names, peers and the log
/// level again; the rest of the configuration takes effect at the next start.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "roused", version, max_term_width = 100)]
pub struct Flags {
    /// The configuration file; without one the defaults hold
    #[arg(long, value_name = "FILE", env = "ROUSE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Holds the identity, the address book and the socket [default: $STATE_DIRECTORY, else $XDG_STATE_HOME/rouse, else
    /// ~/.local/state/rouse]
    #[arg(long, value_name = "DIR", env = "ROUSE_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Where to listen, instead of where the file says: udp:HOST:PORT; may be repeated
    #[arg(long, value_name = "URI", env = "ROUSE_LISTEN", value_delimiter = ',')]
    pub listen: Vec<String>,
    /// A neighbour to dial, besides those of the file: udp:HOST:PORT; may be repeated
    #[arg(long, value_name = "URI", env = "ROUSE_PEER", value_delimiter = ',')]
    pub peer: Vec<String>,
    /// Do not look for neighbours
    #[arg(long, env = "ROUSE_NO_DISCOVER", value_parser = FalseyValueParser::new())]
    pub no_discover: bool,
    /// What this node is called
    #[arg(long, value_name = "NAME", env = "ROUSE_NAME")]
    pub name: Option<String>,
    /// What to log: error, warn, info, debug, trace, or a list such as info,rouse_core=debug
    #[arg(long, value_name = "LEVEL", env = "ROUSE_LOG")]
    pub log: Option<String>,
    /// How to log: for people, or one JSON document per line
    #[arg(long, value_name = "FORMAT", env = "ROUSE_LOG_FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
    /// Say whether the configuration is good, and exit
    #[arg(long)]
    pub check: bool,
    /// Print the whole configuration as it is in effect, in the form of a file, and exit
    #[arg(long)]
    pub print_config: bool,
}

/// Everything the daemon has to know, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file it came from.
    pub file: Option<PathBuf>,
    /// Where everything is that outlives the daemon.
    pub state_dir: PathBuf,
    /// What the node is called.
    pub name: Option<String>,
    /// The network modules.
    pub netmods: Vec<NetmodConfig>,
    /// The peers to dial, as URIs.
    pub peers: Vec<String>,
    /// The file with the key of a closed mesh.
    pub mesh_key: Option<PathBuf>,
    /// The bounds of the node.
    pub limits: Limits,
    /// Where programs connect.
    pub api: ApiSocket,
    /// What to log.
    pub log_level: String,
    /// How to log.
    pub log_format: LogFormat,
    /// The address book of the configuration.
    pub names: BTreeMap<String, Address>,
}

/// One network module. The only kind yet is UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetmodConfig {
    /// Where it listens: `[::]:7700`.
    pub listen: String,
    /// Whether it looks for neighbours.
    pub discover: bool,
    /// On which interfaces.
    pub interfaces: Vec<String>,
}

impl Default for NetmodConfig {
    fn default() -> Self {
        NetmodConfig { listen: DEFAULT_LISTEN.to_owned(), discover: true, interfaces: vec!["*".to_owned()] }
    }
}

/// Every address; the default port, or a free one when that is taken.
const DEFAULT_LISTEN: &str = "[::]";

/// Where the socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiSocket {
    /// In the state directory, for the owner alone.
    StateDir,
    /// Here, for the owner and the socket's group.
    At(PathBuf),
}

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A location in the file.
    #[error("{path}, line {line}: {text}", path = path.display())]
    At {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what to do.
        text: String,
    },
    /// A value whose location is not one line of the file.
    #[error("{0}")]
    Value(String),
    /// Nothing says where the state directory is.
    #[error("no state directory is known: set HOME, or name one with --state-dir")]
    NoStateDir,
}

impl Config {
    /// Puts flags, environment, file and defaults together.
    ///
    /// # Errors
    /// [`ConfigError`] with the location and what to do.
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

    /// Where the socket will be.
    pub fn socket(&self) -> PathBuf {
        match &self.api {
            ApiSocket::StateDir => ipc::socket_path(&self.state_dir),
            ApiSocket::At(path) => path.clone(),
        }
    }

    /// The key of the mesh, if it is a closed one.
    ///
    /// # Errors
    /// When the file cannot be read or holds no key.
    pub fn read_mesh_key(&self) -> Result<Option<Zeroizing<[u8; 32]>>, ConfigError> {
        self.mesh_key.as_deref().map(read_mesh_key).transpose()
    }

    /// What works, and is unwise.
    pub fn warnings(&self) -> Vec<String> {
        let mode =
            |path: &PathBuf| Some((path.display().to_string(), fs::metadata(path).ok()?.mode() & 0o777));
        let key = self.mesh_key.as_ref().and_then(mode).filter(|(_, mode)| mode & 0o004 != 0);
        let text = |(path, mode)| {
            format!(
                "{path}: everybody on this machine can read the mesh key (mode {mode:o}): chmod 600 {path}"
            )
        };
        key.map(text).into_iter().collect()
    }

    /// The network modules, not yet open.
    ///
    /// # Errors
    /// When one could never work.
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

    /// The configuration as a file that says the same.
    pub fn to_toml(&self) -> String {
        print::print(self)
    }
}

/// A key as text is some 45 bytes; who points this at something huge made a mistake.
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
