//! The state that all plugs of one medium share: the plugs, the directions between them, and the frames in transit.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::queued_train::{Id, QueuedTrain};
use crate::impairment::{Counts, Impairer, Impairments};
use crate::netmod::{Arrival, Endpoint, Heard, Received, Train};
use crate::rt;
use crate::time::Time;

/// The bounds of the queue of one plug, in bytes and entries, similar to a kernel's for a socket with large buffers.
/// Frames beyond them are dropped, and counted as [`Counts::overflowed`].
const QUEUE_BYTES: usize = 8 << 20;
const QUEUE_ENTRIES: usize = 8192;
/// The number of frames after which one call of `recv` stops.
const BATCH: u64 = 256;
/// The interval at which a plug with discovery receives the announcements of the others.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(1);

/// The number of one opening of a plug. It distinguishes the openings of one name, so that a closed plug cannot use the
/// queue of its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpeningId(u64);

/// The reason why a plug cannot do what was requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlugRefusal {
    Failed,
    AlreadyOpen,
    Closed,
    NoSuchEndpoint,
}

/// The shared state of a [`MemNet`](super::MemNet).
#[derive(Debug)]
pub(super) struct MemMedium {
    seed: u64,
    started: Instant,
    ids: BTreeMap<String, Id>,
    slots: Vec<PlugSlot>,
    /// Created on first use, since most pairs never communicate.
    directions: BTreeMap<(Id, Id), Impairer>,
    default_impairments: Impairments,
    /// The number of the last queued entry, so that entries due at the same time keep their order.
    order: u64,
    openings: u64,
    /// Wakers to call after the lock on the medium is released.
    woken: Vec<Waker>,
}

/// The outcome of one attempt to receive.
pub(super) enum ReceiveOutcome {
    /// Frames or announcements were received.
    Arrived,
    /// Nothing was there. The next attempt is due at this time, or when the task is woken.
    Wait(Option<Time>),
}

/// The place of one name on the medium, whether its plug is open or not.
#[derive(Debug)]
struct PlugSlot {
    name: String,
    open: Option<OpenPlug>,
    failed: bool,
}

/// An open plug: the trains in transit to it, and the task that waits for them.
#[derive(Debug)]
struct OpenPlug {
    opening: OpeningId,
    instance: u64,
    /// The time of the next announcements; `None` for a plug without discovery.
    next_announcement: Option<Time>,
    queue: BinaryHeap<Reverse<QueuedTrain>>,
    queued_bytes: usize,
    receiver: Option<Waker>,
}

impl MemMedium {
    pub(super) fn new(seed: u64) -> Self {
        MemMedium {
            seed,
            started: rt::now(),
            ids: BTreeMap::new(),
            slots: Vec::new(),
            directions: BTreeMap::new(),
            default_impairments: Impairments::default(),
            order: 0,
            openings: 0,
            woken: Vec::new(),
        }
    }

    /// The id of a name, assigned on first use.
    pub(super) fn id(&mut self, name: &str) -> Id {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        // More names than ids would need a hundred gigabytes of names first.
        let id = Id::try_from(self.slots.len()).unwrap_or(Id::MAX);
        self.ids.insert(name.to_owned(), id);
        self.slots.push(PlugSlot { name: name.to_owned(), open: None, failed: false });
        id
    }

    pub(super) fn known(&self, name: &str) -> Option<Id> {
        self.ids.get(name).copied()
    }

    pub(super) fn name(&self, id: Id) -> Option<&str> {
        self.slots.get(id as usize).map(|slot| slot.name.as_str())
    }

    pub(super) fn change(&mut self, direction: (Id, Id), change: impl FnOnce(&mut Impairments)) {
        let impairer = self.direction(direction);
        let mut impairments = impairer.impairments().clone();
        change(&mut impairments);
        impairer.set(impairments);
        self.announce_now();
    }

    pub(super) fn change_all(&mut self, impairments: Impairments) {
        self.directions.values_mut().for_each(|direction| direction.set(impairments.clone()));
        self.default_impairments = impairments;
        self.announce_now();
    }

    pub(super) fn counts(&mut self, direction: (Id, Id)) -> Counts {
        self.direction(direction).counts
    }

