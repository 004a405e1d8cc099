//! Flaps.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::address::Address;
use crate::time::Time;

/// A link that went down this often within [`FLAP_MEMORY`] is on probation when it is back.
pub(super) const FLAPS_BEFORE_PROBATION: u32 = 3;
const FLAP_MEMORY: Duration = Duration::from_secs(60);
/// For so long for each failure from the third on, and at most [`MAX_PROBATION`].
pub(super) const PROBATION: Duration = Duration::from_secs(10);
const MAX_PROBATION: Duration = Duration::from_secs(60);

/// How often links to whom went down of late.
#[derive(Default)]
pub(super) struct FlapHistory(BTreeMap<Address, (u32, Time)>);

impl FlapHistory {
    const MAX: usize = 1024;

    pub(super) fn down(&mut self, now: Time, address: Address) {
        self.0.retain(|_, (_, last)| now.since(*last) < FLAP_MEMORY);
        if self.0.len() < Self::MAX || self.0.contains_key(&address) {
            let (count, last) = self.0.entry(address).or_default();
            *count = count.saturating_add(1);
            *last = now;
        }
    }

    pub(super) fn probation(&self, now: Time, address: &Address) -> Option<Duration> {
        let (count, last) = self.0.get(address)?;
        let beyond = count.checked_sub(FLAPS_BEFORE_PROBATION)?.saturating_add(1);
        (now.since(*last) < FLAP_MEMORY).then(|| PROBATION.saturating_mul(beyond).min(MAX_PROBATION))
    }
}
