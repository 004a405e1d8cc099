//! Simulated programs, which can be killed between any two polls of their tasks.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::processes::ProcessId;
use super::virtual_runtime::VirtualRuntime;
use super::virtual_state::VirtualState;
use crate::types::Timestamp;

/// A program that is simulated within a [`VirtualRuntime`]: the tasks that it spawns, and those that they spawn. It ends as
/// a whole when this is dropped, and it has a wall clock of its own.
///
/// ```
/// use std::time::Duration;
///
/// use rouse_core::VirtualRuntime;
///
/// let runtime = VirtualRuntime::with_seed(7);
/// let process = runtime.process();
/// process.spawn(async {
///     VirtualRuntime::sleep(Duration::from_secs(60)).await;
///     panic!("it is killed before");
/// });
/// runtime.advance(Duration::from_secs(30));
/// drop(process);
/// runtime.advance(Duration::from_secs(60));
/// ```
pub struct VirtualProcess {
    id: ProcessId,
    runtime: Arc<VirtualState>,
}

impl VirtualRuntime {
    /// A new process without tasks.
    pub fn process(&self) -> VirtualProcess {
        let mut agenda = self.state.agenda();
        let id = agenda.id();
        agenda.processes.clock_offsets.insert(id, 0);
        drop(agenda);
        VirtualProcess { id, runtime: self.state.clone() }
    }
}

impl VirtualProcess {
    /// Calls `work` within the process, so that the tasks that it spawns belong to the process.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.runtime.enter();
        let before = self.runtime.switch_to(self.id);
        let result = work();
        self.runtime.switch_to(before);
        result
    }

    /// Runs a future as a task of the process.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.enter(|| drop(self.runtime.spawn(future)));
    }

    /// Sets the difference between the wall clock of the process and that of the runtime, in milliseconds.
    pub fn set_clock_offset(&self, milliseconds: i64) {
        self.runtime.agenda().processes.clock_offsets.insert(self.id, milliseconds);
    }
}

/// The runtime within which the caller is.
fn current() -> Arc<VirtualState> {
    VirtualState::current().expect("it is called by a task of a virtual runtime, or within one")
}

impl VirtualRuntime {
    /// Waits for `duration` by the clock of the runtime within which it is called.
    ///
    /// # Panics
    /// Outside of a virtual runtime.
    pub fn sleep(duration: Duration) -> impl Future<Output = ()> {
        let mut timer = current().timer_after(duration);
        std::future::poll_fn(move |cx| timer.poll(cx))
    }

    /// Runs a future as a task of the process that calls it.
    ///
    /// # Panics
    /// Outside of a virtual runtime.
    pub fn spawn(future: impl Future<Output = ()> + Send + 'static) {
        drop(current().spawn(future));
    }

    /// The wall clock of the process that calls it, as its nodes see it.
    ///
    /// # Panics
    /// Outside of a virtual runtime.
    pub fn wall_clock() -> Timestamp {
        current().wall_clock()
    }
}

impl Drop for VirtualProcess {
    /// Ends the process: the futures of all its tasks are dropped, wherever they wait.
    fn drop(&mut self) {
        self.enter(|| {
            let mut agenda = self.runtime.agenda();
            agenda.processes.clock_offsets.remove(&self.id);
            let tasks: Vec<_> =
                agenda.tasks.values().filter(|task| task.process == self.id).cloned().collect();
            tasks.iter().for_each(|task| _ = agenda.tasks.remove(&task.id));
            // Dropped without the lock: a future that is dropped may wake or end other tasks.
            drop(agenda);
            tasks.iter().for_each(|task| drop(task.take()));
        });
    }
}
