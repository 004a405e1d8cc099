//! The administration of the daemon: further addresses and their owners, the address book, the peers that are dialled,
//! and the files that hold them. It answers the administrative calls of the socket as its [`Admin`].

mod changes;
mod registry;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::channel::mpsc;
use rouse_core::ipc::{Admin, AdminError, Denial, IdentityInfo, NameInfo, PeerInfo, Source};
use rouse_core::node::{Node, PeerError, RemovedPeer};
use rouse_core::{Address, PeerState};

use crate::config::{Config, Flags};
use crate::log::DaemonLog;
use crate::state::{IdentityEntry, StateDir, StateError};
use changes::failed;
use registry::{Inner, Registry};

/// The most peers that can be added at run time.
const MAX_PEERS: usize = 1024;

/// The administration of one node. A clone is a cheap handle to the same state.
#[derive(Clone)]
pub struct DaemonAdmin {
    inner: Arc<Inner>,
}

/// The answer to a client whose peer could not be added or removed.
fn peer_denied(error: PeerError) -> AdminError {
    let hint = match &error {
        PeerError::NoNetmod { .. } => "`rouse status` shows the network modules",
        PeerError::Invalid(_) => "write it like udp:192.0.2.7:7700",
        _ => "",
    };
    let denial = match &error {
        PeerError::Unknown => Denial::NotFound,
        PeerError::Stopped => Denial::Failed,
        _ => Denial::Invalid,
    };
    AdminError::new(denial, error.to_string(), hint)
}

/// The options of the command line, and the configuration that was read with them.
pub struct Settings {
    /// The options, with which the configuration is read again.
    pub flags: Flags,
    /// The configuration.
    pub config: Config,
}

impl DaemonAdmin {
    /// Loads the state directory: adds the further addresses to the node and dials the peers that were added at run
    /// time. A message on `stop` is a client's request to stop the daemon.
    ///
    /// # Errors
    /// When a file of the state directory is damaged or cannot be read.
    pub async fn start(
        node: Node,
        state: StateDir,
        settings: Settings,
        log: DaemonLog,
        stop: mpsc::UnboundedSender<()>,
    ) -> Result<Self, StateError> {
        let Settings { flags, config } = settings;
        let mut entries = Vec::new();
        for (entry, identity) in state.identities()? {
            node.add_identity(identity);
            entries.push(entry);
        }
        let peers = state.peers()?;
        for uri in peers.iter().filter(|uri| !config.peers.contains(uri)) {
            if let Err(error) = node.add_peer(uri).await {
                tracing::warn!(%error, uri, "a peer that was added at run time cannot be dialled: see `rouse peer list`");
            }
        }
        let names = state.names()?;
        let mut registry = Registry { config: Some(config), names, peers, entries, ..Registry::default() };
        registry.index();
        let uid = rustix::process::geteuid().as_raw();
        let registry = Mutex::new(registry);
        let inner = Inner { node, state, flags, log, uid, registry, changes: Mutex::default(), stop };
        Ok(DaemonAdmin { inner: Arc::new(inner) })
    }

    /// Releases the state directory. No change may follow.
    pub fn release(&self) {
        self.inner.state.release();
    }

    /// Runs a change on a thread that may block, because it writes and syncs files.
    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, AdminError> + Send + 'static,
    ) -> Result<T, AdminError> {
        let inner = self.inner.clone();
        blocking::unblock(move || {
            let _serialised = inner.changes.lock().unwrap_or_else(PoisonError::into_inner);
            work(&inner)
        })
        .await
    }
}

#[async_trait]
impl Admin for DaemonAdmin {
    fn may_administer(&self, uid: u32) -> bool {
        uid == self.inner.uid || uid == 0
    }

    fn owner(&self, address: &Address) -> Option<u32> {
        if *address == self.inner.node.address() {
            return Some(self.inner.uid);
        }
        let registry = self.inner.registry();
        registry.entries.iter().find(|entry| entry.address == *address).map(|entry| entry.owner_uid)
    }

    fn default_address(&self, uid: u32) -> Option<Address> {
        if self.may_administer(uid) {
            return Some(self.inner.node.address());
        }
        let registry = self.inner.registry();
        registry.entries.iter().find(|entry| entry.owner_uid == uid).map(|entry| entry.address)
    }

    fn name_of(&self, address: &Address) -> Option<String> {
        self.inner.registry().by_address.get(address).cloned()
    }

    fn identities(&self) -> Vec<IdentityInfo> {
        let registry = self.inner.registry();
        let own = IdentityInfo { address: self.inner.node.address(), label: None, owner_uid: self.inner.uid };
        let further = registry.entries.iter().cloned();
        let further = further.map(|IdentityEntry { address, label, owner_uid }| IdentityInfo {
            address,
            label,
            owner_uid,
        });
        std::iter::once(own).chain(further).collect()
    }

    async fn new_identity(&self, label: Option<String>, owner_uid: u32) -> Result<IdentityInfo, AdminError> {
        self.change(move |inner| inner.new_identity(label, owner_uid)).await
    }

    async fn remove_identity(&self, address: &Address) -> Result<(), AdminError> {
        let address = *address;
        self.change(move |inner| inner.remove_identity(address)).await
    }

    fn names(&self) -> Vec<NameInfo> {
        let registry = self.inner.registry();
        let info = |source| {
            move |(name, address): (&String, &Address)| NameInfo {
                name: name.clone(),
                address: *address,
                source,
            }
        };
        let config = registry.config_names().map(info(Source::Config));
        let hidden = |name: &String| registry.config_names().any(|(known, _)| known == name);
        let own = registry.names.iter().filter(|(name, _)| !hidden(name)).map(info(Source::State));
        let mut names: Vec<NameInfo> = config.chain(own).collect();
        names.sort_by(|a, b| a.name.cmp(&b.name));
        names
    }

