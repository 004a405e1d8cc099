//! The daemon's side of the socket: accepts connections, keeps the socket in its place, and ends in order.

use std::fmt;
use std::future::Future;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_io::{Async, Timer};
use futures::future::{Abortable, FutureExt, select};
use futures::stream::StreamExt;

use crate::ipc::admin::Admin;
use crate::ipc::admission::{ConnectionAdmission, WarningThrottle};
use crate::ipc::lifecycle::{ConnectionCount, Phase};
use crate::ipc::provisional::ProvisionalConnections;
use crate::ipc::quotas::ServerQuotas;
use crate::ipc::server_connection;
use crate::ipc::session::ClientSession;
use crate::ipc::socket::{Access, BindError, Socket, peer_uid};
use crate::ipc::text_protocol::{self, TextProtocol};
use crate::node::Node;
use crate::rt;

/// The time after which a connection is closed when its client reads nothing of the data that is written to it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// The time that each phase of the end may take.
const PHASE_TIMEOUT: Duration = Duration::from_secs(1);

/// The interval at which the server checks that its socket is still at its path.
const SOCKET_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The first pause after a failed accept, most often for lack of file descriptors. The pause doubles while the failure
/// lasts, up to [`MAX_ACCEPT_PAUSE`].
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause after a failed accept.
const MAX_ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Serves a node to the one program that holds the other end of `stream`, as the user `uid`, until that program closes its
/// end: for an application that starts a program and lets it inherit one end of a socket pair. The program uses
/// [`Client::from_stream`](crate::Client::from_stream). Dropping the future ends the connection; messages that were
/// fetched and not confirmed then go back to their inboxes.
///
/// # Errors
/// When the stream fails, or when the program breaks the rules of the [`protocol`](crate::ipc::protocol).
pub async fn serve_stream<A: Admin>(
    stream: UnixStream,
    uid: u32,
    node: Node,
    admin: Arc<A>,
) -> io::Result<()> {
    let stream = Async::new(stream)?;
    let session = Arc::new(ClientSession::new(node, admin, uid, Arc::default()));
    let admission = ConnectionAdmission::new(WRITE_TIMEOUT);
    // No other connection takes its place, so that nothing evicts it.
    let (entry, _) = Arc::<ProvisionalConnections>::default().add();
    server_connection::run(&stream, session, &admission, entry).await.map_err(io::Error::other)
}

/// The socket through which other programs use a node.
pub struct Server {
    socket: Mutex<Arc<Socket>>,
    path: PathBuf,
    access: Access,
    pub(super) admission: ConnectionAdmission,
    quotas: Arc<ServerQuotas>,
    provisional: Arc<ProvisionalConnections>,
    accept_warning: WarningThrottle,
    text: Option<Arc<dyn TextProtocol>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("path", &self.path)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Opens the socket. A socket that no process serves any more is replaced.
    ///
    /// # Errors
    /// [`BindError`], with the path and the next step.
    pub fn bind(path: &Path, access: Access) -> Result<Self, BindError> {
        Ok(Server {
            socket: Mutex::new(Arc::new(Socket::bind(path, access)?)),
            path: path.to_owned(),
            access,
            admission: ConnectionAdmission::new(WRITE_TIMEOUT),
            quotas: Arc::default(),
            provisional: Arc::default(),
            accept_warning: WarningThrottle::default(),
            text: None,
        })
    }

    /// Serves connections whose first byte is `{` by `protocol`. Without this, they are closed.
    #[must_use]
    pub fn text_protocol(mut self, protocol: impl TextProtocol) -> Self {
        self.text = Some(Arc::new(protocol));
        self
    }

    /// The path of the socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn socket(&self) -> Arc<Socket> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves until [`Server::drain`]. Each connection is served by a task of its own.
    pub async fn serve<A: Admin>(&self, node: Node, admin: Arc<A>) {
        let mut check = Timer::interval(SOCKET_CHECK_INTERVAL);
        let mut last_error = None;
        let mut pause = ACCEPT_PAUSE;
        while self.admission.lifecycle.now() == Phase::Serving {
            let socket = self.socket();
            futures::select_biased! {
                _ = self.admission.lifecycle.beyond(Phase::Serving).fuse() => break,
                accepted = socket.listener.accept().fuse() => match accepted {
                    Ok((stream, _)) => {
                        pause = ACCEPT_PAUSE;
                        self.admit(stream, &node, &admin);
                    }
                    Err(error) => {
                        if self.accept_warning.may_warn() {
                            tracing::warn!(%error, "accept failed, clients wait: if too many files are open, raise LimitNOFILE or ulimit -n");
                        }
                        Timer::after(pause).await;
                        pause = pause.saturating_mul(2).min(MAX_ACCEPT_PAUSE);
                    }
                },
                _ = check.next().fuse() => self.restore(&socket, &*admin, &mut last_error),
            }
        }
    }

