//! The requests of mailboxes to the journal: messages that are lent to applications, acknowledged, and given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::SeqCst};

use rouse_journal::{InboxKey, JournalError, Lease, LeaseLimit, MailboxName};

use crate::address::Address;
use crate::node::reply::ReplySender;
use crate::notify::Notify;
use crate::types::{Ends, Protection};

/// The requests that wait for the task which carries them out. Each application has one at most that waits for messages.
#[derive(Default)]
pub(crate) struct LendQueue {
    pub(crate) requests: Notify<Vec<LendRequest>>,
    is_closed: AtomicBool,
    /// The messages that applications have.
    lent: AtomicIsize,
}

/// An operation on the inbox of the journal.
pub(crate) enum LendRequest {
    /// Lend messages to an application that waits for them.
    Lease(LeaseRequest),
    /// Remove messages that applications have dealt with, of these conversations.
    Acknowledge { keys: Vec<InboxKey>, conversations: Vec<Ends> },
    /// Reply once all acknowledgements before it are on the disk.
    Flush(ReplySender<Result<(), JournalError>>),
    /// Give messages back that an application has not dealt with. The attempt counts if the application has seen them.
    GiveBack { keys: Vec<InboxKey>, service: Arc<StoredService>, is_seen: bool },
}

/// An application that waits for messages.
pub(crate) struct LeaseRequest {
    pub(crate) mailbox: MailboxName,
    pub(crate) from: Option<Address>,
    pub(crate) limit: LeaseLimit,
    pub(crate) turn: LeaseTurn,
    pub(crate) reply: ReplySender<LentBatch>,
}

impl LendQueue {
    /// Lets the task carry out a request. No lock is held, since this wakes the task.
    pub(crate) fn request(&self, request: LendRequest) {
        if !self.is_closed.load(SeqCst) {
            self.requests.write().push(request);
            self.drop_if_closed();
        }
    }

    /// Drops all that waits, since no task carries it out any more.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, SeqCst);
        self.drop_if_closed();
    }

    fn drop_if_closed(&self) {
        if self.is_closed.load(SeqCst) {
            // Dropped after the lock is released, because that wakes the applications that wait.
            let requests = std::mem::take(&mut *self.requests.write());
            drop(requests);
        }
    }

    /// The messages that applications have. The journal lends no more than a number, since each is in its memory.
    pub(crate) fn lent(&self) -> usize {
        usize::try_from(self.lent.load(SeqCst)).unwrap_or(0)
    }

    pub(crate) fn count_lent(&self, change: isize) {
        self.lent.fetch_add(change, SeqCst);
    }
}

/// The stored messages of a service, as its readers see them.
#[derive(Default)]
pub(crate) struct StoredService {
    pub(super) signal: Notify<StoredSignal>,
    /// Whether the last messages came from memory. Then the journal is looked at first, so that neither kind keeps the other
    /// back.
    pub(super) was_memory: AtomicBool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StoredSignal {
    /// Grows when there may be more messages in the journal than before.
    pub(super) changes: u64,
    /// The count at the beginning of the last look that has found nothing.
    pub(super) empty_at: Option<u64>,
    /// Whether a reader is being lent messages. Others wait, since it may give them back, and theirs would come too early.
    pub(super) is_leasing: bool,
    /// The operations under way that give messages back. No message is lent meanwhile, since a later one could overtake them.
    pub(super) returning: u32,
}

/// Messages that are lent by the journal. Its drop gives back those that no application has taken.
pub(crate) struct LentBatch {
    pub(crate) lending: Arc<LendQueue>,
    pub(crate) turn: LeaseTurn,
    /// Each with the protection that it had on its way.
    pub(crate) leases: Vec<(Lease, Protection)>,
}

// A future that is dropped while its messages are on the way would otherwise keep them until the node restarts.
impl Drop for LentBatch {
    fn drop(&mut self) {
        let keys: Vec<_> = self.leases.drain(..).map(|(lease, _)| lease.key).collect();
        if !keys.is_empty() {
            let (service, is_seen) = (self.turn.0.clone(), false);
            // Before the turn ends, so that the next reader waits for it.
            service.begin_return();
            self.lending.request(LendRequest::GiveBack { keys, service, is_seen });
        }
    }
}

/// The turn of one reader to be lent messages of a service.
pub(crate) struct LeaseTurn(Arc<StoredService>);

impl Drop for LeaseTurn {
    fn drop(&mut self) {
        self.0.signal.write().is_leasing = false;
    }
}

impl StoredService {
    /// Waits for the turn to be lent messages. Those that are being given back would otherwise be overtaken by the messages
    /// behind them.
    pub(super) async fn turn(self: &Arc<Self>) -> LeaseTurn {
        let is_free = |signal: &mut StoredSignal| {
            let is_free = signal.returning == 0 && !signal.is_leasing;
            signal.is_leasing |= is_free;
            is_free.then_some(())
        };
        self.signal.take_when(is_free).await;
        LeaseTurn(self.clone())
    }

    pub(super) fn changes(&self) -> u64 {
        self.signal.read().changes
    }

    /// Whether a look at the journal may find a message.
    pub(super) fn may_have(&self) -> bool {
        let signal = self.signal.read();
        signal.empty_at != Some(signal.changes)
    }

    /// There may be more messages than before.
    pub(crate) fn note_change(&self) {
        let mut signal = self.signal.write();
        signal.changes = signal.changes.wrapping_add(1);
    }

    /// Messages are about to be given back.
    pub(super) fn begin_return(&self) {
        let mut signal = self.signal.write();
        signal.returning = signal.returning.saturating_add(1);
    }

    /// Messages were given back.
    pub(crate) fn returned(&self) {
        let mut signal = self.signal.write();
        signal.returning = signal.returning.saturating_sub(1);
        signal.changes = signal.changes.wrapping_add(1);
    }

    /// Waits until there may be more messages than at the count `seen`.
    pub(super) async fn changed(&self, seen: u64) {
        self.signal.when(|signal| (signal.changes != seen).then_some(())).await;
    }
}
