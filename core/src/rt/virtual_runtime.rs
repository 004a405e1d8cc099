//! A runtime on the calling thread with a clock that is set by hand.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use super::virtual_state::VirtualState;
use crate::types::Timestamp;

/// A runtime for tests of applications: nodes and the futures of the application run on the calling thread, and time passes
/// only when the test lets it pass. So a test of a retry after an hour takes no hour, and its tasks run in the same order each
/// time.
///
/// A node belongs to the runtime within which it was started, and is used within it only: in the future of
/// [`block_on`](VirtualRuntime::block_on), or in [`enter`](VirtualRuntime::enter). Network modules must keep to the same
/// clock, as those of [`MemNet`](crate::netmod::mem::MemNet) do when they are opened there. The wall clock starts with that of
/// the system.
///
/// [`with_seed`](VirtualRuntime::with_seed) makes one that repeats a run exactly, and [`process`](VirtualRuntime::process)
/// simulates programs that are killed.
///
/// ```
/// use std::time::Duration;
///
/// use rouse_core::netmod::mem::MemNet;
/// use rouse_core::{Node, VirtualRuntime};
///
/// let runtime = VirtualRuntime::new();
/// let (net, begun) = (MemNet::new(7), std::time::Instant::now());
/// runtime.block_on(async {
///     let alice = Node::builder().netmod(net.netmod("alice")).start().await?;
///     let bob = Node::builder().netmod(net.netmod("bob")).start().await?;
///     let receipt = alice.send(&bob.address(), "hello").await?;
///     assert_eq!(&bob.recv().await?.body[..], b"hello");
///     receipt.delivered().await?;
///     runtime.advance(Duration::from_secs(3600));
///     alice.ping(&bob.address(), Duration::from_secs(1)).await?;
///     Ok::<(), Box<dyn std::error::Error>>(())
/// }).unwrap();
/// assert!(runtime.elapsed() >= Duration::from_secs(3600) && begun.elapsed() < Duration::from_secs(60));
/// ```
pub struct VirtualRuntime {
    pub(super) state: Arc<VirtualState>,
    /// It is for one thread, since another one would run the same tasks at the same time.
    one_thread: PhantomData<*const ()>,
}

/// Wakes the future of [`VirtualRuntime::block_on`].
struct Unpark {
    is_woken: AtomicBool,
    thread: Thread,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, SeqCst);
        self.thread.unpark();
    }
}

impl Default for VirtualRuntime {
    fn default() -> Self {
        VirtualRuntime::new()
    }
}

impl fmt::Debug for VirtualRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtualRuntime").field("elapsed", &self.elapsed()).finish_non_exhaustive()
    }
}

impl VirtualRuntime {
    /// A runtime for this thread. Its clock counts from 0.
    pub fn new() -> Self {
        Self::start(Timestamp::now(), None)
    }

    /// A runtime that repeats a run: all random bytes, the wall clock and the order of the tasks that can run at the same time
    /// follow from the seed. The keys of its nodes are guessable, so it is for simulations only.
    pub fn with_seed(seed: u64) -> Self {
        /// 2027-01-15T08:00:00Z, in milliseconds.
        const WALL_CLOCK: u64 = 1_800_000_000_000;
        Self::start(Timestamp(WALL_CLOCK), Some(seed))
    }

    fn start(wall_clock: Timestamp, seed: Option<u64>) -> Self {
        VirtualRuntime { state: VirtualState::new(wall_clock, seed), one_thread: PhantomData }
    }

    /// The time by its clock since it was made.
    pub fn elapsed(&self) -> Duration {
        self.state.agenda().now
    }

    /// The time by its clock at which the next timer expires.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.state.agenda().timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Calls `work`, in which nodes may be used that belong to this runtime.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.state.enter();
        work()
    }

    /// Polls one of the tasks that can run. Returns false when none can.
    pub fn step(&self) -> bool {
        let _entered = self.state.enter();
        self.state.step()
    }

    /// Lets time pass until the next timer expires, unless that is after `end`. Returns whether one did. Its task can run
    /// then, and has not run yet.
    pub fn pass_to_deadline(&self, end: Duration) -> bool {
        let _entered = self.state.enter();
        self.state.expire_next(end)
    }

    /// Runs the tasks that can run, until none can.
    pub fn run_until_idle(&self) {
        let _entered = self.state.enter();
        self.state.run_until_idle();
    }

    /// Lets time pass. Runs the tasks that can run, and then at each deadline those that are due.
    ///
    /// A future of [`block_on`](VirtualRuntime::block_on) may call it; that future is not polled meanwhile.
    pub fn advance(&self, span: Duration) {
        let _entered = self.state.enter();
        let end = self.elapsed().saturating_add(span);
        loop {
            self.state.run_until_idle();
            if !self.state.expire_next(end) {
                break;
            }
        }
        self.state.agenda().now = end;
    }

    /// Runs `future` to its end, beside the tasks. When nothing can run, time passes at once until the next deadline; without
    /// one, the thread waits until another thread wakes a task.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let _entered = self.state.enter();
        let mut future = pin!(future);
        let unpark = Arc::new(Unpark { is_woken: AtomicBool::new(true), thread: thread::current() });
        let waker = Waker::from(unpark.clone());
        loop {
            while unpark.is_woken.swap(false, SeqCst) {
                if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return value;
                }
                self.state.run_until_idle();
            }
            if !self.state.expire_next(Duration::MAX) && !unpark.is_woken.load(SeqCst) {
                thread::park();
            }
            self.state.run_until_idle();
        }
    }
}

impl Drop for VirtualRuntime {
    /// Drops the futures of all tasks, since the timers and the wakers in them refer to the runtime.
    fn drop(&mut self) {
        let _entered = self.state.enter();
        // Taken first: a future that is dropped may wake or end other tasks, which takes the lock.
        let tasks = std::mem::take(&mut self.state.agenda().tasks);
        tasks.values().for_each(|task| drop(task.take()));
    }
}
