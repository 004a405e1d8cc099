//! The state of a [`DaemonAdmin`](super::DaemonAdmin): the registry that clients list and change, and everything that a
//! change needs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::channel::mpsc;
use rouse_core::Address;
use rouse_core::node::Node;

use crate::config::{Config, Flags};
use crate::log::DaemonLog;
use crate::state::{IdentityEntry, StateDir};

/// The state that all handles of a [`DaemonAdmin`](super::DaemonAdmin) share.
pub(super) struct Inner {
    pub(super) node: Node,
    pub(super) state: StateDir,
    pub(super) flags: Flags,
    pub(super) log: DaemonLog,
    /// The user id that the daemon runs as, which owns the node's own address.
    pub(super) uid: u32,
    pub(super) registry: Mutex<Registry>,
    /// Serialises changes: one at a time reads the registry, checks, writes the file and updates the registry, since
    /// otherwise two changes could each write a file without the other.
    pub(super) changes: Mutex<()>,
    pub(super) stop: mpsc::UnboundedSender<()>,
}

/// The state that clients can list and change, as it is in the files.
#[derive(Default)]
pub(super) struct Registry {
    pub(super) config: Option<Config>,
    pub(super) names: BTreeMap<String, Address>,
    pub(super) peers: Vec<String>,
    pub(super) entries: Vec<IdentityEntry>,
    /// The name of each address that has one. Of several names it is the first in alphabetical order, and those of the
    /// configuration come before those of the state directory.
    pub(super) by_address: BTreeMap<Address, String>,
}

impl Registry {
    pub(super) fn config_names(&self) -> impl Iterator<Item = (&String, &Address)> {
        self.config.iter().flat_map(|config| &config.names)
    }

    pub(super) fn config_peers(&self) -> &[String] {
        self.config.as_ref().map_or(&[], |config| &config.peers)
    }

    pub(super) fn index(&mut self) {
        let mut by_address = BTreeMap::new();
        for (name, address) in self.config_names().chain(&self.names) {
            by_address.entry(*address).or_insert_with(|| name.clone());
        }
        self.by_address = by_address;
    }
}

impl Inner {
    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
