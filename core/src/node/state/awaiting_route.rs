//! Replies that wait for a route, within bounds for all of them, for a host and for a network.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::address::Address;
use crate::notify::Notify;
use crate::route::Location;
use crate::time::Time;

/// Replies that may wait: in all, and by host and by network of the neighbour that brought the request. A host that
/// invents sources occupies no more of them, however many links it has.
pub(crate) const MOST: usize = 256;
const MOST_OF_HOST: usize = 64;
const MOST_OF_NETWORK: usize = 128;
/// Bytes of the replies that wait. They are bounded beside the count, because a reply may be as long as a packet.
const MOST_BYTES: usize = 64 << 10;

/// The replies that wait, in the order of their deadlines, since each waits equally long.
pub(crate) struct AwaitingRoute(pub(crate) Notify<VecDeque<QueuedReply>>);

pub(crate) struct QueuedReply {
    pub(crate) to: Address,
    /// The account of the neighbour that the request arrived from.
    pub(crate) from: Location,
    pub(crate) packet: Bytes,
    pub(crate) until: Time,
}

impl Default for AwaitingRoute {
    fn default() -> Self {
        AwaitingRoute(Notify::new(VecDeque::new()))
    }
}

impl AwaitingRoute {
    /// Stores a reply. Returns whether there was room for it.
    pub(crate) fn keep(&self, answer: QueuedReply) -> bool {
        let mut waiting = self.0.write();
        let of_host = waiting.iter().filter(|known| known.from.host == answer.from.host).count();
        let of_network = waiting.iter().filter(|known| known.from.network == answer.from.network).count();
        let bytes: usize = waiting.iter().map(|known| known.packet.len()).sum();
        let room = waiting.len() < MOST
            && of_host < MOST_OF_HOST
            && of_network < MOST_OF_NETWORK
            && bytes.saturating_add(answer.packet.len()) <= MOST_BYTES;
        if room {
            waiting.push_back(answer);
        }
        room
    }

    /// Takes the replies to one destination.
    pub(crate) fn take(&self, to: &Address) -> Vec<Bytes> {
        if !self.0.read().iter().any(|known| known.to == *to) {
            return Vec::new();
        }
        let mut waiting = self.0.write();
        let (taken, kept): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut *waiting).into_iter().partition(|known| known.to == *to);
        *waiting = kept;
        taken.into_iter().map(|known| known.packet).collect()
    }

    /// Drops the replies whose time has run out; returns their count.
    pub(crate) fn expire(&self, now: Time) -> u64 {
        let mut waiting = self.0.write();
        let mut expired: u64 = 0;
        while waiting.front().is_some_and(|first| first.until <= now) {
            waiting.pop_front();
            expired = expired.saturating_add(1);
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(to: u8, host: u64, until: u64) -> QueuedReply {
        let from = Location { host, network: host / 1000 };
        let until = Time::from_millis(until);
        QueuedReply { to: Address::from_bytes([to; 32]), from, packet: Bytes::from(vec![to; 78]), until }
    }

    #[test]
    fn answers_wait_until_their_route_comes_or_their_time_is_up() {
        let awaiting = AwaitingRoute::default();
        for (to, until) in [(1, 10), (2, 20), (1, 30)] {
            assert!(awaiting.keep(answer(to, 7, until)));
        }
        assert_eq!(awaiting.expire(Time::from_millis(9)), 0);
        assert_eq!(awaiting.expire(Time::from_millis(10)), 1);
        assert_eq!(awaiting.take(&Address::from_bytes([1; 32])).len(), 1);
        assert!(awaiting.take(&Address::from_bytes([1; 32])).is_empty());
        assert_eq!(awaiting.expire(Time::from_millis(30)), 1);
    }

    #[test]
    fn waiting_replies_are_bounded_and_no_host_or_network_uses_the_places_of_others() {
        let awaiting = AwaitingRoute::default();
        assert_eq!((0..1000).filter(|_| awaiting.keep(answer(1, 7, 10))).count(), MOST_OF_HOST);
        let network = (0..10_000).filter(|n| awaiting.keep(answer(2, n % 1000, 10))).count();
        assert_eq!(network, MOST_OF_NETWORK - MOST_OF_HOST);
        let others = (0..10_000).filter(|n| awaiting.keep(answer(3, 1000 + n, 10))).count();
        assert_eq!(others, MOST - MOST_OF_NETWORK);
    }
}
