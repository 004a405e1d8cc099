//! The state of a node: its netmods, its health, and the messages that it has not delivered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::wire::codec::{Decode, Encode};

/// Where a netmod stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetmodState {
    /// It serves.
    Up,
    /// It failed, and is tried again.
    Retrying,
    /// It was removed.
    Down,
}

/// A netmod and its counters.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct NetmodStatus {
    pub uri: String,
    pub state: NetmodState,
    /// Bytes of the longest frame.
    pub mtu: u64,
    pub rx_frames: u64,
    pub tx_frames: u64,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub last_error: Option<String>,
    /// What the netmod itself has counted, by its own names.
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
}

/// How well something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing to do.
    Ok,
    /// It works, but less well than it could.
    Warn,
    /// It does not work.
    Error,
}

/// One line on how well the node is, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Health {
    /// How bad.
    pub level: Level,
    /// What is so.
    pub text: String,
    /// What to do about it; empty when there is nothing to do.
    pub hint: String,
}

/// What waits to be delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Waiting {
    /// Messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a node that stops leaves unfinished. It is in memory, and lost with the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Unfinished {
    /// Messages that came and no application has taken. Their senders have no receipt.
    pub unread: u64,
    /// Messages that were to be sent and have no receipt.
    pub waiting: u64,
}

impl std::fmt::Display for Unfinished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} unread, {} waiting", self.unread, self.waiting)
    }
}

/// How a node is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Status {
    pub address: Address,
    pub name: Option<String>,
    pub version: String,
    pub uptime_s: u64,
    pub netmods: Vec<NetmodStatus>,
    /// Neighbours with a live link.
    pub neighbours: u64,
    /// Destinations with a route in use.
    pub routes: u64,
    /// Messages not yet delivered, and their bytes.
    pub journal: Waiting,
    pub counters: BTreeMap<String, u64>,
    pub drops: BTreeMap<String, u64>,
    pub health: Vec<Health>,
}
