//! The errors of a program that uses the daemon. Each text names the cause and the next step.

use std::io;
use std::path::PathBuf;

use crate::address::Address;
use crate::ipc::admin::AdminError;
use crate::ipc::protocol::{Failure, VERSION};
use crate::types::{PingError, RequestError, SendError};

/// The reason why there is no connection to the daemon.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No daemon serves any of these sockets.
    #[error("no daemon answers at {}; start one with `roused`", list(.tried))]
    NoDaemon {
        /// The sockets that were tried, in this order.
        tried: Vec<PathBuf>,
    },
    /// The socket belongs to another user.
    #[error("no permission for {path}: only its owner may use it; run the command as that user", path = .0.display())]
    Permission(PathBuf),
    /// The daemon has another version of the protocol than this program.
    #[error("the daemon at {path} uses version {theirs} of the socket protocol, this program {VERSION}: update the older one and restart it", path = path.display())]
    Version {
        /// The socket.
        path: PathBuf,
        /// The daemon's version.
        theirs: u16,
    },
    /// The daemon has as many connections as it takes.
    #[error("the daemon at {path} has as many connections as it takes: close one", path = .0.display())]
    Busy(PathBuf),
    /// The server of the socket is not a rouse daemon.
    #[error("the server at {path} is not a rouse daemon: name another socket with --socket", path = .0.display())]
    NotADaemon(PathBuf),
    /// The server of the socket runs as another user than the owner of the state directory.
    #[error("{path} is not trusted: it is served by user {uid}, but another user owns the state directory", path = path.display())]
    Impostor {
        /// The socket.
        path: PathBuf,
        /// The user that serves it.
        uid: u32,
    },
    /// Neither a state directory nor a home is known.
    #[error("no state directory is known: set HOME, or name one with --state-dir or --socket")]
    NoHome,
    /// A system call failed.
    #[error("socket {path}: {source}", path = path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The reason why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A message was not sent, or not delivered.
    #[error(transparent)]
    Send(SendError),
    /// No reply to a ping came in time, or there is no route.
    #[error(transparent)]
    Ping(PingError),
    /// A request has no answer.
    #[error(transparent)]
    Request(RequestError),
    /// The daemon refused the call; the error names the next step.
    #[error(transparent)]
    Refused(AdminError),
    /// The address is not one of the daemon's.
    #[error("{0} is not an address of this node; `rouse id list` shows them")]
    NoSuchAddress(Address),
    /// More calls are under way on this connection than the daemon allows.
    #[error(
        "too many calls are under way on this connection: wait for replies, or drop the calls that are no longer wanted"
    )]
    Busy,
    /// The daemon has stopped, or is stopping.
    #[error("the daemon has stopped")]
    Stopped,
    /// The connection was lost. Confirmed messages have been received; messages that were fetched and not confirmed are
    /// back in their inbox.
    #[error("the connection to the daemon was lost: {0}; connect again")]
    Disconnected(String),
}

impl ClientError {
    /// The daemon broke the rules of the protocol: the reply does not belong to the call.
    pub(super) fn unexpected_reply() -> Self {
        ClientError::Disconnected("the daemon sent an answer of the wrong kind".to_owned())
    }
}

impl From<Failure> for ClientError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Send(SendError::Stopped) | Failure::Ping(PingError::Stopped) | Failure::Stopped => {
                ClientError::Stopped
            }
            Failure::Send(error) => ClientError::Send(error),
            Failure::Ping(error) => ClientError::Ping(error),
            Failure::Request(error) => match *error {
                RequestError::Send(SendError::Stopped) => ClientError::Stopped,
                error => ClientError::Request(error),
            },
            Failure::Admin(error) => ClientError::Refused(error),
            Failure::NoSuchAddress(address) => ClientError::NoSuchAddress(address),
            Failure::Busy => ClientError::Busy,
        }
    }
}
