//! From a search to a connection: looks, greets, and checks who answers.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_io::{Async, Timer};
use futures::future::{Either, select};
use futures::io::{AsyncReadExt, AsyncWriteExt};

use crate::ipc::client::Client;
use crate::ipc::client_connection::{ClientConnection, ReadHalf};
use crate::ipc::error::ConnectError;
use crate::ipc::frame::FrameReader;
use crate::ipc::lookup::{Search, SocketCandidate};
use crate::ipc::protocol::*;
use crate::ipc::server::peer_uid;
use crate::wire::codec;

/// How long to wait for a daemon that is just starting.
const STARTING: Duration = Duration::from_secs(2);

/// The pause between two looks for it.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long a daemon may take to greet.
const GREETING_PATIENCE: Duration = Duration::from_secs(5);

impl Client {
    /// As [`Client::find`], to see how the daemon is, to reload or to stop it: the owner gets in for that even when other
    /// programs hold every connection, for five seconds.
    ///
    /// # Errors
    /// [`ConnectError`], which says what to do.
    pub async fn find_to_administer(search: &Search) -> Result<Self, ConnectError> {
        match find(search, GreetingCode::Ok).await {
            Err(ConnectError::Busy(_)) => Ok(Self::over(find(search, GreetingCode::Administer).await?)),
            found => Ok(Self::over(found?)),
        }
    }
}

/// Connects to the first daemon that serves where `search` looks.
pub(super) async fn find(search: &Search, wish: GreetingCode) -> Result<ClientConnection, ConnectError> {
    let deadline = Instant::now() + STARTING;
    let candidates = search.candidates();
    if candidates.is_empty() {
        return Err(ConnectError::NoHome);
    }
    loop {
        let mut trouble = None;
        for candidate in &candidates {
            match connect(candidate, wish).await {
                Ok(connection) => return Ok(connection),
                Err(ConnectError::NoDaemon { .. }) => {}
                Err(error) => trouble = trouble.or(Some(error)),
            }
        }
        if let Some(error) = trouble {
            return Err(error);
        }
        if Instant::now() >= deadline {
            let tried = candidates.into_iter().map(|candidate| candidate.path).collect();
            return Err(ConnectError::NoDaemon { tried });
        }
        Timer::after(LOOK_AGAIN).await;
    }
}

async fn connect(candidate: &SocketCandidate, wish: GreetingCode) -> Result<ClientConnection, ConnectError> {
    let path = &candidate.path;
    let io = |source: io::Error| refused(path, source);
    let stream = Arc::new(Async::<UnixStream>::connect(path).await.map_err(io)?);
    if let Some(owner) = candidate.only {
        let uid = peer_uid(&stream).map_err(io)?;
        if uid != owner && uid != 0 {
            return Err(ConnectError::Impostor { path: path.clone(), uid });
        }
    }
    let meeting = std::pin::pin!(meet(stream, path, wish));
    match select(meeting, Timer::after(GREETING_PATIENCE)).await {
        Either::Left((met, _)) => met,
        Either::Right(_) => Err(io(io::ErrorKind::TimedOut.into())),
    }
}

pub(super) async fn meet(
    stream: Arc<Async<UnixStream>>,
    path: &Path,
    wish: GreetingCode,
) -> Result<ClientConnection, ConnectError> {
    let io = |source: io::Error| refused(path, source);
    let mut theirs = [0; GREETING_LENGTH];
    // A daemon that is full answers without listening: what it says counts, not that it did not listen.
    let said = (&*stream).write_all(&encode_greeting(VERSION, wish)).await;
    (&*stream).read_exact(&mut theirs).await.map_err(|error| io(said.err().unwrap_or(error)))?;
    match decode_greeting(&theirs) {
        None => return Err(ConnectError::NotADaemon(path.to_owned())),
        Some((theirs, _)) if theirs != VERSION => {
            return Err(ConnectError::Version { path: path.to_owned(), theirs });
        }
        Some((_, GreetingCode::Ok)) => {}
        Some((_, GreetingCode::Busy)) => return Err(ConnectError::Busy(path.to_owned())),
        // It is on its way out: as good as gone.
        Some((_, GreetingCode::Stopping | GreetingCode::Administer | GreetingCode::Unknown)) => {
            return Err(nobody(path));
        }
    }
    let mut frames = FrameReader::new(ReadHalf(stream.clone()));
    let welcome = frames.next().await.map(codec::decode);
    match welcome {
        Ok(Ok(DaemonFrame::Welcome { address, version })) => {
            Ok(ClientConnection::start(stream, frames, address, version))
        }
        Ok(_) => Err(ConnectError::NotADaemon(path.to_owned())),
        Err(_) => Err(nobody(path)),
    }
}

fn nobody(path: &Path) -> ConnectError {
    ConnectError::NoDaemon { tried: vec![path.to_owned()] }
}

fn refused(path: &Path, source: io::Error) -> ConnectError {
    let path: PathBuf = path.to_owned();
    match source.kind() {
        // Reset, or closed before a word: it was just stopping.
        io::ErrorKind::NotFound
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => nobody(&path),
        io::ErrorKind::PermissionDenied => ConnectError::Permission(path),
        _ => ConnectError::Io { path, source },
    }
}
