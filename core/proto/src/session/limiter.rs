//! Rate limits on the handshakes that others begin.
//!
//! A first message costs three key agreements to read and as much again to answer. Its origin is inside its seal, so
//! what limits it is the neighbour over which it came, which its link has proved and which cannot be forged.
//!
//! There is no cookie, unlike for links. A cookie shows that an initiator receives at an address, but an attacker makes
//! addresses for nothing and receives at each of them, and the responder could only send one if the first message named
//! its origin in clear, which would show every relay which addresses communicate. A response cannot be turned against a
//! third node: it is shorter than the request, there is at most one for each, and it goes to the address that the
//! request has proved.

use crate::address::Address;
use crate::rate_limit::{KeyedRateLimiter, Rate};
use crate::session::places::PreviousHop;
use crate::time::Time;
use crate::types::Ends;

/// The rate of first messages over one neighbour, and from one host.
pub(super) const NEIGHBOUR_REQUESTS: Rate = Rate::each_second(100, 200);
/// The rate of first messages from one network. It is above that of a host, so that a single host cannot use up the
/// share of its network.
pub(super) const GROUP_REQUESTS: Rate = Rate::each_second(200, 300);
/// The rate of first messages from all sources together. It bounds their cost to about a tenth of a processor.
pub(super) const ALL_REQUESTS: Rate = Rate::each_second(300, 400);
/// The rate that each neighbour has of its own when all others together have used up theirs.
pub(super) const RESERVED_REQUESTS: Rate = Rate::each_second(1, 4);
/// The rate of handshakes that one address begins. An honest node begins one an hour, and one after each restart.
pub(super) const ADDRESS_REQUESTS: Rate = Rate::each_second(1, 10);

/// The rates of one node. See the [module documentation](self).
#[derive(Default)]
pub(super) struct RequestLimiter {
    neighbours: KeyedRateLimiter<Address>,
    reserves: KeyedRateLimiter<Address>,
    hosts: KeyedRateLimiter<u64>,
    groups: KeyedRateLimiter<u64>,
    all: KeyedRateLimiter<()>,
    addresses: KeyedRateLimiter<Ends>,
}

impl RequestLimiter {
    /// Whether a first message that came over this neighbour may be read. A source beyond its rate takes no token of a
    /// larger group, since otherwise it would lock that out.
    pub(super) fn admit(&mut self, now: Time, hop: &PreviousHop) -> bool {
        self.groups.has_token(now, hop.group, GROUP_REQUESTS)
            && self.hosts.has_token(now, hop.host, NEIGHBOUR_REQUESTS)
            && self.neighbours.try_take(now, hop.neighbour, NEIGHBOUR_REQUESTS)
            && self.hosts.try_take(now, hop.host, NEIGHBOUR_REQUESTS)
            && self.groups.try_take(now, hop.group, GROUP_REQUESTS)
            && (self.all.try_take(now, (), ALL_REQUESTS)
                || self.reserves.try_take(now, hop.neighbour, RESERVED_REQUESTS))
    }

    /// Whether the peer of these ends, which a first message has proved, may begin one more session with the local address.
    pub(super) fn admit_address(&mut self, now: Time, ends: Ends) -> bool {
        self.addresses.try_take(now, ends, ADDRESS_REQUESTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(neighbour: u8, host: u64, group: u64) -> PreviousHop {
        PreviousHop { neighbour: Address::from_bytes([neighbour; 32]), host, group }
    }

    fn admitted(limiter: &mut RequestLimiter, now: Time, hop: &PreviousHop) -> usize {
        (0..1000).filter(|_| limiter.admit(now, hop)).count()
    }

    #[test]
    fn many_neighbours_of_one_host_have_the_rate_of_one() {
        let mut limiter = RequestLimiter::default();
        let now = Time::from_millis(1000);
        let all: usize = (0..9).map(|one| admitted(&mut limiter, now, &hop(one, 1, 1))).sum();
        assert_eq!(all, 200);
    }

    #[test]
    fn networks_that_flood_leave_each_neighbour_its_reserve() {
        let mut limiter = RequestLimiter::default();
        let now = Time::from_millis(1000);
        let flood: usize =
            (0..9).map(|one| admitted(&mut limiter, now, &hop(one, one.into(), one.into()))).sum();
        assert_eq!(
            flood,
            400 + 6 * 4 + 4,
            "the common rate, and the reserves of those that found it used up"
        );
        assert_eq!(admitted(&mut limiter, now, &hop(50, 50, 50)), 4);
    }
}