    /// Opens the plug, or confirms that `mine` is still its opening.
    pub(super) fn open(
        &mut self,
        id: Id,
        mine: Option<OpeningId>,
        discover: bool,
    ) -> Result<OpeningId, PlugRefusal> {
        let instance = self.draw(&["instance", &self.openings.to_string()]);
        let opening = OpeningId(self.openings);
        let slot = self.slots.get_mut(id as usize).ok_or(PlugRefusal::NoSuchEndpoint)?;
        if slot.failed {
            return Err(PlugRefusal::Failed);
        }
        match &slot.open {
            Some(open) if Some(open.opening) == mine => return Ok(open.opening),
            Some(_) => return Err(PlugRefusal::AlreadyOpen),
            None => {}
        }
        slot.open = Some(OpenPlug {
            opening,
            instance: u64::from_le_bytes(instance[..8].try_into().unwrap_or_default()),
            next_announcement: discover.then_some(Time::ZERO),
            queue: BinaryHeap::new(),
            queued_bytes: 0,
            receiver: None,
        });
        self.openings += 1;
        self.announce_now();
        Ok(opening)
    }

    /// Stops discovery of this plug: it is neither announced to the others nor are they to it.
    pub(super) fn stop_announcing(&mut self, id: Id, mine: OpeningId) {
        if let Some(open) = self.slots.get_mut(id as usize).and_then(|slot| slot.open.as_mut())
            && open.opening == mine
        {
            open.next_announcement = None;
        }
    }

    pub(super) fn close(&mut self, id: Id, mine: OpeningId) {
        if let Some(slot) = self.slots.get_mut(id as usize)
            && slot.open.as_ref().is_some_and(|open| open.opening == mine)
        {
            self.woken.extend(slot.close());
        }
    }

    pub(super) fn fail(&mut self, id: Id) {
        if let Some(slot) = self.slots.get_mut(id as usize) {
            slot.failed = true;
            self.woken.extend(slot.close());
        }
    }

    pub(super) fn recover(&mut self, id: Id) {
        if let Some(slot) = self.slots.get_mut(id as usize) {
            slot.failed = false;
        }
    }

    /// Queues the frames of a train for their receiver, each impaired by its direction.
    pub(super) fn send(
        &mut self,
        from: Id,
        mine: OpeningId,
        to: Id,
        train: Train<'_>,
    ) -> Result<(), PlugRefusal> {
        self.mine(from, mine)?;
        let now = self.now();
        self.direction((from, to));
        let slot = self.slots.get_mut(to as usize).ok_or(PlugRefusal::NoSuchEndpoint)?;
        let direction = self.directions.get_mut(&(from, to)).ok_or(PlugRefusal::NoSuchEndpoint)?;
        let Some(open) = &mut slot.open else {
            let frames = train.frames().len() as u64;
            direction.counts.sent += frames;
            direction.counts.absent += frames;
            return Ok(());
        };
        let (mut overflowed, order) = (0, &mut self.order);
        let mut put = |due: Time, bytes: &[u8]| {
            *order += 1;
            let entry = QueuedTrain {
                due,
                order: *order,
                from,
                bytes: BytesMut::from(bytes),
                size: train.size.max(1),
            };
            let frames = entry.frames();
            overflowed += if open.put(entry) { 0 } else { frames };
        };
        match direction.pass_whole(now, train.frames().len() as u64) {
            Some(due) => put(due, train.bytes),
            None => train.frames().for_each(|frame| direction.pass(now, frame, &mut put)),
        }
        direction.counts.overflowed += overflowed;
        direction.counts.passed -= overflowed;
        self.woken.extend(open.receiver.take());
        Ok(())
    }

    /// Moves the frames that are due into `received`. If there are none, `waker` is woken when that may have changed.
    pub(super) fn receive(
        &mut self,
        id: Id,
        mine: OpeningId,
        received: &mut Received,
        waker: &Waker,
    ) -> Result<ReceiveOutcome, PlugRefusal> {
        self.mine(id, mine)?;
        let now = self.now();
        let before = (received.arrivals.len(), received.heard.len());
        self.receive_announcements(id, now, received);
        let Some(open) = self.slots.get_mut(id as usize).and_then(|slot| slot.open.as_mut()) else {
            return Err(PlugRefusal::Closed);
        };
        open.take(now, received);
        if before != (received.arrivals.len(), received.heard.len()) {
            return Ok(ReceiveOutcome::Arrived);
        }
        open.receiver = Some(waker.clone());
        let next = open.queue.peek().map(|Reverse(entry)| entry.due);
        Ok(ReceiveOutcome::Wait([next, open.next_announcement].into_iter().flatten().min()))
    }

