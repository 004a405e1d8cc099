//! Egress: the way out to one neighbour.
//!
//! Whoever has a packet for the neighbour pushes it into the queue of its class and then drains the queues, unless
//! somebody is doing so already, who will take the new packet along. Draining means: pick by class, seal, send as a
//! train. Sealing comes after picking, so that frame counters are in order and what waits can still be dropped.
//! When the link is idle this sends the packet at once, on the pusher's own task. A drain is bounded, and may be
//! dropped when the medium is busy: the neighbour's own task takes up what is left.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::link::Sealer;
use crate::netmod::{Endpoint, Netmod, NetmodError, Train};
use crate::stats::{DropCause, Stats};

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
/// What one drain sends at most, so that nobody is kept sending for others: half of what the queues hold.
const MAX_DRAIN_BYTES: usize = MAX_BYTES / 2;
const MAX_DRAIN_TRAINS: usize = 64;
/// With so much in the queues, those who can wait should.
const BACKED_UP: usize = 512 << 10;
/// From this depth on, what is queued is copied out of the buffer it came in, which may be much larger.
const COPY_FROM: usize = 64 << 10;

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

impl Pushed {
    /// Counts what was dropped.
    pub(crate) fn count(self, stats: &Stats) {
        match self {
            Pushed::Queued => {}
            Pushed::Full => stats.drop(DropCause::EgressFull),
            Pushed::Closed => stats.drop(DropCause::UnknownSession),
        }
    }
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
    /// The train is sealed, and its sending was broken off: it goes first. If it had left, the replay window of the
    /// other side drops it.
    broken_off: Option<Filled>,
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
                broken_off: None,
            }),
        }
    }

    /// Queues the content of one frame (its kind byte first).
    pub(crate) fn push(&self, class: Class, content: Bytes) -> Pushed {
        self.pushing().push(class, content)
    }

    /// The queues, for pushing more than one frame. Nobody else gets at them meanwhile: keep it short.
    pub(crate) fn pushing(&self) -> Pushing<'_> {
        Pushing { state: self.lock() }
    }

    /// Sends what is queued, up to a bound, unless another task is doing so: it will see what was queued here.
    ///
    /// May be dropped at any await: what was not sent yet stays for the next drain.
    ///
    /// # Errors
    /// The last error of the netmod. The frames it refused are gone, and counted in `drained`.
    pub(crate) async fn drain(&self, drained: &mut Drained) -> Result<(), NetmodError> {
        let Some(mut turn) = Turn::take(self, drained) else { return Ok(()) };
        let mut result = Ok(());
        let (mut trains, mut bytes) = (0, 0);
        while trains < MAX_DRAIN_TRAINS && bytes < MAX_DRAIN_BYTES {
            let Some(Filled { endpoint, size, frames, packets }) = turn.fill() else { break };
            let sent = self.netmod.send(&endpoint, Train { bytes: &turn.train, size }).await;
            turn.current = None;
            trains += 1;
            bytes += turn.train.len();
            match sent {
                Ok(()) => {
                    turn.drained.frames += frames;
                    turn.drained.packets += packets;
                    turn.drained.bytes += turn.train.len() as u64;
                }
                Err(error) => {
                    turn.drained.failed += frames;
                    result = Err(error);
                }
            }
        }
        result
    }

    /// Whether there is something to drain and nobody draining: so after a drain was dropped midway, or has done
    /// its share.
    pub(crate) fn is_stalled(&self) -> bool {
        let state = self.lock();
        state.has_work() && !state.draining
    }

    /// Whether nothing is queued, nor being sent.
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.lock();
        !state.has_work() && !state.draining
    }

    /// Whether so much is queued that those who can wait should.
    pub(crate) fn is_backed_up(&self) -> bool {
        self.lock().bytes >= BACKED_UP
    }

    /// Drops what is queued, refuses what comes. Returns how many frames were dropped.
    pub(crate) fn close(&self) -> u64 {
        self.lock().close()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queues of a link, held for pushing. Made by [`Egress::pushing`].
pub(crate) struct Pushing<'a> {
    state: MutexGuard<'a, State>,
}

impl Pushing<'_> {
    /// Queues the content of one frame (its kind byte first).
    pub(crate) fn push(&mut self, class: Class, content: Bytes) -> Pushed {
        let state = &mut *self.state;
        let room = MAX_BYTES - if class == Class::Control { 0 } else { CONTROL_RESERVE };
        if state.closed {
            return Pushed::Closed;
        }
        if state.bytes + content.len() > room {
            return Pushed::Full;
        }
        let deep = state.bytes >= COPY_FROM;
        state.bytes += content.len();
        let content = if deep { Bytes::copy_from_slice(&content) } else { content };
        state.queues[class as usize].push_back(content);
        Pushed::Queued
    }
}

impl State {
    fn has_work(&self) -> bool {
        self.bytes > 0 || self.broken_off.is_some()
    }

    fn close(&mut self) -> u64 {
        self.closed = true;
        self.bytes = 0;
        let broken_off = self.broken_off.take().map_or(0, |train| train.frames);
        self.queues.iter_mut().map(|queue| std::mem::take(queue).len() as u64).sum::<u64>() + broken_off
    }
}

/// A train ready to go.
#[derive(Clone, Copy)]
struct Filled {
    endpoint: Endpoint,
    size: usize,
    frames: u64,
    packets: u64,
}

/// The right to drain, given back on drop.
struct Turn<'a, 'd> {
    egress: &'a Egress,
    train: Vec<u8>,
    /// What is in the train, from its sealing until it is sent.
    current: Option<Filled>,
    drained: &'d mut Drained,
    done: bool,
}

impl<'a, 'd> Turn<'a, 'd> {
    fn take(egress: &'a Egress, drained: &'d mut Drained) -> Option<Self> {
        let mut state = egress.lock();
        if state.draining || !state.has_work() {
            return None;
        }
        state.draining = true;
        let train = std::mem::take(&mut state.train);
        let current = state.broken_off.take();
        drop(state);
        Some(Turn { egress, train, current, drained, done: false })
    }

    /// Picks and seals the next train: frames of one length, the last may be shorter. When there is nothing left,
    /// the turn ends under the same lock, so that whoever pushes next takes a turn of its own.
    fn fill(&mut self) -> Option<Filled> {
        if self.current.is_some() {
            return self.current;
        }
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
                self.drained.failed += 1 + state.close();
                break;
            }
            size = if frames == 0 { length } else { size };
            frames += 1;
            packets += u64::from(class != Class::Control as usize);
            if length < size {
                break;
            }
        }
        self.drained.worn |= state.sealer.is_worn();
        if frames == 0 {
            self.done = true;
            state.draining = false;
            state.train = std::mem::take(&mut self.train);
            return None;
        }
        self.current = Some(Filled { endpoint: state.endpoint, size, frames: frames as u64, packets });
        self.current
    }
}

impl Drop for Turn<'_, '_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut state = self.egress.lock();
        state.draining = false;
        state.train = std::mem::take(&mut self.train);
        match self.current.take() {
            Some(current) if state.closed => self.drained.failed += current.frames,
            current => state.broken_off = current,
        }
    }
}

#[cfg(test)]
#[path = "egress_tests.rs"]
mod tests;
