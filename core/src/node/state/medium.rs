//! A netmod of the node, with its condition and its counters.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use crate::link::Source;
use crate::netmod::{Endpoint, Netmod, NetmodError};
use crate::node::guarded_netmod::GuardedNetmod;
use crate::node::state::locks::lock;
use crate::notify::Notify;
use crate::types::{NetmodState, NetmodStatus};

/// A netmod of a node, with its state and counters. The counters are atomic, because every flush of every link adds to
/// them.
pub(crate) struct Medium {
    pub(crate) id: u32,
    pub(crate) netmod: Arc<dyn Netmod>,
    pub(crate) condition: Mutex<MediumState>,
    pub(crate) removed: Notify<bool>,
    pub(crate) rx_frames: AtomicU64,
    pub(crate) rx_bytes: AtomicU64,
    pub(crate) tx_frames: AtomicU64,
    pub(crate) tx_bytes: AtomicU64,
}

pub(crate) struct MediumState {
    pub(crate) state: NetmodState,
    pub(crate) last_error: Option<String>,
}

impl Medium {
    pub(crate) fn new(id: u32, netmod: Arc<dyn Netmod>) -> Self {
        Medium {
            id,
            netmod: Arc::new(GuardedNetmod::new(netmod)),
            condition: Mutex::new(MediumState { state: NetmodState::Retrying, last_error: None }),
            removed: Notify::new(false),
            rx_frames: AtomicU64::new(0),
            rx_bytes: AtomicU64::new(0),
            tx_frames: AtomicU64::new(0),
            tx_bytes: AtomicU64::new(0),
        }
    }

    pub(crate) fn status(&self) -> NetmodStatus {
        // The netmod is called before the lock is taken, because it may be slow.
        let (uri, mtu) = (self.netmod.uri(), self.netmod.properties().mtu as u64);
        let counters = self.netmod.counters().into_iter().map(|(name, n)| (name.to_owned(), n)).collect();
        let condition = lock(&self.condition);
        NetmodStatus {
            uri,
            state: condition.state,
            mtu,
            rx_frames: self.rx_frames.load(Relaxed),
            tx_frames: self.tx_frames.load(Relaxed),
            rx_bytes: self.rx_bytes.load(Relaxed),
            tx_bytes: self.tx_bytes.load(Relaxed),
            last_error: condition.last_error.clone(),
            counters,
        }
    }

    /// The host and the group of an endpoint, which share the quotas of unknown nodes.
    pub(crate) fn source(&self, endpoint: &Endpoint) -> Source {
        Source { host: self.netmod.host_key(endpoint), group: self.netmod.quota_key(endpoint) }
    }

    pub(crate) fn is_up(&self) -> bool {
        lock(&self.condition).state == NetmodState::Up
    }

    /// Keeps an error of sending visible if the host itself is at fault, for example a firewall that blocks all output.
    /// Other errors of sending concern one neighbour, and would hide the state of the medium.
    pub(crate) fn note_send_error(&self, error: &NetmodError) {
        let NetmodError::Endpoint(source) = error else { return };
        if source.kind() != std::io::ErrorKind::PermissionDenied {
            return;
        }
        let text = error.to_string();
        let mut condition = lock(&self.condition);
        if condition.last_error.as_ref() != Some(&text) {
            tracing::warn!(netmod = %self.netmod.uri(), error = %text, "frames are not let out");
            condition.last_error = Some(text);
        }
    }
}
