//! The entry of the fuzzers into a node: packets as if a neighbour had sent them.

use super::Node;
use super::data_path::{DeferredWork, packets_arrived};

impl Node {
    /// Handles a packet (its kind byte first) to the end, as the neighbour's task would.
    pub(crate) fn take_packet(&self, packet: &[u8]) {
        let mut work = DeferredWork::default();
        packets_arrived(&self.shared, &mut vec![packet.into()], &mut work);
        work.finish(&self.shared);
    }
}
