//! The timers of a virtual runtime.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::virtual_state::VirtualState;

/// A timer of a runtime.
pub(crate) struct VirtualTimer {
    pub(super) runtime: Arc<VirtualState>,
    /// The time of its end; `None` for never.
    pub(super) at: Option<Duration>,
    /// The number under which it is in the agenda.
    pub(super) id: Option<u64>,
}

impl VirtualState {
    pub(super) fn timer(self: &Arc<Self>, deadline: Instant) -> VirtualTimer {
        let at = Some(deadline.saturating_duration_since(self.started));
        VirtualTimer { runtime: self.clone(), at, id: None }
    }

    pub(super) fn timer_after(self: &Arc<Self>, span: Duration) -> VirtualTimer {
        let at = self.agenda().now.checked_add(span);
        // A moment that no clock of the system can name never arrives.
        let at = at.filter(|at| self.started.checked_add(*at).is_some());
        VirtualTimer { runtime: self.clone(), at, id: None }
    }
}

impl VirtualTimer {
    pub(super) fn set_at(&mut self, deadline: Instant) {
        self.leave();
        self.at = Some(deadline.saturating_duration_since(self.runtime.started));
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let mut agenda = self.runtime.agenda();
        if agenda.now >= at {
            drop(agenda);
            self.leave();
            return Poll::Ready(());
        }
        let id = *self.id.get_or_insert_with(|| agenda.id());
        let replaced = agenda.timers.insert((at, id), cx.waker().clone());
        drop(agenda);
        drop(replaced);
        Poll::Pending
    }

    /// Removes it from the agenda.
    fn leave(&mut self) {
        if let Some((at, id)) = self.at.zip(self.id.take()) {
            let waker = self.runtime.agenda().timers.remove(&(at, id));
            drop(waker);
        }
    }
}

impl Drop for VirtualTimer {
    fn drop(&mut self) {
        self.leave();
    }
}
