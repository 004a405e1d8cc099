//! The result of a handshake: a session, or the cause of a failure.

use std::sync::Arc;
use std::time::Duration;

use crate::address::Address;
use crate::identity::x25519_public;
use crate::link::Path;
use crate::link::keys::{Opener, Sealer, Suite};
use crate::link::noise::{NoiseHandshake, StaticKeys};
use crate::link::rekey::Renewal;
use crate::wire::link::{Introduction, split};

/// An action that [`Handshakes`](super::Handshakes) requests, or an event that it reports.
#[derive(Debug)]
pub enum HandshakeOutput {
    /// Send a frame.
    Transmit {
        /// The path to send it over.
        path: Path,
        /// The frame.
        frame: Vec<u8>,
    },
    /// A session has begun. It replaces an older one with the same neighbour over the same netmod.
    Established(Box<Session>),
    /// A dial has failed. Every dial ends in this, in a session on the same path, or in its cancellation.
    Failed {
        /// The path that was dialled.
        path: Path,
        /// The cause.
        reason: DialError,
    },
}

/// The cause of a failed dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// There was no answer, or none that verifies.
    #[error(
        "no answer: check that a node runs there, that no firewall blocks it, and that the mesh keys are the same"
    )]
    Timeout,
    /// The node dialled itself.
    #[error("the endpoint belongs to this node itself")]
    Oneself,
    /// Another node answered with the address of this one.
    #[error("this identity is in use elsewhere: give each node its own")]
    IdentityInUse,
    /// The other node does not have the mesh key of this one.
    #[error("the other node belongs to another mesh: the mesh keys differ")]
    WrongMesh,
    /// The other node uses another version of the protocol.
    #[error("the other node uses another version of the protocol: update the older one")]
    Version,
    /// The introduction is not valid: the address does not belong to the key, or no cipher is common.
    #[error("the other node violated the protocol")]
    Protocol,
    /// The neighbour with this address is reached over another path of the same netmod: a session has begun meanwhile, or
    /// one is in use.
    #[error("the neighbour was already reached over another path")]
    Duplicate(Address),
    /// Sessions with the other node begin too often.
    #[error("links to the other node begin too often: it may run twice, or lose its links at once")]
    TooOften,
    /// Too many dials are under way.
    #[error("too many dials are under way")]
    TooMany,
}

/// A session that a handshake has produced.
#[derive(Debug)]
pub struct Session {
    /// The address of the neighbour, which the handshake has proved.
    pub peer: Address,
    /// The path to the neighbour.
    pub path: Path,
    /// Whether this side dialled.
    pub initiator: bool,
    /// The index in frames that this side receives.
    pub local_index: u32,
    /// The maximum length of a frame that both sides accept, in bytes.
    pub mtu: usize,
    /// The random number of the neighbour's run. Another one shows that it was restarted and has lost its state.
    pub peer_instance: u64,
    /// The optional features that the neighbour announced, as bits.
    pub peer_capabilities: u32,
    /// The cipher in use.
    pub suite: Suite,
    /// The key for frames that are sent.
    pub sealer: Sealer,
    /// The key for frames that are received.
    pub opener: Opener,
    /// The renewal of these keys.
    pub renewal: Renewal,
    /// The time from this side's first message to its answer. It is an upper bound of the round trip, because frames
    /// may have been lost or held back.
    pub rtt: Duration,
}

/// The keys of a session, which both ends derive when their handshake is complete.
pub(super) struct SessionKeys {
    pub(super) sealer: Sealer,
    pub(super) opener: Opener,
    pub(super) renewal: Renewal,
}

impl SessionKeys {
    /// Derives the keys. `index` is the one that the other side chose.
    pub(super) fn new(
        keys: &Arc<StaticKeys>,
        noise: &mut NoiseHandshake,
        suite: Suite,
        index: u32,
        initiator: bool,
    ) -> Option<Self> {
        let remote = *noise.remote_static()?.first_chunk()?;
        let (sealer, opener) = noise.split(suite, index)?;
        let renewal = Renewal::new(keys.clone(), remote, suite, initiator, noise.chain()?);
        Some(SessionKeys { sealer, opener, renewal })
    }
}

/// Decodes the introduction of the other side and checks it: the static key that was proved must be that of its
/// address, since otherwise any node could claim any address; and its MTU must be at least the minimum of all netmods.
pub(super) fn introduced(payload: &[u8], noise: &NoiseHandshake) -> Option<Introduction> {
    let (introduction, _) = split::<Introduction>(payload).ok()?;
    let key = x25519_public(&introduction.address)?;
    let proved = noise.remote_static() == Some(key.as_slice());
    (proved && usize::from(introduction.mtu) >= crate::endpoint::MIN_MTU).then_some(introduction)
}
