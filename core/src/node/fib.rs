//! The routes in use, as the data path reads them: without a lock, so that no writer, however much it has to write and
//! wherever it is held up, keeps a packet waiting. The table grows in steps, a few entries with each write.

use std::sync::Arc;

use papaya::{HashMap, HashMapRef, LocalGuard, ResizeMode};
use seize::Collector;

use super::neighbour::Neighbour;
use crate::address::Address;
use crate::hash::Keyed;

/// Where a destination is reached: the data path's copy of the router's decision.
#[derive(Clone)]
pub(crate) struct Hop {
    pub(crate) next: Arc<Neighbour>,
    /// Used while `next` is suspect.
    pub(crate) alternate: Option<Arc<Neighbour>>,
    /// The longest packet payload that the whole way takes, in bytes.
    pub(crate) mtu: usize,
}

impl Hop {
    /// The neighbour to hand a packet to now.
    pub(crate) fn best(&self) -> &Arc<Neighbour> {
        match &self.alternate {
            Some(alternate) if self.next.is_suspect() && !alternate.is_suspect() => alternate,
            _ => &self.next,
        }
    }
}

/// Entries that a write moves to the larger table while the table grows: what a write may cost.
const MOVED: usize = 64;

/// The routes in use. Written by the router's task, read by all.
pub(crate) struct Fib {
    routes: HashMap<Address, Hop, Keyed>,
}

impl Default for Fib {
    fn default() -> Self {
        let routes = HashMap::builder()
            .hasher(Keyed::default())
            .resize_mode(ResizeMode::Incremental(MOVED))
            // What is replaced is freed as soon as nobody reads it: it holds on to a neighbour.
            .collector(Collector::new().batch_size(1))
            .build();
        Fib { routes }
    }
}

impl Fib {
    /// A look at the routes for as many look-ups as are at hand. What is replaced meanwhile lives as long as the look.
    pub(crate) fn look(&self) -> Look<'_> {
        Look(self.routes.pin())
    }

    /// The route to one destination.
    pub(crate) fn get(&self, destination: &Address) -> Option<Hop> {
        self.look().get(destination).cloned()
    }

    pub(crate) fn insert(&self, destination: Address, hop: Hop) {
        self.routes.pin().insert(destination, hop);
    }

    pub(crate) fn remove(&self, destination: &Address) {
        self.routes.pin().remove(destination);
    }
}

/// Made by [`Fib::look`].
pub(crate) struct Look<'a>(HashMapRef<'a, Address, Hop, Keyed, LocalGuard<'a>>);

impl Look<'_> {
    pub(crate) fn get(&self, destination: &Address) -> Option<&Hop> {
        self.0.get(destination)
    }
}
