//! The workloads. Each returns one figure of one run on one queue.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Instant;

use async_std::task;
use futures::task::AtomicWaker;

use crate::queues::{BURST, Item, Queue};

const ITEMS: u64 = 200_000;
const INBOXES: usize = 1000;
const SWEEPS: usize = 20;
const WAKES: usize = 2000;

/// One writer, one reader, one item at a time: items per second.
pub(crate) fn one_by_one<Q: Queue>() -> f64 {
    let (mut writer, mut reader) = Q::make();
    per_second(ITEMS, async move {
        let writing = task::spawn(async move {
            for n in 0..ITEMS {
                Q::write(&mut writer, [n; 8]).await;
            }
            writer
        });
        for n in 0..ITEMS {
            assert_eq!(Q::read(&mut reader).await[0], n);
        }
        writing.await;
    })
}

/// The same in bursts of 32.
pub(crate) fn in_bursts<Q: Queue>() -> f64 {
    let (mut writer, mut reader) = Q::make();
    per_second(ITEMS, async move {
        let writing = task::spawn(async move {
            let mut burst = Vec::with_capacity(BURST);
            for _ in 0..ITEMS / BURST as u64 {
                burst.extend((0..BURST as u64).map(|n| [n; 8]));
                Q::write_burst(&mut writer, &mut burst).await;
            }
            writer
        });
        let mut burst = Vec::with_capacity(BURST);
        let mut read = 0;
        while read < ITEMS {
            Q::read_burst(&mut reader, &mut burst).await;
            read += burst.len() as u64;
            std::hint::black_box(&burst);
            burst.clear();
        }
        writing.await;
    })
}

/// Four writers, one reader, one item at a time: items per second.
pub(crate) fn four_writers<Q: Queue>() -> f64 {
    let (writer, mut reader) = Q::make();
    per_second(ITEMS, async move {
        let writing: Vec<_> = (0..4)
            .map(|_| {
                let mut writer = writer.clone();
                task::spawn(async move {
                    for n in 0..ITEMS / 4 {
                        Q::write(&mut writer, [n; 8]).await;
                    }
                    writer
                })
            })
            .collect();
        for _ in 0..ITEMS {
            std::hint::black_box(Q::read(&mut reader).await);
        }
        for writing in writing {
            writing.await;
        }
    })
}

/// A thousand inboxes, each with its waiting task, one item to each in turn: wakes per second.
pub(crate) fn thousand_inboxes<Q: Queue>() -> f64 {
    let sweep = Arc::new(Sweep::default());
    let mut writers = Vec::new();
    let mut reading = Vec::new();
    for _ in 0..INBOXES {
        let (writer, mut reader) = Q::make();
        let sweep = sweep.clone();
        writers.push(writer);
        reading.push(task::spawn(async move {
            for _ in 0..=SWEEPS {
                let mut waiting = pin!(Q::read(&mut reader));
                poll_fn(|cx| {
                    let poll = waiting.as_mut().poll(cx);
                    if poll.is_pending() {
                        sweep.one_waits();
                    }
                    poll
                })
                .await;
            }
        }));
    }
    let driver = task::spawn(async move {
        sweep.all_wait().await;
        let begun = Instant::now();
        for _ in 0..SWEEPS {
            for writer in &mut writers {
                assert!(Q::try_write(writer, [0; 8]));
            }
            sweep.all_wait().await;
        }
        let rate = (SWEEPS * INBOXES) as f64 / begun.elapsed().as_secs_f64();
        for writer in &mut writers {
            assert!(Q::try_write(writer, [0; 8]));
        }
        (rate, writers)
    });
    task::block_on(async move {
        let (rate, _writers) = driver.await;
        for reading in reading {
            reading.await;
        }
        rate
    })
}

/// The number of tasks that wait again.
#[derive(Default)]
struct Sweep {
    waiting: AtomicUsize,
    driver: AtomicWaker,
}

impl Sweep {
    fn one_waits(&self) {
        if self.waiting.fetch_add(1, SeqCst) + 1 == INBOXES {
            self.driver.wake();
        }
    }

    async fn all_wait(&self) {
        poll_fn(|cx| {
            self.driver.register(cx.waker());
            match self.waiting.compare_exchange(INBOXES, 0, SeqCst, SeqCst) {
                Ok(_) => Poll::Ready(()),
                Err(_) => Poll::Pending,
            }
        })
        .await;
    }
}

/// From the write to the moment the task that waited has the item, in nanoseconds: the median and the 99th
/// percentile. The writer is a task of the same executor.
pub(crate) fn wake_from_task<Q: Queue>() -> [f64; 2] {
    let (mut writer, reader) = Q::make();
    let parked = Arc::new(Parked::default());
    let reading = task::spawn(stamps::<Q>(reader, parked.clone()));
    let writing = task::spawn(async move {
        for _ in 0..WAKES {
            poll_fn(|cx| {
                parked.waker.register(cx.waker());
                if parked.flag.swap(false, SeqCst) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            assert!(Q::try_write(&mut writer, stamp()));
        }
        writer
    });
    percentiles(task::block_on(async { (reading.await, writing.await).0 }))
}

/// The same, from a thread that is not the executor's.
pub(crate) fn wake_from_thread<Q: Queue>() -> [f64; 2] {
    let (mut writer, reader) = Q::make();
    let parked = Arc::new(Parked::default());
    let reading = task::spawn(stamps::<Q>(reader, parked.clone()));
    for _ in 0..WAKES {
        while !parked.flag.swap(false, SeqCst) {
            std::thread::yield_now();
        }
        assert!(Q::try_write(&mut writer, stamp()));
    }
    let stamps = task::block_on(reading);
    drop(writer);
    percentiles(stamps)
}

/// Signals that the reader waits.
#[derive(Default)]
struct Parked {
    flag: AtomicBool,
    waker: AtomicWaker,
}

/// Reads one stamped item after the other. Signals before each wait, and notes the time at which each item was received.
async fn stamps<Q: Queue>(mut reader: Q::Reader, parked: Arc<Parked>) -> Vec<u64> {
    let mut latencies = Vec::with_capacity(WAKES);
    while latencies.len() < WAKES {
        let mut waiting = pin!(Q::read(&mut reader));
        let item = poll_fn(|cx| {
            let poll = waiting.as_mut().poll(cx);
            if poll.is_pending() {
                parked.flag.store(true, SeqCst);
                parked.waker.wake();
            }
            poll
        })
        .await;
        latencies.push(now().saturating_sub(item[0]));
    }
    latencies
}

fn stamp() -> Item {
    [now(); 8]
}

/// Nanoseconds since the first call.
fn now() -> u64 {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    BEGUN.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

fn percentiles(mut latencies: Vec<u64>) -> [f64; 2] {
    latencies.sort_unstable();
    [50, 99].map(|percent| latencies[latencies.len() * percent / 100] as f64)
}

fn per_second(items: u64, run: impl Future<Output = ()> + Send + 'static) -> f64 {
    let begun = Instant::now();
    // A task like the others, not the main thread, which has an executor of its own.
    task::block_on(task::spawn(run));
    items as f64 / begun.elapsed().as_secs_f64()
}
