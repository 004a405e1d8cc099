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
pub(super) struct Unproven {
    brought: HashMap<u64, VecDeque<Weak<Conv>>>,
    barren: Option<Time>,
}

impl Unproven {
    pub(super) fn note(&mut self, from: Location, conv: &Arc<Conv>) {
        let all = self.brought.entry(from.host).or_default();
        if all.len() == all.capacity() {
            // So a list is at most twice as long as there are conversations, and each is looked at a few times.
            all.retain(|conv| conv.strong_count() > 0);
            all.reserve(all.len().max(4));
        }
        all.push_back(Arc::downgrade(conv));
    }

    /// The oldest of the host whose links brought most.
    fn oldest(&mut self) -> Option<Arc<Conv>> {
        loop {
            let (from, all) = self.brought.iter_mut().max_by_key(|(_, all)| all.len())?;
            let from = *from;
            let oldest = std::iter::from_fn(|| all.pop_front()).find_map(|conv| conv.upgrade());
            if all.is_empty() {
                self.brought.remove(&from);
            }
            if oldest.is_some() {
                return oldest;
            }
        }
    }
}

impl Traffic {
    /// Has a conversation make place for another. `None` when all are in use.
    pub(super) fn make_place(
        &self,
        shared: &Shared,
        all: &mut BTreeMap<Arc<Key>, Arc<Conv>>,
        from: Option<Location>,
        now: Time,
    ) -> Option<()> {
        for _ in 0..TRIES {
            let Some(conv) = lock(&self.unproven).oldest() else { break };
            if !lock(&conv.state).gone && conv.give_up_unproven(shared, now, Duration::ZERO) {
                self.room.release(&conv);
                all.remove(&conv.ends);
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
        let idle = all.iter().filter(|(_, conv)| conv.is_idle(shared, now));
        let key = idle.min_by_key(|(_, conv)| lock(&conv.state).used).map(|(key, _)| key.clone())?;
        let conv = all.remove(&key)?;
        self.room.release(&conv);
        Some(())
    }

    /// Forgets conversations that somebody has begun and that nothing comes of any more.
    pub(crate) fn sweep(&self, shared: &Shared) {
        self.sweep_at(shared, shared.now());
    }

    pub(super) fn sweep_at(&self, shared: &Shared, now: Time) {
        let all: Vec<_> = read(&self.conversations).values().cloned().collect();
        for conv in all {
            if !conv.may_be_over(now) {
                continue;
            }
            // Not while one that has just found it uses it.
            let mut conversations = write(&self.conversations);
            if conv.is_over(shared, now) {
                self.room.release(&conv);
                conversations.remove(&conv.ends);
            }
        }
        let mailboxes: Vec<_> = read(&shared.mailboxes).values().cloned().collect();
        mailboxes.iter().for_each(Mailbox::forget_tokens);
        let mut unproven = lock(&self.unproven);
        unproven.brought.retain(|_, all| {
            all.retain(|conv| {
                let Some(conv) = conv.upgrade() else { return false };
                let state = lock(&conv.state);
                !state.gone && state.conversation.is_unproven(now, Duration::ZERO)
            });
            all.shrink_to_fit();
            !all.is_empty()
        });
        unproven.brought.shrink_to_fit();
    }
}

impl Conv {
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
    fn is_over(&self, shared: &Shared, now: Time) -> bool {
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
    fn give_up_unproven(&self, shared: &Shared, now: Time, silence: Duration) -> bool {
        let mailbox = read(&shared.mailboxes).get(self.local()).cloned();
        let state = lock(&self.state);
        if !state.conversation.is_unproven(now, silence) || !state.is_free() {
            return false;
        }
        let with_application = state.conversation.untaken();
        mailbox.is_none_or(|mailbox| mailbox.drop_sender(self.peer(), with_application))
    }
}
