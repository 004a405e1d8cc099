//! The runtime: the only file of the library that names async-std, so that the runtime can be replaced in one place.
//!
//! The tasks of a node run here; its public futures run on whatever executor awaits them, since all that they wait
//! on are inboxes, and I/O and timers of `async-io`, which has a thread of its own.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::{Duration, Instant};

use async_io::Timer;
use futures::future::{Either, select};

/// A task that runs by itself until it ends or is cancelled. Dropping the handle lets it run on.
pub(crate) struct JoinHandle<T> {
    handle: async_std::task::JoinHandle<T>,
    done: Arc<AtomicBool>,
}

impl<T> JoinHandle<T> {
    /// Stops the task at its next await and waits until it is gone.
    pub(crate) async fn cancel(self) -> Option<T> {
        self.handle.cancel().await
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
    let handle = async_std::task::spawn(async move {
        let value = future.await;
        set.store(true, Relaxed);
        value
    });
    JoinHandle { handle, done }
}

/// The result of `work`, which computes for a while. It runs on a thread of its own, since it would delay the other tasks of an
/// executor thread.
pub(crate) async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
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
