//! The intake of an egress: the packets that it accepts, up to its end.

use std::sync::MutexGuard;

use bytes::Bytes;

use super::queues::ClassQueues;
use super::{Class, Clock, Egress, PushOutcome, SealedTrain};

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

impl Egress {
    /// Queues the content of one frame (its kind byte first).
    pub(crate) fn push(&self, class: Class, content: Bytes) -> PushOutcome {
        self.pushing().push(class, content)
    }

    /// Locks the queues in order to push more than one frame. Other tasks wait meanwhile, so it should be held briefly.
    pub(crate) fn pushing(&self) -> PushGuard<'_> {
        PushGuard { state: self.lock(), clock: &self.clock }
    }

    /// Refuses further frames. Those that are queued are still sent, and [`push_last`](Egress::push_last) follows them.
    pub(crate) fn begin_end(&self) {
        let mut state = self.lock();
        if state.intake == Intake::Open {
            state.intake = Intake::Ending;
        }
    }

    /// Queues the content of the last frame, after [`begin_end`](Egress::begin_end), and drops all frames that are still
    /// queued, because they would come after it. Returns the number of frames dropped.
    pub(crate) fn push_last(&self, content: Bytes) -> u64 {
        let mut state = self.lock();
        let dropped = state.clear();
        if state.intake == Intake::Ending {
            state.queues.push(Class::Control, content, &self.clock);
        }
        dropped
    }

    /// Drops all queued frames, and refuses further ones. Returns the number of frames dropped.
    pub(crate) fn close(&self) -> u64 {
        self.lock().close()
    }
}

/// The queues of a link, locked for pushing. Made by [`Egress::pushing`].
pub(crate) struct PushGuard<'a> {
    state: MutexGuard<'a, EgressState>,
    clock: &'a Clock,
}

impl PushGuard<'_> {
    /// Queues the content of one frame (its kind byte first).
    pub(crate) fn push(&mut self, class: Class, content: Bytes) -> PushOutcome {
        if self.state.intake != Intake::Open {
            return PushOutcome::Closed;
        }
        match self.state.queues.push(class, content, self.clock) {
            Some(0) => PushOutcome::Queued,
            Some(dropped) => PushOutcome::Displaced(dropped),
            None => PushOutcome::Full,
        }
    }
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
    fn clear(&mut self) -> u64 {
        let interrupted = self.interrupted.take().map_or(0, |(train, _)| train.frames);
        self.queues.clear() + interrupted
    }
}
