//! A simulated machine: its disk, its clock, and the process that runs a node on it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rouse_core::journal::{Driver, Journal, JournalLimits, Moment, StoredJournal};
use rouse_core::netmod::mem::MemNet;
use rouse_core::{Node, VirtualProcess, VirtualRuntime};
use rouse_sim::SimDisk;
use rouse_tests::SeededRandom;

use crate::application::Application;
use crate::medium::TracedNetmod;
use crate::plan::NodeId;
use crate::world::{World, identity};

/// The pause before a process that could not start is started again.
const RETRY: Duration = Duration::from_secs(1);
/// The time without an operation after which the journal does what has waited for a quiet moment.
const IDLE: Duration = Duration::from_secs(5);
/// The time within which a node stops.
const STOP: Duration = Duration::from_secs(5);

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It is killed, and its writes stay.
    Kill,
    /// The power fails, and unsynced writes are lost or torn.
    PowerCut,
}

/// A machine with one node.
pub(crate) struct Machine {
    pub(crate) id: NodeId,
    pub(crate) disk: SimDisk,
    process: Option<VirtualProcess>,
    running: Arc<Mutex<Option<Running>>>,
    run: u64,
    clock_offset: i64,
    /// The time at which the process starts again, and how it ended.
    restart: Option<(Duration, End)>,
    stopping: Option<Stopping>,
}

/// A process that ends in good order.
struct Stopping {
    begun: Duration,
    pause: Duration,
    is_done: Arc<AtomicBool>,
}

/// The parts of a process that the simulation looks at.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) node: Node,
    pub(crate) journal: Arc<StoredJournal>,
}

/// All that a process needs to start.
pub(crate) struct Environment<'a> {
    pub(crate) runtime: &'a VirtualRuntime,
    pub(crate) net: &'a MemNet,
    pub(crate) world: &'a Arc<World>,
}

impl Machine {
    pub(crate) fn new(id: NodeId, random: &mut SeededRandom) -> Self {
        Machine {
            id,
            disk: SimDisk::new(random.draw()),
            process: None,
            running: Arc::default(),
            run: 0,
            clock_offset: 0,
            restart: None,
            stopping: None,
        }
    }

