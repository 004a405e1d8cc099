//! A journal on a simulated disk, driven by hand.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use rouse_journal::{
    Arrival, Completion, Driver, InboxMessage, Journal, JournalError, JournalLimits, LeaseLimit, MailboxName,
    Moment, OutboxMessage, Pair, PairState, Reception, Service, StoredJournal,
};
use rouse_proto::address::Address;
use rouse_proto::types::Timestamp;
use rouse_sim::SimDisk;

/// The wall clock at the start of each test, in milliseconds.
pub(crate) const START: u64 = 1_800_000_000_000;

pub(crate) struct Rig {
    pub(crate) disk: SimDisk,
    pub(crate) limits: JournalLimits,
    pub(crate) now: Moment,
    pub(crate) journal: StoredJournal,
    driver: Option<Driver>,
}

impl Rig {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(SimDisk::new(seed), JournalLimits::default())
    }

    pub(crate) fn with(disk: SimDisk, limits: JournalLimits) -> Self {
        let now = Moment { running: Duration::ZERO, wall: Timestamp(START) };
        let (journal, driver) = StoredJournal::driven(disk.clone(), limits, now).unwrap();
        Rig { disk, limits, now, journal, driver: Some(driver) }
    }

    /// Carries out all that waits, and returns the result of an operation.
    pub(crate) fn attempt<T>(&mut self, completion: Completion<T>) -> Result<T, JournalError> {
        if let Some(driver) = &mut self.driver {
            while driver.turn(self.now) {}
        }
        completion.now_or_never().expect("every operation is carried out")
    }

    pub(crate) fn run<T>(&mut self, operation: impl FnOnce(&StoredJournal) -> Completion<T>) -> T {
        let completion = operation(&self.journal);
        self.attempt(completion).unwrap()
    }

    pub(crate) fn idle(&mut self) {
        if let Some(driver) = &mut self.driver {
            driver.idle(self.now);
        }
    }

    /// Ends the process without closing the journal, which loses nothing that was written.
    pub(crate) fn kill(&mut self) {
        self.driver = None;
    }

    /// Ends the process in good order.
    pub(crate) fn close(&mut self) {
        self.driver.take().unwrap().close().unwrap();
    }

    /// Starts the next process.
    pub(crate) fn open(&mut self) -> Result<(), JournalError> {
        self.now.running = Duration::ZERO;
        let (journal, driver) = StoredJournal::driven(self.disk.clone(), self.limits, self.now)?;
        (self.journal, self.driver) = (journal, Some(driver));
        Ok(())
    }

    pub(crate) fn power_cut(&mut self) {
        self.kill();
        self.disk.restart();
        self.open().unwrap();
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now.running += time;
        self.now.wall.0 += time.as_millis() as u64;
    }

    pub(crate) fn open_pair(&mut self, pair: Pair) -> PairState {
        self.run(|journal| journal.open_pair(pair, 1)).unwrap()
    }

    pub(crate) fn put(&mut self, pair: Pair, message: OutboxMessage) {
        self.run(|journal| journal.put(vec![(pair, message)])).remove(0).unwrap();
    }

    pub(crate) fn receive(&mut self, arrival: Arrival) -> Vec<Reception> {
        self.run(|journal| journal.receive(vec![arrival])).remove(0)
    }

    /// The bodies that wait in the outbox, with their sequences.
    pub(crate) fn waiting(&mut self, pair: Pair) -> Vec<(u64, Bytes)> {
        let messages = self.run(|journal| journal.load(pair, 0, usize::MAX));
        messages.into_iter().map(|message| (message.seq, message.body)).collect()
    }

    /// Takes messages of the mailbox of the first address.
    pub(crate) fn lease(&mut self, messages: usize) -> Vec<rouse_journal::Lease> {
        let limit = LeaseLimit { messages, bytes: usize::MAX };
        self.run(|journal| journal.lease(mailbox(), None, limit))
    }
}

pub(crate) fn address(n: u8) -> Address {
    Address::from_bytes([n; 32])
}

/// The conversation of the first address of this node with the peer `n`.
pub(crate) fn pair(n: u8) -> Pair {
    Pair { local: address(200), peer: address(n) }
}

pub(crate) fn mailbox() -> MailboxName {
    MailboxName { local: address(200), service: Service::default() }
}

pub(crate) fn outgoing(seq: u64, body: impl Into<Bytes>) -> OutboxMessage {
    OutboxMessage {
        seq,
        sent_at: Timestamp(START),
        life: Duration::from_secs(3600),
        service: Service::default(),
        in_reply_to: None,
        body: body.into(),
    }
}

pub(crate) fn incoming(seq: u64, body: impl Into<Bytes>) -> InboxMessage {
    InboxMessage {
        seq,
        sent_at: Timestamp(START),
        received_at: Timestamp(START + 1),
        service: Service::default(),
        in_reply_to: None,
        body: body.into(),
    }
}

/// Messages of an incarnation of the peer `n`.
pub(crate) fn arrival(n: u8, incarnation: u64, messages: Vec<InboxMessage>) -> Arrival {
    Arrival { pair: pair(n), is_answered: false, incarnation, floor: 0, withdrawn: Vec::new(), messages }
}
