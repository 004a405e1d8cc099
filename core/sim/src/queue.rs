//! The queue of events and deadlines, in order of time.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use rouse_proto::route::NeighbourId;
use rouse_proto::time::Time;

/// An event at a fixed moment.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SimEvent {
    /// A control message arrives at the node that has its sender under this neighbour id.
    Control { id: NeighbourId, message: Vec<u8> },
    /// A frame arrives at this end of a link.
    Frame { link: usize, side: usize, bytes: Vec<u8> },
    /// A node begins to suspect a neighbour.
    Suspect { id: NeighbourId },
    /// A node notices that a link is gone.
    Down { id: NeighbourId },
    /// A node has verified the signatures of a batch, which the network keeps under this number.
    Verified { node: usize, batch: u64 },
    /// The next packet of a flow is sent.
    Packet { flow: usize },
    /// The positions of moving nodes are updated.
    Move,
    /// The state of nodes is compared with its bounds.
    Audit,
}

/// A state machine with one deadline, which may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Actor {
    Router(usize),
    Peering(usize),
    Link(NeighbourId),
}

/// The earliest entry of the queue.
#[derive(Debug)]
pub(super) enum Next {
    Event(SimEvent),
    Deadline(Actor),
}

/// The events of a run, the earliest first, those of one moment in the order in which they were planned.
#[derive(Debug, Default)]
pub(super) struct Queue {
    events: BinaryHeap<Reverse<(Time, u64, SimEvent)>>,
    deadlines: BTreeSet<(Time, Actor)>,
    count: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: Time, event: SimEvent) {
        self.count += 1;
        self.events.push(Reverse((at, self.count, event)));
    }

    /// Moves an actor's deadline; `slot` is where the actor keeps it.
    pub(super) fn set_deadline(&mut self, actor: Actor, slot: &mut Option<Time>, to: Option<Time>) {
        if *slot == to {
            return;
        }
        if let Some(before) = slot.take() {
            self.deadlines.remove(&(before, actor));
        }
        self.deadlines.extend(to.map(|at| (at, actor)));
        *slot = to;
    }

    /// Removes the earliest entry, if it is not later than `until`. Of one moment events precede deadlines.
    pub(super) fn pop(&mut self, until: Time) -> Option<(Time, Next)> {
        let event = self.events.peek().map(|Reverse((at, _, _))| *at);
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        let at = event.into_iter().chain(deadline).min().filter(|at| *at <= until)?;
        if event == Some(at) {
            let Reverse((_, _, event)) = self.events.pop()?;
            return Some((at, Next::Event(event)));
        }
        let (_, actor) = self.deadlines.pop_first()?;
        Some((at, Next::Deadline(actor)))
    }
}
