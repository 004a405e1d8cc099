//! Egress: the path of frames out to one neighbour.
//!
//! A task that has a packet for the neighbour pushes it into the queue of its class and then drains the queues, unless
//! another task is draining already, which will send the new packet as well. Draining selects frames by class and
//! flow, seals them, and sends them as a train. Sealing comes after selection, so that frame counters are in order and
//! a queued packet can still be dropped. On an idle link the packet is therefore sent at once, on the task that pushed
//! it. A drain is bounded, and may be dropped while the medium is busy: the neighbour's own task continues.
//!
//! [`ClassQueues`] selects the next packet and the packet to drop when there is no room. While the medium takes less
//! than arrives, packets that waited in a standing queue are dropped as well ([`codel`]).

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

mod codel;
mod flows;
pub(crate) mod intake;
mod queues;
mod state;
mod transmit_path;

use self::queues::ClassQueues;
pub(crate) use self::state::PushOutcome;
use self::state::{Clock, EgressState, Intake, SealedTrain};
use crate::link::Sealer;
use crate::netmod::{Endpoint, Netmod, NetmodError, Train};
use crate::notify::Notify;
use crate::rt;
use crate::time::Time;
pub(crate) use crate::wire::packet::Class;

/// The longest buffer of a train, in bytes: the 65 535 of a UDP datagram's length field less its headers.
const MAX_TRAIN_BYTES: usize = 65_000;
/// The most that one drain sends, half of what the queues hold, so that the task of one sender is not kept busy with
/// the packets of others.
const MAX_DRAIN_BYTES: usize = 1 << 20;
const MAX_DRAIN_TRAINS: usize = 64;
/// The depth of the queues, in bytes, from which tasks that can wait should wait.
const BACKED_UP: usize = 512 << 10;

/// The queues, the sealing and the sending of one link.
pub(crate) struct Egress {
    netmod: Arc<dyn Netmod>,
    max_train: usize,
    /// Reads the time, against which the sojourn of queued packets is measured.
    clock: Clock,
    state: Mutex<EgressState>,
    /// Locked by the drain while it seals a train. Where both locks are held, `state` is taken first.
    path: Mutex<TransmitPath>,
    /// The drains that have ended since the link is about to end.
    drains_ended: Notify<u64>,
}

/// The sealer and the endpoint of a link. They share one lock, so that a train is sealed and addressed consistently.
struct TransmitPath {
    sealer: Sealer,
    endpoint: Endpoint,
}

/// The frames that a drain sent and dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DrainReport {
    /// Frames handed to the netmod.
    pub(crate) frames: u64,
    /// Those of `frames` that carried packets.
    pub(crate) packets: u64,
    /// The sum of the bytes of `frames`.
    pub(crate) bytes: u64,
    /// The longest of `frames`, in bytes.
    pub(crate) longest: usize,
    /// Frames that the netmod refused.
    pub(crate) failed: u64,
    /// The frame length of the shortest train that was refused as too long, in bytes.
    pub(crate) too_long: Option<usize>,
    /// Packets dropped because they had waited too long in a standing queue.
    pub(crate) overdue: u64,
    /// Whether the key has sealed so many frames that a new one is due.
    pub(crate) worn: bool,
}

impl Egress {
    pub(crate) fn new(netmod: Arc<dyn Netmod>, endpoint: Endpoint, sealer: Sealer) -> Self {
        let begun = rt::now();
        Egress {
            max_train: netmod.properties().max_train.max(1),
            netmod,
            clock: Box::new(move || {
                Time::from_nanos(u64::try_from(rt::elapsed(begun).as_nanos()).unwrap_or(u64::MAX))
            }),
            state: Mutex::new(EgressState {
                queues: ClassQueues::new(),
                draining: false,
                intake: Intake::Open,
                interrupted: None,
            }),
            path: Mutex::new(TransmitPath { sealer, endpoint }),
            drains_ended: Notify::new(0),
        }
    }

    /// Waits until a drain of another task has ended, if none has since `before` had ended. Such ends are counted only from
    /// [`begin_end`](Egress::begin_end) on, since nothing waits for them before.
    pub(crate) async fn drain_ended(&self, before: u64) {
        self.drains_ended.when(|ended| (*ended != before).then_some(())).await;
    }

    /// The number of drains that have ended, for [`drain_ended`](Egress::drain_ended).
    pub(crate) fn drains_ended(&self) -> u64 {
        *self.drains_ended.read()
    }

    /// Counts the end of a drain. The caller holds no lock, since this calls wakers.
    fn note_drain_end(&self) {
        let mut ended = self.drains_ended.write();
        *ended = ended.wrapping_add(1);
    }

