//! The scenario of a seed: the mesh, its media, the workload and the faults.

use std::time::Duration;

use rouse_core::netmod::mem::Impairments;
use rouse_sim::DiskFault;
use rouse_tests::SeededRandom;

/// A node, by its number.
pub(crate) type NodeId = usize;

/// All that is drawn before a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: usize,
    /// The pairs of nodes with a cable.
    pub(crate) edges: Vec<(NodeId, NodeId)>,
    pub(crate) impairments: Impairments,
    pub(crate) workload: Workload,
    /// The time during which faults happen and messages are sent.
    pub(crate) storm: Duration,
    /// The faults in the order of their time.
    pub(crate) faults: Vec<(Duration, Fault)>,
}

/// The shape of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Line,
    Ring,
    Star,
    /// A tree with a few cables more.
    Random,
}

/// The messages that each node sends, and how they are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    /// The calls of each node.
    pub(crate) calls: usize,
    /// The longest pause between two calls.
    pub(crate) pause: Duration,
    /// The named services of each node, beside the default one.
    pub(crate) services: usize,
    /// The longest pause of a reader after a message.
    pub(crate) reading: Duration,
    /// The probability that a reader gives a message back.
    pub(crate) give_back: f64,
    /// The longest delay of a commit.
    pub(crate) commit: Duration,
    /// The probability of a body of many packets.
    pub(crate) long: f64,
    /// The probability of a time to live of a few seconds.
    pub(crate) short_life: f64,
}

/// An event that a node has to survive.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// A cable is pulled.
    Cut(NodeId, NodeId),
    /// A cable is plugged in again.
    Heal(NodeId, NodeId),
    /// All media become worse, or better.
    Impair(Impairments),
    /// The process is killed after so many polls of any task, and started again after the pause. Its disk keeps all writes.
    Kill { node: NodeId, polls: u64, pause: Duration },
    /// The same with the loss of unsynced writes.
    PowerCut { node: NodeId, polls: u64, pause: Duration },
    /// A fault of the disk after so many of its operations. One that cuts the power ends the process.
    Disk { node: NodeId, operations: u64, fault: DiskFault },
    /// There is no room on the disk.
    Full(NodeId),
    /// There is room again, and the disk works.
    Calm(NodeId),
    /// The wall clock is set, by so many milliseconds from the right time.
    Clock(NodeId, i64),
    /// The node is stopped in good order, and started again after the pause.
    Stop { node: NodeId, pause: Duration },
}

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// The longest time for which a fault lasts.
const LONGEST: Duration = Duration::from_secs(15);
const YEAR: i64 = 365 * 24 * 3600 * 1000;

impl Plan {
    /// The plan of a seed.
    pub(crate) fn draw(random: &mut SeededRandom) -> Self {
        let nodes = 2 + random.below(6).min(random.below(6));
        let shape = [Shape::Line, Shape::Ring, Shape::Star, Shape::Random][random.below(4)];
        let edges = edges(random, shape, nodes);
        let storm = random.span(5 * SECOND, 40 * SECOND);
        let mut plan = Plan {
            nodes,
            edges,
            impairments: impairments(random),
            workload: workload(random),
            storm,
            faults: Vec::new(),
        };
        let count = random.below(9);
        for _ in 0..count {
            plan.draw_fault(random);
        }
        plan.faults.sort_by_key(|(at, _)| *at);
        plan
    }

    fn draw_fault(&mut self, random: &mut SeededRandom) {
        let at = random.span(Duration::ZERO, self.storm);
        let node = random.below(self.nodes);
        let until = (at + random.span(MS, LONGEST)).min(self.storm);
        let (polls, pause) = (random.below(2000) as u64, random.span(MS, LONGEST));
        let add = |faults: &mut Vec<_>, fault, end: Option<Fault>| {
            faults.push((at, fault));
            faults.extend(end.map(|end| (until, end)));
        };
        let faults = &mut self.faults;
        match random.below(20) {
            0..3 => {
                let (a, b) = self.edges[random.below(self.edges.len())];
                add(faults, Fault::Cut(a, b), Some(Fault::Heal(a, b)));
            }
            3 => {
                // A partition: all cables between two halves.
                let half: Vec<bool> = (0..self.nodes).map(|_| random.chance(0.5)).collect();
                for (a, b) in self.edges.iter().filter(|(a, b)| half[*a] != half[*b]) {
                    add(faults, Fault::Cut(*a, *b), Some(Fault::Heal(*a, *b)));
                }
            }
            4 => add(faults, Fault::Impair(impairments(random)), None),
            5..11 => add(faults, Fault::Kill { node, polls, pause }, None),
            11..14 => add(faults, Fault::PowerCut { node, polls, pause }, None),
            14..17 => {
                let all = [DiskFault::Write, DiskFault::Sync, DiskFault::Syncs, DiskFault::PowerCut];
                let (fault, operations) = (all[random.below(4)], random.below(40) as u64);
                add(faults, Fault::Disk { node, operations, fault }, Some(Fault::Calm(node)));
            }
            17 => add(faults, Fault::Full(node), Some(Fault::Calm(node))),
            18 => {
                let far = random.below(2 * YEAR as usize) as i64 - YEAR;
                let jump = if random.chance(0.5) { far } else { far / 1_000_000 };
                add(faults, Fault::Clock(node, jump), None);
            }
            _ => add(faults, Fault::Stop { node, pause }, None),
        }
    }
}

fn edges(random: &mut SeededRandom, shape: Shape, nodes: usize) -> Vec<(NodeId, NodeId)> {
    let mut edges: Vec<_> = match shape {
        Shape::Line | Shape::Ring => (1..nodes).map(|node| (node - 1, node)).collect(),
        Shape::Star => (1..nodes).map(|node| (0, node)).collect(),
        Shape::Random => (1..nodes).map(|node| (random.below(node), node)).collect(),
    };
    if shape == Shape::Ring && nodes > 2 {
        edges.push((0, nodes - 1));
    }
    if shape == Shape::Random {
        for _ in 0..random.below(nodes) {
            let (a, b) = (random.below(nodes), random.below(nodes));
            let edge = (a.min(b), a.max(b));
            if a != b && !edges.contains(&edge) {
                edges.push(edge);
            }
        }
    }
    edges
}

fn impairments(random: &mut SeededRandom) -> Impairments {
    let mut share = |most: f64| if random.chance(0.5) { random.share(most) } else { 0.0 };
    let (loss, duplicate, reorder, corrupt) = (share(0.25), share(0.1), share(0.1), share(0.02));
    Impairments {
        loss,
        duplicate,
        reorder,
        corrupt,
        delay: random.span(Duration::ZERO, 20 * MS),
        jitter: if random.chance(0.5) { random.span(Duration::ZERO, 20 * MS) } else { Duration::ZERO },
        hold: random.span(MS, 30 * MS),
        ..Impairments::default()
    }
}

fn workload(random: &mut SeededRandom) -> Workload {
    let reads_slowly = random.chance(0.3);
    Workload {
        calls: 1 + random.below(25),
        pause: random.span(MS, 2 * SECOND),
        services: random.below(3),
        reading: random.span(MS, if reads_slowly { 3 * SECOND } else { 30 * MS }),
        give_back: if random.chance(0.3) { random.share(0.4) } else { 0.0 },
        commit: random.span(Duration::ZERO, 10 * MS),
        long: if random.chance(0.5) { random.share(0.3) } else { 0.0 },
        short_life: if random.chance(0.5) { random.share(0.3) } else { 0.0 },
    }
}
