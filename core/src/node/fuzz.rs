//! What the fuzzers reach into: packets, as if a neighbour had sent them.

use super::Node;
use super::forward::{Work, packet_arrived};

impl Node {
    /// Takes a packet (its kind byte first), and does all that follows from it.
    pub(crate) fn take_packet(&self, packet: &[u8]) {
        let mut work = Work::default();
        packet_arrived(&self.shared, packet.into(), &mut work);
        work.finish(&self.shared);
    }
}
