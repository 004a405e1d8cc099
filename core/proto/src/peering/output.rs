//! The outputs of the peering.

use std::time::Duration;

use bytes::BytesMut;
use zeroize::Zeroizing;

use crate::address::Address;
use crate::link::{DownReason, Path, Session};
use crate::stats::DropCause;

/// An action that the peering requests, or an event that it reports.
#[allow(missing_docs)] // Each variant describes its fields.
#[derive(Debug)]
pub enum Output {
    /// Send a handshake frame. If the medium refuses it, [`Input::NotSent`](super::Input::NotSent) is due.
    Transmit { path: Path, frame: Vec<u8> },
    /// Look up the paths to a configured peer. [`Input::Resolved`](super::Input::Resolved) is due.
    Resolve { uri: String },
    /// Begin a link.
    StartLink(Box<NewLink>),
    /// End a link.
    RetireLink { id: u32, retirement: Retirement },
    /// A configured peer is the reason for the link from now on, or not any more.
    SetConfigured { id: u32, configured: bool },
    /// Give the link a frame that arrived before the end of its handshake.
    Deliver { id: u32, frame: BytesMut },
    /// An event, for counters and logs.
    Event(PeeringEvent),
}

/// A link to begin.
#[derive(Debug)]
pub struct NewLink {
    /// The number of the link. Numbers ascend in the order in which links begin.
    pub id: u32,
    /// The session that the handshake has produced.
    pub session: Session,
    /// Whether a configured peer is the reason for it.
    pub configured: bool,
    /// The seed of the link's randomness.
    pub seed: Zeroizing<[u8; 32]>,
}

/// The reason to end a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retirement {
    /// A new session with the same neighbour over the same medium takes its place. It sends no goodbye, since the
    /// neighbour replaces it as well.
    Replaced,
    /// Another neighbour gets its place, or its address may not be a neighbour's any more. The neighbour is sent the reason.
    Evicted(DownReason),
    /// The peer that was the reason for it was removed: it ends with a goodbye after the frames that are queued. It is
    /// still counted until it is lost.
    PeerRemoved,
}

/// An event, for counters and logs.
#[allow(missing_docs)] // Each variant describes its fields.
#[derive(Debug)]
pub enum PeeringEvent {
    /// A path is dialled.
    HandshakeStarted,
    /// A handshake has produced a session.
    HandshakeDone,
    /// Frames or neighbours were dropped.
    Dropped { cause: DropCause, count: u64 },
    /// A dial has failed.
    DialFailed { path: Path, reason: String },
    /// Another node has answered with the address of this one.
    IdentityInUse,
    /// A session was declined, because no place is free.
    Declined { peer: Address, reason: DownReason },
    /// The neighbour has refused a link, which is dialled again after the pause.
    Refused { peer: Address, path: Path, reason: DownReason, again_in: Duration },
}
