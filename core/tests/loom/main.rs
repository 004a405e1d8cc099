//! The promises of the heart, checked by loom in every interleaving that up to three threads and three preemptions
//! allow. The crate's own feature is the switch, so that nothing else is built anew for it:
//!
//! ```text
//! cargo test -p rouse-core --features loom --release --test loom
//! ```
//!
//! Each model of the inbox is a function over any [`Queue`]. It has to hold for the inbox, and for a small sound
//! queue made for the purpose; and it has to fail for the same small queue with one fault put in. A model that cannot
//! fail proves nothing.

mod cell;
mod inbox;
mod toy;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

/// What the models ask of a queue.
trait Queue: Send + Sync + Sized + 'static {
    fn make() -> Self;
    fn write(&self, item: u32);
    fn read(&self) -> impl Future<Output = u32> + '_;
    /// Takes the lock and lets go of it: no thread that holds it already comes back from this.
    fn touch(&self);
}

/// Runs a model in every interleaving within the bounds.
fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_threads = 3;
    builder.check(model);
}

/// Runs a model that has to fail, and returns what it failed with.
fn refute(model: impl Fn() + Send + Sync + 'static) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| check(model))).expect_err("the model missed the fault");
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_default()
}

/// A thread as a task: its waker unblocks it, counts, and does what a test wants done in the midst of a wake.
struct Task {
    signal: loom::sync::Notify,
    wakes: AtomicUsize,
    on_wake: Box<dyn Fn() + Send + Sync>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        (self.on_wake)();
        self.wakes.fetch_add(1, SeqCst);
        self.signal.notify();
    }
}

impl Task {
    fn new() -> Arc<Self> {
        Task::that(|| {})
    }

    fn that(on_wake: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        let signal = loom::sync::Notify::new();
        Arc::new(Task { signal, wakes: AtomicUsize::new(0), on_wake: Box::new(on_wake) })
    }

    /// Blocks the thread until the future is done, polling it only when it was woken.
    fn run<F: Future>(self: &Arc<Self>, future: F) -> F::Output {
        let waker = Waker::from(self.clone());
        let mut future = pin!(future);
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(output) => return output,
                Poll::Pending => self.signal.wait(),
            }
        }
    }

    fn wakes(&self) -> usize {
        self.wakes.load(SeqCst)
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    Task::new().run(future)
}

/// Polls once; the waker does nothing.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    let waker = Waker::from(Task::new());
    future.poll(&mut Context::from_waker(&waker))
}
