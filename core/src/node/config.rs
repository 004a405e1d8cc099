//! The configuration of a node and the bounds of its resources.

use std::path::PathBuf;
use std::sync::Arc;

use rouse_journal::Journal;
use zeroize::Zeroizing;

use crate::peering::{NEIGHBOURS, NeighbourFilter};

/// The bounds of the resources of a node. Each holds by itself; an excess is refused or dropped, and counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Neighbours with a link. A configured peer takes the place of a stranger, since otherwise many strangers on the LAN
    /// would keep out the neighbour that the user has chosen.
    pub neighbours: usize,
    /// Conversations: peers with which messages are exchanged.
    pub senders: usize,
    /// Destinations in the routing table. When it is full, the neighbour with the most destinations loses some, so that a
    /// node that invents identities evicts its own.
    pub destinations: usize,
    /// Frames in one neighbour's inbox. A longer inbox would only add delay, since the frames in it wait for one task.
    pub inbox_frames: usize,
    /// Messages in the inbox of one sender. Beyond it the sender keeps them, so that nothing is lost.
    pub inbox_messages: usize,
    /// Bytes of messages that may wait until they are complete and have a place in an inbox; never less than 48 MiB, so
    /// that the longest message can arrive over any neighbour. A single sender may use a sixteenth of it, and 256 KiB
    /// in any case, besides the message that is next; the senders behind one neighbour together as much as they leave
    /// to others.
    pub reassembly: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            neighbours: NEIGHBOURS,
            senders: 4096,
            destinations: 32_768,
            inbox_frames: 1024,
            inbox_messages: 4096,
            reassembly: 64 << 20,
        }
    }
}

/// The configuration of a node.
#[derive(Default)]
pub(crate) struct NodeConfig {
    pub(crate) name: Option<String>,
    pub(crate) limits: Limits,
    pub(crate) epoch_file: Option<PathBuf>,
    pub(crate) mesh_key: Option<Zeroizing<[u8; 32]>>,
    /// The addresses that may be neighbours at the start.
    pub(crate) neighbour_filter: NeighbourFilter,
    pub(crate) journal: Option<Arc<dyn Journal>>,
}

/// The reason for which a peer could not be added or removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// No netmod of the node has this scheme.
    #[error("no netmod for {scheme}: is running")]
    NoNetmod {
        /// The part of the URI before the colon.
        scheme: String,
    },
    /// The text is not the URI of a peer.
    #[error("{0}")]
    Invalid(String),
    /// The peer is not among those that are dialled.
    #[error("this peer is not dialled")]
    Unknown,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopped,
}
