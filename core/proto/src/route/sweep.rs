//! Removal of expired routes and destinations.

use super::Router;
use super::types::{DestinationKey, RouterOutput, seconds};
use crate::time::Time;
use crate::wire::route::INFINITY;

/// Seconds for which a feasibility distance outlives the last announce, so that copies that are still on their way
/// expire first.
pub(super) const GRACE: u32 = 60;

impl Router {
    /// Removes expired routes and destinations.
    pub(super) fn sweep(&mut self, now: Time) {
        let second = seconds(now);
        self.wanted.retain(|_, until| *until > second);
        self.sweep_scores(now);
        self.accounts.sweep(now);
        for key in self.table.keys() {
            let Some(dest) = self.table.get_mut(key) else { continue };
            let mut expired = false;
            for adj in &mut dest.adjacencies {
                if adj.offers() && adj.expires <= second {
                    adj.clear();
                    expired = true;
                    if let Some(neighbour) = self.neighbours.get_mut(&adj.neighbour) {
                        neighbour.unbind(adj.idx, key);
                    }
                }
            }
            dest.tidy(now);
            let forget = !dest.is_own() && !dest.is_evicted && dest.until.saturating_add(GRACE) <= second;
            if expired {
                self.mark_changed(key);
            }
            if forget {
                // The retraction leaves before the destination is gone.
                self.settle(now);
                self.forget(key);
            }
        }
    }

    /// Removes a destination. Neighbours were sent its retraction before, because they would otherwise keep a number
    /// that stands for nothing.
    pub(super) fn forget(&mut self, key: DestinationKey) {
        let Some(dest) = self.table.remove(key) else { return };
        for adj in dest.adjacencies.iter().filter(|adj| adj.offers()) {
            if let Some(neighbour) = self.neighbours.get_mut(&adj.neighbour) {
                neighbour.unbind(adj.idx, key);
            }
        }
        self.batch.remove(&key);
        if dest.fib().is_some() {
            self.event(RouterOutput::Fib(dest.announce.dst, None));
            self.event(RouterOutput::Changed {
                destination: dest.announce.dst,
                next_hop: None,
                metric: INFINITY,
                hops: 0,
            });
        }
    }
}
