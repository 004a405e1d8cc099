//! The file that clients connect to: made, taken over when its server has died, looked after, and removed.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use async_io::Async;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use crate::ipc::lookup::MAX_SOCKET_PATH;

/// Who may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The owner of the process, and root: mode 0600.
    Owner,
    /// The group of the socket too: mode 0660. What each user may do is the [`Admin`](crate::ipc::Admin)'s to say.
    Group,
}

/// Why the socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another process serves there.
    #[error("another daemon serves {path}; stop it, or choose another --state-dir", path = .0.display())]
    InUse(PathBuf),
    /// What is there is not a socket.
    #[error("{path} exists and is not a socket: move it away", path = .0.display())]
    NotASocket(PathBuf),
    /// The system takes no path of this length.
    #[error("{path} is longer than the {MAX_SOCKET_PATH} bytes that the system allows for a socket", path = .0.display())]
    TooLong(PathBuf),
    /// The system refused.
    #[error("socket {path}: {source}", path = path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A listening socket and the file that leads to it.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: Async<UnixListener>,
    /// Device and inode of the file, which tell it from one that another process has put there.
    file: (u64, u64),
}

impl Socket {
    /// Listens at `path`. A file there that leads to no server any more is replaced.
    pub(super) fn bind(path: &Path, access: Access) -> Result<Self, BindError> {
        let io = |source| BindError::Io { path: path.to_owned(), source };
        if path.as_os_str().as_bytes().len() > MAX_SOCKET_PATH {
            return Err(BindError::TooLong(path.to_owned()));
        }
        clear_stale(path)?;
        let listener = Async::<UnixListener>::bind(path).map_err(io)?;
        let mode = match access {
            Access::Owner => 0o600,
            Access::Group => 0o660,
        };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(io)?;
        let metadata = fs::symlink_metadata(path).map_err(io)?;
        Ok(Socket { listener, file: (metadata.dev(), metadata.ino()) })
    }

    /// Whether `path` leads here.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == self.file)
    }

    /// Removes the file at `path`, if it leads here.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        if self.is_at(path) { fs::remove_file(path) } else { Ok(()) }
    }
}

fn clear_stale(path: &Path) -> Result<(), BindError> {
    let io = |source| BindError::Io { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match connect_at_once(path) {
        // A server that has not yet looked at those who wait is a server too.
        Ok(()) | Err(Errno::AGAIN) => Err(BindError::InUse(path.to_owned())),
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(io),
        Err(error) => Err(io(error.into())),
    }
}

/// Connects, and gives up where a connection would wait until it is accepted.
fn connect_at_once(path: &Path) -> Result<(), Errno> {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
}
