//! What a node's keeper does for those who come through the socket: addresses, names, peers, stop and reload.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::types::PeerState;
use crate::wire::codec::{Decode, Encode};

/// One of the node's addresses.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct IdentityInfo {
    /// The address.
    pub address: Address,
    /// What its owner calls it.
    pub label: Option<String>,
    /// The user id of its owner, who alone sends as it and receives for it.
    pub owner_uid: u32,
}

/// Where something was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// In the configuration, which the daemon only reads.
    Config,
    /// At run time; it stands in the state directory.
    State,
}

/// A name and whom it means.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct NameInfo {
    pub name: String,
    pub address: Address,
    pub source: Source,
}

/// A peer that is dialled.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PeerInfo {
    pub uri: String,
    pub source: Source,
    pub state: PeerState,
}

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub enum Denial {
    /// Only somebody else may do it.
    NotAllowed,
    /// It stands in the configuration, which is only read.
    ReadOnly,
    /// There is no such thing.
    NotFound,
    /// There is one already.
    Exists,
    /// It makes no sense.
    Invalid,
    /// There are as many as there may be.
    Full,
    /// It was tried and failed.
    Failed,
}

/// A refusal: what, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[error("{message}")]
pub struct AdminError {
    /// Of which kind.
    pub denial: Denial,
    /// What happened.
    pub message: String,
    /// What to do; empty when there is nothing to do.
    pub hint: String,
}

impl AdminError {
    /// A refusal.
    pub fn new(denial: Denial, message: impl Into<String>, hint: impl Into<String>) -> Self {
        AdminError { denial, message: message.into(), hint: hint.into() }
    }
}

/// Whoever keeps a node: knows its addresses and their owners, its names and peers, and writes them down.
///
/// User ids are those that the kernel vouches for (`SO_PEERCRED` on Linux). Methods without `async` are called for each message and
/// must not block.
#[async_trait]
pub trait Admin: Send + Sync + 'static {
    /// Whether this user may stop the daemon and change its peers and names. Such a user may use every address.
    fn may_administer(&self, uid: u32) -> bool;

    /// The owner of one of the node's addresses; `None` when it has no such address.
    fn owner(&self, address: &Address) -> Option<u32>;

    /// The address this user means who names none: the node's first for its owner, the first of their own for
    /// others.
    fn default_address(&self, uid: u32) -> Option<Address>;

    /// The name of an address, if it has one.
    fn name_of(&self, address: &Address) -> Option<String>;

    /// The node's addresses, its first one first.
    fn identities(&self) -> Vec<IdentityInfo>;

    /// Makes an address for this user.
    async fn new_identity(&self, label: Option<String>, owner_uid: u32) -> Result<IdentityInfo, AdminError>;

    /// Removes an address, and its secret for good.
    async fn remove_identity(&self, address: &Address) -> Result<(), AdminError>;

    /// The names, in order.
    fn names(&self) -> Vec<NameInfo>;

    /// Gives an address a name, and remembers it.
    async fn add_name(&self, name: String, address: Address) -> Result<(), AdminError>;

    /// Forgets a name.
    async fn remove_name(&self, name: &str) -> Result<(), AdminError>;

    /// The peers that are dialled.
    async fn peers(&self) -> Vec<PeerInfo>;

    /// Dials a peer from now on, and remembers it.
    async fn add_peer(&self, uri: &str) -> Result<(), AdminError>;

    /// Dials a peer no more. Says what became of its connection.
    async fn remove_peer(&self, uri: &str) -> Result<String, AdminError>;

    /// Reads the configuration again. Says what was done.
    async fn reload(&self) -> Result<String, AdminError>;

    /// Whether the daemon may put its socket back after the file was removed.
    ///
    /// # Errors
    /// Why not: the place belongs to another daemon by now.
    fn may_bind(&self) -> Result<(), String> {
        Ok(())
    }

    /// What the daemon counts besides what its node counts, by name. It stands among the counters of the status.
    fn counters(&self) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }

    /// Begins to stop the daemon.
    fn stop(&self);
}
