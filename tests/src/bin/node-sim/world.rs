//! The state that the applications on all nodes share with the simulation.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rouse_core::{Address, Identity};

use crate::ledger::Ledger;
use crate::plan::{NodeId, Workload};

/// The account of the messages, and the instructions for the applications.
pub(crate) struct World {
    ledger: Mutex<Ledger>,
    pub(crate) workload: Workload,
    pub(crate) addresses: Vec<Address>,
    /// The calls that each node still makes.
    calls: Vec<AtomicUsize>,
    /// Whether the faults are over: nothing new is sent, and readers read at once.
    pub(crate) is_calm: AtomicBool,
}

/// The identity of a node.
pub(crate) fn identity(node: NodeId) -> Identity {
    Identity::from_seed(&[node as u8 + 1; 32])
}

impl World {
    pub(crate) fn new(ledger: Ledger, nodes: usize, workload: Workload) -> Self {
        World {
            ledger: Mutex::new(ledger),
            workload,
            addresses: (0..nodes).map(|node| identity(node).address()).collect(),
            calls: (0..nodes).map(|_| AtomicUsize::new(workload.calls)).collect(),
            is_calm: AtomicBool::new(false),
        }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.is_calm.load(Relaxed)
    }

    /// Takes one of the calls that the node has to make.
    pub(crate) fn next_call(&self, node: NodeId) -> bool {
        let less = |left: usize| left.checked_sub(1);
        !self.is_calm() && self.calls[node].fetch_update(Relaxed, Relaxed, less).is_ok()
    }
}
