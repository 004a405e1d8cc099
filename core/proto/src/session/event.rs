//! The events that [`Sessions`](super::Sessions) handles and reports.

use super::places::PreviousHop;
use crate::address::Address;
use crate::types::Ends;
use crate::wire::session::Standing;

/// An event for [`Sessions::handle`](super::Sessions::handle).
#[derive(Debug)]
pub enum SessionInput<'a> {
    /// The layer above has something to send. Without a session a handshake begins.
    Connect {
        /// The two addresses.
        pair: Ends,
        /// This end of the conversation.
        standing: Standing,
    },
    /// The layer above doubts that the peer has the session, because it does not answer. A handshake begins; the session
    /// is kept until the next one is there.
    Renew {
        /// The two addresses.
        pair: Ends,
        /// This end of the conversation.
        standing: Standing,
    },
    /// Answers [`SessionOutput::Requested`]: there shall be a session.
    Accept {
        /// The two addresses.
        pair: Ends,
        /// This end of the conversation.
        standing: Standing,
    },
    /// Answers [`SessionOutput::Requested`]: there shall be none.
    Refuse {
        /// The two addresses.
        pair: Ends,
    },
    /// There is a route to the peer again. A request that waits to be repeated is sent now.
    RouteFound {
        /// The two addresses.
        pair: Ends,
    },
    /// The conversation is over. Everything of the pair is erased.
    Close {
        /// The two addresses.
        pair: Ends,
    },
    /// The payload of a packet that is a part of a handshake message.
    Part {
        /// The destination of the packet.
        local: Address,
        /// The neighbour that it came from.
        hop: PreviousHop,
        /// The payload.
        payload: &'a [u8],
    },
}

/// An action that [`Sessions`](super::Sessions) requests, or an event that it reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionOutput {
    /// Send a packet with this payload to the peer.
    Transmit {
        /// The two addresses.
        pair: Ends,
        /// The payload.
        payload: Vec<u8>,
        /// The path to send it over.
        path: PathChoice,
    },
    /// A peer asks for a session. [`SessionInput::Accept`] or [`SessionInput::Refuse`] answers. The request may be an old
    /// one that was replayed, so nothing of it is to be relied on before [`SessionOutput::Ready`].
    Requested {
        /// The two addresses.
        pair: Ends,
        /// The peer's end of the conversation.
        standing: Standing,
        /// The neighbour over which it came.
        hop: PreviousHop,
    },
    /// There is a session, or another one in place of the last. Both ends have proved that they are alive.
    Ready {
        /// The two addresses.
        pair: Ends,
        /// The peer's end of the conversation at the time of the handshake.
        standing: Standing,
    },
    /// There is no session any more, and no attempt.
    Ended {
        /// The two addresses.
        pair: Ends,
        /// The cause.
        reason: EndReason,
    },
}

/// The path to send a payload over. A message of a handshake that has had no answer was lost, or its path swallows packets:
/// neither can be distinguished from the other, so it is sent over another path as well, and none is blamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathChoice {
    /// The path in use.
    Best,
    /// The path beside it, if there is one, and otherwise the one in use.
    Alternate,
    /// Both of them.
    Both,
}

/// The cause of the end of a session or of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The peer's address is not a usable key, or is the local one; or the local address is not one of this node.
    Unusable,
    /// There was no packet for a long time.
    Idle,
    /// Another session has taken the place.
    Evicted,
    /// The peer has not used the keys of the handshake, so it may have gone.
    Unconfirmed,
    /// A key has sealed as many packets as it may.
    Exhausted,
}
