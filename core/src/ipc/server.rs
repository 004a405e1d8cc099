//! The daemon's side of the socket: listens, lets in, and ends in order.

use std::future::Future;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_io::{Async, Timer};
use futures::future::{Abortable, FutureExt, select};
use futures::stream::StreamExt;

use crate::ipc::admin::Admin;
use crate::ipc::event_count::EventCount;
use crate::ipc::quotas::{ProvisionalConnections, ServerQuotas};
use crate::ipc::server_connection;
use crate::ipc::session::ClientSession;
use crate::ipc::socket::{Access, BindError, Socket};
use crate::node::Node;
use crate::rt;

/// The most connections at once.
pub const MAX_CONNECTIONS: usize = 256;

/// So many of them are for the daemon's owner alone.
const RESERVED: usize = 64;

/// How long a client may take nothing of what is written to it.
const WRITE_PATIENCE: Duration = Duration::from_secs(15);

/// How long connections may take to come to rest when the daemon stops.
const REST: Duration = Duration::from_secs(1);

/// How often the server looks whether the socket is still at its path.
const LOOK: Duration = Duration::from_secs(2);

/// The pause after the system refused a connection, for lack of file descriptors as a rule; it doubles while that lasts,
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// but not beyond this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The least time between two warnings of one kind.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// The socket through which other programs use a node.
#[derive(Debug)]
pub struct Server {
    socket: Mutex<Arc<Socket>>,
    path: PathBuf,
    access: Access,
    lifecycle: Arc<Lifecycle>,
    quotas: Arc<ServerQuotas>,
    provisional: Arc<ProvisionalConnections>,
    /// How long a client may take nothing of what is written to it.
    pub(super) patience: Duration,
    /// The system gives no connections.
    refusing: WarningThrottle,
}

/// Holds back warnings of what may last, and would fill the log.
#[derive(Debug, Default)]
pub(super) struct WarningThrottle(Mutex<Option<Instant>>);

impl WarningThrottle {
    /// Whether the last warning is long past.
    pub(super) fn may_warn(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let may = last.is_none_or(|last| last.elapsed() >= WARN_EVERY);
        if may {
            *last = Some(Instant::now());
        }
        may
    }
}

