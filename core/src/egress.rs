//! Egress: the path out to one neighbour.
//!
//! Whoever has a packet for the neighbour pushes it into the queue of its class and then drains the queues, unless
//! somebody is doing so already, who will take the new packet along. Draining means: pick by class and turn, seal,
//! send as a train. Sealing comes after picking, so that frame counters are in order and what waits can still be
//! dropped. When the link is idle this sends the packet at once, on the pusher's own task. A drain is bounded, and may
//! be dropped when the medium is busy: the neighbour's own task takes up what is left.
//!
//! [`ClassQueues`] decides whose turn it is and what is dropped; while the medium takes less than comes, packets that have
//! been waiting in a standing queue are dropped as well ([`codel`]).

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;

mod codel;
mod flows;
mod queues;
mod transmit_path;

use self::queues::ClassQueues;
use self::transmit_path::TransmitPath;
use crate::link::Sealer;
use crate::netmod::{Endpoint, Netmod, NetmodError, Train};
use crate::stats::{DropCause, Stats};
use crate::time::Time;

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

/// A train's longest_flow buffer: what a UDP datagram's length field holds, less its headers.
const MAX_TRAIN_BYTES: usize = 65_000;
/// What one drain sends at most, so that nobody is kept sending for others: half of what the queues hold.
const MAX_DRAIN_BYTES: usize = 1 << 20;
const MAX_DRAIN_TRAINS: usize = 64;
/// With so much in the queues, those who can wait should.
const BACKED_UP: usize = 512 << 10;

/// What came of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushOutcome {
    /// Queued; drain now, or whoever drains already takes it along.
    Queued,
    /// Queued, and so many packets of the longest flow were dropped to make room.
    Displaced(u64),
    /// There is no room.
    Full,
    /// The link is closed, or its keys are used up.
    Closed,
}

impl PushOutcome {
    /// Counts what was dropped.
    pub(crate) fn count(self, stats: &Stats) {
        match self {
            PushOutcome::Queued => {}
            PushOutcome::Displaced(count) => stats.drop_n(DropCause::EgressFull, count),
            PushOutcome::Full => stats.drop(DropCause::EgressFull),
            PushOutcome::Closed => stats.drop(DropCause::UnknownSession),
        }
    }
}

/// The path out to one neighbour.
pub(crate) struct Egress {
    netmod: Arc<dyn Netmod>,
    max_train: usize,
    /// What time it is, for packets that wait.
    clock: Clock,
    state: Mutex<EgressState>,
    /// Locked while a train is sealed, by the one who drains; after `state` where both are.
    path: Mutex<TransmitPath>,
}

type Clock = Box<dyn Fn() -> Time + Send + Sync>;

struct EgressState {
    queues: ClassQueues,
    draining: bool,
    closed: bool,
    /// A train that is sealed, and whose sending was broken off: it goes first. If it had left, the replay window of the
    /// other side should_drop it.
    interrupted: Option<(SealedTrain, Vec<u8>)>,
}

/// What a drain did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DrainReport {
    /// Frames handed to the netmod.
    pub(crate) frames: u64,
    /// Those among them that carried packets.
    pub(crate) packets: u64,
    /// The bytes of all.
    pub(crate) bytes: u64,
    /// The longest_flow frame among them, in bytes.
    pub(crate) longest: usize,
    /// Frames that the netmod refused.
    pub(crate) failed: u64,
    /// The shortest train refused as too long: the length of its frames, in bytes.
    pub(crate) too_long: Option<usize>,
    /// Packets dropped since they had waited for too long.
    pub(crate) overdue: u64,
    /// The key has sealed so much that a new one is due.
    pub(crate) worn: bool,
}

