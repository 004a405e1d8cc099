//! Links: sealed sessions between neighbours.
//!
//! A frame that a netmod delivers is first sorted by [`wire::link::peek`](crate::wire::link::peek). Handshake frames
//! go to the node's [`Handshakes`], which gives a [`Session`] when one completes. Its [`Sealer`] goes to the link's egress, its
//! [`Opener`] into a [`Link`], which from then on gets that neighbour's data frames: it opens them, answers signs of life,
//! measures the link, carries the control stream, and hands packets on.
//!
//! Nothing here reads a clock, draws randomness or does I/O. The contract with the caller, for [`Handshakes`] and
//! [`Link`] alike:
//!
//! 1. Hand in what happened (`handle`, `handle_frame`, `handle_timeout`, …) with the present time.
//! 2. Call `poll_output` until it gives nothing more.
//! 3. Call `handle_timeout` when `next_deadline` has come; ask for it again after every step 1. A timer that fires early does
//!    no harm.
//!
//! What a session's owner does besides:
//!
//! - What the egress sends goes through the [`Sealer`]; packets begin with
//!   [`KIND_PACKET`](crate::wire::link::KIND_PACKET), and each train of them is told to [`Link::note_sent`].
//! - A data frame with the link's index that came from another endpoint goes to [`Link::handle_stranger`]. The link says by
//!   [`LinkOutput::Moved`] when that is where the neighbour is now.
//! - When the first frame of a session opens, [`Handshakes::confirm`] is told.
//! - A session replaces an older one with the same neighbour over the same netmod; the older link gets no goodbye, for the
//!   other side replaces it too.
//! - A link comes to new keys by itself; each goes to the sealer when [`LinkOutput::Rekeyed`] says so, in the order of the
//!   outputs. When a sealer [is worn](Sealer::is_worn), [`Link::worn`] is told. Should it still come to [`Exhausted`],
//!   [`Link::exhausted`] ends the link.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod control;
mod established;
pub(crate) mod eviction;
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
#[cfg(feature = "internals")]
pub(crate) mod session_pair;
#[cfg(test)]
mod specification;

pub(crate) use established::Link;
pub(crate) use handshake::{DialError, HandshakeOutput, Handshakes, Session};
#[cfg(test)]
pub(crate) use keys::Opener;
pub(crate) use keys::{Key, Sealer, Suite};
pub(crate) use output::{DownReason, FrameContent, LinkMetrics, LinkOutput, LinkState};
#[cfg(test)]
pub(crate) use quality::cost_of;
pub(crate) use seed::fresh_seed;

use zeroize::Zeroizing;

use crate::netmod::Endpoint;

/// One way to a neighbour: a netmod, and one of its endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Path {
    /// The node's number for the netmod.
    pub netmod: u32,
    /// The netmod's handle for the neighbour.
    pub endpoint: Endpoint,
}

/// What a stranger shares its quotas with: first the node's host, then the network that the host belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Source {
    /// [`Netmod::host_key`](crate::netmod::Netmod::host_key) of its endpoint.
    pub host: u64,
    /// [`Netmod::quota_key`](crate::netmod::Netmod::quota_key) of its endpoint.
    pub group: u64,
}

impl Source {
    /// A host in a network of its own.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn isolated(number: u64) -> Self {
        Source { host: number, group: number }
    }
}

/// How a node shakes hands.
#[derive(Clone)]
pub(crate) struct LinkConfig {
    /// The key of a closed mesh: whoever has it not gets nowhere.
    pub mesh_key: Option<Zeroizing<[u8; 32]>>,
    /// The random number drawn at start that the node's beacons carry; drawn from the seed when there is none.
    pub instance: Option<u64>,
    /// What else this node can do, told to every neighbour.
    pub capabilities: u32,
    /// The cipher suites offered, as in [`Suite`].
    pub suites: u8,
    /// The most handshakes that others may have under way with us.
    pub max_answers: usize,
    /// The most handshakes that we may have under way with others.
    pub max_dials: usize,
    /// Handshakes per second from one endpoint, and, under load, from one quota group.
    pub rate: u32,
    /// Handshakes per second from everybody above which the node is under load: then whoever wants one
    /// has to show first that it receives what is sent to its endpoint.
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
