//! A runtime on the calling thread with a clock that is set by hand.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use futures::channel::oneshot;

thread_local! {
    static CURRENT: RefCell<Option<Arc<VirtualState>>> = const { RefCell::new(None) };
}

/// A runtime for tests of applications: nodes and the futures of the application run on the calling thread, and time passes
/// only when the test lets it pass. So a test of a retry after an hour takes no hour, and its tasks run in the same order each
/// time.
///
/// A node belongs to the runtime within which it was started, and is used within it only: in the future of
/// [`block_on`](VirtualRuntime::block_on), or in [`enter`](VirtualRuntime::enter). Network modules must keep to the same
/// clock, as those of [`MemNet`](crate::netmod::mem::MemNet) do when they are opened there; the wall-clock times in events and
/// messages stay those of the system.
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
    state: Arc<VirtualState>,
    /// It is for one thread, since another one would run the same tasks at the same time.
    one_thread: PhantomData<*const ()>,
}

/// The state that the tasks and the timers of a runtime share.
pub(super) struct VirtualState {
    /// The moment from which its clock counts.
    started: Instant,
    thread: Thread,
    agenda: Mutex<Agenda>,
}

/// The tasks that can run, the timers, and the time.
#[derive(Default)]
struct Agenda {
    now: Duration,
    ready: VecDeque<Arc<VirtualTask>>,
    /// The tasks that have not ended. The runtime owns them, since the wakers of a task are often held by its own future.
    tasks: BTreeMap<u64, Arc<VirtualTask>>,
    /// The wakers of the timers by their deadlines.
    timers: BTreeMap<(Duration, u64), Waker>,
    next_id: u64,
}

impl Agenda {
    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

/// A task of a runtime.
struct VirtualTask {
    id: u64,
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    /// Whether it is in the queue, where one place is enough.
    is_ready: AtomicBool,
    is_cancelled: AtomicBool,
    runtime: Weak<VirtualState>,
}

impl Wake for VirtualTask {
    fn wake(self: Arc<Self>) {
        let Some(runtime) = self.runtime.upgrade() else { return };
        if !self.is_ready.swap(true, SeqCst) {
            runtime.agenda().ready.push_back(self);
            runtime.thread.unpark();
        }
    }
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

/// Makes a runtime the one of this thread until it is dropped.
struct Entered(Option<Arc<VirtualState>>);

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.0.take();
        let _ = CURRENT.try_with(|current| current.replace(before));
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
        let state =
            VirtualState { started: Instant::now(), thread: thread::current(), agenda: Mutex::default() };
        VirtualRuntime { state: Arc::new(state), one_thread: PhantomData }
    }

    /// The runtime within which this thread is.
    pub(super) fn current() -> Option<Arc<VirtualState>> {
        // A thread that ends is within none any more: a runtime may be dropped that late.
        CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
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

impl VirtualState {
    fn agenda(&self) -> MutexGuard<'_, Agenda> {
        self.agenda.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>) -> Entered {
        Entered(CURRENT.try_with(|current| current.replace(Some(self.clone()))).ok().flatten())
    }

    /// The present moment by the clock of the runtime.
    pub(super) fn now(&self) -> Instant {
        self.started + self.agenda().now
    }

    pub(super) fn timer(self: &Arc<Self>, deadline: Instant) -> VirtualTimer {
        let at = Some(deadline.saturating_duration_since(self.started));
        VirtualTimer { runtime: self.clone(), at, id: None }
    }

    pub(super) fn timer_after(self: &Arc<Self>, span: Duration) -> VirtualTimer {
        let at = self.agenda().now.checked_add(span);
        // A moment that no clock of the system can name never arrives.
        let at = at.filter(|at| self.started.checked_add(*at).is_some());
        VirtualTimer { runtime: self.clone(), at, id: None }
    }

    pub(super) fn spawn<T: Send + 'static>(
        self: &Arc<Self>,
        future: impl Future<Output = T> + Send + 'static,
    ) -> VirtualJoinHandle<T> {
        let (sender, result) = oneshot::channel();
        let future = async move {
            // A dropped handle needs no result.
            let _ = sender.send(future.await);
        };
        let mut agenda = self.agenda();
        let task = Arc::new(VirtualTask {
            id: agenda.id(),
            future: Mutex::new(Some(Box::pin(future))),
            is_ready: AtomicBool::new(true),
            is_cancelled: AtomicBool::new(false),
            runtime: Arc::downgrade(self),
        });
        agenda.tasks.insert(task.id, task.clone());
        agenda.ready.push_back(task.clone());
        drop(agenda);
        self.thread.unpark();
        VirtualJoinHandle { task, result }
    }

