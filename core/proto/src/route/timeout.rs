//! The work of the timers that are due.

use super::Router;
use super::timers::{SWEEP, Timer};
use crate::time::Time;

/// Timers that one call serves. Thousands may be due at once, and messages must not wait for all of them.
const PORTION: usize = 256;

impl Router {
    /// Serves the timers that are due, up to a bound; the others stay due.
    pub fn handle_timeout(&mut self, now: Time) {
        for _ in 0..PORTION {
            let Some(timer) = self.timers.due(now) else { break };
            match timer {
                Timer::Select(key) => self.mark_changed(key),
                Timer::Hold(key) => self.schedule_adverts(now, key),
                Timer::SeqnoRequest(key) => self.retry_seqno_request(now, key),
                Timer::Spread(key) => self.pass_on_renewal(now, key),
                Timer::Refresh(key) => self.refresh(now, key),
                Timer::FreeEvicted(key) => self.free_evicted(now, key),
                Timer::Queue(id) => self.serve_queue(now, id),
                Timer::Renewals(id) => self.serve_renewals(now, id),
                Timer::Probation(id) => self.end_probation(now, id),
                Timer::Deferred => self.request_deferred(now),
                Timer::Sweep => {
                    self.sweep(now);
                    self.timers.arm(now + SWEEP, Timer::Sweep);
                }
            }
            self.settle(now);
        }
        if self.batch_at.is_some_and(|at| at <= now) {
            self.flush(now);
        }
    }
}
