//! The retention of conversations: which of them stay, and for how long.
//!
//! A conversation that a peer has started costs memory before anything is known of the peer, and any node can make
//! identities. A request for a session may even be an old one that is replayed, so a conversation that had no session is
//! removed after [`UNPROVEN`] of silence. Where there are too many, the oldest of the host whose links brought most of
//! those that no application here has answered is removed, together with its messages in the mailbox: they have no
//! receipt, so a real sender repeats them. Those that an application has answered stay.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::node::mailbox::Mailbox;
use crate::node::state::NodeState;
use crate::node::state::conversation::ConversationEntry;
use crate::node::state::conversations::Conversations;
use crate::node::state::locks::{lock, read, write};
use crate::route::Location;
use crate::time::Time;
use crate::types::Ends;

/// The silence after which a conversation that never had a session is removed.
const UNPROVEN: Duration = Duration::from_secs(30);
/// The silence after which a conversation with incomplete messages is removed. It starts again with a new incarnation.
const BEGUN: Duration = Duration::from_secs(50);
/// The least time between two searches of all conversations for an idle one.
const LOOK: Duration = Duration::from_secs(1);
/// Conversations of one list that are examined before the search ends, so that its cost is bounded.
const TRIES: usize = 8;

impl Conversations {
    /// Removes one conversation to make a place for another; `None` when all are in use.
    pub(super) fn make_place(
        &self,
        shared: &NodeState,
        all: &mut BTreeMap<Arc<Ends>, Arc<ConversationEntry>>,
        from: Option<Location>,
        now: Time,
    ) -> Option<()> {
        for _ in 0..TRIES {
            let Some(entry) = lock(&self.unanswered).oldest() else { break };
            if !lock(&entry.state).gone && entry.give_up_unanswered(shared) {
                self.release(&entry);
                all.remove(&entry.ends);
                return Some(());
            }
        }
        // A search of all conversations is costly, so a packet may cause one only now and then.
        let mut unanswered = lock(&self.unanswered);
        if from.is_some() && unanswered.barren.is_some_and(|last| now.since(last) < LOOK) {
            return None;
        }
        unanswered.barren = Some(now);
        drop(unanswered);
        let idle = all.iter().filter(|(_, entry)| entry.is_idle(shared, now));
        let key = idle.min_by_key(|(_, entry)| lock(&entry.state).used).map(|(key, _)| key.clone())?;
        let entry = all.remove(&key)?;
        self.release(&entry);
        Some(())
    }

    /// Removes the conversations that are over.
    pub(crate) fn sweep(&self, shared: &NodeState) {
        self.sweep_at(shared, shared.now());
    }

    pub(super) fn sweep_at(&self, shared: &NodeState, now: Time) {
        let all: Vec<_> = read(&self.by_ends).values().cloned().collect();
        for entry in all {
            if !entry.may_be_over(now) {
                continue;
            }
            // Checked again under the lock, since a packet may have used it meanwhile.
            let mut conversations = write(&self.by_ends);
            if entry.is_over(now) {
                self.release(&entry);
                conversations.remove(&entry.ends);
            }
        }
        let mailboxes: Vec<_> = read(&shared.mailboxes).values().cloned().collect();
        mailboxes.iter().for_each(Mailbox::forget_tokens);
        let mut unanswered = lock(&self.unanswered);
        unanswered.brought.retain(|_, all| {
            all.retain(|entry| {
                let Some(entry) = entry.upgrade() else { return false };
                let state = lock(&entry.state);
                !state.gone && !state.conversation.is_answered()
            });
            all.shrink_to_fit();
            !all.is_empty()
        });
        unanswered.brought.shrink_to_fit();
    }
}

impl ConversationEntry {
    /// A cheap check for whether [`Self::is_over`] is worth its locks. It also releases memory that a silent
    /// conversation does not need.
    fn may_be_over(&self, now: Time) -> bool {
        let mut state = lock(&self.state);
        let silent = state.conversation.silence(now);
        if silent >= UNPROVEN {
            state.conversation.release_memory();
        }
        silent >= UNPROVEN
    }

    /// Whether it can be removed.
    fn is_over(&self, now: Time) -> bool {
        let state = lock(&self.state);
        let is_begun = state.conversation.silence(now) >= BEGUN
            && state.conversation.held_bytes() > 0
            && state.conversation.may_restart(now, state.refused());
        state.is_free() && (is_begun || state.conversation.is_unproven(now, UNPROVEN))
    }

    /// Whether no application here has answered it. If so, its messages in the mailbox are dropped, which breaks no
    /// promise, since they have no receipt.
    fn give_up_unanswered(&self, shared: &NodeState) -> bool {
        let mailbox = read(&shared.mailboxes).get(self.local()).cloned();
        let state = lock(&self.state);
        if state.conversation.is_answered() || !state.is_free() {
            return false;
        }
        let with_application = state.conversation.untaken().saturating_sub(state.refused());
        mailbox.is_none_or(|mailbox| mailbox.drop_sender(self.peer(), with_application))
    }
}

#[cfg(test)]
mod tests;
