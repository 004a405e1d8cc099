//! The interface to the media of a node.

use crate::link::{Path, Source};

/// The media of a node, as far as the choice of links depends on them.
pub trait Media {
    /// The longest frame that the medium carries, in bytes; `None` when the node has no such medium.
    fn max_mtu(&self, netmod: u32) -> Option<usize>;
    /// The host and the network of an endpoint, which share quotas.
    fn source(&self, path: &Path) -> Source;
    /// Whether the medium reports that nothing gets through to the endpoint.
    fn is_cut(&self, path: &Path) -> bool;
}
