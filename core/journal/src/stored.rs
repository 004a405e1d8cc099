//! The journal on a disk: its handle, and its driver.

use std::ops::Range;
use std::sync::Arc;

use rouse_inbox::{Full, Inbox, Notify};
use rouse_proto::address::Address;
use rouse_proto::types::{MessageId, Waiting};

use crate::delivery::LeaseLimit;
use crate::disk::Disk;
use crate::driver::Driver;
use crate::engine::Engine;
use crate::error::{JournalError, Refusal, StoreError};
use crate::journal::Journal;
use crate::limits::JournalLimits;
use crate::request::{Completion, Operation, Properties, QueuedRequest, RequestQueue, Urgency};
use crate::status::JournalStatus;
use crate::transaction::Transaction;
use crate::types::{
    Arrival, InboxEntry, InboxKey, InboxMessage, InboxPart, Lease, MailboxName, Moment, OutboxEntry,
    OutboxKey, OutboxMessage, Pair, PairState, Reception,
};
use crate::writer;

/// The operations that wait, and the bytes of their messages. A sender that is faster than the disk waits.
const QUEUE: usize = 4096;
const QUEUE_BYTES: usize = 64 << 20;

/// A journal on a disk. A thread of its own writes it: operations that arrive while it syncs are committed together.
///
/// ```
/// # use std::time::Duration;
/// # use futures::executor::block_on;
/// use rouse_journal::{Journal, JournalLimits, MemoryDisk, OutboxMessage, Pair, Service, StoredJournal};
/// # use rouse_proto::{identity::Identity, types::Timestamp};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # block_on(async {
/// let disk = MemoryDisk::default();       // or FolderDisk::open(folder)
/// let journal = StoredJournal::open(disk.clone(), JournalLimits::default()).await?;
///
/// # let (local, peer) = (Identity::generate().address(), Identity::generate().address());
/// let pair = Pair { local, peer };
/// let state = journal.open_pair(pair, 0x5eed).await??;
/// let message = OutboxMessage {
///     seq: state.next,
///     sent_at: Timestamp::now(),
///     life: Duration::from_secs(3600),
///     service: Service::default(),
///     in_reply_to: None,
///     body: "hello".into(),
/// };
/// journal.put(vec![(pair, message)]).await?.remove(0)?;     // it would survive a power cut now
/// journal.close().await?;
///
/// let journal = StoredJournal::open(disk, JournalLimits::default()).await?;
/// assert_eq!(journal.load(pair, 0, 1 << 20).await?[0].body, "hello");
/// # Ok(()) })
/// # }
/// ```
#[derive(Clone)]
pub struct StoredJournal {
    handle: Arc<Handle>,
}

struct Handle {
    queue: Arc<RequestQueue>,
    status: Arc<Notify<JournalStatus>>,
    /// The result of closing, once the journal is closed.
    closed: Arc<Notify<Option<Result<(), JournalError>>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl StoredJournal {
    /// Opens the journal on a disk, or creates it.
    ///
    /// # Errors
    /// When the disk cannot be used, or the journal was written by a newer version.
    pub async fn open(disk: impl Disk, limits: JournalLimits) -> Result<Self, JournalError> {
        let journal = Self::unopened();
        let Handle { queue, status, closed } = &*journal.handle;
        let opened = writer::start(Arc::new(disk), limits, (queue.clone(), status.clone()), closed.clone());
        opened.take_when(Option::take).await?;
        Ok(journal)
    }

    /// Opens the journal without a thread. The operations are carried out when the [`Driver`] is called, as simulators
    /// do it.
    ///
    /// # Errors
    /// As [`StoredJournal::open`].
    pub fn driven(
        disk: impl Disk,
        limits: JournalLimits,
        now: Moment,
    ) -> Result<(Self, Driver), JournalError> {
        let journal = Self::unopened();
        let Handle { queue, status, closed } = &*journal.handle;
        let engine = Engine::open(Arc::new(disk), limits, status.clone(), now)?;
        Ok((journal.clone(), Driver::new(engine, queue.clone(), closed.clone())))
    }

    fn unopened() -> Self {
        let bytes = |request: &QueuedRequest| request.properties().bytes.min(QUEUE_BYTES);
        StoredJournal {
            handle: Arc::new(Handle {
                queue: Arc::new(Inbox::with_bytes(QUEUE, QUEUE_BYTES, bytes, Full::Wait)),
                status: Arc::default(),
                closed: Arc::default(),
            }),
        }
    }

    fn submit<T, F>(&self, properties: Properties, work: F) -> Completion<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        Operation::submit(&self.handle.queue, properties, work)
    }
}

impl Properties {
    fn new(urgency: Urgency) -> Self {
        Properties { urgency, bytes: 0, grows: false, withdraw: Vec::new() }
    }

    fn growing(bytes: usize, withdraw: Vec<(Pair, u64)>) -> Self {
        Properties { urgency: Urgency::Now, bytes, grows: true, withdraw }
    }
}

impl Journal for StoredJournal {
    fn open_pair(&self, pair: Pair, incarnation: u64) -> Completion<Result<PairState, Refusal>> {
        self.submit(Properties::growing(0, Vec::new()), move |transaction| {
            match transaction.open_pair(pair, incarnation)? {
                Ok(id) => Ok(Ok(transaction.pair_state(id)?)),
                Err(refusal) => Ok(Err(refusal)),
            }
        })
    }