    /// The node, if it runs.
    pub(crate) fn running(&self) -> Option<Running> {
        lock(&self.running).clone()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// The time at which it starts again.
    pub(crate) fn restart_at(&self) -> Option<Duration> {
        self.restart.map(|(at, _)| at)
    }

    pub(crate) fn set_clock_offset(&mut self, milliseconds: i64) {
        self.clock_offset = milliseconds;
        if let Some(process) = &self.process {
            process.set_clock_offset(milliseconds);
        }
    }

    /// Starts the process.
    pub(crate) fn start(&mut self, environment: &Environment<'_>, random: &mut SeededRandom) {
        match self.restart.take() {
            Some((_, End::PowerCut)) => self.disk.restart(),
            Some((_, End::Kill)) => self.disk.resume(),
            None => {}
        }
        self.run += 1;
        let (id, run) = (self.id, self.run);
        environment.world.ledger().note(format_args!("node {id} starts run {run}"));
        let process = environment.runtime.process();
        process.set_clock_offset(self.clock_offset);
        let start = Start {
            id,
            run,
            disk: self.disk.clone(),
            world: environment.world.clone(),
            net: environment.net.clone(),
            running: self.running.clone(),
        };
        let draws = random.fork();
        process.spawn(start.run(draws));
        self.process = Some(process);
    }

    /// Stops the node in good order, and starts it again after the pause.
    pub(crate) fn stop(&mut self, now: Duration, pause: Duration) {
        let (Some(process), Some(Running { node, .. }), None) =
            (&self.process, self.running(), &self.stopping)
        else {
            return;
        };
        let is_done = Arc::new(AtomicBool::new(false));
        self.stopping = Some(Stopping { begun: now, pause, is_done: is_done.clone() });
        process.spawn(async move {
            node.stop().await;
            is_done.store(true, Relaxed);
        });
    }

    /// Ends the process when its node has stopped.
    pub(crate) fn after_stop(&mut self, world: &World) {
        let Some(Stopping { begun, pause, is_done }) = &self.stopping else { return };
        let (took, pause) = (world.ledger().now - *begun, *pause);
        if took > STOP {
            world.ledger().violate(format!("node {} stops for {took:?}", self.id));
        }
        if is_done.load(Relaxed) {
            self.end(world, End::Kill, pause);
        }
    }

    /// Ends the process, wherever its tasks are, and starts it again after the pause.
    pub(crate) fn end(&mut self, world: &World, end: End, pause: Duration) {
        let Some(process) = self.process.take() else { return };
        let mut ledger = world.ledger();
        ledger.note(format_args!("node {} ends: {end:?}", self.id));
        ledger.ended(self.id, self.run);
        self.restart = Some((ledger.now + pause, end));
        self.stopping = None;
        drop(ledger);
        // Dropped futures may write, which a process that is killed cannot.
        self.disk.stop();
        let running = lock(&self.running).take();
        process.enter(|| drop(running));
        drop(process);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process that starts.
struct Start {
    id: NodeId,
    run: u64,
    disk: SimDisk,
    world: Arc<World>,
    net: MemNet,
    running: Arc<Mutex<Option<Running>>>,
}

impl Start {
    async fn run(self, mut random: SeededRandom) {
        let begun = self.world.ledger().now;
        let clock = Clock { begun, world: self.world.clone() };
        let (journal, driver) = loop {
            match StoredJournal::driven(self.disk.clone(), limits(), clock.moment()) {
                Ok(opened) => break opened,
                Err(error) => {
                    let id = self.id;
                    self.world.ledger().note(format_args!("the journal of node {id} is not opened: {error}"));
                }
            }
            VirtualRuntime::sleep(RETRY).await;
        };
        let journal = Arc::new(journal);
        VirtualRuntime::spawn(drive(driver, clock, self.world.workload.commit, random.fork()));
        let Start { id, run, world, net, running, .. } = self;
        let plug = net.netmod(&name(id)).max_train(16);
        let builder = Node::builder().identity(identity(id)).netmod(TracedNetmod::new(plug, world.clone()));
        let node = match builder.journal(journal.clone()).start().await {
            Ok(node) => node,
            Err(error) => return world.ledger().violate(format!("node {id} does not start: {error}")),
        };
        world.ledger().note(format_args!("node {id} is up"));
        *lock(&running) = Some(Running { node: node.clone(), journal });
        Application { node, id, run, world }.start(&mut random);
    }
}

/// The name of a node on the medium.
pub(crate) fn name(node: NodeId) -> String {
    format!("n{node}")
}

fn limits() -> JournalLimits {
    JournalLimits { bytes: 64 << 20, small_file: 256 << 10, ..JournalLimits::default() }
}

/// The clock of a process, for its journal.
struct Clock {
    begun: Duration,
    world: Arc<World>,
}

impl Clock {
    fn moment(&self) -> Moment {
        let running = self.world.ledger().now - self.begun;
        Moment { running, wall: VirtualRuntime::wall_clock() }
    }
}

/// Carries out the operations of a journal, as its thread does outside of a simulation.
async fn drive(mut driver: Driver, clock: Clock, commit: Duration, mut random: SeededRandom) {
    loop {
        let quiet = std::pin::pin!(VirtualRuntime::sleep(IDLE));
        let ready = match futures::future::select(std::pin::pin!(driver.ready()), quiet).await {
            futures::future::Either::Left((ready, _)) => Some(ready),
            futures::future::Either::Right(_) => None,
        };
        match ready {
            None => driver.idle(clock.moment()),
            Some(false) => {
                // The node has been stopped, and learns of an error.
                let _ = driver.close();
                return;
            }
            Some(true) => {
                VirtualRuntime::sleep(random.span(Duration::ZERO, commit)).await;
                driver.turn(clock.moment());
            }
        }
    }
}

impl Running {
    /// The messages in the outbox and in the inbox.
    pub(crate) fn waiting(&self) -> (u64, u64) {
        let status = self.journal.status();
        (status.outbox.messages, status.inbox.messages)
    }
}
