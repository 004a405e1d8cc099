//! The retention of conversations: which of them stay, and for how long.
//!
//! A conversation that a peer has started costs memory before anything is known of the peer, and any node can invent
//! source addresses. So a conversation is removed after [`UNPROVEN`] of silence if its peer has not proved that it
//! receives packets at its address, together with its messages in the mailbox: they have no receipt, so a real sender
//! repeats them. Where there are too many, the oldest of the host whose links brought most of them is removed, and
//! those with a proven peer stay.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::node::mailbox::Mailbox;
use crate::node::state::NodeState;
use crate::node::state::conversation::{ConversationEntry, ConversationKey};
use crate::node::state::conversations::Conversations;
use crate::node::state::locks::{lock, read, write};
use crate::route::Location;
use crate::time::Time;

/// The silence after which a conversation with an unproven peer is removed.
const UNPROVEN: Duration = Duration::from_secs(30);
/// The silence after which a conversation with a proven peer and incomplete messages is removed. It starts again with a
/// new incarnation.
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
        all: &mut BTreeMap<Arc<ConversationKey>, Arc<ConversationEntry>>,
        from: Option<Location>,
        now: Time,
    ) -> Option<()> {
        for _ in 0..TRIES {
            let Some(entry) = lock(&self.unproven).oldest() else { break };
            if !lock(&entry.state).gone && entry.give_up_unproven(shared, now, Duration::ZERO) {
                self.budget.release(&entry);
                all.remove(&entry.ends);
                return Some(());
            }
        }
        // A search of all conversations is costly, so a packet may cause one only now and then.
        let mut unproven = lock(&self.unproven);
        if from.is_some() && unproven.barren.is_some_and(|last| now.since(last) < LOOK) {
            return None;
        }
        unproven.barren = Some(now);
        drop(unproven);
        let idle = all.iter().filter(|(_, entry)| entry.is_idle(shared, now));
        let key = idle.min_by_key(|(_, entry)| lock(&entry.state).used).map(|(key, _)| key.clone())?;
        let entry = all.remove(&key)?;
        self.budget.release(&entry);
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
            if entry.is_over(shared, now) {
                self.budget.release(&entry);
                conversations.remove(&entry.ends);
            }
        }
        let mailboxes: Vec<_> = read(&shared.mailboxes).values().cloned().collect();
        mailboxes.iter().for_each(Mailbox::forget_tokens);
        let mut unproven = lock(&self.unproven);
        unproven.brought.retain(|_, all| {
            all.retain(|entry| {
                let Some(entry) = entry.upgrade() else { return false };
                let state = lock(&entry.state);
                !state.gone && state.conversation.is_unproven(now, Duration::ZERO)
            });
            all.shrink_to_fit();
            !all.is_empty()
        });
        unproven.brought.shrink_to_fit();
    }
}

impl ConversationEntry {
    /// A cheap check for whether [`Self::is_over`] is worth its locks. It also releases memory that a silent
    /// conversation does not need.
    fn may_be_over(&self, now: Time) -> bool {
        let mut state = lock(&self.state);
        let silent = state.conversation.silence(now);
        if silent >= UNPROVEN {
            state.conversation.release_memory(now);
        }
        silent >= UNPROVEN
    }

    /// Whether it can be removed. The messages of an unproven peer in the mailbox are dropped by this check.
    fn is_over(&self, shared: &NodeState, now: Time) -> bool {
        if self.give_up_unproven(shared, now, UNPROVEN) {
            return true;
        }
        let state = lock(&self.state);
        state.conversation.silence(now) >= BEGUN
            && state.is_free()
            && state.conversation.held_bytes() > 0
            && state.conversation.may_restart(now)
    }

    /// Whether its peer is unproven and has been silent for so long. If so, its messages in the mailbox are dropped,
    /// which breaks no promise, since they have no receipt.
    fn give_up_unproven(&self, shared: &NodeState, now: Time, silence: Duration) -> bool {
        let mailbox = read(&shared.mailboxes).get(self.local()).cloned();
        let state = lock(&self.state);
        if !state.conversation.is_unproven(now, silence) || !state.is_free() {
            return false;
        }
        let with_application = state.conversation.untaken();
        mailbox.is_none_or(|mailbox| mailbox.drop_sender(self.peer(), with_application))
    }
}
