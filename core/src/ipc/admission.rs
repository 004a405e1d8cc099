//! The admission of connections: the number of them is bounded, and some are reserved for the daemon's owner.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ipc::lifecycle::{ConnectionCount, CountGuard, Lifecycle};

/// The most connections at once.
pub const MAX_CONNECTIONS: usize = 256;

/// The number of them that are reserved for the daemon's owner.
const RESERVED_CONNECTIONS: usize = 64;

/// The shortest time between two warnings about the same condition.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// The part of a server that its connections use: its lifecycle and its bounds.
#[derive(Clone, Debug)]
pub(super) struct ConnectionAdmission {
    pub(super) lifecycle: Arc<Lifecycle>,
    /// The time after which a connection is closed when its client reads nothing of the data that is written to it.
    pub(super) write_timeout: Duration,
    full_warning: Arc<WarningThrottle>,
}

impl ConnectionAdmission {
    pub(super) fn new(write_timeout: Duration) -> Self {
        ConnectionAdmission { lifecycle: Arc::default(), write_timeout, full_warning: Arc::default() }
    }

    /// A permit for one connection, of the daemon's owner or of another user; `None` when no permit is left.
    pub(super) fn permit(&self, owner: bool) -> Option<ConnectionPermit> {
        let (open, before) = self.lifecycle.count(ConnectionCount::Open);
        let permit = ConnectionPermit { _open: open, _foreign: None };
        if before >= MAX_CONNECTIONS {
            if self.full_warning.may_warn() {
                tracing::warn!(
                    "all {MAX_CONNECTIONS} connections are taken: further clients are refused until one is closed"
                );
            }
            return None;
        }
        if owner {
            return Some(permit);
        }
        let (foreign, before) = self.lifecycle.count(ConnectionCount::Foreign);
        let limit = MAX_CONNECTIONS - RESERVED_CONNECTIONS;
        (before < limit).then(|| ConnectionPermit { _foreign: Some(foreign), ..permit })
    }
}

/// One of the bounded number of connections, given back when it is dropped.
pub(super) struct ConnectionPermit {
    _open: CountGuard,
    _foreign: Option<CountGuard>,
}

/// A limit on the warnings about one condition, since a condition that lasts would fill the log.
#[derive(Debug, Default)]
pub(super) struct WarningThrottle(Mutex<Option<Instant>>);

impl WarningThrottle {
    /// Whether a warning may be logged now; if so, it counts as logged.
    pub(super) fn may_warn(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let may = last.is_none_or(|last| last.elapsed() >= WARNING_INTERVAL);
        if may {
            *last = Some(Instant::now());
        }
        may
    }
}
