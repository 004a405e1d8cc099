//! The state of a virtual runtime: its clock, its agenda and its tasks.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use futures::channel::oneshot;

use super::processes::{ProcessId, Processes};
use super::seeded::Seeded;
use crate::types::Timestamp;

thread_local! {
    static CURRENT: RefCell<Option<Arc<VirtualState>>> = const { RefCell::new(None) };
}

/// The state that the tasks and the timers of a runtime share.
pub(super) struct VirtualState {
    /// The moment from which its clock counts.
    pub(super) started: Instant,
    /// The wall clock at that moment, where no process has set it otherwise.
    wall_started: Timestamp,
    thread: Thread,
    agenda: Mutex<Agenda>,
}

/// The tasks that can run, the timers, and the time.
#[derive(Default)]
pub(super) struct Agenda {
    pub(super) now: Duration,
    ready: VecDeque<Arc<VirtualTask>>,
    /// The tasks that have not ended. The runtime owns them, since the wakers of a task are often held by its own future.
    pub(super) tasks: BTreeMap<u64, Arc<VirtualTask>>,
    /// The wakers of the timers by their deadlines.
    pub(super) timers: BTreeMap<(Duration, u64), Waker>,
    next_id: u64,
    pub(super) processes: Processes,
    /// The source of random bytes and of the order of tasks; `None` outside of repeatable runs.
    seeded: Option<Seeded>,
}

impl Agenda {
    pub(super) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Takes a task that can run: the first one, or any of them where the order is drawn.
    fn next_ready(&mut self) -> Option<Arc<VirtualTask>> {
        match &mut self.seeded {
            Some(seeded) if self.ready.len() > 1 => self.ready.remove(seeded.below(self.ready.len())),
            _ => self.ready.pop_front(),
        }
    }
}

/// Makes a runtime the one of this thread until it is dropped.
pub(super) struct Entered(Option<Arc<VirtualState>>);

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.0.take();
        let _ = CURRENT.try_with(|current| current.replace(before));
    }
}

impl VirtualState {
    /// A state without tasks. With a seed it decides all random bytes and the order of tasks.
    pub(super) fn new(wall_started: Timestamp, seed: Option<u64>) -> Arc<Self> {
        let agenda = Agenda { seeded: seed.map(Seeded::new), ..Agenda::default() };
        let (started, thread, agenda) = (Instant::now(), thread::current(), Mutex::new(agenda));
        Arc::new(VirtualState { started, wall_started, thread, agenda })
    }

    /// The runtime within which this thread is.
    pub(super) fn current() -> Option<Arc<VirtualState>> {
        // A thread that ends is within none any more: a runtime may be dropped that late.
        CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
    }

    pub(super) fn agenda(&self) -> MutexGuard<'_, Agenda> {
        self.agenda.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(self: &Arc<Self>) -> Entered {
        Entered(CURRENT.try_with(|current| current.replace(Some(self.clone()))).ok().flatten())
    }

    /// The present moment by the clock of the runtime.
    pub(super) fn now(&self) -> Instant {
        self.started + self.agenda().now
    }

    /// The present moment by the wall clock of the process that runs.
    pub(super) fn wall_clock(&self) -> Timestamp {
        let agenda = self.agenda();
        let passed = u64::try_from(agenda.now.as_millis()).unwrap_or(u64::MAX);
        Timestamp(
            self.wall_started.0.saturating_add(passed).saturating_add_signed(agenda.processes.clock_offset()),
        )
    }

    /// Fills `bytes` with those that follow from the seed. Returns false when there is none.
    pub(super) fn fill_seeded(&self, bytes: &mut [u8]) -> bool {
        let mut agenda = self.agenda();
        let Some(seeded) = &mut agenda.seeded else { return false };
        seeded.fill(bytes);
        true
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
        let ids = (agenda.id(), agenda.processes.current);
        let task = VirtualTask::new(ids, Box::pin(future), self);
        let is_alive = agenda.processes.is_alive(task.process);
        if is_alive {
            agenda.tasks.insert(task.id, task.clone());
            agenda.ready.push_back(task.clone());
        }
        drop(agenda);
        if !is_alive {
            // Dropped without the lock, since it may wake other tasks.
            drop(task.take());
        }
        self.thread.unpark();
        VirtualJoinHandle { task, result }
    }

    pub(super) fn run_until_idle(&self) {
        while self.step() {}
    }

    pub(super) fn step(&self) -> bool {
        let Some(task) = self.agenda().next_ready() else { return false };
        task.run(self);
        true
    }

    /// Wakes the task of the earliest timer, unless that expires after `end`. Returns whether there was one.
    pub(super) fn expire_next(&self, end: Duration) -> bool {
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

    /// Lets this process be the one that runs. Returns the former one.
    pub(super) fn switch_to(&self, process: ProcessId) -> ProcessId {
        std::mem::replace(&mut self.agenda().processes.current, process)
    }
}

/// A task of a runtime.
pub(super) struct VirtualTask {
    pub(super) id: u64,
    pub(super) process: ProcessId,
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

impl VirtualTask {
    /// A task that can run.
    pub(super) fn new(
        (id, process): (u64, ProcessId),
        future: Pin<Box<dyn Future<Output = ()> + Send>>,
        runtime: &Arc<VirtualState>,
    ) -> Arc<Self> {
        Arc::new(VirtualTask {
            id,
            process,
            future: Mutex::new(Some(future)),
            is_ready: AtomicBool::new(true),
            is_cancelled: AtomicBool::new(false),
            runtime: Arc::downgrade(runtime),
        })
    }

    pub(super) fn take(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        self.future.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn run(self: &Arc<Self>, runtime: &VirtualState) {
        self.is_ready.store(false, SeqCst);
        let Some(mut future) = self.take() else { return };
        let waker = Waker::from(self.clone());
        let before = runtime.switch_to(self.process);
        let is_over = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        runtime.switch_to(before);
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
    pub(super) task: Arc<VirtualTask>,
    pub(super) result: oneshot::Receiver<T>,
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
