//! The journal at work: groups of operations become commits, and errors are answered by opening the file again.
//!
//! After an error of a commit the contents of the cached pages are unknown, so the file is closed and opened again, and
//! the group is tried once more. After a failed sync the pages that the system shows are not those on the disk, so all
//! that the file holds is copied into a new one first. An operation may be carried out twice without harm. If the second
//! attempt fails too, the operations fail, and the messages that they were to put are removed when the file can be used
//! again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use redb::ReadableTable;
use rouse_inbox::Notify;

use crate::disk::Disk;
use crate::error::{JournalError, StoreError};
use crate::life::LifeClock;
use crate::limits::JournalLimits;
use crate::request::QueuedRequest;
use crate::salvage::salvage;
use crate::spare::Spare;
use crate::status::JournalStatus;
use crate::store::{SUSPECT, Store, guarded};
use crate::tables::Tables;
use crate::totals::{TOTALS, Totals};
use crate::transaction::{Memory, Transaction};
use crate::types::{Moment, Pair};

/// A file is made smaller when it is this many times as long as its messages.
const WASTE: u64 = 4;
/// The messages that are remembered for removal after failed commits.
const MAX_WITHDRAWN: usize = 65_536;
/// The interval at which the age of the journal is written while messages wait.
pub(crate) const CHECKPOINT: Duration = Duration::from_secs(3600);

pub(crate) struct Engine {
    disk: Arc<dyn Disk>,
    limits: JournalLimits,
    store: Option<Store>,
    /// `None` before the file was opened for the first time.
    clock: Option<LifeClock>,
    memory: Memory,
    spare: Spare,
    /// Messages that must not be sent, since their senders have been notified that they were not accepted.
    withdrawn: Vec<(Pair, u64)>,
    status: Arc<Notify<JournalStatus>>,
    /// The length of the file after the last attempt to make it smaller.
    compacted: u64,
    checkpoint: Duration,
}

