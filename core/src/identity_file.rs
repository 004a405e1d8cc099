//! Identities, and the files that keep their secrets.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::ops::Deref;
use std::path::{Path, PathBuf};

use rouse_proto::identity::Identity as KeyPair;
use zeroize::Zeroizing;

use crate::atomic_file;

const HEADER: &str = "rouse-identity-1";
const MAX_FILE: u64 = 4096;

/// An ed25519 key pair. Its holder can act as the address: sign its announces, complete its handshakes and receive its messages.
///
/// The secret is erased from memory when it is dropped, and never printed: `Debug` prints the address. It derefs to the
/// [`Identity`](rouse_proto::identity::Identity) of the protocol, which signs and has the [`address`](KeyPair::address).
#[derive(Clone)]
pub struct Identity(KeyPair);

impl Identity {
    /// A new identity, from the operating system's source of randomness.
    ///
    /// # Panics
    /// When the operating system has no randomness to give, in which case nothing that follows would be safe.
    pub fn generate() -> Self {
        Identity(KeyPair::generate())
    }

    /// The identity of a 32-byte secret seed (RFC 8032, section 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Identity(KeyPair::from_seed(seed))
    }

    /// Loads the identity from `path`, or makes one and saves it there.
    ///
    /// # Errors
    /// [`IdentityError`], with the path.
    pub fn load_or_create(path: &Path) -> Result<Self, IdentityError> {
        match Self::load(path) {
            Err(IdentityError::Io { ref source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let identity = Self::generate();
                match identity.save(path) {
                    Ok(()) => Ok(identity),
                    // Another process has created the file since: its identity is used.
                    Err(IdentityError::Io { source, .. })
                        if source.kind() == io::ErrorKind::AlreadyExists =>
                    {
                        Self::load(path)
                    }
                    Err(error) => Err(error),
                }
            }
            other => other,
        }
    }

    /// Loads an identity that [`Identity::save`] wrote.
    ///
    /// # Errors
    /// When the file cannot be read, is readable by others, or is not an identity.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let io = |source| IdentityError::Io { path: path.to_owned(), source };
        let mut file = fs::File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(IdentityError::Malformed(path.to_owned()));
        }
        check_mode(path, &metadata)?;
        let mut text = Zeroizing::new(String::new());
        (&mut file).take(MAX_FILE).read_to_string(&mut text).map_err(|source| match source.kind() {
            io::ErrorKind::InvalidData => IdentityError::Malformed(path.to_owned()),
            _ => io(source),
        })?;
        let malformed = || IdentityError::Malformed(path.to_owned());
        let hex =
            text.strip_prefix(HEADER).map(str::trim).filter(|hex| hex.len() == 64).ok_or_else(malformed)?;
        let mut seed = Zeroizing::new([0u8; 32]);
        for (byte, pair) in seed.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| malformed())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| malformed())?;
        }
        Ok(Self::from_seed(&seed))
    }

    /// Writes the identity to `path`: mode 0600, all of it or nothing, synced to the disk, and never over
    /// an existing file.
    ///
    /// # Errors
    /// When the file exists already or cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), IdentityError> {
        let mut text = Zeroizing::new(String::with_capacity(HEADER.len() + 66));
        text.push_str(HEADER);
        text.push('\n');
        for byte in self.0.seed().iter() {
            use fmt::Write;
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
        atomic_file::create(path, text.as_bytes())
            .map_err(|source| IdentityError::Io { path: path.to_owned(), source })
    }
}

impl Deref for Identity {
    type Target = KeyPair;

    fn deref(&self) -> &KeyPair {
        &self.0
    }
}

impl From<Identity> for KeyPair {
    fn from(identity: Identity) -> Self {
        identity.0
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(unix)]
fn check_mode(path: &Path, metadata: &fs::Metadata) -> Result<(), IdentityError> {
    use std::os::unix::fs::MetadataExt;
    match metadata.mode() & 0o077 {
        0 => Ok(()),
        _ => Err(IdentityError::Exposed { path: path.to_owned(), mode: metadata.mode() & 0o777 }),
    }
}

#[cfg(not(unix))]
fn check_mode(_path: &Path, _metadata: &fs::Metadata) -> Result<(), IdentityError> {
    Ok(())
}

/// The reason for which an identity could not be loaded or saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file could not be read or written.
    #[error("identity file {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Others can read the secret.
    #[error("identity file {path} has mode {mode:o}: others can read the secret; `chmod 600` it", path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not an identity file.
    #[error("{path} is not an identity file; move it away to get a new identity", path = .0.display())]
    Malformed(PathBuf),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_identity_is_loaded_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        let made = Identity::load_or_create(&path).unwrap();
        let loaded = Identity::load_or_create(&path).unwrap();
        assert_eq!(made.address(), loaded.address());
        assert!(made.save(&path).is_err(), "an existing file is never overwritten");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays behind");
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_for_the_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        Identity::generate().save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Identity::load(&path), Err(IdentityError::Exposed { mode: 0o644, .. })));
    }

    #[test]
    fn a_damaged_file_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        Identity::generate().save(&path).unwrap();
        for text in ["", "rouse-identity-1\n00", "rouse-identity-1\nzz", "hello"] {
            fs::write(&path, text).unwrap();
            assert!(matches!(Identity::load_or_create(&path), Err(IdentityError::Malformed(_))));
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        // The remedy of a directory is not another mode.
        assert!(matches!(Identity::load_or_create(folder.path()), Err(IdentityError::Malformed(_))));
    }
}
