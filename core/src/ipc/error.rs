//! What can go wrong for a program that uses the daemon, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::address::Address;
use crate::ipc::admin::AdminError;
use crate::ipc::protocol::{Failure, VERSION};
use crate::types::{PingError, SendError};

/// Why there is no connection to the daemon.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody serves any of these sockets.
    #[error("no daemon answers at {}; start one with `roused`", list(.tried))]
    NoDaemon {
        /// Where it was looked for, in this order.
        tried: Vec<PathBuf>,
    },
    /// The socket is somebody else's.
    #[error("no permission for {path}: it is for its owner; run as that user", path = .0.display())]
    Permission(PathBuf),
    /// The daemon is of another version than this program.
    #[error("the daemon at {path} speaks version {theirs} of the socket protocol, this program {VERSION}: update the older one and restart it", path = path.display())]
    Version {
        /// The socket.
        path: PathBuf,
        /// The daemon's version.
        theirs: u16,
    },
    /// The daemon has as many connections as it takes.
    #[error("the daemon at {path} has as many connections as it takes: close one", path = .0.display())]
    Busy(PathBuf),
    /// Whoever serves there is no rouse daemon.
    #[error("what answers at {path} is not a rouse daemon", path = .0.display())]
    NotADaemon(PathBuf),
    /// Whoever serves there is not who should.
    #[error("{path} is served by user {uid}, who does not own the state directory: not trusted", path = path.display())]
    Impostor {
        /// The socket.
        path: PathBuf,
        /// Who serves there.
        uid: u32,
    },
    /// Neither a state directory nor a home is known.
    #[error("no state directory is known: set HOME, or name one with --state-dir or --socket")]
    NoHome,
    /// The system refused.
    #[error("socket {path}: {source}", path = path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Why the daemon did not do what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A message was not sent, or not delivered.
    #[error(transparent)]
    Send(SendError),
    /// A ping brought nothing.
    #[error(transparent)]
    Ping(PingError),
    /// The daemon refused, and says what to do.
    #[error(transparent)]
    Refused(AdminError),
    /// The address is not one of the daemon's.
    #[error("{0} is not an address of this node; `rouse id list` shows them")]
    NoSuchAddress(Address),
    /// More is under way on this connection than the daemon allows.
    #[error("too much is under way on this connection: wait for replies, or drop what is no longer wanted")]
    Busy,
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopped,
    /// The connection was lost. What was confirmed is done; messages fetched and not confirmed are back in the inbox.
    #[error("the connection to the daemon was lost: {0}; connect again")]
    Disconnected(String),
}

impl From<Failure> for ClientError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Send(SendError::Stopped) | Failure::Ping(PingError::Stopped) | Failure::Stopped => {
                ClientError::Stopped
            }
            Failure::Send(error) => ClientError::Send(error),
            Failure::Ping(error) => ClientError::Ping(error),
            Failure::Admin(error) => ClientError::Refused(error),
            Failure::NoSuchAddress(address) => ClientError::NoSuchAddress(address),
            Failure::Busy => ClientError::Busy,
        }
    }
}
