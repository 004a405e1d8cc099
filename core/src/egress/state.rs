//! The state of an egress: its queues, and what it still accepts.

use super::queues::ClassQueues;
use crate::netmod::Endpoint;
use crate::stats::{DropCause, Stats};
use crate::time::Time;

/// Reads the time.
pub(super) type Clock = Box<dyn Fn() -> Time + Send + Sync>;

/// The outcome of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushOutcome {
    /// Queued. The caller drains now, unless another task that is draining will send it.
    Queued,
    /// Queued, after this many packets of the longest flow were dropped to make room.
    Displaced(u64),
    /// Not queued, because there is no room.
    Full,
    /// Not queued, because the link is closed or its keys are used up.
    Closed,
}

impl PushOutcome {
    /// Counts the dropped packets by their cause.
    pub(crate) fn count(self, stats: &Stats) {
        match self {
            PushOutcome::Queued => {}
            PushOutcome::Displaced(count) => stats.drop_n(DropCause::EgressFull, count),
            PushOutcome::Full => stats.drop(DropCause::EgressFull),
            PushOutcome::Closed => stats.drop(DropCause::UnknownSession),
        }
    }
}

/// The part of an egress under its lock, which is only held briefly and never while a train is sent.
pub(super) struct EgressState {
    pub(super) queues: ClassQueues,
    pub(super) draining: bool,
    pub(super) intake: Intake,
    /// A sealed train, the sending of which was interrupted. It is sent first, since its frame counters precede the
    /// others. If it was sent after all, the replay window of the receiver discards the repetition.
    pub(super) interrupted: Option<(SealedTrain, Vec<u8>)>,
}

/// The packets that an egress accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intake {
    /// All, as far as there is room.
    Open,
    /// None any more, because the link is about to end. Those that are queued are sent, and none is dropped for its
    /// sojourn, since a queue that only gets shorter does not stand.
    Ending,
    /// None, and those that were queued are dropped.
    Closed,
}

/// A sealed train, ready to be sent.
#[derive(Clone, Copy)]
pub(super) struct SealedTrain {
    pub(super) endpoint: Endpoint,
    pub(super) size: usize,
    pub(super) frames: u64,
    pub(super) packets: u64,
}

impl EgressState {
    pub(super) fn has_work(&self) -> bool {
        self.interrupted.is_some() || !self.queues.is_empty()
    }

    pub(super) fn close(&mut self) -> u64 {
        self.intake = Intake::Closed;
        self.clear()
    }

    /// Drops all queued frames. Returns their number.
    pub(super) fn clear(&mut self) -> u64 {
        let interrupted = self.interrupted.take().map_or(0, |(train, _)| train.frames);
        self.queues.clear() + interrupted
    }
}