impl Engine {
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        limits: JournalLimits,
        status: Arc<Notify<JournalStatus>>,
        now: Moment,
    ) -> Result<Self, JournalError> {
        let mut engine = Engine {
            disk,
            limits,
            store: None,
            clock: None,
            memory: Memory::default(),
            spare: Spare::default(),
            withdrawn: Vec::new(),
            status,
            compacted: 0,
            checkpoint: now.running,
        };
        // The first attempt repairs a damaged file.
        let result = engine.attempt(now, &mut []).or_else(|_| engine.attempt(now, &mut []));
        result.map_err(|error| error.report())?;
        Ok(engine)
    }

    /// The bounds of this journal.
    pub(crate) fn limits(&self) -> &JournalLimits {
        &self.limits
    }

    /// Carries out a group of operations and completes each of them.
    pub(crate) fn turn(&mut self, now: Moment, group: Vec<QueuedRequest>) {
        self.look_for_room(now);
        let mut group = self.refuse_growth(now, group, false);
        for is_last in [false, true] {
            if group.is_empty() {
                return;
            }
            let Err(error) = self.attempt(now, &mut group) else {
                return group.into_iter().for_each(|request| request.complete(Ok(())));
            };
            if is_last {
                return group.into_iter().for_each(|request| self.fail(request, &error.report(), true));
            }
            group = self.refuse_growth(now, group, true);
        }
    }

    /// Looks whether a full disk has room again.
    fn look_for_room(&mut self, now: Moment) {
        if self.is_full() && self.spare.is_held(&*self.disk, now.running) {
            self.status.write().error = None;
        }
    }

    /// Whether new messages are refused because the disk was full.
    pub(crate) fn is_full(&self) -> bool {
        self.spare.is_missing()
    }

    /// Fails the operations that add messages while the disk is full. The others, which remove messages, go on.
    fn refuse_growth(
        &mut self,
        now: Moment,
        group: Vec<QueuedRequest>,
        attempted: bool,
    ) -> Vec<QueuedRequest> {
        if !group.iter().any(|request| request.properties().grows)
            || self.spare.is_held(&*self.disk, now.running)
        {
            return group;
        }
        let (refused, rest): (Vec<_>, Vec<_>) =
            group.into_iter().partition(|request| request.properties().grows);
        self.status.write().error = Some(JournalError::DiskFull);
        refused.into_iter().for_each(|request| self.fail(request, &JournalError::DiskFull, attempted));
        rest
    }

    fn fail(&mut self, request: QueuedRequest, error: &JournalError, attempted: bool) {
        if attempted {
            let room = MAX_WITHDRAWN.saturating_sub(self.withdrawn.len());
            self.withdrawn.extend(request.properties().withdraw.iter().take(room));
        }
        request.complete(Err(error.clone()));
    }

    /// Opens the file if it is not open, and commits a group. After an error the file is closed, and damage is repaired.
    fn attempt(&mut self, now: Moment, group: &mut [QueuedRequest]) -> Result<(), StoreError> {
        let result = self.opened(now).and_then(|()| self.commit(now, group));
        let Err(error) = result else {
            self.memory.leases.commit();
            self.withdrawn.clear();
            return Ok(());
        };
        tracing::warn!(%error, "the journal could not be written and is opened again");
        self.memory.leases.roll_back();
        if let (StoreError::Damaged(_), Some(store)) = (&error, &self.store) {
            store.freeze();
        }
        self.abandon();
        self.status.write().error = Some(error.report());
        if error.is_full() {
            self.spare.release(&*self.disk, now.running);
        }
        if let StoreError::Damaged(_) = &error {
            // When it fails, the next attempt meets the damage again.
            if let Err(error) = salvage(&*self.disk, now.wall) {
                tracing::error!(%error, "the damaged journal could not be repaired");
            }
        }
        Err(error)
    }

    /// Closes the file after an error.
    fn abandon(&mut self) {
        let closed = self.store.take().map_or(Ok(()), |store| store.close_on(&*self.disk));
        if let Err(error) = closed {
            tracing::debug!(%error, "the journal was not closed in good order");
        }
    }

    fn opened(&mut self, now: Moment) -> Result<(), StoreError> {
        if self.store.is_none() {
            if self.disk.open(SUSPECT)?.is_some() {
                // All pages are written again, to another file.
                salvage(&*self.disk, now.wall)?;
                self.disk.remove(SUSPECT)?;
            }
            self.store = Some(Store::open(&*self.disk, now.wall)?);
        }
        Ok(())
    }

    fn commit(&mut self, now: Moment, group: &mut [QueuedRequest]) -> Result<(), StoreError> {
        let checkpoint = self.checkpoint_due(now);
        let Engine { store: Some(store), memory, limits, withdrawn, clock, .. } = self else {
            return Err(io::Error::from(io::ErrorKind::NotConnected).into());
        };
        let totals = guarded(|| {
            let transaction = store.begin()?;
            let tables = Tables::open(&transaction)?;
            let clock = match clock {
                Some(clock) => *clock,
                None => *clock.insert(first_clock(&tables, memory, now)?),
            };
            let mut open = Transaction::begin(tables, memory, limits, (clock.age(now), now.running))?;
            for (pair, seq) in withdrawn.iter() {
                open.settle(pair, std::slice::from_ref(&(*seq..seq.saturating_add(1))))?;
            }
            if checkpoint {
                open.checkpoint();
            }
            for request in group {
                request.apply(&mut open)?;
            }
            let (totals, changed) = open.finish(now.wall)?;
            match changed {
                true => transaction.commit()?,
                false => transaction.abort()?,
            }
            Ok(totals)
        })?;
        let length = store.length();
        if checkpoint {
            self.checkpoint = now.running;
        }
        let refused = memory.refused.take();
        let mut status = self.status.write();
        status.update(&totals, length);
        status.full = refused.or(status.full.take());
        status.error = self.spare.is_missing().then_some(JournalError::DiskFull);
        Ok(())
    }

    fn checkpoint_due(&self, now: Moment) -> bool {
        now.running.saturating_sub(self.checkpoint) >= CHECKPOINT
    }

    /// Does what has waited for a quiet moment.
    pub(crate) fn idle(&mut self, now: Moment) {
        self.look_for_room(now);
        if self.checkpoint_due(now) {
            // An error is in the status, and the next operation tries again.
            let _ = self.attempt(now, &mut []);
        }
        let Some(store) = &mut self.store else { return };
        let status = self.status.read().clone();
        let live = status.outbox.bytes.saturating_add(status.inbox.bytes).saturating_add(status.dead.bytes);
        let length = store.length();
        if length <= self.limits.small_file.max(live.saturating_mul(WASTE)) || length == self.compacted {
            return;
        }
        match guarded(|| store.compact()) {
            Ok(()) => {
                self.compacted = store.length();
                self.status.write().file_bytes = self.compacted;
            }
            Err(error) => {
                tracing::warn!(%error, "the journal could not be made smaller");
                self.abandon();
            }
        }
    }

    /// Closes the file.
    pub(crate) fn close(mut self) -> Result<(), JournalError> {
        match self.store.take() {
            Some(store) => store.close_on(&*self.disk).map_err(|error| error.report()),
            None => Ok(()),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// The clock of a journal that this process opens for the first time.
fn first_clock(tables: &Tables<'_>, memory: &mut Memory, now: Moment) -> Result<LifeClock, StoreError> {
    let Some(record) = tables.meta.get(TOTALS)? else {
        return Err(StoreError::damaged("the totals are missing"));
    };
    let totals = Totals::unseal(record.value())?;
    memory.first_number = totals.next_number;
    Ok(LifeClock::resume(totals.age, totals.written, now))
}