impl Egress {
    pub(crate) fn new(netmod: Arc<dyn Netmod>, endpoint: Endpoint, sealer: Sealer) -> Self {
        let begun = Instant::now();
        Egress {
            max_train: netmod.properties().max_train.max(1),
            netmod,
            clock: Box::new(move || {
                Time::from_nanos(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX))
            }),
            state: Mutex::new(EgressState {
                queues: ClassQueues::new(),
                draining: false,
                closed: false,
                interrupted: None,
            }),
            path: Mutex::new(TransmitPath { sealer, endpoint }),
        }
    }

    /// ClassQueues the content of one frame (its kind byte first).
    pub(crate) fn push(&self, class: Class, content: Bytes) -> PushOutcome {
        self.pushing().push(class, content)
    }

    /// The queues, for pushing more than one frame. Nobody else gets at them meanwhile: keep it short.
    pub(crate) fn pushing(&self) -> PushGuard<'_> {
        PushGuard { state: self.lock(), clock: &self.clock }
    }

    /// Sends what is queued, up to a bound, unless another task is doing so: it will see what was queued here.
    ///
    /// May be dropped at any await: what was not sent yet stays for the next drain.
    ///
    /// # Errors
    /// The last error of the netmod. The frames it refused are gone, and counted in `drained`.
    pub(crate) async fn drain(&self, drained: &mut DrainReport) -> Result<(), NetmodError> {
        let Some(mut turn) = DrainGuard::take(self, drained) else { return Ok(()) };
        let mut result = Ok(());
        let (mut trains, mut bytes) = (0, 0);
        while trains < MAX_DRAIN_TRAINS && bytes < MAX_DRAIN_BYTES {
            let Some(SealedTrain { endpoint, size, frames, packets }) = turn.fill() else { break };
            let train = &turn.scratch.train;
            let mut sending = self.netmod.send(&endpoint, Train { bytes: train, size });
            let sent = poll_fn(|cx| {
                let polled = sending.as_mut().poll(cx);
                if polled.is_pending() {
                    self.lock().queues.note_backpressure((self.clock)());
                }
                polled
            });
            let sent = sent.await;
            drop(sending);
            turn.current = None;
            trains += 1;
            bytes += turn.scratch.train.len();
            match sent {
                Ok(()) => {
                    turn.drained.frames += frames;
                    turn.drained.packets += packets;
                    turn.drained.bytes += turn.scratch.train.len() as u64;
                    turn.drained.longest = turn.drained.longest.max(size);
                }
                Err(error) => {
                    turn.drained.failed += frames;
                    if matches!(error, NetmodError::TooLong) {
                        let shortest = turn.drained.too_long.map_or(size, |before| before.min(size));
                        turn.drained.too_long = Some(shortest);
                    }
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
        self.lock().queues.bytes() >= BACKED_UP
    }

    /// Drops what is queued, refuses what comes. Returns how many frames were dropped.
    pub(crate) fn close(&self) -> u64 {
        self.lock().close()
    }

    fn lock(&self) -> MutexGuard<'_, EgressState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queues of a link, held for pushing. Made by [`Egress::pushing`].
pub(crate) struct PushGuard<'a> {
    state: MutexGuard<'a, EgressState>,
    clock: &'a Clock,
}

impl PushGuard<'_> {
    /// ClassQueues the content of one frame (its kind byte first).
    pub(crate) fn push(&mut self, class: Class, content: Bytes) -> PushOutcome {
        if self.state.closed {
            return PushOutcome::Closed;
        }
        match self.state.queues.push(class, content, self.clock) {
            Some(0) => PushOutcome::Queued,
            Some(dropped) => PushOutcome::Displaced(dropped),
            None => PushOutcome::Full,
        }
    }
}

impl EgressState {
    fn has_work(&self) -> bool {
        self.interrupted.is_some() || !self.queues.is_empty()
    }

    fn close(&mut self) -> u64 {
        self.closed = true;
        let interrupted = self.interrupted.take().map_or(0, |(train, _)| train.frames);
        self.queues.clear() + interrupted
    }
}

/// A train ready to go.
#[derive(Clone, Copy)]
struct SealedTrain {
    endpoint: Endpoint,
    size: usize,
    frames: u64,
    packets: u64,
}

/// The memory of a drain. Each thread keeps one for the next, so that an idle link has none.
#[derive(Default)]
struct Scratch {
    /// The train being sent.
    train: Vec<u8>,
    /// What goes into it, each with whether it is a packet.
    contents: Vec<(Bytes, bool)>,
}

thread_local! {
    static SCRATCH: Cell<Option<Scratch>> = const { Cell::new(None) };
}

impl Scratch {
    fn take() -> Self {
        SCRATCH.try_with(Cell::take).ok().flatten().unwrap_or_default()
    }

    fn give_back(mut self) {
        self.train.clear();
        self.contents.clear();
        // A thread that is ending keeps nothing.
        let _ = SCRATCH.try_with(|cell| cell.set(Some(self)));
    }
}

/// The right to drain, given back on drop.
struct DrainGuard<'a, 'd> {
    egress: &'a Egress,
    scratch: Scratch,
    /// What is in the train, from its sealing until it is sent.
    current: Option<SealedTrain>,
    drained: &'d mut DrainReport,
    done: bool,
}

impl<'a, 'd> DrainGuard<'a, 'd> {
    fn take(egress: &'a Egress, drained: &'d mut DrainReport) -> Option<Self> {
        let mut state = egress.lock();
        if state.draining || !state.has_work() {
            return None;
        }
        state.draining = true;
        let interrupted = state.interrupted.take();
        drop(state);
        let mut scratch = Scratch::take();
        let current = interrupted.map(|(filled, train)| {
            scratch.train = train;
            filled
        });
        Some(DrainGuard { egress, scratch, current, drained, done: false })
    }

    /// Picks and seals the next train: frames of one length, the last may be shorter. When there is nothing left,
    /// the turn ends under the same lock, so that whoever pushes next takes a turn of its own.
    fn fill(&mut self) -> Option<SealedTrain> {
        if self.current.is_some() {
            return self.current;
        }
        self.scratch.train.clear();
        let size = self.pick()?;
        let (mut frames, mut packets) = (0, 0);
        let mut path = self.egress.path();
        let mut exhausted = false;
        for (content, is_packet) in self.scratch.contents.drain(..) {
            let sealed = path.sealer.seal(|out| out.extend_from_slice(&content), &mut self.scratch.train);
            exhausted |= sealed.is_err();
            if exhausted {
                self.drained.failed += 1;
                continue;
            }
            frames += 1;
            packets += u64::from(is_packet);
        }
        self.drained.worn |= path.sealer.is_worn();
        let endpoint = path.endpoint;
        drop(path);
        if exhausted {
            // The keys are used up: the link ends, and the neighbour's task makes a new one.
            self.drained.failed += self.egress.lock().close();
        }
        if frames > 0 {
            self.current = Some(SealedTrain { endpoint, size, frames, packets });
        }
        self.current
    }

    /// Picks what goes into the next train; returns the length of its frames.
    fn pick(&mut self) -> Option<usize> {
        let mut guard = self.egress.lock();
        let state = &mut *guard;
        if state.queues.backpressure_since().is_some() {
            self.drained.overdue += state.queues.drop_overdue((self.egress.clock)());
        }
        let (mut size, mut bytes) = (0, 0);
        while self.scratch.contents.len() < self.egress.max_train {
            let Some(length) = state.queues.next_len().map(|length| length + Sealer::OVERHEAD) else { break };
            if bytes > 0 && (length > size || bytes + length > MAX_TRAIN_BYTES) {
                break;
            }
            let Some(content) = state.queues.take() else { break };
            self.scratch.contents.push(content);
            size = if bytes == 0 { length } else { size };
            bytes += length;
            if length < size {
                break;
            }
        }
        if bytes == 0 {
            state.queues.clear_backpressure();
            state.draining = false;
            self.done = true;
            return None;
        }
        Some(size)
    }
}

impl Drop for DrainGuard<'_, '_> {
    fn drop(&mut self) {
        let mut scratch = std::mem::take(&mut self.scratch);
        if !self.done {
            let mut state = self.egress.lock();
            state.draining = false;
            match self.current.take() {
                Some(current) if state.closed => self.drained.failed += current.frames,
                Some(current) => state.interrupted = Some((current, std::mem::take(&mut scratch.train))),
                None => {}
            }
        }
        scratch.give_back();
    }
}

#[cfg(test)]
#[path = "egress_tests.rs"]
mod tests;
