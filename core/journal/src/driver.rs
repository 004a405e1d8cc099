//! The side of a journal that carries out its operations.

use std::sync::Arc;

use crate::engine::Engine;
use crate::error::JournalError;
use crate::limits::JournalLimits;
use crate::request::{QueuedRequest, RequestQueue};
use crate::types::Moment;

/// The operations of one commit.
pub(crate) const GROUP: usize = 256;

/// Carries out the operations of a journal that has no thread. Made by [`StoredJournal::driven`](crate::StoredJournal::driven).
pub struct Driver {
    engine: Engine,
    queue: OpenQueue,
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
    pub(crate) fn new(engine: Engine, queue: Arc<RequestQueue>) -> Self {
        Driver { engine, queue: OpenQueue(queue) }
    }

    pub(crate) fn limits(&self) -> &JournalLimits {
        self.engine.limits()
    }

    /// Carries out operations that wait, in one commit, and completes them. Returns false when none has waited.
    pub fn turn(&mut self, now: Moment) -> bool {
        let mut group = Vec::new();
        let _ = self.queue.0.try_recv_batch(&mut group, GROUP);
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

    /// Closes the journal.
    ///
    /// # Errors
    /// When the file could not be closed.
    pub fn close(self) -> Result<(), JournalError> {
        self.engine.close()
    }
}
