//! The queue of neighbours that have input for the router. Each is in it at most once, so that they take turns.

use crate::inbox::{Closed, Full, Inbox};
use crate::route::NeighbourId;

/// Neighbours that may be ready: more than a node can have, so that none is ever refused.
const READY: usize = 1 << 20;

/// See the [module's page](self).
pub(crate) struct ReadyQueue(Inbox<NeighbourId>);

impl Default for ReadyQueue {
    fn default() -> Self {
        ReadyQueue(Inbox::new(READY, Full::RefuseNewest))
    }
}

impl ReadyQueue {
    /// Appends a neighbour. The caller knows that it is not in the queue.
    pub(crate) fn enqueue(&self, id: NeighbourId) {
        let _ = self.0.try_push(id);
    }

    /// The next neighbour, if there is one.
    pub(crate) fn try_next(&self) -> Option<NeighbourId> {
        self.0.try_recv().ok()
    }

    /// The next neighbour; waits for one.
    pub(crate) async fn next(&self) -> Result<NeighbourId, Closed> {
        self.0.recv().await
    }

    pub(crate) fn close(&self) {
        self.0.close();
    }
}