impl Server {
    /// Opens the socket. One that nobody serves any more is taken over.
    ///
    /// # Errors
    /// [`BindError`], with the path and what to do.
    pub fn bind(path: &Path, access: Access) -> Result<Self, BindError> {
        Ok(Server {
            socket: Mutex::new(Arc::new(Socket::bind(path, access)?)),
            path: path.to_owned(),
            access,
            lifecycle: Arc::default(),
            quotas: Arc::default(),
            provisional: Arc::default(),
            patience: WRITE_PATIENCE,
            refusing: WarningThrottle::default(),
        })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn socket(&self) -> Arc<Socket> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves until [`Server::drain`]. Each connection runs on its own.
    pub async fn serve<A: Admin>(&self, node: Node, admin: Arc<A>) {
        let mut look = Timer::interval(LOOK);
        let mut trouble = None;
        let mut pause = ACCEPT_PAUSE;
        while self.lifecycle.now() == Phase::Serving {
            let socket = self.socket();
            futures::select_biased! {
                _ = self.lifecycle.beyond(Phase::Serving).fuse() => break,
                accepted = socket.listener.accept().fuse() => match accepted {
                    Ok((stream, _)) => {
                        pause = ACCEPT_PAUSE;
                        self.admit(stream, &node, &admin);
                    }
                    Err(error) => {
                        if self.refusing.may_warn() {
                            tracing::warn!(%error, "connections wait to be accepted: if files are lacking, raise LimitNOFILE or ulimit -n");
                        }
                        Timer::after(pause).await;
                        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                    }
                },
                _ = look.next().fuse() => self.restore(&socket, &*admin, &mut trouble),
            }
        }
    }

    /// Puts the socket back when its file was removed, or its directory replaced: without it no client finds the daemon,
    /// and only a signal stops it. What keeps it away is logged when it changes.
    pub(super) fn restore(&self, socket: &Socket, admin: &impl Admin, trouble: &mut Option<String>) {
        if socket.is_at(&self.path) {
            *trouble = None;
            return;
        }
        let bound = admin
            .may_bind()
            .and_then(|()| Socket::bind(&self.path, self.access).map_err(|error| error.to_string()));
        match bound {
            Ok(socket) => {
                *self.socket.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(socket);
                *trouble = None;
                tracing::warn!("{} was removed, and is back", self.path.display());
            }
            Err(text) if trouble.as_ref() != Some(&text) => {
                tracing::error!("{} was removed, and cannot come back: {text}", self.path.display());
                *trouble = Some(text);
            }
            Err(_) => {}
        }
    }

    fn admit<A: Admin>(&self, stream: Async<UnixStream>, node: &Node, admin: &Arc<A>) {
        let uid = match peer_uid(&stream) {
            Ok(uid) => uid,
            Err(error) => return tracing::warn!(%error, "the system does not say who connects"),
        };
        let own = rustix::process::geteuid().as_raw();
        if self.access == Access::Owner && uid != own && uid != 0 {
            return tracing::warn!(uid, "another user was refused");
        }
        let session = Arc::new(ClientSession::new(node.clone(), admin.clone(), uid, self.quotas.clone()));
        let admission = ConnectionAdmission { lifecycle: self.lifecycle.clone(), patience: self.patience };
        let (entry, registration) = self.provisional.enter();
        let connection = async move {
            if let Err(reason) = server_connection::run(&stream, session, &admission, entry).await {
                tracing::debug!(%reason, uid, "a client's connection ended");
            }
        };
        // The task ends by itself: when its client goes, the server closes, or the provisional needs the room.
        drop(rt::spawn(async move {
            let _ = Abortable::new(connection, registration).await;
        }));
    }

    /// Takes no more connections and no more calls; ends the calls that wait, and gives back what was fetched and not
    /// confirmed. Answers on their way still leave. At most two seconds.
    pub async fn drain(&self) {
        self.lifecycle.to(Phase::Draining);
        within(REST, self.lifecycle.none(|lifecycle| &lifecycle.calling)).await;
        self.lifecycle.to(Phase::Returning);
        within(REST, self.lifecycle.none(|lifecycle| &lifecycle.holding)).await;
    }

    /// Removes the socket, if it is still ours.
    pub fn remove_socket(&self) {
        if let Err(error) = self.socket().remove(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the socket stays behind");
        }
    }

    /// Closes every connection, and the socket. At most a second.
    pub async fn close(&self) {
        self.shut();
        within(REST, self.lifecycle.none(|lifecycle| &lifecycle.open)).await;
    }

    pub(super) fn shut(&self) {
        self.lifecycle.to(Phase::Closed);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shut();
        self.remove_socket();
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn peer_uid(stream: &Async<UnixStream>) -> io::Result<u32> {
    Ok(rustix::net::sockopt::socket_peercred(stream)?.uid.as_raw())
}

/// Where the system's word is not to be had safely, the mode of the socket alone decides: whoever gets in counts as
/// the owner.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn peer_uid(_stream: &Async<UnixStream>) -> io::Result<u32> {
    Ok(rustix::process::geteuid().as_raw())
}

async fn within(limit: Duration, future: impl Future<Output = ()>) {
    select(std::pin::pin!(future), Timer::after(limit)).await;
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    #[default]
    Serving,
    /// No more calls.
    Draining,
    /// And what was fetched and not confirmed goes back. Later than the first, for else one connection would fetch what
    /// another gave back.
    Returning,
    /// No more connections.
    Closed,
}

/// The phase that the server and all its connections are in.
#[derive(Debug, Default)]
pub(super) struct Lifecycle {
    crowded: WarningThrottle,
    phase: Mutex<Phase>,
    /// Connections.
    open: AtomicUsize,
    /// Those of users who do not own the daemon.
    foreign: AtomicUsize,
    /// Connections that may have calls under way.
    calling: AtomicUsize,
    /// Connections that may have messages fetched and not confirmed.
    holding: AtomicUsize,
    changed: EventCount,
}

impl Lifecycle {
    pub(super) fn now(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn to(&self, next: Phase) {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        *phase = next.max(*phase);
        drop(phase);
        self.changed.ring();
    }

    /// Waits until the phase is a later one than `phase`.
    pub(super) async fn beyond(&self, phase: Phase) -> Phase {
        loop {
            let seen = self.changed.rings();
            let now = self.now();
            if now > phase {
                return now;
            }
            self.changed.after(seen).await;
        }
    }

    async fn none(&self, count: Which) {
        loop {
            let seen = self.changed.rings();
            if count(self).load(Ordering::SeqCst) == 0 {
                return;
            }
            self.changed.after(seen).await;
        }
    }

    /// This connection may have calls under way, for as long as the token lives.
    pub(super) fn calling(self: &Arc<Self>) -> CountGuard {
        CountGuard::new(self, |lifecycle| &lifecycle.calling).0
    }

    /// This connection may have messages fetched and not confirmed, for as long as the token lives.
    pub(super) fn holding(self: &Arc<Self>) -> CountGuard {
        CountGuard::new(self, |lifecycle| &lifecycle.holding).0
    }
}

type Which = fn(&Lifecycle) -> &AtomicUsize;

/// Counts for as long as it lives.
pub(super) struct CountGuard {
    lifecycle: Arc<Lifecycle>,
    which: Which,
}

impl CountGuard {
    /// The token, and how many there were before.
    fn new(lifecycle: &Arc<Lifecycle>, which: Which) -> (Self, usize) {
        let before = which(lifecycle).fetch_add(1, Ordering::SeqCst);
        (CountGuard { lifecycle: lifecycle.clone(), which }, before)
    }
}

impl Drop for CountGuard {
    fn drop(&mut self) {
        (self.which)(&self.lifecycle).fetch_sub(1, Ordering::SeqCst);
        self.lifecycle.changed.ring();
    }
}

/// What a connection that comes in needs of the server.
pub(super) struct ConnectionAdmission {
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) patience: Duration,
}

impl ConnectionAdmission {
    /// A place among those there may be; `None` when all are taken.
    pub(super) fn place(&self, owner: bool) -> Option<ConnectionPermit> {
        let (open, before) = CountGuard::new(&self.lifecycle, |lifecycle| &lifecycle.open);
        let place = ConnectionPermit { _open: open, _foreign: None };
        if before >= MAX_CONNECTIONS {
            if self.lifecycle.crowded.may_warn() {
                tracing::warn!("more than {MAX_CONNECTIONS} connections: some are refused");
            }
            return None;
        }
        if owner {
            return Some(place);
        }
        let (foreign, before) = CountGuard::new(&self.lifecycle, |lifecycle| &lifecycle.foreign);
        let most = MAX_CONNECTIONS - RESERVED;
        (before < most).then(|| ConnectionPermit { _foreign: Some(foreign), ..place })
    }
}

/// One connection's place among those there may be.
pub(super) struct ConnectionPermit {
    _open: CountGuard,
    _foreign: Option<CountGuard>,
}
