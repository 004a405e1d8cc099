//! The state of a node: its netmods, its health, and the messages that it has not delivered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::wire::codec::{Decode, Encode};
use rouse_proto::types::{Timestamp, Waiting};

/// The state of a netmod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetmodState {
    /// It sends and receives frames.
    Up,
    /// It failed, and the node starts it again after a pause.
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
    /// The netmod's own counters, by the names that it gives them.
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
}

/// The severity of a [`Health`] line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// It works as it should.
    Ok,
    /// It works, but less well than it could.
    Warn,
    /// It does not work.
    Error,
}

/// One finding about the state of the node, with the next step.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Health {
    /// Its severity.
    pub level: Level,
    /// The finding.
    pub text: String,
    /// The next step for the user; empty when none is needed.
    pub hint: String,
}

/// The messages that a stopping node has not delivered and that are held in memory only, so that they are lost with the
/// node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Unfinished {
    /// Messages that arrived, are not in the journal, and that no application has received. Their senders have no receipt.
    pub unread: u64,
    /// Messages that were accepted for sending, have no receipt, and are not in the journal.
    pub waiting: u64,
}

impl std::fmt::Display for Unfinished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} unread, {} waiting", self.unread, self.waiting)
    }
}

/// Messages that wait in an inbox or an outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Queued {
    /// Number of messages.
    pub messages: u64,
    /// Sum of their lengths, in bytes.
    pub bytes: u64,
    /// The time at which the oldest of them was received, or accepted for sending.
    pub oldest: Option<Timestamp>,
}

impl Queued {
    /// Adds the messages of another queue.
    pub(crate) fn add(&mut self, other: Queued) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.oldest = [self.oldest, other.oldest].into_iter().flatten().min();
    }
}

/// Whether a key decides which nodes may become neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mesh {
    /// Every node that reaches this one may become a neighbour.
    Open,
    /// Only nodes with the same key become neighbours.
    Closed,
}

/// The state of a node.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Status {
    pub address: Address,
    pub name: Option<String>,
    pub version: String,
    pub uptime_s: u64,
    pub mesh: Mesh,
    pub netmods: Vec<NetmodStatus>,
    /// Neighbours with a live link.
    pub neighbours: u64,
    /// Destinations with a route in use.
    pub routes: u64,
    /// Messages in the journal that are not yet delivered, and their bytes; those in memory when there is no journal.
    pub journal: Waiting,
    /// Messages that arrived and that no application has received, or acknowledged if they are in the journal.
    pub inbox: Queued,
    /// Messages in the journal that were given to applications as often as allowed and never acknowledged.
    pub dead_letters: Waiting,
    /// Messages that were accepted for sending and have no receipt.
    pub outbox: Queued,
    pub counters: BTreeMap<String, u64>,
    pub drops: BTreeMap<String, u64>,
    pub health: Vec<Health>,
}
