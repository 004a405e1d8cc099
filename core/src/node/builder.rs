//! The set-up and the start of a node.

use std::path::PathBuf;
use std::sync::Arc;

use rouse_journal::Journal;
use zeroize::Zeroizing;

use super::epoch::EpochFile;
use super::tasks::{housekeeping, inbox, journal, lending, peering, router};
use super::{Limits, Node, NodeConfig, StopOnDrop};
use crate::identity::Identity;
use crate::netmod::{MIN_MTU, Netmod};
use crate::node::state::NodeState;
use crate::node::state::awaiting_route::AwaitingRoute;
use crate::node::state::conversations::Conversations;
use crate::node::state::locks::{lock, read, write};
use crate::node::state::medium::Medium;
use crate::peering::NeighbourFilter;
use crate::rt;

/// The options of a node. Each has a default: a new identity, no netmod, no peer.
#[derive(Default)]
#[must_use]
pub struct NodeBuilder {
    identity: Option<Identity>,
    name: Option<String>,
    netmods: Vec<Arc<dyn Netmod>>,
    peers: Vec<String>,
    limits: Limits,
    epoch_file: Option<PathBuf>,
    mesh_key: Option<Zeroizing<[u8; 32]>>,
    neighbour_filter: NeighbourFilter,
    journal: Option<Arc<dyn Journal>>,
    seed: Option<[u8; 32]>,
}

/// The reason for which a node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// None of its netmods could be opened. One that can is enough, since the others are tried again by themselves.
    #[error("no netmod could be opened: {}", reasons.join("; "))]
    NoNetmod {
        /// The URI and the error of each netmod.
        reasons: Vec<String>,
    },
    /// A netmod carries only frames that are too short for a handshake, so no link over it could ever begin.
    #[error("{uri} takes frames of {mtu} bytes, at least {MIN_MTU} are needed")]
    MtuTooSmall {
        /// The netmod.
        uri: String,
        /// Its MTU in bytes.
        mtu: usize,
    },
    /// The operating system returns no random bytes, without which no key is safe.
    #[error("the operating system gives no random bytes: {0}")]
    Randomness(String),
}

impl Node {
    /// Begins to set up a node.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }
}

impl NodeBuilder {
    /// Sets the identity, whose public key is the first address of the node.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Sets a name for people; it is shown in the node's own status only.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Adds a netmod.
    pub fn netmod(self, netmod: impl Netmod) -> Self {
        self.netmod_arc(Arc::new(netmod))
    }

    /// Adds a netmod that the caller keeps a handle to, for example to read its counters or to change it while it runs, so
    /// that a test can pull its cable.
    pub fn netmod_arc(mut self, netmod: Arc<dyn Netmod>) -> Self {
        self.netmods.push(netmod);
        self
    }

    /// Adds a peer to dial, as a URI: `udp:192.0.2.7:7700`.
    pub fn peer(mut self, uri: impl Into<String>) -> Self {
        self.peers.push(uri.into());
        self
    }

