//! The session of a conversation, and what its handshake has proved of the two ends.
//!
//! Each side of a conversation has an incarnation, 8 random bytes, which distinguishes a peer that has lost its state
//! from late packets of its past. Incarnations do not travel with packets: the handshake of a session names both, and a
//! packet belongs to the session under whose keys it was sealed. So no claim has to be believed or tested here. When a
//! session shows another incarnation of the peer than before, what is known of its packets is reset; when it shows that
//! the peer does not know this incarnation, all messages that have no receipt are sent to it from the beginning. The two
//! are independent of each other, so that neither end relies on the memory of the other.

use std::collections::VecDeque;

use super::message_run::CompleteMessage;
use crate::wire::session::ProvedStanding;

/// The consecutive probe time-outs after which the peer may have lost the session. One is ordinary on a lossy path.
pub(super) const DOUBTFUL: u32 = 2;

/// The need of a conversation for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionNeed {
    /// A session, because there is something to send and no session.
    Connect,
    /// Another session, because the peer does not answer and may have lost the present one.
    Renew,
}

/// The session of a conversation at this end.
#[derive(Debug, Default)]
pub(super) struct Meeting {
    /// The number of the latest session; 0 before the first.
    session: u64,
    /// Whether packets can be sealed.
    pub(super) is_connected: bool,
    /// Whether the peer may have lost the session.
    is_doubted: bool,
    /// The peer's present incarnation; `None` before the first session.
    peer: Option<u64>,
    /// Boxed, since most conversations never have any.
    former: Option<Box<FormerMessages>>,
}

/// Complete messages of former incarnations of the peer, which are kept because the peer has lost its copies.
#[derive(Debug, Default)]
struct FormerMessages {
    messages: VecDeque<(u64, CompleteMessage)>,
}

impl Meeting {
    /// The peer's present incarnation; `None` before the first session.
    pub(super) fn peer(&self) -> Option<u64> {
        self.peer
    }

    /// Whether there was a session, by which the peer has proved its address.
    pub(super) fn is_proven(&self) -> bool {
        self.session > 0
    }

    /// The peer does not answer. It may have lost the session.
    pub(super) fn doubt(&mut self) {
        self.is_doubted = true;
    }

    /// Complete messages of former incarnations of the peer, each with its incarnation.
    pub(super) fn undelivered(&self) -> impl ExactSizeIterator<Item = &(u64, CompleteMessage)> {
        self.former.as_ref().map(|former| former.messages.iter()).unwrap_or_default()
    }

    pub(super) fn take_undelivered(&mut self) -> Option<(u64, CompleteMessage)> {
        let former = self.former.as_mut()?;
        let first = former.messages.pop_front();
        if former.messages.is_empty() {
            self.former = None;
        }
        first
    }

    /// Takes a session as the present one. Returns whether it is another one than before.
    pub(super) fn enter(&mut self, session: u64) -> bool {
        self.is_connected = true;
        let is_new = session > self.session;
        if is_new {
            (self.session, self.is_doubted) = (session, false);
        }
        is_new
    }

    /// Whether this session came into use before the present one.
    pub(super) fn is_older(&self, proved: &ProvedStanding) -> bool {
        proved.session < self.session
    }

    /// Takes this incarnation of the peer as the present one. Returns the one before.
    pub(super) fn replace_peer(&mut self, incarnation: u64) -> Option<u64> {
        self.peer.replace(incarnation)
    }

    /// Whether the peer may have lost the session. It is reported once.
    pub(super) fn take_doubt(&mut self) -> bool {
        std::mem::take(&mut self.is_doubted)
    }

    /// Keeps a complete message of a former incarnation of the peer for the application.
    pub(super) fn keep_undelivered(&mut self, former: u64, complete: CompleteMessage) {
        self.former.get_or_insert_default().messages.push_back((former, complete));
    }
}
