//! Room for inbound handshakes: the eviction of one when the maximum number is under way.

use std::cmp::Reverse;

use crate::link::Source;
use crate::link::eviction::{Occupant, choose_evicted};
use crate::link::handshake::Handshakes;
use crate::link::handshake::pending::InboundHandshake;
use crate::stats::DropCause;
use crate::time::Time;

impl Handshakes {
    /// Evicts a handshake when the maximum number is under way: the oldest of the host that [`choose_evicted`] selects,
    /// or else the oldest of the newcomer's own host, group or all, if it has had a second to complete. A newer one
    /// stays, so that a flood cannot evict handshakes before an honest finish can arrive.
    pub(super) fn make_room(&mut self, now: Time, netmod: u32, source: Source) -> Result<(), DropCause> {
        if self.inbound.len() < self.config.max_answers {
            return Ok(());
        }
        let occupants: Vec<Occupant<(Reverse<Time>, u32)>> = self
            .inbound
            .iter()
            .map(|(index, inbound)| (inbound.path.netmod, inbound.source, (Reverse(inbound.since), *index)))
            .collect();
        let fair = choose_evicted(&occupants, Some((netmod, source))).map(|(_, index)| index);
        let closeness = |inbound: &InboundHandshake| {
            let near = inbound.path.netmod == netmod;
            let (host, group) = (inbound.source.host == source.host, inbound.source.group == source.group);
            (Reverse(near && host), Reverse(near && group), inbound.since)
        };
        let own = self.inbound.iter().min_by_key(|(_, inbound)| closeness(inbound));
        let own = own.filter(|(_, inbound)| now.since(inbound.since).as_secs() >= 1);
        let index = fair.or(own.map(|(index, _)| *index)).ok_or(DropCause::HandshakeLimit)?;
        self.inbound.remove(&index);
        Ok(())
    }
}