    /// Sets the bounds of the resources that the node may use. They are set once, because queues are allocated by them.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the file that stores the number of this start (the epoch), so that after a restart routes to this node are
    /// renewed at once, even with a wrong clock.
    pub fn epoch_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.epoch_file = Some(file.into());
        self
    }

    /// Sets the key of a closed mesh: only nodes with the same key become neighbours. `None` is an open mesh.
    pub fn mesh_key(mut self, key: impl Into<Option<[u8; 32]>>) -> Self {
        self.mesh_key = key.into().map(Zeroizing::new);
        self
    }

    /// Sets which addresses may become neighbours: all of them by default. [`Node::set_neighbour_filter`] changes it later.
    pub fn neighbour_filter(mut self, neighbour_filter: NeighbourFilter) -> Self {
        self.neighbour_filter = neighbour_filter;
        self
    }

    /// Stores messages in this journal, until they are delivered: they survive a crash of the node. Without one they wait in
    /// memory. [`Outgoing::volatile`](crate::Outgoing::volatile) exempts a single message.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use rouse_core::Node;
    /// use rouse_core::journal::{FolderDisk, JournalLimits, StoredJournal};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # futures::executor::block_on(async {
    /// # let folder = tempfile::tempdir()?;
    /// let disk = FolderDisk::open(folder.path())?;
    /// let journal = StoredJournal::open(disk, JournalLimits::default()).await?;
    /// let node = Node::builder().journal(Arc::new(journal)).start().await?;
    /// # node.stop().await;
    /// # Ok(()) })
    /// # }
    /// ```
    pub fn journal(mut self, journal: Arc<dyn Journal>) -> Self {
        self.journal = Some(journal);
        self
    }

    /// Fixes all randomness that the protocol draws, so that a test is repeatable. Never use it for a real node, since
    /// its handshake keys would be guessable.
    #[doc(hidden)]
    pub fn seed(mut self, seed: [u8; 32]) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Starts the node. Netmods that cannot be opened now are tried again, if at least one could.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(self) -> Result<Node, StartError> {
        let [peering_seed, router_seed] = seeds(self.seed)?;
        let config = NodeConfig {
            name: self.name,
            limits: self.limits,
            epoch_file: self.epoch_file,
            mesh_key: self.mesh_key,
            neighbour_filter: self.neighbour_filter,
            journal: self.journal,
        };
        let epoch = EpochFile::begin(config.epoch_file.clone());
        let identity = self.identity.unwrap_or_else(Identity::generate);
        let shared = Arc::new(NodeState::new(identity, config, peering_seed));
        // Dropping this on an early return stops the tasks that run by then.
        let owner = StopOnDrop(shared.clone());
        open_all(&shared, self.netmods).await?;
        for uri in &self.peers {
            lock(&shared.peering).add_peer(shared.now(), uri);
        }
        shared.spawn_vital("router", router::run(shared.clone(), *router_seed, epoch));
        shared.spawn_vital("task that makes links", peering::run(shared.clone()));
        shared.spawn_vital("task of the conversations", Conversations::run(shared.clone()));
        shared.spawn_vital("task of the sessions", Conversations::run_sessions(shared.clone()));
        shared.spawn_vital(
            "task that keeps answers until their route comes",
            AwaitingRoute::run(shared.clone()),
        );
        if let Some(state) = &shared.journal {
            shared.spawn_vital("task of the journal", journal::run(shared.clone(), state.clone()));
            shared.spawn_vital("task of the inbox", inbox::run(shared.clone(), state.clone()));
            shared.spawn_vital("task of the lending", lending::run(shared.clone(), state.clone()));
        }
        shared.spawn_vital("housekeeping", housekeeping::run(shared.clone()));
        let media: Vec<_> = read(&shared.media).values().cloned().collect();
        for medium in media {
            shared.spawn_vital("task of a netmod", medium.run(shared.clone()));
        }
        Ok(Node { shared, _owner: Arc::new(owner) })
    }
}

/// The seeds of the peering and of the router, derived from `root` or from drawn bytes. The root is not kept,
/// since all that was ever drawn could be computed from it.
fn seeds(root: Option<[u8; 32]>) -> Result<[Zeroizing<[u8; 32]>; 2], StartError> {
    let mut drawn = Zeroizing::new([0; 32]);
    match root {
        Some(root) => *drawn = root,
        None => {
            rt::fill_random(drawn.as_mut()).map_err(|error| StartError::Randomness(error.to_string()))?;
        }
    }
    Ok(["links", "routing"]
        .map(|part| Zeroizing::new(*blake3::keyed_hash(&drawn, part.as_bytes()).as_bytes())))
}

async fn open_all(shared: &Arc<NodeState>, netmods: Vec<Arc<dyn Netmod>>) -> Result<(), StartError> {
    let mut reasons = Vec::new();
    let mut opened = netmods.is_empty();
    for netmod in netmods {
        let medium = Arc::new(Medium::new(shared.new_medium_id(), netmod));
        match medium.open(shared).await {
            Ok(()) => opened = true,
            Err(error) => {
                let (uri, error) = (medium.netmod.uri(), error.to_string());
                // Most netmods name what they could not open; once is enough.
                reasons.push(if error.contains(&uri) { error } else { format!("{uri}: {error}") });
            }
        }
        let mtu = medium.netmod.properties().mtu;
        if mtu < MIN_MTU {
            return Err(StartError::MtuTooSmall { uri: medium.netmod.uri(), mtu });
        }
        write(&shared.media).insert(medium.id, medium);
    }
    if opened { Ok(()) } else { Err(StartError::NoNetmod { reasons }) }
}
