//! The administration of a node through the socket: addresses, names, peers, stop and reload.

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
    /// The label that its owner has given it.
    pub label: Option<String>,
    /// The user id of its owner. Only the owner sends from it and receives for it.
    pub owner_uid: u32,
}

/// The place where a name or a peer was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The configuration, which the daemon only reads.
    Config,
    /// A command at run time. The entry is kept in the state directory.
    State,
}

/// A name and its address.
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

/// The kind of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub enum Denial {
    /// Only another user may do it.
    NotAllowed,
    /// The entry is part of the configuration, which the daemon only reads.
    ReadOnly,
    /// The entry does not exist.
    NotFound,
    /// The entry exists already.
    Exists,
    /// An argument is not valid.
    Invalid,
    /// A bound is reached.
    Full,
    /// The operation failed.
    Failed,
}

/// A refusal, with its cause and the next step.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[error("{message}")]
pub struct AdminError {
    /// The kind of the refusal.
    pub denial: Denial,
    /// The cause.
    pub message: String,
    /// The next step; empty when there is none.
    pub hint: String,
}

impl AdminError {
    /// A refusal.
    pub fn new(denial: Denial, message: impl Into<String>, hint: impl Into<String>) -> Self {
        AdminError { denial, message: message.into(), hint: hint.into() }
    }
}

/// The administration of a node: it has the owners of the addresses, the names and the peers, and stores them.
///
/// User ids are those that the kernel reports (`SO_PEERCRED` on Linux). Methods without `async` must not block, because
/// they are called for each message.
#[async_trait]
pub trait Admin: Send + Sync + 'static {
    /// Whether this user may stop the daemon and change its peers and names. Such a user may use every address.
    fn may_administer(&self, uid: u32) -> bool;

    /// The owner of one of the node's addresses; `None` when the node does not have the address.
    fn owner(&self, address: &Address) -> Option<u32>;

    /// The address that a call of this user uses when it names none: the first of the node for the owner of the daemon,
    /// the first of their own for other users.
    fn default_address(&self, uid: u32) -> Option<Address>;

    /// The name of an address, if it has one.
    fn name_of(&self, address: &Address) -> Option<String>;

    /// The node's addresses, its first one first.
    fn identities(&self) -> Vec<IdentityInfo>;

    /// Creates an address for this user.
    async fn new_identity(&self, label: Option<String>, owner_uid: u32) -> Result<IdentityInfo, AdminError>;

    /// Removes an address and destroys its secret key.
    async fn remove_identity(&self, address: &Address) -> Result<(), AdminError>;

    /// The names, in order.
    fn names(&self) -> Vec<NameInfo>;

    /// Gives an address a name, and stores it.
    async fn add_name(&self, name: String, address: Address) -> Result<(), AdminError>;

    /// Removes a name.
    async fn remove_name(&self, name: &str) -> Result<(), AdminError>;

    /// The peers that are dialled.
    async fn peers(&self) -> Vec<PeerInfo>;

    /// Dials a peer from now on, and stores it.
    async fn add_peer(&self, uri: &str) -> Result<(), AdminError>;

    /// Stops dialling a peer. Returns a text about the state of its link.
    async fn remove_peer(&self, uri: &str) -> Result<String, AdminError>;

    /// Reads the configuration again. Returns a text about the changes.
    async fn reload(&self) -> Result<String, AdminError>;

    /// Whether the daemon may create its socket again after the file was removed.
    ///
    /// # Errors
    /// The reason why not: another daemon has taken over the state directory.
    fn may_bind(&self) -> Result<(), String> {
        Ok(())
    }

    /// The counters of the daemon itself, by name. The status shows them among the counters of the node.
    fn counters(&self) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }

    /// Begins to stop the daemon.
    fn stop(&self);
}