    async fn add_name(&self, name: String, address: Address) -> Result<(), AdminError> {
        self.change(move |inner| inner.add_name(name, address)).await
    }

    async fn remove_name(&self, name: &str) -> Result<(), AdminError> {
        let name = name.to_owned();
        self.change(move |inner| inner.remove_name(&name)).await
    }

    async fn peers(&self) -> Vec<PeerInfo> {
        let dialled = self.inner.node.dialled().await;
        let registry = self.inner.registry();
        let info = |source| {
            let dialled = &dialled;
            move |uri: &String| {
                let state = dialled.iter().find(|dialled| dialled.uri == *uri).map(|dialled| dialled.state);
                PeerInfo { uri: uri.clone(), source, state: state.unwrap_or(PeerState::Down) }
            }
        };
        let config = registry.config_peers().iter().map(info(Source::Config));
        let own = registry
            .peers
            .iter()
            .filter(|uri| !registry.config_peers().contains(uri))
            .map(info(Source::State));
        config.chain(own).collect()
    }

    async fn add_peer(&self, uri: &str) -> Result<(), AdminError> {
        let uri = uri.trim().to_owned();
        if let Some(error) = self.inner.config_peer(&uri) {
            return Err(error);
        }
        if self.inner.registry().peers.len() >= MAX_PEERS {
            let text = format!("{MAX_PEERS} peers are remembered, which is the limit");
            return Err(AdminError::new(Denial::Full, text, "remove one with `rouse peer remove`"));
        }
        if self.inner.registry().peers.contains(&uri) {
            return Err(AdminError::new(Denial::Exists, format!("{uri} is dialled already"), ""));
        }
        self.inner.node.add_peer(&uri).await.map_err(peer_denied)?;
        let added = uri.clone();
        let saved = self.change(move |inner| {
            let mut peers = inner.registry().peers.clone();
            peers.push(added);
            peers.dedup();
            inner.state.write_peers(&peers).map_err(failed)?;
            inner.registry().peers = peers;
            Ok(())
        });
        let saved = saved.await;
        if saved.is_err() {
            // A peer that could not be saved is not dialled either, so that the answer to the client is the truth. An
            // error here means that the peer is gone already.
            let _ = self.inner.node.remove_peer(&uri).await;
        }
        saved
    }

    async fn remove_peer(&self, uri: &str) -> Result<String, AdminError> {
        let uri = uri.trim().to_owned();
        if let Some(error) = self.inner.config_peer(&uri) {
            return Err(error);
        }
        let removed = uri.clone();
        self.change(move |inner| {
            let mut peers = inner.registry().peers.clone();
            let before = peers.len();
            peers.retain(|known| *known != removed);
            if peers.len() == before {
                let text = format!("{removed} is not among the peers that are dialled");
                return Err(AdminError::new(Denial::NotFound, text, "`rouse peer list` shows them"));
            }
            inner.state.write_peers(&peers).map_err(failed)?;
            inner.registry().peers = peers;
            Ok(())
        })
        .await?;
        match self.inner.node.remove_peer(&uri).await {
            Ok(became) => Ok(became.to_string()),
            // The peer was saved but could not be dialled when the daemon started.
            Err(PeerError::Unknown) => Ok(RemovedPeer::NoLink.to_string()),
            Err(error) => Err(peer_denied(error)),
        }
    }

    async fn reload(&self) -> Result<String, AdminError> {
        let bad = |text: String| {
            AdminError::new(
                Denial::Invalid,
                text,
                "nothing was changed; `roused --check` checks the file without a reload",
            )
        };
        let flags = self.inner.flags.clone();
        let new =
            blocking::unblock(move || Config::load(&flags)).await.map_err(|error| bad(error.to_string()))?;
        let Some(old) = self.inner.registry().config.clone() else { return Ok(String::new()) };
        self.inner.log.set_level(&new.log_level).map_err(bad)?;

        self.inner.node.set_neighbour_filter(new.neighbour_filter.clone()).await.map_err(peer_denied)?;
        let mut notes =
            vec![format!("names, peers, allow, deny and log level ({}) are in effect", new.log_level)];
        let remembered = self.inner.registry().peers.clone();
        for uri in old.peers.iter().filter(|uri| !new.peers.contains(uri) && !remembered.contains(uri)) {
            if let Err(error) = self.inner.node.remove_peer(uri).await {
                notes.push(format!("{uri}: {error}"));
            }
        }
        for uri in new.peers.iter().filter(|uri| !old.peers.contains(uri) && !remembered.contains(uri)) {
            if let Err(error) = self.inner.node.add_peer(uri).await {
                notes.push(format!("{uri}: {error}"));
            }
        }
        // The configuration that is in effect now: the old one with all that can change while the daemon runs.
        let (names, peers, log_level) = (new.names.clone(), new.peers.clone(), new.log_level.clone());
        let present =
            Config { names, peers, log_level, neighbour_filter: new.neighbour_filter.clone(), ..old };
        if new != present {
            notes.push("other settings have changed: they take effect at the next start".to_owned());
        }
        let mut registry = self.inner.registry();
        registry.config = Some(present);
        registry.index();
        Ok(notes.join("; "))
    }

    fn may_bind(&self) -> Result<(), String> {
        self.inner.state.ensure_locked().map_err(|error| error.to_string())
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        BTreeMap::from([("log_lines_dropped".to_owned(), self.inner.log.dropped())])
    }

    fn stop(&self) {
        // The receiver is gone only when the daemon is stopping already.
        let _ = self.inner.stop.unbounded_send(());
    }
}
