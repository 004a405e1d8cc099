//! The inbox beside six other queues, on the same tasks, in one run: `cargo bench -p rouse-inbox --bench inbox`.
//!
//! Each round runs each workload on each queue, beginning with another queue each time, so that other load on the
//! machine affects all alike. The medians over the rounds are printed, and the bars with their ratios. A number among the
//! arguments sets the number of rounds.
//!
//! Items are 64 bytes, queues hold 1024, the executor is async-std's with one thread per core.

mod queues;
mod table;
mod work;

use std::time::{Duration, Instant};

use queues::{AsyncChannel, Crossfire, Flume, Futures, Kanal, Queue, Rouse, Thingbuf};
use table::{Bar, Row, Unit};

/// The longest time for all rounds together.
const BUDGET: Duration = Duration::from_secs(75);

/// All workloads on one queue, as functions, so that rounds can interleave the queues.
struct Contender {
    name: &'static str,
    rates: [fn() -> f64; 4],
    latencies: [fn() -> [f64; 2]; 2],
}

fn contender<Q: Queue>() -> Contender {
    Contender {
        name: Q::NAME,
        rates: [
            work::one_by_one::<Q>,
            work::in_bursts::<Q>,
            work::four_writers::<Q>,
            work::thousand_inboxes::<Q>,
        ],
        latencies: [work::wake_from_task::<Q>, work::wake_from_thread::<Q>],
    }
}

fn main() {
    crossfire::detect_backoff_cfg();
    let contenders = [
        contender::<Rouse>(),
        contender::<AsyncChannel>(),
        contender::<Flume>(),
        contender::<Kanal>(),
        contender::<Thingbuf>(),
        contender::<Crossfire>(),
        contender::<Futures>(),
    ];
    let row = |name, unit, bar| Row::new(name, unit, bar, contenders.len());
    let mut rates = [
        row("one by one, M/s", Unit::MillionsPerSecond, Bar::TimesMedian(1.0)),
        row("bursts of 32, M/s", Unit::MillionsPerSecond, Bar::TimesBest(2.0)),
        row("four writers, M/s", Unit::MillionsPerSecond, Bar::None),
        row("1000 waiting tasks, M/s", Unit::MillionsPerSecond, Bar::TimesBest(1.0)),
    ];
    let mut latencies = [
        row("wake from task p50, µs", Unit::Microseconds, Bar::TimesBest(1.2)),
        row("wake from task p99, µs", Unit::Microseconds, Bar::TimesBest(1.2)),
        row("wake from thread p50, µs", Unit::Microseconds, Bar::TimesBest(1.2)),
        row("wake from thread p99, µs", Unit::Microseconds, Bar::TimesBest(1.2)),
    ];

    let most = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(41);
    let begun = Instant::now();
    let mut rounds = 0;
    while rounds < most && begun.elapsed() < BUDGET {
        let order = |turn: usize| (turn + rounds) % contenders.len();
        for (which, row) in rates.iter_mut().enumerate() {
            for queue in (0..contenders.len()).map(order) {
                row.add(queue, contenders[queue].rates[which]());
            }
        }
        for (which, rows) in latencies.chunks_mut(2).enumerate() {
            for queue in (0..contenders.len()).map(order) {
                let figures = contenders[queue].latencies[which]();
                rows.iter_mut().zip(figures).for_each(|(row, figure)| row.add(queue, figure));
            }
        }
        rounds += 1;
    }
    let names: Vec<_> = contenders.iter().map(|contender| contender.name).collect();
    let rows: Vec<_> = rates.into_iter().chain(latencies).collect();
    table::print(&names, &rows, rounds, begun.elapsed().as_secs_f64());
}
