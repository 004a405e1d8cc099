//! Connects to the daemon that a search finds: tries the sockets, exchanges greetings, and checks the owner of the
//! process.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_io::{Async, Timer};
use futures::future::{Either, select};
use futures::io::{AsyncReadExt, AsyncWriteExt};

use crate::ipc::client_connection::{ClientConnection, ReadHalf};
use crate::ipc::error::ConnectError;
use crate::ipc::frame::FrameReader;
use crate::ipc::lookup::{Search, SocketCandidate};
use crate::ipc::protocol::{
    DaemonFrame, GREETING_LENGTH, GreetingCode, VERSION, decode_greeting, encode_greeting,
};
use crate::ipc::socket::peer_uid;
use crate::wire::codec;

/// The time to wait for a daemon that is just starting.
const START_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause between two attempts to connect to it. The system reports no event when a server begins to listen.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// The time within which a daemon has to send its greeting.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to the first daemon that serves one of the sockets of `search`.
pub(super) async fn find(search: &Search, purpose: GreetingCode) -> Result<ClientConnection, ConnectError> {
    let deadline = Instant::now() + search.patience.unwrap_or(START_TIMEOUT);
    let candidates = search.candidates();
    if candidates.is_empty() {
        return Err(ConnectError::NoHome);
    }
    loop {
        let mut first_error = None;
        for candidate in &candidates {
            match connect(candidate, purpose).await {
                Ok(connection) => return Ok(connection),
                Err(ConnectError::NoDaemon { .. }) => {}
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        if let Some(error) = first_error {
            return Err(error);
        }
        if Instant::now() >= deadline {
            let tried = candidates.into_iter().map(|candidate| candidate.path).collect();
            return Err(ConnectError::NoDaemon { tried });
        }
        Timer::after(RETRY_INTERVAL).await;
    }
}

/// Connects to one socket, and checks the owner of the process that serves it.
async fn connect(
    candidate: &SocketCandidate,
    purpose: GreetingCode,
) -> Result<ClientConnection, ConnectError> {
    let path = &candidate.path;
    let io = |source: io::Error| refused(path, source);
    let stream = Arc::new(Async::<UnixStream>::connect(path).await.map_err(io)?);
    if let Some(owner) = candidate.trusted_uid {
        let uid = peer_uid(&stream).map_err(io)?;
        if uid != owner && uid != 0 {
            return Err(ConnectError::Impostor { path: path.clone(), uid });
        }
    }
    begin(stream, path, purpose).await
}

/// Begins a connection on a stream that is connected already. `path` names it in errors.
pub(super) async fn begin(
    stream: Arc<Async<UnixStream>>,
    path: &Path,
    purpose: GreetingCode,
) -> Result<ClientConnection, ConnectError> {
    let greeting = std::pin::pin!(exchange_greetings(stream, path, purpose));
    match select(greeting, Timer::after(GREETING_TIMEOUT)).await {
        Either::Left((connection, _)) => connection,
        Either::Right(_) => Err(refused(path, io::ErrorKind::TimedOut.into())),
    }
}

/// Exchanges greetings over a stream, and reads the welcome of the daemon.
async fn exchange_greetings(
    stream: Arc<Async<UnixStream>>,
    path: &Path,
    purpose: GreetingCode,
) -> Result<ClientConnection, ConnectError> {
    let io = |source: io::Error| refused(path, source);
    let mut theirs = [0; GREETING_LENGTH];
    // A daemon that is full may answer and close before it reads, so that its greeting counts more than a failed write.
    let written = (&*stream).write_all(&encode_greeting(VERSION, purpose)).await;
    (&*stream).read_exact(&mut theirs).await.map_err(|error| io(written.err().unwrap_or(error)))?;
    match decode_greeting(&theirs) {
        None => return Err(ConnectError::NotADaemon(path.to_owned())),
        Some((theirs, _)) if theirs != VERSION => {
            return Err(ConnectError::Version { path: path.to_owned(), theirs });
        }
        Some((_, GreetingCode::Ok)) => {}
        Some((_, GreetingCode::Busy)) => return Err(ConnectError::Busy(path.to_owned())),
        // A daemon that is stopping is treated as one that has ended, so that the client waits for the next one.
        Some((_, GreetingCode::Stopping | GreetingCode::Administer | GreetingCode::Unknown)) => {
            return Err(no_daemon(path));
        }
    }
    let mut frames = FrameReader::new(ReadHalf(stream.clone()));
    let welcome = frames.next().await.map(codec::decode);
    match welcome {
        Ok(Ok(DaemonFrame::Welcome { address, version })) => {
            Ok(ClientConnection::start(stream, frames, address, version))
        }
        Ok(_) => Err(ConnectError::NotADaemon(path.to_owned())),
        Err(_) => Err(no_daemon(path)),
    }
}

fn no_daemon(path: &Path) -> ConnectError {
    ConnectError::NoDaemon { tried: vec![path.to_owned()] }
}

fn refused(path: &Path, source: io::Error) -> ConnectError {
    let path: PathBuf = path.to_owned();
    match source.kind() {
        // A connection that is reset or closed before the greeting was accepted by a daemon that was just stopping.
        io::ErrorKind::NotFound
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => no_daemon(&path),
        io::ErrorKind::PermissionDenied => ConnectError::Permission(path),
        _ => ConnectError::Io { path, source },
    }
}
