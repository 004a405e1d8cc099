//! The decision about a new neighbour when all slots for neighbours are occupied.
//!
//! Configured neighbours are never evicted, because the user has named them. The others share the rest as
//! [`choose_evicted`] decides.

use std::collections::VecDeque;

use crate::link::eviction::choose_evicted;
use crate::link::{DownReason, Source};
use crate::time::Time;

/// A neighbour, or a node that requests a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotHolder {
    /// The number of its link. A lower number means an older link, and older links stay.
    pub(super) id: u32,
    pub(super) configured: bool,
    pub(super) netmod: u32,
    pub(super) source: Source,
}

/// The decision about a new neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotDecision {
    /// A slot is free.
    Free,
    /// The neighbour with this number is evicted.
    Evict(u32),
    /// No slot is available, for this reason.
    Refused(DownReason),
}

/// Decides about a new neighbour when at most `most` may be linked and `holders` are.
pub(super) fn decide(holders: &[SlotHolder], newcomer: &SlotHolder, most: usize) -> SlotDecision {
    if holders.len() < most {
        return SlotDecision::Free;
    }
    let strangers = holders.iter().filter(|slot_holder| !slot_holder.configured);
    let strangers: Vec<_> =
        strangers.map(|slot_holder| (slot_holder.netmod, slot_holder.source, slot_holder.id)).collect();
    let from = (newcomer.netmod, newcomer.source);
    if let Some(id) = choose_evicted(&strangers, Some(from).filter(|_| !newcomer.configured)) {
        return SlotDecision::Evict(id);
    }
    // The reasons differ, so that the user learns whether the node is full or only the share of this host.
    let of_host =
        strangers.iter().filter(|(netmod, source, _)| (*netmod, source.host) == (from.0, from.1.host));
    SlotDecision::Refused(if of_host.count() > 1 { DownReason::Crowded } else { DownReason::Full })
}

/// The count of nodes that were refused or evicted within the longest time that one of them may wait before its next
/// attempt, so that the status shows a shortage only while it lasts.
#[derive(Debug, Default)]
pub(super) struct RecentRefusals {
    /// Counts by minute since the start of the node, the oldest first; never more than the window has, so that a flood of
    /// refusals takes no more memory.
    minutes: VecDeque<(u64, u32)>,
}

/// The window in which refusals are counted, in minutes: the longest wait of a refused node.
pub const REFUSALS_WINDOW: u64 = 10;

impl RecentRefusals {
    pub(super) fn note(&mut self, now: Time) {
        let minute = self.forget(now);
        match self.minutes.back_mut() {
            Some((last, count)) if *last == minute => *count = count.saturating_add(1),
            _ => self.minutes.push_back((minute, 1)),
        }
    }

    pub(super) fn count(&mut self, now: Time) -> u32 {
        self.forget(now);
        self.minutes.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Removes the counts outside of the window; returns the current minute.
    fn forget(&mut self, now: Time) -> u64 {
        let minute = now.since(Time::ZERO).as_secs() / 60;
        self.minutes.retain(|(then, _)| minute.saturating_sub(*then) < REFUSALS_WINDOW);
        minute
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_for_ten_minutes_in_bounded_memory() {
        let mut refusals = RecentRefusals::default();
        let at = |seconds: u64| Time::from_millis(seconds * 1000);
        (0..3600).for_each(|second| refusals.note(at(second)));
        assert_eq!(refusals.count(at(3599)), 600);
        assert!(refusals.minutes.len() <= 10);
        assert_eq!(refusals.count(at(3600 + 299)), 300, "half of them are forgotten");
        assert_eq!(refusals.count(at(3600 + 600)), 0);
    }

    fn stranger(id: u32, host: u64, group: u64) -> SlotHolder {
        SlotHolder { id, configured: false, netmod: 0, source: Source { host, group } }
    }

    fn configured(id: u32) -> SlotHolder {
        SlotHolder { configured: true, ..stranger(id, 0, 0) }
    }

    /// Admits newcomers one after the other; returns the decision about the last one.
    fn let_in(
        holders: &mut Vec<SlotHolder>,
        newcomers: impl IntoIterator<Item = SlotHolder>,
        most: usize,
    ) -> SlotDecision {
        let mut last = SlotDecision::Free;
        for newcomer in newcomers {
            last = decide(holders, &newcomer, most);
            if let SlotDecision::Evict(id) = last {
                holders.retain(|slot_holder| slot_holder.id != id);
            }
            if !matches!(last, SlotDecision::Refused(_)) {
                holders.push(newcomer);
            }
        }
        assert!(holders.len() <= most);
        last
    }

    #[test]
    fn the_slots_go_to_nodes_of_any_network_and_the_next_node_is_refused_with_the_reason() {
        let mut holders = Vec::new();
        // Each is on a host of its own, all in one network.
        let_in(&mut holders, (0..256).map(|n| stranger(n, n.into(), 7)), 256);
        assert_eq!(holders.len(), 256);
        let next = decide(&holders, &stranger(256, 256, 7), 256);
        assert_eq!(next, SlotDecision::Refused(DownReason::Full));
    }

    #[test]
    fn a_host_with_many_identities_keeps_no_other_host_of_its_network_out() {
        let mut holders = Vec::new();
        let full = let_in(&mut holders, (0..1000).map(|n| stranger(n, 1, 7)), 32);
        assert_eq!(full, SlotDecision::Refused(DownReason::Crowded), "too many of its own");
        assert_eq!(
            decide(&holders, &stranger(1000, 2, 7), 32),
            SlotDecision::Evict(31),
            "the one that came last goes"
        );
        // Newcomers and the host alternate: the host does not regain the slots that it lost.
        for n in 0..16 {
            let_in(&mut holders, [stranger(2000 + n, 2 + u64::from(n), 7)], 32);
            let again = let_in(&mut holders, [stranger(3000 + n, 1, 7)], 32);
            assert_eq!(again, SlotDecision::Refused(DownReason::Crowded));
        }
        assert_eq!(holders.iter().filter(|slot_holder| slot_holder.source.host == 1).count(), 16);
    }

    #[test]
    fn a_network_with_many_hosts_keeps_no_other_network_out() {
        let mut holders = Vec::new();
        let_in(&mut holders, (0..32).map(|n| stranger(n, n.into(), 7)), 32);
        assert_eq!(decide(&holders, &stranger(99, 99, 8), 32), SlotDecision::Evict(31));
        // Two on one host of a small network are not more than one that arrives from the large network.
        let_in(&mut holders, [stranger(99, 99, 8), stranger(100, 99, 8)], 32);
        for n in 200..300 {
            let_in(&mut holders, [stranger(n, n.into(), 7)], 32);
        }
        assert_eq!(holders.iter().filter(|slot_holder| slot_holder.source.group == 8).count(), 2);
    }

    #[test]
    fn a_configured_neighbour_gets_a_slot_before_any_other_and_keeps_it() {
        let mut holders = Vec::new();
        let_in(&mut holders, (0..4).map(|n| stranger(n, n.into(), n.into())), 4);
        let_in(&mut holders, (10..14).map(configured), 4);
        assert!(holders.iter().all(|slot_holder| slot_holder.configured));
        for newcomer in [configured(20), stranger(20, 9, 9)] {
            assert_eq!(decide(&holders, &newcomer, 4), SlotDecision::Refused(DownReason::Full));
        }
    }
}
