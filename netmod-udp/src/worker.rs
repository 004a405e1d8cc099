//! The worker that runs inside `recv`: it receives from the sockets in turn and polls discovery, on the task that calls
//! `recv`. Nothing is spawned, so that any executor will do.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::FutureExt;
use if_watch::smol::IfWatcher;
use rouse_core::netmod::{NetmodError, Received};

use crate::counters::Counters;
use crate::discovery::Discovery;
use crate::error;
use crate::receive::Pool;
use crate::socket::{Closed, Sockets};

/// The number of batches in a row after which discovery and other tasks get a turn, so that a flood of frames does not
/// starve them.
const STREAK: u32 = 16;

/// The number of errors in a row after which the other socket gets a turn. Such errors are reports about frames that
/// were sent before, not about receiving.
const ERRORS: u32 = 64;

/// The number of changes of addresses that are taken before the sockets get a turn.
const CHANGES: usize = 32;

/// The receiving half of an open netmod.
pub(crate) struct Worker {
    sockets: Arc<Sockets>,
    closed: Closed,
    pool: Pool,
    /// For each socket, whether it may have something to receive.
    ready: Vec<bool>,
    /// The socket that is tried first.
    next: usize,
    /// The number of batches since the last pause.
    streak: u32,
    discovery: Option<Discovery>,
    /// Announces changes of addresses while a socket is bound to one: after that has left the host nothing arrives, and no call
    /// fails by which it would show.
    addresses: Option<IfWatcher>,
    counters: Arc<Counters>,
}

impl Worker {
    pub(crate) fn new(sockets: Arc<Sockets>, discovery: Option<Discovery>, counters: Arc<Counters>) -> Self {
        Worker {
            closed: sockets.closed(),
            ready: vec![true; sockets.list.len()],
            next: 0,
            streak: 0,
            pool: Pool::new(),
            discovery,
            addresses: watch_addresses(&sockets),
            counters,
            sockets,
        }
    }

    /// Whether the worker receives on these sockets.
    pub(crate) fn is_of(&self, sockets: &Arc<Sockets>) -> bool {
        Arc::ptr_eq(&self.sockets, sockets)
    }

    /// Appends received frames and beacons. It must not be called again after [`NetmodError::Gone`].
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        received: &mut Received,
    ) -> Poll<Result<(), NetmodError>> {
        if self.closed.poll_unpin(cx).is_ready() {
            return Poll::Ready(Err(error::closed()));
        }
        loop {
            if self.streak < STREAK {
                self.receive(received)?;
                if !received.arrivals.is_empty() {
                    self.streak += 1;
                    return Poll::Ready(Ok(()));
                }
            }
            self.check_addresses(cx)?;
            if let Some(discovery) = &mut self.discovery {
                discovery.poll(cx, &self.sockets, received);
            }
            if !received.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if self.streak >= STREAK {
                self.streak = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            for (socket, ready) in self.sockets.list.iter().zip(&mut self.ready) {
                if !*ready && let Poll::Ready(result) = socket.io.poll_readable(cx) {
                    result.map_err(NetmodError::Gone)?;
                    *ready = true;
                }
            }
            if !self.ready.contains(&true) {
                self.streak = 0;
                return Poll::Pending;
            }
        }
    }

    /// Fails when the address of a socket has left the host.
    fn check_addresses(&mut self, cx: &mut Context<'_>) -> Result<(), NetmodError> {
        let Some(watcher) = &mut self.addresses else { return Ok(()) };
        let (mut changed, mut failed) = (false, false);
        for turn in 0..=CHANGES {
            match watcher.poll_if_event(cx) {
                Poll::Ready(Ok(_)) if turn == CHANGES => {
                    changed = true;
                    cx.waker().wake_by_ref();
                }
                Poll::Ready(Ok(_)) => changed = true,
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "changes of addresses are no longer announced");
                    failed = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        if failed {
            self.addresses = None;
        }
        match self.sockets.list.iter().find(|socket| changed && socket.has_lost_address()) {
            None => Ok(()),
            Some(socket) => {
                let error = format!("this host no longer has the address {}", socket.local.ip());
                Err(NetmodError::Gone(io::Error::new(io::ErrorKind::AddrNotAvailable, error)))
            }
        }
    }

    /// Receives one batch from the first socket that has any, beginning with the socket after the one of the last
    /// batch.
    fn receive(&mut self, received: &mut Received) -> Result<(), NetmodError> {
        for turn in 0..self.ready.len() {
            let index = (self.next + turn) % self.ready.len();
            let mut errors = 0;
            while self.ready[index] {
                match self.pool.receive(&self.sockets.list[index], &mut received.arrivals, &self.counters) {
                    Ok(()) if !received.arrivals.is_empty() => {
                        self.next = index + 1;
                        return Ok(());
                    }
                    Ok(()) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => self.ready[index] = false,
                    Err(error) if error::is_gone(&error) => return Err(NetmodError::Gone(error)),
                    Err(error) => {
                        tracing::debug!(%error, "socket reports an error of a frame that was sent before: ignored")
                    }
                }
                errors += 1;
                if errors >= ERRORS {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// A watcher of addresses, if a socket is bound to one that may leave the host.
fn watch_addresses(sockets: &Sockets) -> Option<IfWatcher> {
    let may_leave = |socket: &crate::socket::Socket| socket.is_fixed() && !socket.local.ip().is_loopback();
    if !sockets.list.iter().any(may_leave) {
        return None;
    }
    let watcher = IfWatcher::new();
    watcher.inspect_err(|error| tracing::debug!(%error, "changes of addresses are not announced")).ok()
}
