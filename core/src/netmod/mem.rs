//! A medium in memory, for several nodes in one process, with links as bad as a test needs them.
//!
//! It takes the place of a cable, below the links: a [`MemNet`] is the medium, and each [`MemNetmod`] one node's plug
//! into it. Every direction between two plugs can lose, delay, duplicate, reorder, corrupt and slow down frames, or be
//! cut. Chance is drawn from a seed, so that every run that sends the same frames impairs them in the same way. Plugs
//! can be made to fail and recover, as an interface does.
//!
//! The impairment of one frame is implemented in `impairment`, without I/O, so that the simulator can use it as well. The
//! plugs, the queues and the waiting are implemented here. [`recv`](super::Netmod::recv) itself waits for delays: no
//! task is spawned, so that any executor will do.
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

mod medium;
mod plug;
mod queued_train;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

pub use crate::impairment::{Counts, Impairments};
use medium::MemMedium;
pub use plug::MemNetmod;

/// A medium, with the controls that impair it. Clones refer to the same medium.
///
/// A node is identified by the name of its plug. A name may be used before its plug is made. Every node reaches every
/// other until directions are [cut](MemNet::cut).
#[derive(Clone, Debug)]
pub struct MemNet {
    medium: Arc<Mutex<MemMedium>>,
}

impl MemNet {
    /// A medium without plugs. Chance depends on `seed` and the names only.
    pub fn new(seed: u64) -> Self {
        MemNet { medium: Arc::new(Mutex::new(MemMedium::new(seed))) }
    }

    /// A plug for the node `name`. Only one plug of a name is open at a time.
    pub fn netmod(&self, name: &str) -> MemNetmod {
        let id = self.with(|medium| medium.id(name));
        MemNetmod::new(self.clone(), name.to_owned(), id)
    }

    /// Impairs the direction from `from` to `to` from now on. Frames in transit arrive unchanged.
    pub fn impair(&self, from: &str, to: &str, impairments: Impairments) {
        self.with(|medium| {
            let direction = (medium.id(from), medium.id(to));
            medium.change(direction, |now| *now = impairments);
        });
    }

    /// As [`impair`](MemNet::impair), but a direction that is cut stays cut, and one that is not stays open.
    pub fn impair_but_cut(&self, from: &str, to: &str, impairments: Impairments) {
        self.with(|medium| {
            let direction = (medium.id(from), medium.id(to));
            medium.change(direction, |now| *now = Impairments { cut: now.cut, ..impairments });
        });
    }

    /// Impairs all directions, including those of nodes added later.
    pub fn impair_all(&self, impairments: Impairments) {
        self.with(|medium| medium.change_all(impairments));
    }

    /// Cuts both directions between two nodes silently, as if the cable were pulled.
    pub fn cut(&self, a: &str, b: &str) {
        self.set_cut(a, b, true);
    }

    /// Undoes [`cut`](MemNet::cut). Other impairments stay.
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

    /// Makes the node's interface fail: its plug reports [`NetmodError::Gone`](super::NetmodError::Gone), and cannot be
    /// opened until it [recovers](MemNet::recover). Frames queued for it are lost.
    pub fn fail(&self, name: &str) {
        self.with(|medium| {
            let id = medium.id(name);
            medium.fail(id);
        });
    }

    /// Lets the node's interface be opened again.
    pub fn recover(&self, name: &str) {
        self.with(|medium| {
            let id = medium.id(name);
            medium.recover(id);
        });
    }

    /// The number of frames from `from` to `to` so far, by outcome.
    pub fn counts(&self, from: &str, to: &str) -> Counts {
        self.with(|medium| {
            let direction = (medium.id(from), medium.id(to));
            medium.counts(direction)
        })
    }

    /// Applies `change` to the medium, and calls the wakers that it set aside after the lock is released, because a
    /// waker may run arbitrary code.
    fn with<T>(&self, change: impl FnOnce(&mut MemMedium) -> T) -> T {
        let mut medium = self.medium.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut medium);
        let woken = medium.take_woken();
        drop(medium);
        woken.into_iter().for_each(Waker::wake);
        result
    }
}