    /// The duration until `time`.
    pub(super) fn until(&self, time: Time) -> Duration {
        time.since(self.now())
    }

    /// Appends the announcements of all plugs that are not cut off, if they are due.
    fn receive_announcements(&mut self, id: Id, now: Time, received: &mut Received) {
        let Some(open) = self.slots.get_mut(id as usize).and_then(|slot| slot.open.as_mut()) else { return };
        match open.next_announcement {
            Some(due) if due <= now => open.next_announcement = Some(now + ANNOUNCE_INTERVAL),
            _ => return,
        }
        for (other, slot) in (0..).zip(&self.slots) {
            let Some(open) = &slot.open else { continue };
            let direction =
                self.directions.get(&(other, id)).map_or(&self.default_impairments, Impairer::impairments);
            if other != id && open.next_announcement.is_some() && !direction.cut {
                received.heard.push(Heard { endpoint: endpoint(other), instance: open.instance });
            }
        }
    }

    /// Makes announcements due at once, because a plug was opened or a direction has changed.
    fn announce_now(&mut self) {
        for open in self.slots.iter_mut().filter_map(|slot| slot.open.as_mut()) {
            if let Some(next) = &mut open.next_announcement {
                *next = Time::ZERO;
                self.woken.extend(open.receiver.take());
            }
        }
    }

    pub(super) fn take_woken(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.woken)
    }

    fn mine(&self, id: Id, mine: OpeningId) -> Result<(), PlugRefusal> {
        let slot = self.slots.get(id as usize).ok_or(PlugRefusal::NoSuchEndpoint)?;
        match &slot.open {
            Some(open) if open.opening == mine => Ok(()),
            _ if slot.failed => Err(PlugRefusal::Failed),
            _ => Err(PlugRefusal::Closed),
        }
    }

    fn direction(&mut self, direction: (Id, Id)) -> &mut Impairer {
        // The seed follows from the names, so that it does not depend on the order in which plugs were made.
        let seed = match self.directions.contains_key(&direction) {
            true => [0; 32],
            false => self.draw(&[
                "way",
                self.name(direction.0).unwrap_or_default(),
                self.name(direction.1).unwrap_or_default(),
            ]),
        };
        self.directions
            .entry(direction)
            .or_insert_with(|| Impairer::new(seed, self.default_impairments.clone()))
    }

    fn draw(&self, parts: &[&str]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("rouse 2026 medium in memory");
        hasher.update(&self.seed.to_le_bytes());
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    fn now(&self) -> Time {
        Time::ZERO + rt::elapsed(self.started)
    }
}

impl PlugSlot {
    /// Closes the plug and drops its queue. Returns the waker of the task that waited for it.
    fn close(&mut self) -> Option<Waker> {
        self.open.take().and_then(|open| open.receiver)
    }
}

impl OpenPlug {
    fn put(&mut self, entry: QueuedTrain) -> bool {
        let room = self.queue.len() < QUEUE_ENTRIES && self.queued_bytes + entry.bytes.len() <= QUEUE_BYTES;
        if room {
            self.queued_bytes += entry.bytes.len();
            self.queue.push(Reverse(entry));
        }
        room
    }

    fn take(&mut self, now: Time, received: &mut Received) {
        let mut frames = 0;
        while frames < BATCH {
            match self.queue.peek() {
                Some(Reverse(entry)) if entry.due <= now => frames += entry.frames(),
                _ => return,
            }
            let Some(Reverse(QueuedTrain { from, bytes, size, .. })) = self.queue.pop() else { return };
            self.queued_bytes -= bytes.len();
            received.arrivals.push(Arrival { endpoint: endpoint(from), bytes, size });
        }
    }
}

pub(super) fn endpoint(id: Id) -> Endpoint {
    // Four bytes always fit.
    Endpoint::new(&id.to_be_bytes()).unwrap_or_else(|| std::net::SocketAddr::from(([0; 4], 0)).into())
}
