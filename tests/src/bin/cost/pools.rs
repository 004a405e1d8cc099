//! Fixed pools: places that inputs of some kinds may take beside what they hold for each byte.

use rouse_netmod_udp::fuzz::BeaconReceiver;

use crate::layers::{HandshakeLayer, NodeLayer, SocketLayer};

/// A number of places, and what each may hold.
#[derive(Clone, Copy)]
pub(crate) struct Pool {
    places_for: &'static str,
    places: fn() -> usize,
    /// Bytes of each place, at most.
    each: usize,
}

/// So many inputs for each place are measured: what had no bound would be beyond the pool.
const FILLS: u64 = 2;

/// A place holds at least this part of what it may hold.
const SLACK: i64 = 4;

/// An initiation that is answered waits for its finish, for 10 s at most.
pub(crate) const ANSWERS: Pool = Pool {
    places_for: "handshakes of others under way",
    places: HandshakeLayer::most_answers,
    each: 3 << 10,
};

/// Conversations, whatever their peers have shown.
pub(crate) const CONVERSATIONS: Pool =
    Pool { places_for: "conversations", places: NodeLayer::most_conversations, each: 1536 };

/// Calls that wait, on one connection.
pub(crate) const CALLS: Pool =
    Pool { places_for: "calls of a client that wait", places: SocketLayer::most_calls, each: 2 << 10 };

/// Messages that wait to be sent: 32 MiB in all in one conversation.
pub(crate) const WAITING_MESSAGES: Pool =
    Pool { places_for: "messages that wait to be sent", places: NodeLayer::most_waiting, each: 8 << 10 };

/// Senders of beacons that are remembered.
pub(crate) const SENDERS: Pool =
    Pool { places_for: "senders of beacons", places: BeaconReceiver::most_senders, each: 512 };

impl Pool {
    /// Its greatest size.
    pub(crate) fn bytes(&self) -> usize {
        (self.places)() * self.each
    }

    pub(crate) fn places(&self) -> usize {
        (self.places)()
    }

    /// The complaint about places that hold so many bytes each: more than they may, or so few that the pool is an allowance for
    /// something else, because its inputs do not take its places at all, or each is given far more than it needs.
    pub(crate) fn complaint(&self, held: i64) -> Option<String> {
        let (each, words) = (self.each as i64, self.words());
        let is_right = held <= each && held >= each / SLACK;
        (!is_right).then(|| format!("holds {held} bytes in each place of its pool of {words}"))
    }

    /// Inputs that are far more than it has places for.
    pub(crate) fn filled_by(&self) -> u64 {
        FILLS * (self.places)() as u64
    }

    /// In words.
    pub(crate) fn words(&self) -> String {
        format!("{} {}, {} bytes each", (self.places)(), self.places_for, self.each)
    }
}
