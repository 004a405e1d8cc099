//! How often in a while, and how long.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Until windows are open and caches filled.
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_millis(1500);
/// Round trips that are made, and those at the beginning that are not looked at.
const ROUNDS: usize = 4000;
const WARM_ROUNDS: usize = 500;

/// By how much `counter` grows in a second.
pub(crate) fn rate(counter: &AtomicU64) -> f64 {
    thread::sleep(WARM_UP);
    let (before, begin) = (counter.load(Relaxed), Instant::now());
    thread::sleep(MEASURED);
    (counter.load(Relaxed) - before) as f64 / begin.elapsed().as_secs_f64()
}

/// How long something takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub p50: Duration,
    pub p99: Duration,
}

/// How long `round` takes, done again and again.
pub(crate) async fn latency<E>(mut round: impl AsyncFnMut() -> Result<(), E>) -> Result<Latency, E> {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        round().await?;
        times.push(begin.elapsed());
    }
    Ok(Latency::of(times.split_off(WARM_ROUNDS)))
}

impl Latency {
    /// Of these times.
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: f64| times[(times.len() as f64 * share) as usize];
        Latency { p50: at(0.5), p99: at(0.99) }
    }
}
