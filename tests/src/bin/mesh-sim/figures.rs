//! Figures: what is measured, and what of it is shown.

use std::time::Duration;

/// The figures of all seeds of a scenario.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// How long the cold starts took.
    pub cold: Vec<Duration>,
    /// How long it took to heal.
    pub heal: Vec<Duration>,
    /// Bytes of control that the cold start cost, per node.
    pub cold_bytes: Vec<u64>,
    /// And each fault, beyond what goes on anyway.
    pub bytes: Vec<u64>,
    /// Bytes of control per second and node while nothing happens.
    pub steady: Vec<f64>,
    /// The same while a link flaps.
    pub flapping: Vec<f64>,
    /// The most changes of next hop towards one destination, per 10 s of flapping.
    pub switches: Vec<f64>,
    /// How far the measured ETX is off, as a share.
    pub etx_off: Vec<f64>,
    /// How dear the way around a lossy link was, beside the link when it was good, and whether it was taken.
    pub around: Vec<(f64, bool)>,
    /// The mean share of connected pairs without a working path while the nodes moved.
    pub dark: Vec<f64>,
    /// Packets sent and arrived, where there was traffic.
    pub packets: (u64, u64),
    /// The most that any router's table takes, in bytes.
    pub memory: usize,
    /// Events, over all seeds.
    pub events: u64,
    /// Pairs without a route at the end, where tables are too small for all.
    pub unknown: Vec<f64>,
}

/// The middle, the 95th of a hundred, the greatest.
pub(crate) struct Spread<T> {
    pub p50: T,
    pub p95: T,
    pub max: T,
}

impl<T: Copy + PartialOrd> Spread<T> {
    /// `None` of nothing.
    pub(crate) fn of(values: &[T]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        let at = |hundredth: usize| sorted.get((sorted.len() * hundredth).div_ceil(100).max(1) - 1).copied();
        Some(Spread { p50: at(50)?, p95: at(95)?, max: *sorted.last()? })
    }
}

/// Milliseconds, or seconds where that is many.
pub(crate) fn time(span: Duration) -> String {
    match span.as_secs_f64() {
        seconds if seconds >= 10.0 => format!("{seconds:.1} s"),
        seconds => format!("{:.0} ms", seconds * 1e3),
    }
}

/// Bytes, in units of a thousand.
pub(crate) fn bytes(count: f64) -> String {
    match count {
        count if count >= 1e9 => format!("{:.2} GB", count / 1e9),
        count if count >= 1e6 => format!("{:.2} MB", count / 1e6),
        count if count >= 1e3 => format!("{:.2} kB", count / 1e3),
        count => format!("{count:.0} B"),
    }
}

/// The memory of this process in bytes, now and at most.
pub(crate) fn resident() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    (field("VmRSS:").unwrap_or(0) * 1024, field("VmHWM:").unwrap_or(0) * 1024)
}
