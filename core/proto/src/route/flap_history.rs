//! The recent failures of links, by neighbour.
//!
//! A link that fails again and again would otherwise make the whole mesh change its routes each time that it comes
//! back. The history is kept by address, because each new link has another id.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::address::Address;
use crate::time::Time;

/// Failures within [`FLAP_MEMORY`] of each other after which a link is on probation when it is back.
pub(super) const FLAPS_BEFORE_PROBATION: u32 = 3;
const FLAP_MEMORY: Duration = Duration::from_secs(60);
/// Probation for each failure from the third on, at most [`MAX_PROBATION`]. It is bounded so that a link that was
/// repaired is used again within a minute.
pub(super) const PROBATION: Duration = Duration::from_secs(10);
const MAX_PROBATION: Duration = Duration::from_secs(60);

/// Recent link failures per neighbour address.
#[derive(Default)]
pub(super) struct FlapHistory(BTreeMap<Address, (u32, Time)>);

impl FlapHistory {
    /// Bound of the addresses. A new one beyond it has no history, because a flood of identities must not fill memory.
    const MAX: usize = 1024;

    /// Counts a failure.
    pub(super) fn down(&mut self, now: Time, address: Address) {
        self.0.retain(|_, (_, last)| now.since(*last) < FLAP_MEMORY);
        if self.0.len() < Self::MAX || self.0.contains_key(&address) {
            let (count, last) = self.0.entry(address).or_default();
            *count = count.saturating_add(1);
            *last = now;
        }
    }

    /// The length of the probation that a link to this neighbour begins with; `None` if it has been stable.
    pub(super) fn probation(&self, now: Time, address: &Address) -> Option<Duration> {
        let (count, last) = self.0.get(address)?;
        let beyond = count.checked_sub(FLAPS_BEFORE_PROBATION)?.saturating_add(1);
        (now.since(*last) < FLAP_MEMORY).then(|| PROBATION.saturating_mul(beyond).min(MAX_PROBATION))
    }
}
