//! Which conversations stay, and how long.
//!
//! A conversation that others began costs memory before anything is known of them, and anybody can invent senders. So one
//! whose peer has not shown that it hears what is sent to its address goes after [`UNPROVEN`] of silence, with all that came
//! of it: what waits for the application has no receipt, and a sender that is there sends it again. Where there are too many,
//! the oldest of the host whose links brought most of them gives way, and those with a peer that is known to be there stay.

use super::*;

/// A conversation whose peer has not proven to be there is forgotten after so long without a word.
const UNPROVEN: Duration = Duration::from_secs(30);
/// One in which something has begun, and whose peer is there, after this: it begins again with a new incarnation.
const BEGUN: Duration = Duration::from_secs(50);
/// All are looked at for one that is idle at most so often.
const LOOK: Duration = Duration::from_secs(1);
/// So many are looked at in the list of a neighbour before it is given up.
const TRIES: usize = 8;

/// Conversations that neighbours have brought, by host, oldest first, and when there was last none that is idle. They are kept
/// elsewhere: one that has made room for others holds nothing any more.
#[derive(Default)]
pub(super) struct UnprovenConversations {
    brought: HashMap<u64, VecDeque<Weak<ConversationEntry>>>,
    barren: Option<Time>,
}

impl UnprovenConversations {
    pub(super) fn note(&mut self, from: Location, entry: &Arc<ConversationEntry>) {
        let all = self.brought.entry(from.host).or_default();
        if all.len() == all.capacity() {
            // So a list is at most twice as long as there are conversations, and each is looked at a few times.
            all.retain(|entry| entry.strong_count() > 0);
            all.reserve(all.len().max(4));
        }
        all.push_back(Arc::downgrade(entry));
    }

    /// The oldest of the host whose links brought most.
    fn oldest(&mut self) -> Option<Arc<ConversationEntry>> {
        loop {
            let (from, all) = self.brought.iter_mut().max_by_key(|(_, all)| all.len())?;
            let from = *from;
            let oldest = std::iter::from_fn(|| all.pop_front()).find_map(|entry| entry.upgrade());
            if all.is_empty() {
                self.brought.remove(&from);
            }
            if oldest.is_some() {
                return oldest;
            }
        }
    }
}

impl Conversations {
    /// Has a conversation make place for another. `None` when all are in use.
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
        // To look at all is dear: a packet may ask for it only now and then.
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

    /// Forgets conversations that somebody has begun and that nothing comes of any more.
    pub(crate) fn sweep(&self, shared: &NodeState) {
        self.sweep_at(shared, shared.now());
    }

    pub(super) fn sweep_at(&self, shared: &NodeState, now: Time) {
        let all: Vec<_> = read(&self.by_ends).values().cloned().collect();
        for entry in all {
            if !entry.may_be_over(now) {
                continue;
            }
            // Not while one that has just found it uses it.
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
    /// Whether [`Self::is_over`] is worth a closer look.
    fn may_be_over(&self, now: Time) -> bool {
        let mut state = lock(&self.state);
        let silent = state.conversation.silence(now);
        if silent >= UNPROVEN {
            state.conversation.release_memory(now);
        }
        silent >= UNPROVEN
    }

    /// Whether nothing comes of it any more. What is in the mailbox of one that is unproven is gone then.
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

    /// Whether its peer has not proven to be there and has been silent for so long. Then what waits of it in the mailbox is
    /// dropped with it: without a receipt nobody was promised anything.
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
