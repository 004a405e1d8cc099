//! Places in a pool of bounded size, shared among the neighbours over which their users came.
//!
//! Quotas follow the authenticated neighbour and its host, because an attacker has as many addresses and handshakes as
//! it likes, but few neighbours and fewer hosts. When a pool is full, the host that holds most gives a place to a
//! newcomer of a host that holds at least two less, as neighbours do themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::address::Address;
use crate::time::Time;

/// The neighbour that a packet came from, by which quotas are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PreviousHop {
    /// The address of the neighbour, which its link has proved.
    pub neighbour: Address,
    /// The host that the neighbour is reached at.
    pub host: u64,
    /// The network that the host belongs to.
    pub group: u64,
}

/// The bounds of a pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlaceLimits {
    /// The number of places.
    pub(super) all: usize,
    /// The maximum for one host.
    pub(super) each_host: usize,
    /// The maximum for one neighbour.
    pub(super) each_neighbour: usize,
    /// The time for which a user keeps its place against newcomers of its own neighbour and host. Without it, a crowd that
    /// comes at once over one neighbour would take each other's places before any of them is done.
    pub(super) turn: Duration,
}

/// The users of a pool.
pub(super) struct Places<K> {
    limits: PlaceLimits,
    holders: BTreeMap<K, Holder>,
}

#[derive(Clone, Copy)]
struct Holder {
    hop: PreviousHop,
    since: Time,
}

/// The decision on a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<K> {
    /// There is a place.
    Free,
    /// There is a place, because this user has lost its own.
    Evicted(K),
    /// There is none.
    Refused,
}

impl<K: Ord + Copy> Places<K> {
    pub(super) fn new(limits: PlaceLimits) -> Self {
        Places { limits, holders: BTreeMap::new() }
    }

    /// Takes a place for `key`. A key that has one keeps it. The oldest user gives its place first.
    pub(super) fn take(&mut self, now: Time, key: K, hop: PreviousHop) -> Place<K> {
        self.take_from(now, key, hop, &|_| None)
    }

    /// The same, where `used` is the time at which a user was last in use. The one that was unused for the longest time
    /// gives its place first.
    pub(super) fn take_from(
        &mut self,
        now: Time,
        key: K,
        hop: PreviousHop,
        used: &dyn Fn(&K) -> Option<Time>,
    ) -> Place<K> {
        if self.holders.contains_key(&key) {
            return Place::Free;
        }
        let victim = match self.victim(now, &hop, used) {
            Ok(victim) => victim,
            Err(()) => return Place::Refused,
        };
        if let Some(victim) = &victim {
            self.holders.remove(victim);
        }
        self.holders.insert(key, Holder { hop, since: now });
        victim.map_or(Place::Free, Place::Evicted)
    }

    /// Whether a newcomer of this neighbour would have a place. It is asked before the work for the newcomer is done.
    pub(super) fn has_place(&self, now: Time, hop: &PreviousHop) -> bool {
        self.victim(now, hop, &|_| None).is_ok()
    }

    /// The user that gives its place to a newcomer of this neighbour, if one has to; an error when none does.
    fn victim(
        &self,
        now: Time,
        hop: &PreviousHop,
        used: &dyn Fn(&K) -> Option<Time>,
    ) -> Result<Option<K>, ()> {
        let of_neighbour = |holder: &Holder| holder.hop.neighbour == hop.neighbour;
        let of_host = |holder: &Holder| holder.hop.host == hop.host;
        let had_its_turn = |holder: &Holder| now.since(holder.since) >= self.limits.turn;
        let count =
            |is_one: &dyn Fn(&Holder) -> bool| self.holders.values().filter(|one| is_one(one)).count();
        if count(&of_neighbour) >= self.limits.each_neighbour {
            let may_go = |holder: &Holder| of_neighbour(holder) && had_its_turn(holder);
            return self.oldest(&may_go, used).map(Some).ok_or(());
        }
        let mine = count(&of_host);
        if mine >= self.limits.each_host {
            let may_go = |holder: &Holder| of_host(holder) && had_its_turn(holder);
            return self.oldest(&may_go, used).map(Some).ok_or(());
        }
        if self.holders.len() < self.limits.all {
            return Ok(None);
        }
        let mut hosts: BTreeMap<u64, usize> = BTreeMap::new();
        for holder in self.holders.values() {
            let held = hosts.entry(holder.hop.host).or_default();
            *held = held.saturating_add(1);
        }
        let most = hosts.into_iter().max_by_key(|(_, held)| *held);
        let from =
            most.filter(|(_, held)| *held >= mine.saturating_add(2)).map_or(hop.host, |(host, _)| host);
        // A host that holds more than its share gives a place at once, so that none can keep others out by its crowd.
        let may_go = |holder: &Holder| holder.hop.host == from && (from != hop.host || had_its_turn(holder));
        self.oldest(&may_go, used).map(Some).ok_or(())
    }

