//! The state directory, which holds everything that outlives the daemon.
//!
//! | File | Content |
//! |---|---|
//! | `identity` | the secret of the node's own address |
//! | `identities/`, `identities.toml` | the secrets of further addresses, and their labels and owners |
//! | `names.toml`, `peers.toml` | names and peers that were added at run time |
//! | `mesh.key` | the key of a closed mesh, if `rouse mesh new` made one |
//! | `epoch` | the node's count of its starts |
//! | `journal/` | the messages that are not delivered, unless the daemon was started with `--volatile-only` |
//! | `lock` | the pid of the daemon that uses the directory, which holds a lock on this file |
//!
//! Each file is written whole or not at all (see [`atomic_file`]).

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rouse_core::{Address, Identity, IdentityError, atomic_file};
use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The errors of the state directory.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another daemon uses the directory.
    #[error("{path} is in use by another roused{pid}; stop it with `rouse stop`, or choose another --state-dir", path = path.display(), pid = .pid.map(|pid| format!(", pid {pid}")).unwrap_or_default())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other daemon's process id.
        pid: Option<u32>,
    },
    /// A file or directory cannot be read or written.
    #[error("{path}: {source}; {hint}", path = path.display(), hint = next_step(source))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The directory cannot be created.
    #[error("the state directory {path} cannot be created: {source}; choose another with --state-dir", path = path.display())]
    Make {
        /// The directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file is damaged.
    #[error("{path} is damaged ({text}); move it away to start without it", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The defect of the file.
        text: String,
    },
    /// An identity file cannot be loaded or saved.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// The next step after an error of the operating system.
fn next_step(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "let this user write there, or choose another --state-dir"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some room, or choose another --state-dir"
        }
        _ => "see to this path, or choose another --state-dir",
    }
}

/// A state directory that this process has locked for itself.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// The lock file, which is locked as long as it is open; `None` after the directory was released.
    lock: Mutex<Option<File>>,
}

/// A further address of the node, as it is stored in `identities.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityEntry {
    /// The address, which is also the name of the file with its secret.
    pub address: Address,
    /// The label that its owner gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The user id of its owner.
    pub owner_uid: u32,
}

/// The content of `identities.toml`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct IdentitiesFile {
    #[serde(default)]
    identity: Vec<IdentityEntry>,
}

/// The content of `names.toml`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct NamesFile {
    names: BTreeMap<String, Address>,
}

/// The content of `peers.toml`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct PeersFile {
    peers: Vec<String>,
}

