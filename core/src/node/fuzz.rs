//! What the fuzzers reach into: packets, as if a neighbour had sent them.

use super::Node;
use super::data_path::{DeferredWork, packets_arrived};

impl Node {
    /// Takes a packet (its kind byte first), and does all that follows from it.
    pub(crate) fn take_packet(&self, packet: &[u8]) {
        let mut work = DeferredWork::default();
        packets_arrived(&self.shared, &mut vec![packet.into()], &mut work);
        work.finish(&self.shared);
    }
}