    fn find_pair(&self, pair: Pair) -> Completion<Option<PairState>> {
        self.submit(Properties::new(Urgency::Now), move |transaction| match transaction.pair_id(&pair)? {
            Some(id) => Ok(Some(transaction.pair_state(id)?)),
            None => Ok(None),
        })
    }

    fn reserve(&self, pair: Pair, next: u64) -> Completion<Result<(), Refusal>> {
        self.submit(Properties::new(Urgency::Now), move |transaction| transaction.reserve(&pair, next))
    }

    fn renew(&self, pair: Pair, incarnation: u64) -> Completion<Result<PairState, Refusal>> {
        self.submit(Properties::new(Urgency::Now), move |transaction| transaction.renew(&pair, incarnation))
    }

    fn put(&self, messages: Vec<(Pair, OutboxMessage)>) -> Completion<Vec<Result<MessageId, Refusal>>> {
        let bytes = messages.iter().map(|(_, message)| message.body.len()).sum();
        let withdraw = messages.iter().map(|(pair, message)| (*pair, message.seq)).collect();
        self.submit(Properties::growing(bytes, withdraw), move |transaction| {
            messages.iter().map(|(pair, message)| transaction.put(pair, message)).collect()
        })
    }

    fn settle(&self, pair: Pair, sequences: Vec<Range<u64>>) -> Completion<Waiting> {
        let properties = Properties::new(Urgency::Soon);
        self.submit(properties, move |transaction| transaction.settle(&pair, &sequences))
    }

    fn expire(&self, limit: usize) -> Completion<Vec<OutboxEntry>> {
        self.submit(Properties::new(Urgency::Now), move |transaction| transaction.expire(limit))
    }

    fn outbox(&self, after: Option<OutboxKey>, limit: usize) -> Completion<Vec<(OutboxKey, OutboxEntry)>> {
        self.submit(Properties::new(Urgency::Now), move |transaction| transaction.outbox_list(after, limit))
    }

    fn destinations(
        &self,
        after: Option<OutboxKey>,
        limit: usize,
    ) -> Completion<Vec<(OutboxKey, Pair, Waiting)>> {
        self.submit(Properties::new(Urgency::Now), move |transaction| transaction.destinations(after, limit))
    }

    fn load(&self, pair: Pair, from: u64, bytes: usize) -> Completion<Vec<OutboxMessage>> {
        self.submit(Properties::new(Urgency::Now), move |transaction| transaction.load(&pair, from, bytes))
    }

    fn receive(&self, arrivals: Vec<Arrival>) -> Completion<Vec<Vec<Reception>>> {
        let messages = arrivals.iter().flat_map(|arrival| &arrival.messages);
        let bytes = messages.map(|message| message.body.len()).sum();
        self.submit(Properties::growing(bytes, Vec::new()), move |transaction| {
            arrivals.iter().map(|arrival| transaction.receive(arrival)).collect()
        })
    }

    fn lease(
        &self,
        mailbox: MailboxName,
        from: Option<Address>,
        limit: LeaseLimit,
    ) -> Completion<Vec<Lease>> {
        let properties = Properties::new(Urgency::Now);
        self.submit(properties, move |transaction| transaction.lease(&mailbox, from, limit))
    }

    fn acknowledge(&self, messages: Vec<InboxKey>) -> Completion<Waiting> {
        let urgency = if messages.is_empty() { Urgency::Now } else { Urgency::Soon };
        self.submit(Properties::new(urgency), move |transaction| transaction.acknowledge(&messages))
    }

    fn give_back(&self, messages: Vec<InboxKey>) -> Completion<usize> {
        self.submit(Properties::new(Urgency::Now), move |transaction| transaction.give_back(&messages))
    }

    fn release(&self, messages: Vec<InboxKey>) -> Completion<usize> {
        self.submit(Properties::new(Urgency::Now), move |transaction| transaction.release(&messages))
    }

    fn inbox(&self, part: InboxPart, after: Option<InboxKey>, limit: usize) -> Completion<Vec<InboxEntry>> {
        self.submit(Properties::new(Urgency::Now), move |transaction| {
            transaction.inbox_list(part, after, limit)
        })
    }

    fn peek(&self, message: InboxKey) -> Completion<Option<(Pair, InboxMessage)>> {
        self.submit(Properties::new(Urgency::Now), move |transaction| transaction.peek(message))
    }

    fn revive(&self, message: InboxKey) -> Completion<bool> {
        self.submit(Properties::new(Urgency::Now), move |transaction| transaction.revive(message))
    }

    fn status(&self) -> JournalStatus {
        self.handle.status.read().clone()
    }

    fn room_after(&self, seen: u64) -> Completion<()> {
        let status = self.handle.status.clone();
        Completion::new(async move {
            status.when(|status| (status.room != seen).then_some(())).await;
            Ok(())
        })
    }

    fn close(&self) -> Completion<()> {
        self.handle.queue.close();
        let closed = self.handle.closed.clone();
        Completion::new(async move { closed.when(Clone::clone).await })
    }
}
