//! The ids of messages that do not leave this node.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::rt;
use crate::types::MessageId;

/// Ids that ascend in the order of sending, like those of messages that arrive, because messages that are given back are
/// sorted by them.
pub(crate) struct LocalIds {
    run: u64,
    sent: AtomicU64,
}

impl LocalIds {
    pub(crate) fn new() -> Self {
        // Without random bytes the clock serves, since an id has to be unique within this node only.
        let run = rt::random_u64().unwrap_or_else(|_| rt::wall_clock().0);
        LocalIds { run, sent: AtomicU64::new(0) }
    }

    pub(crate) fn next(&self) -> MessageId {
        let sequence = self.sent.fetch_add(1, Relaxed);
        MessageId(((u128::from(self.run) << 64) | u128::from(sequence)).to_be_bytes())
    }
}
