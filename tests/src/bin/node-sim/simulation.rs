//! A run: the machines, their media and their faults, step by step under the virtual clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rouse_core::netmod::mem::{Impairments, MemNet};
use rouse_core::{RouteState, VirtualRuntime};
use rouse_tests::SeededRandom;

use crate::ledger::{Counts, Ledger};
use crate::machine::{End, Environment, Machine, name};
use crate::plan::{Fault, NodeId, Plan};
use crate::trace::Trace;
use crate::world::World;

/// The time after that in which nothing more may arrive.
const REST: Duration = Duration::from_secs(5);
/// The pause of a process that ends by a fault of its disk.
const REBOOT: Duration = Duration::from_secs(1);
/// The polls of a run, after which it is taken for one that never ends.
const MOST_STEPS: u64 = 20_000_000;

/// The result of a seed.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) hash: u64,
    pub(crate) steps: u64,
    pub(crate) counts: Counts,
    /// The time by the virtual clock.
    pub(crate) elapsed: Duration,
    /// The time from the last fault to the last delivery.
    pub(crate) healing: Duration,
    /// The rule that was broken.
    pub(crate) violation: Option<String>,
}

/// Runs a seed. `patience` is the time after the last fault within which all messages have to arrive.
pub(crate) fn run(seed: u64, patience: Duration, shows_trace: bool) -> Outcome {
    let mut random = SeededRandom(seed);
    let plan = Plan::draw(&mut random);
    let mut trace = Trace::new(shows_trace);
    trace.note(Duration::ZERO, format_args!("{plan:?}"));
    Simulation::new(seed, plan, trace, random).run(patience)
}

struct Simulation {
    runtime: VirtualRuntime,
    net: MemNet,
    world: Arc<World>,
    machines: Vec<Machine>,
    random: SeededRandom,
    faults: VecDeque<(Duration, Fault)>,
    /// The processes that end after so many polls.
    doomed: Vec<(u64, NodeId, End, Duration)>,
    storm: Duration,
    steps: u64,
}

impl Simulation {
    fn new(seed: u64, plan: Plan, trace: Trace, mut random: SeededRandom) -> Self {
        let runtime = VirtualRuntime::with_seed(seed);
        let net = runtime.enter(|| MemNet::new(seed));
        let world = Arc::new(World::new(Ledger::new(trace), plan.nodes, plan.workload));
        net.impair_all(plan.impairments);
        for b in 0..plan.nodes {
            for a in (0..b).filter(|a| !plan.edges.contains(&(*a, b))) {
                net.cut(&name(a), &name(b));
            }
        }
        let machines = (0..plan.nodes).map(|node| Machine::new(node, &mut random)).collect();
        let (faults, storm) = (plan.faults.into(), plan.storm);
        Simulation { runtime, net, world, machines, random, faults, doomed: Vec::new(), storm, steps: 0 }
    }

    fn run(mut self, patience: Duration) -> Outcome {
        (0..self.machines.len()).for_each(|node| self.start(node));
        let storm = self.storm;
        let mut healing = Duration::ZERO;
        if self.run_until(storm) {
            self.heal();
            healing = self.await_deliveries(patience);
            self.check_end();
        }
        let ledger = self.world.ledger();
        Outcome {
            hash: ledger.trace.hash() ^ self.steps,
            steps: self.steps,
            counts: ledger.counts(),
            elapsed: ledger.now,
            healing,
            violation: ledger.violation.clone(),
        }
    }

    fn start(&mut self, node: NodeId) {
        let environment = Environment { runtime: &self.runtime, net: &self.net, world: &self.world };
        self.machines[node].start(&environment, &mut self.random);
    }

    /// Runs until a moment by the virtual clock. Returns false when a rule was broken.
    fn run_until(&mut self, end: Duration) -> bool {
        loop {
            if self.world.ledger().violation.is_some() {
                return false;
            }
            if self.runtime.step() {
                self.steps += 1;
                if self.steps > MOST_STEPS {
                    self.world.ledger().violate(format!("{MOST_STEPS} polls, and no end"));
                }
                self.after_step();
                continue;
            }
            let next = self.next_event().unwrap_or(Duration::MAX);
            if next <= self.runtime.elapsed() {
                self.happen();
                continue;
            }
            if !self.runtime.pass_to_deadline(next.min(end)) {
                self.runtime.advance(next.min(end).saturating_sub(self.runtime.elapsed()));
            }
            self.world.ledger().now = self.runtime.elapsed();
            if next > end && self.runtime.elapsed() >= end {
                return true;
            }
        }
    }

    /// The time of the next fault or restart.
    fn next_event(&self) -> Option<Duration> {
        let restarts = self.machines.iter().filter_map(Machine::restart_at);
        restarts.chain(self.faults.front().map(|(at, _)| *at)).min()
    }

    fn happen(&mut self) {
        let now = self.runtime.elapsed();
        for node in 0..self.machines.len() {
            if self.machines[node].restart_at().is_some_and(|at| at <= now) {
                self.start(node);
            }
        }
        while self.faults.front().is_some_and(|(at, _)| *at <= now)
            && let Some((_, fault)) = self.faults.pop_front()
        {
            self.world.ledger().note(format_args!("fault: {fault:?}"));
            self.strike(fault);
        }
    }

    fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Cut(a, b) => self.net.cut(&name(a), &name(b)),
            Fault::Heal(a, b) => self.net.heal(&name(a), &name(b)),
            Fault::Impair(impairments) => self.impair(&impairments),
            Fault::Kill { node, polls, pause } => {
                self.doomed.push((self.steps + polls, node, End::Kill, pause));
            }
            Fault::PowerCut { node, polls, pause } => {
                self.doomed.push((self.steps + polls, node, End::PowerCut, pause));
            }
            Fault::Disk { node, operations, fault } => {
                self.world.ledger().disk_fails(node);
                self.machines[node].disk.fail_after(operations, fault);
            }
            Fault::Full(node) => {
                self.world.ledger().disk_fails(node);
                let disk = &self.machines[node].disk;
                disk.set_capacity(disk.used());
            }
            Fault::Calm(node) => self.calm(node),
            Fault::Clock(node, milliseconds) => self.machines[node].set_clock_offset(milliseconds),
            Fault::Stop { node, pause } => self.machines[node].stop(self.runtime.elapsed(), pause),
        }
    }

    fn impair(&self, impairments: &Impairments) {
        // The cables that are cut stay so.
        let all = 0..self.machines.len();
        for (a, b) in all.clone().flat_map(|a| all.clone().map(move |b| (a, b))).filter(|(a, b)| a != b) {
            self.net.impair_but_cut(&name(a), &name(b), impairments.clone());
        }
    }

    fn calm(&self, node: NodeId) {
        let disk = &self.machines[node].disk;
        disk.set_capacity(u64::MAX);
        disk.calm();
    }

    /// Ends the processes whose time has come, and those whose disks have lost power.
    fn after_step(&mut self) {
        let Simulation { machines, world, doomed, steps, .. } = self;
        for machine in machines.iter_mut() {
            if machine.is_up() && machine.disk.is_off() {
                machine.end(world, End::PowerCut, REBOOT);
            }
            machine.after_stop(world);
        }
        doomed.retain(|(at, node, end, pause)| {
            let is_due = at <= steps;
            if is_due {
                machines[*node].end(world, *end, *pause);
            }
            !is_due
        });
    }

    /// Ends all faults.
    fn heal(&mut self) {
        self.world.ledger().note(format_args!("all faults end"));
        self.world.is_calm.store(true, Relaxed);
        self.doomed.clear();
        let perfect = Impairments { delay: Duration::from_millis(1), ..Impairments::default() };
        self.impair(&perfect);
        (0..self.machines.len()).for_each(|node| self.calm(node));
    }

    /// Runs until all messages have arrived and all outboxes are empty. Returns the time that it took.
    fn await_deliveries(&mut self, patience: Duration) -> Duration {
        let begin = self.runtime.elapsed();
        loop {
            let now = self.runtime.elapsed();
            if !self.run_until(now + Duration::from_millis(250)) || self.is_quiet() {
                return self.runtime.elapsed() - begin;
            }
            if now - begin > patience {
                let text = self.unfinished();
                self.explain();
                self.world.ledger().violate(format!("{patience:?} after the last fault: {text}"));
                return now - begin;
            }
        }
    }

    fn is_quiet(&self) -> bool {
        let outboxes = self
            .machines
            .iter()
            .all(|machine| machine.running().is_some_and(|running| running.waiting() == (0, 0)));
        outboxes && self.world.ledger().unfinished().is_empty()
    }

    fn unfinished(&self) -> String {
        let outboxes: Vec<_> =
            self.machines.iter().map(|machine| machine.running().map(|running| running.waiting())).collect();
        let ledger = self.world.ledger();
        let open = ledger.unfinished();
        let first: Vec<_> = open.iter().take(3).map(|number| ledger.describe(*number)).collect();
        format!(
            "{} messages are not delivered, such as {first:?}; outboxes and inboxes hold {outboxes:?}",
            open.len()
        )
    }

    /// Adds to the trace what each node knows, for the search of a cause.
    fn explain(&self) {
        for machine in &self.machines {
            let Some(running) = machine.running() else { continue };
            let (status, routes) =
                self.runtime.block_on(async { (running.node.status().await, running.node.routes().await) });
            let active: Vec<_> = routes.iter().filter(|route| route.state == RouteState::Active).collect();
            let place = |address| self.world.addresses.iter().position(|known| *known == address);
            let hops: Vec<_> =
                active.iter().map(|route| (place(route.destination), place(route.next_hop))).collect();
            let counters: Vec<_> = status.counters.iter().filter(|(_, count)| **count > 0).collect();
            self.world.ledger().note(format_args!("node {}: routes {hops:?}, {counters:?}", machine.id));
            let waiting = self.runtime.block_on(running.node.outbox(3));
            self.world.ledger().note(format_args!("node {}: outbox {waiting:?}", machine.id));
        }
    }

    fn check_end(&mut self) {
        let end = self.runtime.elapsed() + REST;
        self.run_until(end);
        for machine in &self.machines {
            let failure = machine.running().and_then(|running| running.node.failure());
            if let Some(failure) = failure {
                self.world.ledger().violate(format!("node {}: {failure}", machine.id));
            }
        }
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        // The nodes end within the runtime.
        for machine in &mut self.machines {
            machine.end(&self.world, End::Kill, Duration::ZERO);
        }
    }
}
