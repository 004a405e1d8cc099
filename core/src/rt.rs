//! The runtime: the only file of the library that names async-std.
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

/// What `work` brings, which computes for a while: it is done on a thread where it holds up no task.
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

/// What `future` brings, or `None` when that takes longer than `duration`.
pub(crate) async fn timeout<T>(duration: Duration, future: impl Future<Output = T>) -> Option<T> {
    match select(pin!(future), pin!(sleep(duration))).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}

/// A timer that is set again and again: setting it to a later moment than it is set to costs nothing.
#[derive(Default)]
pub(crate) struct Alarm {
    timer: Option<(Instant, Timer)>,
}

impl Alarm {
    /// Lets [`Alarm::wait`] end at `deadline` at the latest; with `None` it need not end.
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

    /// Ends when the alarm goes off. May be dropped and called again.
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
