//! The socket file that clients connect to: created, replaced when its server has ended, checked, and removed.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use async_io::Async;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use crate::ipc::lookup::MAX_SOCKET_PATH;

/// The users that may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The owner of the process, and root: mode 0600.
    Owner,
    /// The group of the socket too: mode 0660. The [`Admin`](crate::ipc::Admin) decides which user may do what.
    Group,
}

/// The reason why the socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another process serves the socket.
    #[error("another daemon serves {path}; stop it, or choose another --state-dir", path = .0.display())]
    InUse(PathBuf),
    /// The path leads to a file that is not a socket.
    #[error("{path} exists and is not a socket: move it away, or choose another --state-dir", path = .0.display())]
    NotASocket(PathBuf),
    /// The path is longer than the system allows.
    #[error("{path} is longer than the {MAX_SOCKET_PATH} bytes that the system allows for a socket: choose a shorter path", path = .0.display())]
    TooLong(PathBuf),
    /// A system call failed.
    #[error("socket {path}: {source}", path = path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

/// A listening socket and the file that leads to it.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: Async<UnixListener>,
    /// Device and inode of the file, since another process may have put its own file at the same path.
    file: (u64, u64),
}

impl Socket {
    /// Listens at `path`. A socket that no process serves any more is replaced.
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

    /// Whether the file at `path` is this socket.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == self.file)
    }

    /// Removes the file at `path`, if it is this socket.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        if self.is_at(path) { fs::remove_file(path) } else { Ok(()) }
    }
}

/// Removes a socket at `path` that no process serves any more.
fn clear_stale(path: &Path) -> Result<(), BindError> {
    let io = |source| BindError::Io { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match connect_at_once(path) {
        // A full queue of connections means that a server exists, although it has not accepted them yet.
        Ok(()) | Err(Errno::AGAIN) => Err(BindError::InUse(path.to_owned())),
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(io),
        Err(error) => Err(io(error.into())),
    }
}

/// Connects without waiting for a place in the queue of the server.
fn connect_at_once(path: &Path) -> Result<(), Errno> {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
}

/// The user id of the process at the other end, as the kernel reports it.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn peer_uid(stream: &Async<UnixStream>) -> io::Result<u32> {
    Ok(rustix::net::sockopt::socket_peercred(stream)?.uid.as_raw())
}

/// The user id of this process: where the kernel does not report the peer's in a safe way, only the mode of the socket
/// decides on access, and every user that may connect counts as the owner.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn peer_uid(_stream: &Async<UnixStream>) -> io::Result<u32> {
    Ok(rustix::process::geteuid().as_raw())
}
