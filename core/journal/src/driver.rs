//! The side of a journal that carries out its operations.

use std::sync::Arc;

use rouse_inbox::Notify;

use crate::engine::Engine;
use crate::error::JournalError;
use crate::limits::JournalLimits;
use crate::request::{QueuedRequest, RequestQueue};
use crate::types::Moment;

/// The result of an attempt, once there is one.
pub(crate) type Report = Arc<Notify<Option<Result<(), JournalError>>>>;

/// The operations of one commit.
pub(crate) const GROUP: usize = 256;

/// Carries out the operations of a journal that has no thread. Made by [`StoredJournal::driven`](crate::StoredJournal::driven).
pub struct Driver {
    engine: Engine,
    /// The operations of the next commit.
    group: Vec<QueuedRequest>,
    queue: OpenQueue,
    closed: Report,
}

/// The queue of a journal that is carried out. When it ends, the operations that wait fail, and so do later ones.
struct OpenQueue(Arc<RequestQueue>);

impl Drop for OpenQueue {
    fn drop(&mut self) {
        self.0.close();
        let mut rest = Vec::new();
        let _ = self.0.try_recv_batch(&mut rest, usize::MAX);
    }
}

impl Driver {
    pub(crate) fn new(engine: Engine, queue: Arc<RequestQueue>, closed: Report) -> Self {
        Driver { engine, group: Vec::new(), queue: OpenQueue(queue), closed }
    }

    pub(crate) fn limits(&self) -> &JournalLimits {
        self.engine.limits()
    }

    /// Waits until operations wait. Returns false when the journal is being closed and none is left. The future may be
    /// dropped at any time.
    pub async fn ready(&mut self) -> bool {
        if self.group.is_empty() {
            self.group = self.queue.0.recv_batch(GROUP).await.unwrap_or_default();
        }
        !self.group.is_empty()
    }

    /// Carries out operations that wait, in one commit, and completes them. Returns false when none has waited.
    pub fn turn(&mut self, now: Moment) -> bool {
        let mut group = std::mem::take(&mut self.group);
        let room = GROUP.saturating_sub(group.len());
        let _ = self.queue.0.try_recv_batch(&mut group, room);
        let any = !group.is_empty();
        self.carry_out(now, group);
        any
    }

    pub(crate) fn carry_out(&mut self, now: Moment, group: Vec<QueuedRequest>) {
        if !group.is_empty() {
            self.engine.turn(now, group);
        }
    }

    /// Does what has waited for a quiet moment: the file is made smaller when most of it is unused.
    pub fn idle(&mut self, now: Moment) {
        self.engine.idle(now);
    }

    /// Whether the disk was full, so that it has to be looked at again.
    pub(crate) fn is_full(&self) -> bool {
        self.engine.is_full()
    }

    /// Closes the journal.
    ///
    /// # Errors
    /// When the file could not be closed.
    pub fn close(self) -> Result<(), JournalError> {
        let Driver { engine, group, queue, closed } = self;
        drop((group, queue));
        let result = engine.close();
        *closed.write() = Some(result.clone());
        result
    }
}
