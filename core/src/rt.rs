//! The runtime: the only file of the library that names async-std, so that the runtime can be replaced in one place.
//!
//! The tasks of a node run here; its public futures run on whatever executor awaits them, since all that they wait
//! on are inboxes, and I/O and timers of `async-io`, which has a thread of its own. Within a [`VirtualRuntime`] all of it
//! runs on the calling thread, by a clock that is set by hand. The wall clock and random bytes come from here too, so that
//! a virtual runtime with a seed repeats a run in every detail.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::{Either, select};

use self::virtual_state::{VirtualJoinHandle, VirtualState};
use self::virtual_timer::VirtualTimer;
use crate::types::Timestamp;

mod processes;
mod seeded;
#[cfg(test)]
mod tests;
mod virtual_process;
mod virtual_runtime;
mod virtual_state;
mod virtual_timer;

pub use virtual_process::VirtualProcess;
pub use virtual_runtime::VirtualRuntime;

/// The present moment, by the clock of the runtime.
pub(crate) fn now() -> Instant {
    VirtualState::current().map_or_else(Instant::now, |runtime| runtime.now())
}

/// The time since a moment that [`now`] returned.
pub(crate) fn elapsed(since: Instant) -> Duration {
    now().saturating_duration_since(since)
}

/// The present moment of the wall clock, which decides nothing in the protocol.
pub(crate) fn wall_clock() -> Timestamp {
    VirtualState::current().map_or_else(Timestamp::now, |runtime| runtime.wall_clock())
}

/// Fills `bytes` with random bytes of the operating system. Only within a virtual runtime that was made from a seed do they
/// come from that seed.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    match VirtualState::current() {
        Some(runtime) if runtime.fill_seeded(bytes) => Ok(()),
        _ => getrandom::fill(bytes),
    }
}

/// A random number, as [`fill_random`] draws it.
pub(crate) fn random_u64() -> Result<u64, getrandom::Error> {
    let mut bytes = [0; 8];
    fill_random(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// A task that runs by itself until it ends or is cancelled. Dropping the handle lets it run on.
pub(crate) struct JoinHandle<T> {
    task: RuntimeTask<T>,
    done: Arc<AtomicBool>,
}

enum RuntimeTask<T> {
    Pool(async_std::task::JoinHandle<T>),
    Virtual(VirtualJoinHandle<T>),
}

impl<T> JoinHandle<T> {
    /// Stops the task at its next await and waits until it is gone.
    pub(crate) async fn cancel(self) -> Option<T> {
        match self.task {
            RuntimeTask::Pool(handle) => handle.cancel().await,
            RuntimeTask::Virtual(handle) => handle.cancel(),
        }
    }

    /// Whether the task has ended.
    pub(crate) fn is_finished(&self) -> bool {
        self.done.load(Relaxed)
    }
}

/// Runs `future` as a task.
pub(crate) fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    let done = Arc::new(AtomicBool::new(false));
    let set = done.clone();
    let future = async move {
        let value = future.await;
        set.store(true, Relaxed);
        value
    };
    let task = match VirtualState::current() {
        Some(runtime) => RuntimeTask::Virtual(runtime.spawn(future)),
        None => RuntimeTask::Pool(async_std::task::spawn(future)),
    };
    JoinHandle { task, done }
}

/// The result of `work`, which computes for a while. It runs on a thread of its own, since it would delay the other tasks of an
/// executor thread.
pub(crate) async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // A virtual runtime has one thread, so that its tasks run in the same order each time.
    if VirtualState::current().is_some() {
        return work();
    }
    async_std::task::spawn_blocking(work).await
}

/// Lets other tasks run.
pub(crate) async fn yield_now() {
    async_std::task::yield_now().await;
}

/// Waits for `duration`.
pub(crate) async fn sleep(duration: Duration) {
    Timer::after(duration).await;
}

/// The result of `future`, or `None` when it takes longer than `duration`.
pub(crate) async fn timeout<T>(duration: Duration, future: impl Future<Output = T>) -> Option<T> {
    match select(pin!(future), pin!(sleep(duration))).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}

/// A timer by the clock of the runtime in which it was made.
pub(crate) enum Timer {
    Clock(async_io::Timer),
    Virtual(VirtualTimer),
}

impl Timer {
    /// A timer that expires at this moment.
    pub(crate) fn at(deadline: Instant) -> Self {
        match VirtualState::current() {
            Some(runtime) => Timer::Virtual(runtime.timer(deadline)),
            None => Timer::Clock(async_io::Timer::at(deadline)),
        }
    }

    /// A timer that expires when this time has passed; never when the clock cannot count so far.
    pub(crate) fn after(duration: Duration) -> Self {
        match VirtualState::current() {
            Some(runtime) => Timer::Virtual(runtime.timer_after(duration)),
            None => Timer::Clock(async_io::Timer::after(duration)),
        }
    }

    /// Lets it expire at this moment instead.
    pub(crate) fn set_at(&mut self, deadline: Instant) {
        match self {
            Timer::Clock(timer) => timer.set_at(deadline),
            Timer::Virtual(timer) => timer.set_at(deadline),
        }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.get_mut() {
            Timer::Clock(timer) => Pin::new(timer).poll(cx).map(drop),
            Timer::Virtual(timer) => timer.poll(cx),
        }
    }
}

/// A timer that is set repeatedly. Setting it to a later moment than before costs nothing, because it then keeps the earlier one:
/// the waiting task wakes once too often, which is cheaper than to reprogram the timer at each call.
#[derive(Default)]
pub(crate) struct Alarm {
    timer: Option<(Instant, Timer)>,
}

impl Alarm {
    /// Lets [`Alarm::wait`] return at `deadline` at the latest. `None` sets nothing.
    pub(crate) fn set(&mut self, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return };
        match &mut self.timer {
            Some((at, _)) if *at <= deadline => {}
            Some((at, timer)) => {
                *at = deadline;
                timer.set_at(deadline);
            }
            None => self.timer = Some((deadline, Timer::at(deadline))),
        }
    }

    /// Lets [`Alarm::wait`] return when this time has passed, at the latest.
    pub(crate) fn set_after(&mut self, duration: Duration) {
        self.set(now().checked_add(duration));
    }

    /// Returns when the alarm goes off. The future may be dropped and `wait` called again.
    pub(crate) fn wait(&mut self) -> impl Future<Output = ()> + Unpin + '_ {
        futures::future::poll_fn(|cx| match &mut self.timer {
            Some((_, timer)) => {
                futures::ready!(Pin::new(timer).poll(cx));
                self.timer = None;
                Poll::Ready(())
            }
            None => Poll::Pending,
        })
    }
}
