//! The probes under way, and the allowance for replies to those of others.

use std::collections::HashMap;

use crate::address::Address;
use crate::node::reply::ReplySender;
use crate::rate_limit::{Rate, RateLimiter};
use crate::time::Time;

/// Replies that a node sends per second, and at once. Anyone can send probes with a forged source, so that without a
/// bound this node would amplify a flood.
const REPLIES: Rate = Rate::each_second(500, 1000);

/// The probes under way, and the allowance for replies.
#[derive(Default)]
pub(crate) struct Probes {
    pub(crate) pending: HashMap<u64, PendingProbe>,
    replies: RateLimiter,
}

pub(crate) struct PendingProbe {
    pub(crate) target: Address,
    pub(crate) kind: u8,
    pub(crate) answer: ReplySender<ProbeReply>,
}

/// The source of a reply, the value in it, and the time of its arrival. The time is taken where the packet arrives, since
/// the application that waits may run later.
pub(crate) struct ProbeReply {
    pub(crate) source: Address,
    pub(crate) value: u8,
    pub(crate) at: Time,
}

/// A table of probes with room for more than so many is made smaller once it is empty.
const KEPT_ROOM: usize = 64;

impl Probes {
    /// Takes a probe out. The room of many probes is given back when none is left, since a client may begin 1024 at once.
    pub(crate) fn take(&mut self, nonce: u64) -> Option<PendingProbe> {
        let probe = self.pending.remove(&nonce);
        if self.pending.is_empty() && self.pending.capacity() > KEPT_ROOM {
            self.pending.shrink_to(KEPT_ROOM);
        }
        probe
    }

    pub(crate) fn may_reply(&mut self, now: Time) -> bool {
        self.replies.try_take(now, REPLIES)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn many_probes_leave_a_small_table_behind() {
        let mut probes = Probes::default();
        for nonce in 0..1000 {
            let (answer, _) = crate::node::reply::reply();
            let target = Address::from_bytes([1; 32]);
            probes.pending.insert(nonce, PendingProbe { target, kind: 2, answer });
        }
        assert!((0..1000).all(|nonce| probes.take(nonce).is_some()));
        assert!(probes.pending.capacity() < 128, "{}", probes.pending.capacity());
    }

    #[test]
    fn answers_are_limited_to_a_burst_and_a_rate() {
        let mut probes = Probes::default();
        let start = Time::ZERO;
        let burst = (0..5000).filter(|_| probes.may_reply(start)).count();
        assert_eq!(burst, 1000);
        let later = start + Duration::from_secs(1);
        let second = (0..5000).filter(|_| probes.may_reply(later)).count();
        assert_eq!(second, 500);
    }
}