    /// The user that has been unused for the longest time.
    fn oldest(&self, is_one: &dyn Fn(&Holder) -> bool, used: &dyn Fn(&K) -> Option<Time>) -> Option<K> {
        let all = self.holders.iter().filter(|(_, holder)| is_one(holder));
        all.min_by_key(|(key, holder)| used(key).unwrap_or(holder.since)).map(|(key, _)| *key)
    }

    /// Gives a place back.
    pub(super) fn release(&mut self, key: &K) {
        self.holders.remove(key);
    }

    pub(super) fn len(&self) -> usize {
        self.holders.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(neighbour: u8, host: u64) -> PreviousHop {
        PreviousHop { neighbour: Address::from_bytes([neighbour; 32]), host, group: 0 }
    }

    fn places() -> Places<u32> {
        Places::new(PlaceLimits { all: 8, each_host: 6, each_neighbour: 4, turn: Duration::ZERO })
    }

    #[test]
    fn a_user_keeps_its_place_for_a_turn_against_its_own_neighbour_and_host_alone() {
        let turn = Duration::from_millis(100);
        let mut places = Places::new(PlaceLimits { all: 8, each_host: 6, each_neighbour: 4, turn });
        let at = |key: u32| Time::from_millis(1000 + u64::from(key));
        for key in 0..6 {
            assert_eq!(places.take(at(key), key, hop(u8::from(key >= 4), 1)), Place::Free);
        }
        assert_eq!(places.take(at(90), 6, hop(0, 1)), Place::Refused, "the neighbour has four");
        assert_eq!(places.take(at(90), 6, hop(9, 1)), Place::Refused, "the host has six");
        assert!(!places.has_place(at(90), &hop(9, 1)) && places.has_place(at(90), &hop(9, 2)));
        for key in 6..8 {
            assert_eq!(places.take(at(90), key, hop(2, 2)), Place::Free);
        }
        assert_eq!(places.take(at(91), 8, hop(2, 2)), Place::Evicted(0), "the other host has most");
        assert_eq!(places.take(at(101), 9, hop(0, 1)), Place::Evicted(1), "its turn is over");
    }

    #[test]
    fn a_neighbour_beyond_its_quota_takes_the_place_of_its_own_oldest() {
        let mut places = places();
        for key in 0..4 {
            assert_eq!(places.take(Time::from_millis(u64::from(key)), key, hop(1, 1)), Place::Free);
        }
        let used = |key: &u32| (*key == 0).then_some(Time::from_millis(9));
        assert_eq!(places.take_from(Time::from_millis(10), 4, hop(1, 1), &used), Place::Evicted(1));
        assert_eq!(places.take(Time::from_millis(11), 4, hop(1, 1)), Place::Free, "it has a place");
    }

    #[test]
    fn a_host_with_many_neighbours_has_no_more_than_its_quota() {
        let mut places = places();
        for key in 0..6 {
            assert_eq!(places.take(Time::from_millis(u64::from(key)), key, hop(key as u8, 1)), Place::Free);
        }
        assert_eq!(places.take(Time::from_millis(10), 6, hop(6, 1)), Place::Evicted(0));
    }

    #[test]
    fn the_host_that_holds_most_gives_a_place_to_a_newcomer() {
        let mut places = places();
        for key in 0..6 {
            places.take(Time::from_millis(u64::from(key)), key, hop(key as u8 % 2, 1));
        }
        for key in 6..8 {
            places.take(Time::from_millis(u64::from(key)), key, hop(7, 2));
        }
        assert_eq!(places.take(Time::from_millis(10), 8, hop(8, 3)), Place::Evicted(0));
        assert_eq!(places.take(Time::from_millis(11), 9, hop(7, 2)), Place::Evicted(1));
        // Now the first host has four and the second three, so its next newcomer takes a place of its own.
        assert_eq!(places.take(Time::from_millis(12), 10, hop(7, 2)), Place::Evicted(6));
        assert_eq!(places.len(), 8);
    }
}
