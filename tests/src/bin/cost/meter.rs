//! The meters: the time that this thread was on a processor, and the bytes that the program has allocated.

use std::alloc::System;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The processor's time of this thread: other programs on the machine do not count.
pub(crate) fn processor() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Bytes that are allocated now.
pub(crate) fn allocated() -> i64 {
    let stats = ALLOCATOR.stats();
    // A reallocation is counted with both others, by its difference.
    stats.bytes_allocated as i64 - stats.bytes_deallocated as i64
}