impl StateDir {
    /// Locks the directory for this process, and creates it (mode 0700) when it does not exist.
    ///
    /// # Errors
    /// [`StateError::InUse`] when another daemon uses it; otherwise when it cannot be created or locked.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let io = |source| StateError::Io { path: path.to_owned(), source };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|source| StateError::Make { path: path.to_owned(), source })?;
        let path = path.canonicalize().map_err(io)?;
        let mode = fs::metadata(&path).map_err(io)?.mode();
        if mode & 0o022 != 0 {
            tracing::warn!("other users may write to {}: `chmod 700` it", path.display());
        }
        let lock = lock_directory(&path)?;
        for folder in [&path, &path.join("identities")] {
            if let Err(error) = atomic_file::remove_unfinished(folder) {
                tracing::warn!(%error, "cannot look for temporary files of a killed daemon in {}", folder.display());
            }
        }
        Ok(StateDir { path, lock: Mutex::new(Some(lock)) })
    }

    /// The folder of the journal, which is created (mode 0700) when it does not exist.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn journal(&self) -> Result<PathBuf, StateError> {
        let path = self.path.join("journal");
        match DirBuilder::new().recursive(true).mode(0o700).create(&path) {
            Ok(()) => Ok(path),
            Err(_) if path.is_file() => {
                Err(StateError::Damaged { path, text: "a file where a folder has to be".to_owned() })
            }
            Err(source) => Err(StateError::Io { path, source }),
        }
    }

    /// Unlocks the directory, so that another daemon may use it. Nothing may be written after this.
    pub fn release(&self) {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Ensures that this process still has the directory. A directory that was removed and created again is locked once
    /// more, since the old lock is on a file that no longer has a name.
    ///
    /// # Errors
    /// [`StateError::InUse`] when another daemon has locked it in the meantime, [`StateError::Io`] when it does not
    /// exist.
    pub fn ensure_locked(&self) -> Result<(), StateError> {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let file = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let ours = lock.as_ref().and_then(|lock| lock.metadata().ok()).map(file);
        let there = fs::metadata(self.path.join("lock")).ok().map(file);
        if ours.is_some() && ours != there {
            *lock = Some(lock_directory(&self.path)?);
            let identity = self.path.join("identity");
            if !identity.exists() {
                tracing::warn!(
                    "{} is gone: the node will have a new address after its next start; restore the file from a backup to keep the address",
                    identity.display()
                );
            }
        }
        Ok(())
    }

    /// The problems of the files in a directory, which another process may have locked. Nothing is changed.
    pub fn problems(path: &Path) -> Vec<StateError> {
        let state = StateDir { path: path.to_owned(), lock: Mutex::new(None) };
        let identity = path.join("identity");
        let own = if identity.exists() { Identity::load(&identity).map(drop) } else { Ok(()) };
        let checks = [
            own.map_err(StateError::from),
            state.identities().map(drop),
            state.names().map(drop),
            state.peers().map(drop),
        ];
        checks.into_iter().filter_map(Result::err).collect()
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file in which the node counts its starts.
    pub fn epoch_file(&self) -> PathBuf {
        self.path.join("epoch")
    }

    /// The node's own identity, which is created at the first start.
    ///
    /// # Errors
    /// When the file is damaged, is readable by other users or cannot be written.
    pub fn identity(&self) -> Result<Identity, StateError> {
        Ok(Identity::load_or_create(&self.path.join("identity"))?)
    }

    /// The further addresses and their secrets. An address whose secret is missing is left out.
    ///
    /// # Errors
    /// When a file is damaged.
    pub fn identities(&self) -> Result<Vec<(IdentityEntry, Identity)>, StateError> {
        let entries: IdentitiesFile = self.read("identities.toml")?;
        let mut identities = Vec::new();
        for entry in entries.identity {
            let path = self.secret(&entry.address);
            if !path.exists() {
                tracing::warn!(address = %entry.address, "the secret of a further address is missing: the address is left out");
                continue;
            }
            let identity = Identity::load(&path)?;
            if identity.address() != entry.address {
                let text = "it holds the secret of another address".to_owned();
                return Err(StateError::Damaged { path, text });
            }
            identities.push((entry, identity));
        }
        Ok(identities)
    }

    fn secret(&self, address: &Address) -> PathBuf {
        self.path.join("identities").join(address.to_string())
    }

    /// Saves the secret of a further address. The address exists only once [`StateDir::write_entries`] has listed it,
    /// so that a crash between both leaves no address without a secret.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_secret(&self, identity: &Identity) -> Result<(), StateError> {
        self.ensure_locked()?;
        let folder = self.path.join("identities");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|source| StateError::Io { path: folder, source })?;
        Ok(identity.save(&self.secret(&identity.address()))?)
    }

    /// Deletes the secret of a further address.
    ///
    /// # Errors
    /// When the file cannot be deleted.
    pub fn remove_secret(&self, address: &Address) -> Result<(), StateError> {
        self.ensure_locked()?;
        let path = self.secret(address);
        fs::remove_file(&path).map_err(|source| StateError::Io { path, source })
    }

    /// Stores the list of further addresses.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_entries(&self, entries: &[IdentityEntry]) -> Result<(), StateError> {
        self.write("identities.toml", &IdentitiesFile { identity: entries.to_vec() })
    }

    /// The names that were given at run time.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn names(&self) -> Result<BTreeMap<String, Address>, StateError> {
        Ok(self.read::<NamesFile>("names.toml")?.names)
    }

    /// Stores the names.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_names(&self, names: &BTreeMap<String, Address>) -> Result<(), StateError> {
        self.write("names.toml", &NamesFile { names: names.clone() })
    }

    /// The peers that were added at run time.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn peers(&self) -> Result<Vec<String>, StateError> {
        Ok(self.read::<PeersFile>("peers.toml")?.peers)
    }

    /// Stores the peers.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_peers(&self, peers: &[String]) -> Result<(), StateError> {
        self.write("peers.toml", &PeersFile { peers: peers.to_vec() })
    }

    fn read<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T, StateError> {
        let path = self.path.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text)
                .map_err(|error| StateError::Damaged { path, text: error.message().to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::IsADirectory) =>
            {
                Err(StateError::Damaged { path, text: error.to_string() })
            }
            Err(source) => Err(StateError::Io { path, source }),
        }
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), StateError> {
        self.ensure_locked()?;
        let path = self.path.join(name);
        let text = toml::to_string(value)
            .map_err(|error| StateError::Damaged { path: path.clone(), text: error.to_string() })?;
        let text = format!("# Written by roused; `rouse` changes it while the daemon runs.\n{text}");
        atomic_file::replace(&path, text.as_bytes()).map_err(|source| StateError::Io { path, source })
    }
}

/// Locks the directory for this process and writes its pid to the lock file.
fn lock_directory(folder: &Path) -> Result<File, StateError> {
    let path = folder.join("lock");
    let io = |source| StateError::Io { path: path.clone(), source };
    let options =
        || OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = options().map_err(io)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            // The pid only improves the message, so that an error of reading it is ignored.
            let _ = Read::by_ref(&mut file).take(16).read_to_string(&mut pid);
            return Err(StateError::InUse { path: folder.to_owned(), pid: pid.trim().parse().ok() });
        }
        Err(error) => return Err(io(error.into())),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(io)?;
    Ok(file)
}

#[cfg(test)]
mod tests;
