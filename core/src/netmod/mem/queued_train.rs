//! A train in transit to one plug, ordered by the time at which it arrives.

use bytes::BytesMut;

use crate::time::Time;

/// The number of a plug, in the order in which names were first used.
pub(super) type Id = u32;

/// A train in the queue of its receiver. Trains due at the same time keep the order in which they were queued.
#[derive(Debug)]
pub(super) struct QueuedTrain {
    pub(super) due: Time,
    pub(super) order: u64,
    pub(super) from: Id,
    pub(super) bytes: BytesMut,
    pub(super) size: usize,
}

impl QueuedTrain {
    pub(super) fn frames(&self) -> u64 {
        self.bytes.len().div_ceil(self.size) as u64
    }
}

impl Ord for QueuedTrain {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

impl PartialOrd for QueuedTrain {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for QueuedTrain {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for QueuedTrain {}
