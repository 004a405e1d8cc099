//! Egress: the way out to one neighbour.
//!
//! Whoever has a packet for the neighbour pushes it into the queue of its class and then drains the queues, unless
//! somebody is doing so already, who will take the new packet along. Draining means: pick by class, seal, send as a
//! train. Sealing comes after picking, so that frame counters are in order and what waits can still be dropped.
//! When the link is idle this sends the packet at once, on the pusher's own task.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::link::Sealer;
use crate::netmod::{Endpoint, Netmod, NetmodError, Train};

/// How urgent a packet is. Higher classes go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// What keeps the mesh together: hellos, routes.
    Control,
    /// Short and awaited: pings, traces.
    Interactive,
    /// Messages.
    Bulk,
}

const CLASSES: usize = 3;
/// What the queues of one link may hold, in bytes of content. Some 20 ms of a 1 Gbit/s link.
const MAX_BYTES: usize = 2 << 20;
/// Of that, what is kept for control alone.
const CONTROL_RESERVE: usize = 256 << 10;
/// A train's longest buffer: what a UDP datagram's length field holds, less its headers.
const MAX_TRAIN_BYTES: usize = 65_000;

/// What came of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// Queued; drain now, or whoever drains already takes it along.
    Queued,
    /// The queue is full.
    Full,
    /// The link is closed, or its keys are used up.
    Closed,
}

/// The way out to one neighbour.
pub(crate) struct Egress {
    netmod: Arc<dyn Netmod>,
    max_train: usize,
    state: Mutex<State>,
}

struct State {
    sealer: Sealer,
    endpoint: Endpoint,
    queues: [VecDeque<Bytes>; CLASSES],
    bytes: usize,
    draining: bool,
    closed: bool,
    /// The train being sent; kept for its memory.
    train: Vec<u8>,
}

/// What a drain did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drained {
    /// Frames handed to the netmod.
    pub(crate) frames: u64,
    /// Those among them that carried packets.
    pub(crate) packets: u64,
    /// The bytes of all.
    pub(crate) bytes: u64,
    /// Frames that the netmod refused.
    pub(crate) failed: u64,
    /// The session has sealed so much that a new one is due.
    pub(crate) worn: bool,
}

impl Egress {
    pub(crate) fn new(netmod: Arc<dyn Netmod>, endpoint: Endpoint, sealer: Sealer) -> Self {
        Egress {
            max_train: netmod.properties().max_train.max(1),
            netmod,
            state: Mutex::new(State {
                sealer,
                endpoint,
                queues: Default::default(),
                bytes: 0,
                draining: false,
                closed: false,
                train: Vec::new(),
            }),
        }
    }

    /// Queues the content of one frame (its kind byte first).
    pub(crate) fn push(&self, class: Class, content: Bytes) -> Pushed {
        let mut state = self.lock();
        let room = MAX_BYTES - if class == Class::Control { 0 } else { CONTROL_RESERVE };
        if state.closed {
            return Pushed::Closed;
        }
        if state.bytes + content.len() > room {
            return Pushed::Full;
        }
        state.bytes += content.len();
        state.queues[class as usize].push_back(content);
        Pushed::Queued
    }

    /// Sends what is queued, unless another task is doing so: it will see what was queued here.
    ///
    /// May be dropped at any await: what was not sent yet stays queued for the next drain.
    ///
    /// # Errors
    /// The last error of the netmod. The frames it refused are gone, and counted in `drained`.
    pub(crate) async fn drain(&self, drained: &mut Drained) -> Result<(), NetmodError> {
        let Some(mut turn) = Turn::take(self) else { return Ok(()) };
        let mut result = Ok(());
        while let Some(Filled { endpoint, size, frames, packets, worn }) = turn.fill() {
            drained.worn |= worn;
            let train = Train { bytes: &turn.train, size };
            match self.netmod.send(&endpoint, train).await {
                Ok(()) => {
                    drained.frames += frames;
                    drained.packets += packets;
                    drained.bytes += turn.train.len() as u64;
                }
                Err(error) => {
                    drained.failed += frames;
                    result = Err(error);
                }
            }
        }
        result
    }

    /// Whether there is something to drain and nobody draining: so after a drain was dropped midway.
    pub(crate) fn is_stalled(&self) -> bool {
        let state = self.lock();
        state.bytes > 0 && !state.draining
    }

    /// Drops what is queued, refuses what comes. Returns how many packets were dropped.
    pub(crate) fn close(&self) -> u64 {
        let mut state = self.lock();
        state.closed = true;
        state.bytes = 0;
        state.queues.iter_mut().map(|queue| std::mem::take(queue).len() as u64).sum()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A train ready to go.
struct Filled {
    endpoint: Endpoint,
    size: usize,
    frames: u64,
    packets: u64,
    worn: bool,
}

/// The right to drain, given back on drop.
struct Turn<'a> {
    egress: &'a Egress,
    train: Vec<u8>,
    done: bool,
}

impl<'a> Turn<'a> {
    fn take(egress: &'a Egress) -> Option<Self> {
        let mut state = egress.lock();
        if state.draining || state.bytes == 0 {
            return None;
        }
        state.draining = true;
        let train = std::mem::take(&mut state.train);
        drop(state);
        Some(Turn { egress, train, done: false })
    }

    /// Picks and seals the next train: frames of one length, the last may be shorter. When there is nothing left,
    /// the turn ends under the same lock, so that whoever pushes next takes a turn of its own.
    fn fill(&mut self) -> Option<Filled> {
        let mut guard = self.egress.lock();
        let state = &mut *guard;
        self.train.clear();
        let (mut size, mut frames, mut packets) = (0, 0, 0);
        while frames < self.egress.max_train {
            let mut queues = state.queues.iter_mut().enumerate();
            let Some((class, queue)) = queues.find(|(_, queue)| !queue.is_empty()) else { break };
            let length = queue.front().map_or(0, |content| content.len() + Sealer::OVERHEAD);
            if frames > 0 && (length > size || self.train.len() + length > MAX_TRAIN_BYTES) {
                break;
            }
            let Some(content) = queue.pop_front() else { break };
            state.bytes -= content.len();
            if state.sealer.seal(|out| out.extend_from_slice(&content), &mut self.train).is_err() {
                // The keys are used up: the link ends, and the neighbour's task makes a new one.
                state.closed = true;
                break;
            }
            size = if frames == 0 { length } else { size };
            frames += 1;
            packets += u64::from(class != Class::Control as usize);
            if length < size {
                break;
            }
        }
        let worn = state.sealer.is_worn();
        if frames == 0 {
            self.done = true;
            state.draining = false;
            state.train = std::mem::take(&mut self.train);
            return None;
        }
        Some(Filled { endpoint: state.endpoint, size, frames: frames as u64, packets, worn })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.egress.lock().draining = false;
        }
    }
}
