//! The configuration of the daemon. A flag takes precedence over the environment, the environment over the file, the
//! file over the defaults.
//!
//! [`Flags`] holds the first two (clap reads `ROUSE_*` where a flag is missing), `file` the third. [`Config::load`]
//! merges them and checks everything that can be checked without opening a socket.

mod error;
mod file;
mod flags;
mod locations;
mod merge;
mod mesh_key;
mod print;
mod settings;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rouse_core::ipc;
use rouse_core::netmod::{Netmod, NetmodError};
use rouse_netmod_udp::{Udp, UdpConfig};
use zeroize::Zeroizing;

pub use error::ConfigError;
pub use flags::Flags;
pub use settings::{ApiSocket, Config, NetmodConfig};

use file::ConfigFile;
use locations::ValueLocations;
use merge::merge;
pub(crate) use mesh_key::read_mesh_key;

/// The key file in the state directory, which `rouse mesh` writes and which is used unless the configuration names one.
pub const MESH_KEY: &str = "mesh.key";

/// The configuration file of the system.
const SYSTEM_FILE: &str = "/etc/rouse/roused.toml";

/// The configuration files that are used when none is named, the first that exists: that of the user, then that of the
/// system.
pub fn default_files() -> Vec<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    folder
        .map(|folder| folder.join("rouse/roused.toml"))
        .into_iter()
        .chain([PathBuf::from(SYSTEM_FILE)])
        .collect()
}

impl Config {
    /// Merges flags, environment, file and defaults.
    ///
    /// # Errors
    /// [`ConfigError`] for the first fault.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        let path = flags.config.clone().or_else(|| default_files().into_iter().find(|path| path.exists()));
        let (file, locations) = match &path {
            Some(path) => {
                let text = fs::read_to_string(path)
                    .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
                ConfigFile::parse(path, &text)?
            }
            None => <(ConfigFile, ValueLocations)>::default(),
        };
        let state_dir = flags.state_dir.clone().or_else(ipc::state_dir).ok_or(ConfigError::NoStateDir)?;
        let mut config = merge(flags, path, file, &locations, state_dir)?;
        let made = config.state_dir.join(MESH_KEY);
        if config.mesh_key.is_none() && made.exists() {
            read_mesh_key(&made)?;
            config.mesh_key = Some(made);
        }
        Ok(config)
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

#[cfg(test)]
mod tests;
