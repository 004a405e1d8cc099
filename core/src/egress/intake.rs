//! The intake of an egress: the packets that it accepts, up to its end.

use std::sync::MutexGuard;

use bytes::Bytes;

use super::state::{Clock, EgressState, Intake, PushOutcome};
use super::{Class, Egress};

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
        let content = self.state.queues.unpinned(content);
        self.push_own(class, content)
    }

    /// As [`push`](Self::push), for a content that this node has made, which shares no receive buffer.
    pub(crate) fn push_own(&mut self, class: Class, content: Bytes) -> PushOutcome {
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
