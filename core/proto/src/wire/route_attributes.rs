//! The part of a routing record that each router writes for itself.

use super::MAX_IDX;
use super::chain::Chain;
use crate::wire::codec::{self, Decode, Encode, Malformed};

/// The attributes of a neighbour's route to a destination: its distance and its limits. The neighbour vouches for them, the
/// origin's signature does not cover them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RouteAttributes {
    /// The sender's own number for the destination on this link, below [`MAX_IDX`].
    pub idx: u32,
    /// The cost of the route from the sender on.
    pub metric: u16,
    /// The number of links from the sender on.
    pub hops: u8,
    /// The longest packet that every link of the route carries, in bytes.
    pub mtu: u16,
    /// Seconds left of the announce's lifetime.
    pub remaining: u16,
    /// Proves that the sender is not nearer than `hops`.
    pub chain: Chain,
}

impl RouteAttributes {
    pub(super) fn read(bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (attributes, rest) = codec::decode_prefix::<RouteAttributes>(bytes)?;
        if attributes.idx >= MAX_IDX { Err(Malformed) } else { Ok((attributes, rest)) }
    }
}
