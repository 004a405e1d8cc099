//! All conversations of a node, by their two addresses, and the deadlines at which they have to be served.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, RwLock};

use crate::address::Address;
use crate::message;
use crate::node::Limits;
use crate::node::mailbox::MailboxChanges;
use crate::node::state::conversation::ConversationEntry;
use crate::node::state::locks::{lock, read, write};
use crate::node::state::memory_budget::MemoryBudget;
use crate::node::state::sessions::EndToEnd;
use crate::node::state::unanswered::UnansweredConversations;
use crate::notify::Notify;
use crate::time::Time;
use crate::types::{Ends, Queued, Waiting};

/// All conversations of a node.
pub(crate) struct Conversations {
    pub(crate) limit: usize,
    pub(crate) config: message::ConversationConfig,
    pub(crate) budget: MemoryBudget,
    /// The end-to-end sessions. All packets of conversations are sealed in them.
    pub(crate) sessions: EndToEnd,
    /// The key is shared with the entry, so that it is stored once: a node that invents sources causes an entry for
    /// each.
    pub(crate) by_ends: RwLock<BTreeMap<Arc<Ends>, Arc<ConversationEntry>>>,
    pub(crate) timers: Notify<BTreeSet<(Time, Arc<Ends>)>>,
    pub(crate) unanswered: Mutex<UnansweredConversations>,
    /// The changed inboxes of all mailboxes, which wake the task of the conversations. A set, so that messages that are
    /// taken fast cause one look at each inbox.
    pub(crate) mailbox_changes: Arc<MailboxChanges>,
    /// The changes of conversations, counted while a node that stops observes them.
    progress: Notify<u64>,
    observers: AtomicUsize,
}

/// An observer of the changes of conversations. Without one they are not counted, since most of them interest no task.
pub(crate) struct ProgressObserver<'a>(&'a Conversations);

impl ProgressObserver<'_> {
    /// The number of changes so far.
    pub(crate) fn seen(&self) -> u64 {
        *self.0.progress.read()
    }

    /// Waits for a change after the first `seen` ones.
    pub(crate) async fn beyond(&self, seen: u64) {
        self.0.progress.when(|count| (*count != seen).then_some(())).await;
    }
}

impl Drop for ProgressObserver<'_> {
    fn drop(&mut self) {
        self.0.observers.fetch_sub(1, SeqCst);
    }
}

impl Conversations {
    pub(crate) fn new(limits: &Limits, has_journal: bool, sessions: EndToEnd) -> Self {
        Conversations {
            limit: limits.senders,
            config: message::ConversationConfig {
                credit_bytes: limits.reassembly / 16,
                has_journal,
                ..message::ConversationConfig::default()
            },
            budget: MemoryBudget::new(limits.reassembly),
            sessions,
            by_ends: RwLock::default(),
            timers: Notify::new(BTreeSet::new()),
            unanswered: Mutex::default(),
            mailbox_changes: Arc::default(),
            progress: Notify::new(0),
            observers: AtomicUsize::new(0),
        }
    }

    /// Counts the changes of conversations from now on.
    pub(crate) fn observe(&self) -> ProgressObserver<'_> {
        self.observers.fetch_add(1, SeqCst);
        ProgressObserver(self)
    }

    /// Counts a change, if there is an observer. No lock is held, since this calls wakers.
    pub(crate) fn note_progress(&self) {
        if self.observers.load(SeqCst) > 0 {
            let mut progress = self.progress.write();
            *progress = progress.wrapping_add(1);
        }
    }

    pub(crate) fn find(&self, local: &Address, peer: &Address) -> Option<Arc<ConversationEntry>> {
        read(&self.by_ends).get(&Ends { peer: *peer, local: *local }).cloned()
    }

    pub(crate) fn with_peer(&self, peer: &Address) -> Vec<Arc<ConversationEntry>> {
        let first = Ends { peer: *peer, local: Address::from_bytes([0; 32]) };
        let all = read(&self.by_ends);
        let range = all.range::<Ends, _>((Bound::Included(&first), Bound::Unbounded));
        range.take_while(|(ends, _)| ends.peer == *peer).map(|(_, entry)| entry.clone()).collect()
    }

    /// The messages that wait to be delivered and are in memory alone, in all conversations.
    pub(crate) fn waiting(&self) -> Waiting {
        let mut all = Waiting::default();
        for entry in read(&self.by_ends).values() {
            let waiting = lock(&entry.state).conversation.volatile();
            all.messages += waiting.messages;
            all.bytes += waiting.bytes;
        }
        all
    }

    /// The messages that wait to be delivered and are in memory alone, with the time of the oldest in memory.
    pub(crate) fn outbox(&self) -> Queued {
        let mut all = Queued::default();
        for entry in read(&self.by_ends).values() {
            let state = lock(&entry.state);
            let Waiting { messages, bytes } = state.conversation.volatile();
            all.add(Queued { messages, bytes, oldest: state.conversation.oldest_waiting() });
        }
        all
    }

    /// The peers with which `local` has conversations.
    pub(crate) fn peers_of(&self, local: &Address) -> BTreeSet<Address> {
        let all = read(&self.by_ends);
        all.keys().filter(|ends| ends.local == *local).map(|ends| ends.peer).collect()
    }

    /// The peers of all conversations.
    pub(crate) fn peers(&self) -> Vec<Address> {
        let mut peers: Vec<_> = read(&self.by_ends).keys().map(|ends| ends.peer).collect();
        peers.dedup();
        peers
    }

    /// Ends all waits for room and for receipts, because neither comes any more.
    pub(crate) fn close(&self) {
        let all: Vec<_> = read(&self.by_ends).values().cloned().collect();
        all.iter().for_each(|entry| entry.close());
    }

    /// Releases the memory and the session of a conversation that is removed.
    pub(crate) fn release(&self, entry: &ConversationEntry) {
        self.budget.release(entry);
        // After the mark that it is gone, so that it requests no other one.
        self.sessions.close(entry.local(), entry.peer());
    }

    /// Removes the conversations of an address that the node gives up.
    pub(crate) fn forget(&self, local: &Address) {
        let ((), _) = self.sessions.with(|sessions| sessions.remove_local(local));
        let mut forgotten = Vec::new();
        write(&self.by_ends).retain(|ends, entry| {
            let keep = ends.local != *local;
            if !keep {
                self.release(entry);
                forgotten.push(entry.clone());
            }
            keep
        });
        forgotten.iter().for_each(|entry| entry.close());
        self.note_progress();
    }

    /// Takes the changed inboxes.
    pub(crate) fn take_mailbox_changes(&self) -> BTreeSet<Ends> {
        // Read first, since a write would wake every waiter even when nothing changes.
        if self.mailbox_changes.read().is_empty() {
            return BTreeSet::new();
        }
        std::mem::take(&mut *self.mailbox_changes.write())
    }

    pub(crate) fn take_due(&self, now: Time) -> Vec<Arc<Ends>> {
        if self.timers.read().first().is_none_or(|(time, _)| *time > now) {
            return Vec::new();
        }
        let (mut timers, mut due) = (self.timers.write(), Vec::new());
        while timers.first().is_some_and(|(time, _)| *time <= now) {
            due.extend(timers.pop_first().map(|(_, key)| key));
        }
        due
    }
}