    /// Puts the socket back when its file was removed or its directory replaced, because otherwise no client finds the
    /// daemon and only a signal stops it. An error is logged when it differs from the last one.
    pub(super) fn restore(&self, socket: &Socket, admin: &impl Admin, last_error: &mut Option<String>) {
        if socket.is_at(&self.path) {
            *last_error = None;
            return;
        }
        let bound = admin
            .may_bind()
            .and_then(|()| Socket::bind(&self.path, self.access).map_err(|error| error.to_string()));
        match bound {
            Ok(socket) => {
                *self.socket.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(socket);
                *last_error = None;
                tracing::warn!("the socket {} was removed: it has been created again", self.path.display());
            }
            Err(text) if last_error.as_ref() != Some(&text) => {
                tracing::error!(
                    "the socket {} was removed, and cannot be created again: {text}",
                    self.path.display()
                );
                *last_error = Some(text);
            }
            Err(_) => {}
        }
    }

    fn admit<A: Admin>(&self, stream: Async<UnixStream>, node: &Node, admin: &Arc<A>) {
        let uid = match peer_uid(&stream) {
            Ok(uid) => uid,
            Err(error) => {
                return tracing::warn!(%error, "a connection was refused: the system does not report its user id");
            }
        };
        let own = rustix::process::geteuid().as_raw();
        if self.access == Access::Owner && uid != own && uid != 0 {
            return tracing::warn!(uid, "a connection of another user was refused");
        }
        let session = Arc::new(ClientSession::new(node.clone(), admin.clone(), uid, self.quotas.clone()));
        let admission = self.admission.clone();
        let (entry, registration) = self.provisional.add();
        let text = self.text.clone();
        let counting = node.clone();
        let connection = async move {
            let served = async move {
                match text {
                    Some(text) if text_protocol::is_text(&stream, &admission).await? => {
                        text_protocol::run(stream, &*text, session, &admission, entry).await
                    }
                    _ => server_connection::run(&stream, session, &admission, entry).await,
                }
            };
            if let Err(reason) = served.await {
                if let Some(counter) = reason.counter() {
                    counting.count(counter);
                }
                tracing::debug!(%reason, uid, "a client's connection ended");
            }
        };
        // The task ends by itself: when its client closes, when the server closes, or when it is provisional and
        // evicted.
        drop(rt::spawn(async move {
            let _ = Abortable::new(connection, registration).await;
        }));
    }

    /// Accepts no more connections and no more calls, ends the calls that wait, and gives back the messages that were
    /// fetched and not confirmed. Replies that are ready are still written. This takes at most two seconds.
    pub async fn drain(&self) {
        let lifecycle = &self.admission.lifecycle;
        lifecycle.enter(Phase::Draining);
        within(PHASE_TIMEOUT, lifecycle.none(ConnectionCount::Calling)).await;
        lifecycle.enter(Phase::Returning);
        within(PHASE_TIMEOUT, lifecycle.none(ConnectionCount::Unconfirmed)).await;
    }

    /// Removes the socket, unless another process has replaced it.
    pub fn remove_socket(&self) {
        if let Err(error) = self.socket().remove(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the socket could not be removed");
        }
    }

    /// Closes every connection, and the socket. This takes at most a second.
    pub async fn close(&self) {
        self.shut();
        within(PHASE_TIMEOUT, self.admission.lifecycle.none(ConnectionCount::Open)).await;
    }

    pub(super) fn shut(&self) {
        self.admission.lifecycle.enter(Phase::Closed);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shut();
        self.remove_socket();
    }
}

async fn within(limit: Duration, future: impl Future<Output = ()>) {
    select(std::pin::pin!(future), Timer::after(limit)).await;
}