    fn run_until_idle(&self) {
        loop {
            let Some(task) = self.agenda().ready.pop_front() else { return };
            task.run(self);
        }
    }

    /// Wakes the task of the earliest timer, unless that expires after `end`. Returns whether there was one.
    fn expire_next(&self, end: Duration) -> bool {
        let mut agenda = self.agenda();
        let next = agenda.timers.first_entry().filter(|entry| entry.key().0 <= end);
        let Some(entry) = next else { return false };
        let ((at, _), waker) = entry.remove_entry();
        agenda.now = agenda.now.max(at);
        // A waker is called without the lock, since it takes it.
        drop(agenda);
        waker.wake();
        true
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

impl VirtualTask {
    fn take(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        self.future.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn run(self: &Arc<Self>, runtime: &VirtualState) {
        self.is_ready.store(false, SeqCst);
        let Some(mut future) = self.take() else { return };
        let waker = Waker::from(self.clone());
        let is_over = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        if is_over || self.is_cancelled.load(SeqCst) {
            self.forget(runtime);
        } else {
            *self.future.lock().unwrap_or_else(PoisonError::into_inner) = Some(future);
        }
    }

    fn forget(&self, runtime: &VirtualState) {
        runtime.agenda().tasks.remove(&self.id);
    }
}

/// A task that runs until it ends or is cancelled.
pub(super) struct VirtualJoinHandle<T> {
    task: Arc<VirtualTask>,
    result: oneshot::Receiver<T>,
}

impl<T> VirtualJoinHandle<T> {
    /// Drops the future of the task; one that cancels itself is dropped at its next await. Returns its result if it has ended.
    pub(super) fn cancel(mut self) -> Option<T> {
        self.task.is_cancelled.store(true, SeqCst);
        let future = self.task.take();
        if let Some(runtime) = self.task.runtime.upgrade() {
            self.task.forget(&runtime);
        }
        drop(future);
        self.result.try_recv().ok().flatten()
    }
}

/// A timer of a runtime.
pub(crate) struct VirtualTimer {
    runtime: Arc<VirtualState>,
    /// The time of its end; `None` for never.
    at: Option<Duration>,
    /// The number under which it is in the agenda.
    id: Option<u64>,
}

impl VirtualTimer {
    pub(super) fn set_at(&mut self, deadline: Instant) {
        self.leave();
        self.at = Some(deadline.saturating_duration_since(self.runtime.started));
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let mut agenda = self.runtime.agenda();
        if agenda.now >= at {
            drop(agenda);
            self.leave();
            return Poll::Ready(());
        }
        let id = *self.id.get_or_insert_with(|| agenda.id());
        let replaced = agenda.timers.insert((at, id), cx.waker().clone());
        drop(agenda);
        drop(replaced);
        Poll::Pending
    }

    /// Removes it from the agenda.
    fn leave(&mut self) {
        if let Some((at, id)) = self.at.zip(self.id.take()) {
            let waker = self.runtime.agenda().timers.remove(&(at, id));
            drop(waker);
        }
    }
}

impl Drop for VirtualTimer {
    fn drop(&mut self) {
        self.leave();
    }
}
