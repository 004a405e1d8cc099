//! A medium in memory: several nodes in one process, over links as bad as a test wants them.
//!
//! It stands where a cable would stand, below the links: a [`MemNet`] is the medium, and each
//! [`MemNetmod`] one node's plug into it. Every direction between two plugs can lose, delay, duplicate, reorder,
//! corrupt and slow down frames, or be cut, and does so by a seed: which frame meets which fate is the same in every
//! run that sends the same frames. Plugs can be made to fail and recover, as an interface does.
//!
//! What a bad medium does to one frame stands in `impair`, without I/O, for the simulator to use as well.
//! Here are the plugs, the queues and the waiting. Delays are waited for inside [`recv`](super::Netmod::recv); no task is
//! spawned, any executor will do.
//!
//! ```
//! use rouse_core::netmod::mem::{Impairments, MemNet};
//! use rouse_core::netmod::{Netmod, Received, Train};
//!
//! # fn main() -> Result<(), rouse_core::netmod::NetmodError> { async_io::block_on(async {
//! let net = MemNet::new(42);
//! let (a, b) = (net.netmod("a"), net.netmod("b"));
//! net.impair("b", "a", Impairments { loss: 0.5, ..Impairments::default() });
//! a.open().await?;
//! b.open().await?;
//!
//! let to_b = a.resolve("b").await?[0];
//! a.send(&to_b, Train::single(b"hello")).await?;
//! let mut received = Received::default();
//! while received.arrivals.is_empty() {
//!     b.recv(&mut received).await?;
//! }
//! assert_eq!(&received.arrivals[0].bytes[..], b"hello");
//! # Ok(()) }) }
//! ```

mod impair;
mod medium;
mod plug;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

pub(crate) use impair::Impairer;
pub use impair::{Counts, Impairments};
use medium::Medium;
pub use plug::MemNetmod;

/// The medium, and the hand that makes it better or worse. Clones are the same medium.
///
/// Nodes are known by the names that their plugs were made with. A name that is used before its plug is made is
/// no error. Everybody reaches everybody until directions are [cut](MemNet::cut).
#[derive(Clone, Debug)]
pub struct MemNet {
    medium: Arc<Mutex<Medium>>,
}

impl MemNet {
    /// A medium without anybody on it. Chance draws from `seed` and the names, and from nothing else.
    pub fn new(seed: u64) -> Self {
        MemNet { medium: Arc::new(Mutex::new(Medium::new(seed))) }
    }

    /// A plug for the node `name`. Only one plug of a name is open at a time.
    pub fn netmod(&self, name: &str) -> MemNetmod {
        let id = self.with(|medium| medium.id(name));
        MemNetmod::new(self.clone(), name.to_owned(), id)
    }

    /// Makes what goes from `from` to `to` as bad as said, from now on. What is under way arrives.
    pub fn impair(&self, from: &str, to: &str, impairments: Impairments) {
        self.with(|medium| {
            let way = (medium.id(from), medium.id(to));
            medium.change(way, |now| *now = impairments);
        });
    }

    /// Makes all directions as bad as said, those of nodes to come as well.
    pub fn impair_all(&self, impairments: Impairments) {
        self.with(|medium| medium.change_all(impairments));
    }

    /// Cuts both directions between two nodes, as if the cable were pulled: silently.
    pub fn cut(&self, a: &str, b: &str) {
        self.set_cut(a, b, true);
    }

    /// Puts the cable back. Other impairments are what they were.
    pub fn heal(&self, a: &str, b: &str) {
        self.set_cut(a, b, false);
    }

    fn set_cut(&self, a: &str, b: &str, cut: bool) {
        self.with(|medium| {
            let (a, b) = (medium.id(a), medium.id(b));
            medium.change((a, b), |now| now.cut = cut);
            medium.change((b, a), |now| now.cut = cut);
        });
    }

    /// The node's interface goes: its plug reports [`NetmodError::Gone`](super::NetmodError::Gone), and cannot be opened
    /// until it [recovers](MemNet::recover). What waited for it is lost.
    pub fn fail(&self, name: &str) {
        self.with(|medium| {
            let id = medium.id(name);
            medium.fail(id);
        });
    }

    /// The node's interface can be opened again.
    pub fn recover(&self, name: &str) {
        self.with(|medium| {
            let id = medium.id(name);
            medium.recover(id);
        });
    }

    /// What has become of the frames from `from` to `to` so far.
    pub fn counts(&self, from: &str, to: &str) -> Counts {
        self.with(|medium| {
            let way = (medium.id(from), medium.id(to));
            medium.counts(way)
        })
    }

    /// Does something with the medium, and wakes whom that concerns once the lock is released: a waker may run
    /// anything at all.
    fn with<T>(&self, what: impl FnOnce(&mut Medium) -> T) -> T {
        let mut medium = self.medium.lock().unwrap_or_else(PoisonError::into_inner);
        let result = what(&mut medium);
        let woken = medium.take_woken();
        drop(medium);
        woken.into_iter().for_each(Waker::wake);
        result
    }
}