    /// Sends the queued frames, up to a bound, unless another task is doing so, which will send them as well.
    ///
    /// The future may be dropped at any await: frames that were not sent stay for the next drain.
    ///
    /// # Errors
    /// The last error of the netmod. The frames that it refused are dropped, and counted in `drained`.
    pub(crate) async fn drain(&self, drained: &mut DrainReport) -> Result<(), NetmodError> {
        let Some(mut guard) = DrainGuard::acquire(self, drained) else { return Ok(()) };
        let mut result = Ok(());
        let (mut trains, mut bytes) = (0, 0);
        while trains < MAX_DRAIN_TRAINS && bytes < MAX_DRAIN_BYTES {
            let Some(SealedTrain { endpoint, size, frames, packets }) = guard.fill() else { break };
            let train = &guard.scratch.train;
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
            guard.current = None;
            trains += 1;
            bytes += guard.scratch.train.len();
            match sent {
                Ok(()) => {
                    guard.drained.frames += frames;
                    guard.drained.packets += packets;
                    guard.drained.bytes += guard.scratch.train.len() as u64;
                    guard.drained.longest = guard.drained.longest.max(size);
                }
                Err(error) => {
                    guard.drained.failed += frames;
                    if matches!(error, NetmodError::TooLong) {
                        let shortest = guard.drained.too_long.map_or(size, |before| before.min(size));
                        guard.drained.too_long = Some(shortest);
                    }
                    result = Err(error);
                }
            }
        }
        result
    }

    /// Whether frames are queued and no task is draining, as it is after a drain was dropped midway or has reached its
    /// bound.
    pub(crate) fn is_stalled(&self) -> bool {
        let state = self.lock();
        state.has_work() && !state.draining
    }

    /// Whether no frame is queued or being sent.
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.lock();
        !state.has_work() && !state.draining
    }

    /// Whether so much is queued that tasks that can wait should wait.
    pub(crate) fn is_backed_up(&self) -> bool {
        self.lock().queues.bytes() >= BACKED_UP
    }

    fn lock(&self) -> MutexGuard<'_, EgressState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The buffers of a drain. They are kept per thread and not per link, so that an idle link owns none.
#[derive(Default)]
struct Scratch {
    /// The train being sent.
    train: Vec<u8>,
    /// The contents selected for the train, each with whether it is a packet.
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
        // The thread-local is gone while its thread ends; the buffers are then freed.
        let _ = SCRATCH.try_with(|cell| cell.set(Some(self)));
    }
}

/// The exclusive right to drain, given up on drop so that a drain that is dropped midway leaves no queue stuck.
struct DrainGuard<'a, 'd> {
    egress: &'a Egress,
    scratch: Scratch,
    /// The sealed train in `scratch.train`, from its sealing until it is sent.
    current: Option<SealedTrain>,
    drained: &'d mut DrainReport,
    done: bool,
}

impl<'a, 'd> DrainGuard<'a, 'd> {
    fn acquire(egress: &'a Egress, drained: &'d mut DrainReport) -> Option<Self> {
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

    /// Selects and seals the next train: frames of one length, of which the last may be shorter. When there is nothing
    /// left, the drain ends under the lock that found the queues empty, so that a later push starts a drain of its own.
    fn fill(&mut self) -> Option<SealedTrain> {
        if self.current.is_some() {
            return self.current;
        }
        self.scratch.train.clear();
        let size = self.select()?;
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
            // The keys are used up: the link ends, and the neighbour's task establishes a new one.
            self.drained.failed += self.egress.lock().close();
        }
        if frames > 0 {
            self.current = Some(SealedTrain { endpoint, size, frames, packets });
        }
        self.current
    }

    /// Selects the contents of the next train. Returns the length of its frames.
    fn select(&mut self) -> Option<usize> {
        let mut guard = self.egress.lock();
        let state = &mut *guard;
        if state.intake == Intake::Open && state.queues.backpressure_since().is_some() {
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
            let is_ending = state.intake != Intake::Open;
            drop(guard);
            self.done = true;
            if is_ending {
                self.egress.note_drain_end();
            }
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
                Some(current) if state.intake == Intake::Closed => self.drained.failed += current.frames,
                Some(current) => state.interrupted = Some((current, std::mem::take(&mut scratch.train))),
                None => {}
            }
            let is_ending = state.intake != Intake::Open;
            drop(state);
            if is_ending {
                self.egress.note_drain_end();
            }
        }
        scratch.give_back();
    }
}

#[cfg(test)]
#[path = "egress_tests.rs"]
mod tests;
