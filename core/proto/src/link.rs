//! Links: encrypted sessions between two neighbours.
//!
//! A frame that a netmod delivers is first classified by [`wire::link::peek`](crate::wire::link::peek). Handshake
//! frames are given to the node's [`Handshakes`], which returns a [`Session`] when a handshake completes. The session's
//! [`Sealer`] belongs to the egress, since frames are sealed where they are queued. Its `Opener` becomes part of a
//! [`Link`], which receives the neighbour's data frames from then on: it opens them, answers probes, measures round
//! trip and loss, carries the control stream, and returns the packets.
//!
//! Nothing in this module reads a clock, draws randomness or does I/O, so that a test can repeat every run exactly. The
//! contract with the caller is the same for [`Handshakes`] and [`Link`]:
//!
//! 1. Report each event (`handle`, `handle_frame`, `handle_timeout`, …) with the present time.
//! 2. Call `poll_output` until it returns `None`.
//! 3. Call `handle_timeout` at `next_deadline`. Read the deadline again after every step 1, because each event may
//!    change it. A timer that fires early is harmless.
//!
//! The owner of a session has these duties besides:
//!
//! - Packets are sealed by the [`Sealer`] and begin with [`KIND_PACKET`](crate::wire::link::KIND_PACKET). Each batch of
//!   them is reported to [`Link::note_sent`], because a packet without an answer is evidence that the neighbour is
//!   gone.
//! - A data frame that carries the link's index but arrives from another endpoint is passed to
//!   [`Link::handle_frame_from`]. [`LinkOutput::Moved`] reports that the neighbour has proved to receive at that
//!   endpoint.
//! - The first frame of a session that opens is reported to [`Handshakes::confirm`].
//! - A session replaces an older one with the same neighbour over the same netmod. The older link sends no goodbye,
//!   since the neighbour replaces it as well.
//! - A link renews its keys by itself. Each [`LinkOutput::Rekeyed`] is applied to the sealer in the order of the
//!   outputs, because frames queued before it are sealed with the older key. When [`Sealer::is_worn`] holds,
//!   [`Link::on_key_worn`] is called. After [`Exhausted`], [`Link::on_key_exhausted`] ends the link.
mod control;
mod established;
pub mod eviction;
mod handshake;
mod keys;
mod liveness;
mod mtu;
mod noise;
mod output;
mod path_validation;
mod quality;
mod rekey;
mod replay;
mod seed;
pub mod session_pair;
#[cfg(test)]
mod specification;

pub use established::Link;
pub use handshake::indices::Indices;
pub use handshake::{DialError, HandshakeOutput, Handshakes, Session};
#[cfg(test)]
pub use keys::Opener;
pub use keys::{DataKey, Exhausted, REJECT_AFTER_FRAMES, REKEY_AFTER_FRAMES, Sealer, Suite, nonce};
pub use noise::{NoiseError, NoiseHandshake, NoisePattern, Secret, SplitKeys, StaticKeys};
pub use output::{DownReason, FrameContent, LinkMetrics, LinkOutput, LinkState};
#[cfg(test)]
pub(crate) use quality::cost_of;
pub use replay::ReplayWindow;
pub use seed::fresh_seed;

use zeroize::Zeroizing;

use crate::endpoint::Endpoint;

/// A path to a neighbour: a netmod and one of its endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// The number that the node gave to the netmod.
    pub netmod: u32,
    /// The netmod's handle for the neighbour.
    pub endpoint: Endpoint,
}

/// The origin of an unauthenticated frame, by which quotas are shared: a host and the network that it belongs to.
///
/// Quotas count hosts and networks and not endpoints or identities, because an attacker has as many ports and key pairs
/// as it likes but few addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// `Netmod::host_key` of the endpoint.
    pub host: u64,
    /// `Netmod::quota_key` of the endpoint.
    pub group: u64,
}

impl Source {
    /// A host that shares its network with no other host.
    pub fn isolated(number: u64) -> Self {
        Source { host: number, group: number }
    }
}

/// The configuration of a node's handshakes.
#[derive(Clone)]
pub struct LinkConfig {
    /// The pre-shared key of a closed mesh. A node without it completes no handshake and receives no answer.
    pub mesh_key: Option<Zeroizing<[u8; 32]>>,
    /// The random number of this run of the node, which its beacons carry too, so that neighbours recognize a restart.
    /// It is drawn from the seed where the caller has none.
    pub instance: Option<u64>,
    /// The bits of optional features, which are announced to every neighbour: as in
    /// [`CAPABILITIES`](crate::wire::link::CAPABILITIES).
    pub capabilities: u32,
    /// The cipher suites offered, as in [`Suite`].
    pub suites: u8,
    /// The maximum number of handshakes that other nodes have under way with this node.
    pub max_answers: usize,
    /// The maximum number of handshakes that this node has under way with others.
    pub max_dials: usize,
    /// Handshakes per second that are admitted from one endpoint, and from one host while the node is under load.
    pub rate: u32,
    /// Handshakes per second, from all sources together, above which the node is under load. Under load a cookie is
    /// required, since it proves that the initiator receives at its endpoint and has not forged it.
    pub load: u32,
}

impl Default for LinkConfig {
    fn default() -> Self {
        LinkConfig {
            mesh_key: None,
            instance: None,
            capabilities: 0,
            suites: Suite::offered(),
            max_answers: 256,
            max_dials: 256,
            rate: 5,
            load: 50,
        }
    }
}

impl std::fmt::Debug for LinkConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkConfig").field("closed", &self.mesh_key.is_some()).finish_non_exhaustive()
    }
}
