//! Fair eviction from a full table: places are shared equally by networks, and within each network by hosts.
//!
//! An attacker that has many identities or ports fills the places of its own host only, and one that has many hosts
//! those of its own network. Otherwise the first to come, or the fastest, would keep all others out.

use std::collections::BTreeMap;

use super::Source;

/// An occupant of a place: its netmod, its source and its rank. Among occupants of one host, the highest rank is
/// evicted first.
pub type Occupant<T> = (u32, Source, T);

/// Chooses the occupant that is evicted for a newcomer, or `None` if the newcomer must be refused.
///
/// It belongs to the network with the most places, provided that the newcomer's network has at least two fewer;
/// otherwise to the host with the most places in the newcomer's own network, provided that the newcomer's host has at
/// least two fewer. The difference is two because with one the two sides would evict each other in turn, without end.
/// Without a newcomer to compare with, the occupant belongs to the network and host that have the most places.
pub fn choose_evicted<T: Ord + Copy>(
    occupants: &[Occupant<T>],
    newcomer: Option<(u32, Source)>,
) -> Option<T> {
    let mut groups: BTreeMap<(u32, u64), BTreeMap<u64, (usize, T)>> = BTreeMap::new();
    for (netmod, source, rank) in occupants {
        let hosts = groups.entry((*netmod, source.group)).or_default();
        let host = hosts.entry(source.host).or_insert((0, *rank));
        *host = (host.0.saturating_add(1), host.1.max(*rank));
    }
    let size = |hosts: &BTreeMap<u64, (usize, T)>| hosts.values().map(|(count, _)| *count).sum::<usize>();
    let most = groups.values().max_by_key(|hosts| size(hosts))?;
    let of_most = |hosts: &BTreeMap<u64, (usize, T)>| hosts.values().max().copied();
    let Some((netmod, source)) = newcomer else { return of_most(most).map(|(_, rank)| rank) };
    let ours = groups.get(&(netmod, source.group));
    if size(most) >= ours.map_or(0, size).saturating_add(2) {
        return of_most(most).map(|(_, rank)| rank);
    }
    let of_host = ours?.get(&source.host).map_or(0, |(count, _)| *count);
    of_most(ours?).filter(|(count, _)| *count >= of_host.saturating_add(2)).map(|(_, rank)| rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occupants(hosts: &[(u64, u64, usize)]) -> Vec<Occupant<usize>> {
        let mut all = Vec::new();
        for (group, host, count) in hosts {
            let occupant = |n| (0, Source { host: *host, group: *group }, n);
            all.extend((all.len()..all.len() + count).map(occupant));
        }
        all
    }

    fn evicted(hosts: &[(u64, u64, usize)], group: u64, host: u64) -> Option<usize> {
        choose_evicted(&occupants(hosts), Some((0, Source { host, group })))
    }

    #[test]
    fn the_largest_network_loses_a_place_and_in_it_the_largest_host() {
        assert_eq!(
            evicted(&[(1, 10, 3), (1, 11, 5), (2, 20, 6)], 2, 20),
            Some(7),
            "eight places against six"
        );
        assert_eq!(
            evicted(&[(1, 10, 3), (1, 11, 5), (2, 20, 7)], 2, 20),
            None,
            "a difference of one evicts none"
        );
        assert_eq!(evicted(&[(1, 10, 2)], 2, 20), Some(1), "a network without any place");
    }

    #[test]
    fn within_one_network_the_largest_host_loses_a_place() {
        assert_eq!(evicted(&[(1, 10, 4), (1, 11, 1)], 1, 12), Some(3));
        assert_eq!(evicted(&[(1, 10, 4), (1, 11, 1)], 1, 10), None);
        assert_eq!(evicted(&[(1, 10, 4), (1, 11, 3)], 1, 11), None);
    }

    #[test]
    fn a_network_of_many_hosts_evicts_none_of_a_smaller_network() {
        let crowded: Vec<_> = (0..30).map(|host| (1, host, 1)).chain([(2, 99, 2)]).collect();
        assert_eq!(evicted(&crowded, 1, 50), None, "two places of one host in another network are kept");
    }

    #[test]
    fn without_a_newcomer_the_largest_host_loses_a_place() {
        assert_eq!(choose_evicted(&occupants(&[(1, 10, 1), (2, 20, 2)]), None), Some(2));
        assert_eq!(choose_evicted(&occupants(&[]), None), None);
    }
}
