//! Arithmetic that saturates.

use std::time::Duration;

use crate::time::Time;

pub(super) fn as_u64(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

pub(super) fn after(time: Time, duration: Duration) -> Time {
    std::ops::Add::add(time, duration)
}
