//! The end-to-end sessions of a node behind their lock, and the time at which they have to be served.

use std::sync::Mutex;

use crate::address::Address;
use crate::identity::Identity;
use crate::node::state::locks::lock;
use crate::notify::Notify;
use crate::session::{SessionInput, SessionOutput, Sessions};
use crate::stats::DropCause;
use crate::time::Time;
use crate::types::Ends;

/// The end-to-end sessions of a node. Their lock is held for one packet or one handshake message. No other lock is taken
/// while it is held, because a conversation seals its packets while it is locked itself.
pub(crate) struct EndToEnd {
    locked: Mutex<LockedSessions>,
    /// The count of deadlines that were earlier than the one that the task of the sessions waits for.
    earlier: Notify<u64>,
}

struct LockedSessions {
    sessions: Sessions,
    /// The deadline that the task waits for. It is kept under the same lock, so that no earlier one is missed.
    awaited: Option<Time>,
}

impl EndToEnd {
    /// The state of a node with this address, without a session. Its randomness comes from `seed`.
    pub(crate) fn new(identity: &Identity, seed: [u8; 32]) -> Self {
        let mut sessions = Sessions::new(seed);
        sessions.add_local(identity);
        EndToEnd { locked: Mutex::new(LockedSessions { sessions, awaited: None }), earlier: Notify::new(0) }
    }

    /// Uses the sessions. Returns the result, and whether there are outputs to be carried out.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Sessions) -> R) -> (R, bool) {
        let mut locked = lock(&self.locked);
        let LockedSessions { sessions, awaited } = &mut *locked;
        let result = act(sessions);
        let has_output = sessions.has_output();
        let next = sessions.next_deadline();
        let is_earlier = next.is_some_and(|next| awaited.is_none_or(|awaited| next < awaited));
        if is_earlier {
            *awaited = next;
        }
        drop(locked);
        if is_earlier {
            let mut earlier = self.earlier.write();
            *earlier = earlier.wrapping_add(1);
        }
        (result, has_output)
    }

    /// Handles an event. Returns whether there are outputs to be carried out.
    pub(crate) fn handle(&self, now: Time, input: SessionInput<'_>) -> (Result<(), DropCause>, bool) {
        self.with(|sessions| sessions.handle(now, input))
    }

    /// Erases the session of a conversation that is over.
    pub(crate) fn close(&self, local: &Address, peer: &Address) {
        let pair = Ends { local: *local, peer: *peer };
        // The time has no meaning for it, since nothing is sent.
        let (_, _) = self.handle(Time::ZERO, SessionInput::Close { pair });
    }

    /// Takes all outputs, in their order.
    pub(crate) fn take_outputs(&self) -> Vec<SessionOutput> {
        let mut locked = lock(&self.locked);
        std::iter::from_fn(|| locked.sessions.poll_output()).collect()
    }

    /// The next deadline, for which the task of the sessions waits from now on.
    pub(crate) fn await_deadline(&self) -> Option<Time> {
        let mut locked = lock(&self.locked);
        locked.awaited = locked.sessions.next_deadline();
        locked.awaited
    }

    /// The count by which [`Self::earlier_than`] recognizes an earlier deadline. It is read before the deadline.
    pub(crate) fn deadline_count(&self) -> u64 {
        *self.earlier.read()
    }

    /// Waits until there is an earlier deadline than when the count was `seen`.
    pub(crate) async fn earlier_than(&self, seen: u64) {
        self.earlier.when(|count| (*count != seen).then_some(())).await;
    }
}
