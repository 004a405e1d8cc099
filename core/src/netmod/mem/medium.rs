//! What all plugs of one medium share: who is there, the ways between them, and what is under way.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::{Counts, Impairer, Impairments};
use crate::netmod::{Arrival, Endpoint, Heard, Received, Train};
use crate::time::Time;

/// What may wait for one plug, in bytes and in entries: about what a kernel gives a socket that asks for much.
/// What comes on top is dropped, and counted as [`Counts::overflowed`].
const QUEUE_BYTES: usize = 8 << 20;
const QUEUE_ENTRIES: usize = 8192;
/// One call of `recv` stops when it has so many frames.
const BATCH: u64 = 256;
/// How often a plug that discovers hears again who is there.
const BEACON: Duration = Duration::from_secs(1);

/// A plug's number: the order in which names were first used.
pub(super) type Id = u32;

/// Which of a name's plugs is meant: a number that each opening draws anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opening(u64);

/// Why a plug cannot do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Failed,
    Taken,
    Closed,
    Nobody,
}

#[derive(Debug)]
pub(super) struct Medium {
    seed: u64,
    started: Instant,
    ids: BTreeMap<String, Id>,
    slots: Vec<Slot>,
    /// Made when first used, since most pairs never talk.
    ways: BTreeMap<(Id, Id), Impairer>,
    everywhere: Impairments,
    /// Counts entries, so that those due at the same time keep their order.
    order: u64,
    openings: u64,
    /// Woken once the lock on all this is released.
    woken: Vec<Waker>,
}

/// What a look into one's queue brought.
pub(super) enum Look {
    /// Something was there.
    Came,
    /// Nothing: look again at this time, or when woken.
    Wait(Option<Time>),
}

#[derive(Debug)]
struct Slot {
    name: String,
    open: Option<Open>,
    failed: bool,
}

#[derive(Debug)]
struct Open {
    opening: Opening,
    instance: u64,
    /// When it hears next who is there; `None` for a plug that does not discover.
    next_beacon: Option<Time>,
    queue: BinaryHeap<Reverse<Entry>>,
    queued_bytes: usize,
    receiver: Option<Waker>,
}

#[derive(Debug)]
struct Entry {
    due: Time,
    order: u64,
    from: Id,
    bytes: BytesMut,
    size: usize,
}

impl Medium {
    pub(super) fn new(seed: u64) -> Self {
        Medium {
            seed,
            started: Instant::now(),
            ids: BTreeMap::new(),
            slots: Vec::new(),
            ways: BTreeMap::new(),
            everywhere: Impairments::default(),
            order: 0,
            openings: 0,
            woken: Vec::new(),
        }
    }

    /// The id of a name, known from now on.
    pub(super) fn id(&mut self, name: &str) -> Id {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        // More names than ids would need a hundred gigabytes of names first.
        let id = Id::try_from(self.slots.len()).unwrap_or(Id::MAX);
        self.ids.insert(name.to_owned(), id);
        self.slots.push(Slot { name: name.to_owned(), open: None, failed: false });
        id
    }

    pub(super) fn known(&self, name: &str) -> Option<Id> {
        self.ids.get(name).copied()
    }

    pub(super) fn name(&self, id: Id) -> Option<&str> {
        self.slots.get(id as usize).map(|slot| slot.name.as_str())
    }

    pub(super) fn change(&mut self, way: (Id, Id), change: impl FnOnce(&mut Impairments)) {
        let impairer = self.way(way);
        let mut impairments = impairer.impairments().clone();
        change(&mut impairments);
        impairer.set(impairments);
        self.beacon_soon();
    }

    pub(super) fn change_all(&mut self, impairments: Impairments) {
        self.ways.values_mut().for_each(|way| way.set(impairments.clone()));
        self.everywhere = impairments;
        self.beacon_soon();
    }

    pub(super) fn counts(&mut self, way: (Id, Id)) -> Counts {
        self.way(way).counts
    }

    /// Opens the slot, or confirms that `mine` still holds it.
    pub(super) fn open(&mut self, id: Id, mine: Option<Opening>, discover: bool) -> Result<Opening, Refusal> {
        let instance = self.draw(&["instance", &self.openings.to_string()]);
        let opening = Opening(self.openings);
        let slot = self.slots.get_mut(id as usize).ok_or(Refusal::Nobody)?;
        if slot.failed {
            return Err(Refusal::Failed);
        }
        match &slot.open {
            Some(open) if Some(open.opening) == mine => return Ok(open.opening),
            Some(_) => return Err(Refusal::Taken),
            None => {}
        }
        slot.open = Some(Open {
            opening,
            instance: u64::from_le_bytes(instance[..8].try_into().unwrap_or_default()),
            next_beacon: discover.then_some(Time::ZERO),
            queue: BinaryHeap::new(),
            queued_bytes: 0,
            receiver: None,
        });
        self.openings += 1;
        self.beacon_soon();
        Ok(opening)
    }

    /// Nobody hears of it any more, nor does it hear of others.
    pub(super) fn stop_announcing(&mut self, id: Id, mine: Opening) {
        if let Some(open) = self.slots.get_mut(id as usize).and_then(|slot| slot.open.as_mut())
            && open.opening == mine
        {
            open.next_beacon = None;
        }
    }

    pub(super) fn close(&mut self, id: Id, mine: Opening) {
        if let Some(slot) = self.slots.get_mut(id as usize)
            && slot.open.as_ref().is_some_and(|open| open.opening == mine)
        {
            self.woken.extend(slot.shut());
        }
    }

    pub(super) fn fail(&mut self, id: Id) {
        if let Some(slot) = self.slots.get_mut(id as usize) {
            slot.failed = true;
            self.woken.extend(slot.shut());
        }
    }

    pub(super) fn recover(&mut self, id: Id) {
        if let Some(slot) = self.slots.get_mut(id as usize) {
            slot.failed = false;
        }
    }

    /// Sends the frames of a train on their way.
    pub(super) fn send(&mut self, from: Id, mine: Opening, to: Id, train: Train<'_>) -> Result<(), Refusal> {
        self.mine(from, mine)?;
        let now = self.now();
        self.way((from, to));
        let slot = self.slots.get_mut(to as usize).ok_or(Refusal::Nobody)?;
        let way = self.ways.get_mut(&(from, to)).ok_or(Refusal::Nobody)?;
        let Some(open) = &mut slot.open else {
            let frames = train.frames().len() as u64;
            way.counts.sent += frames;
            way.counts.absent += frames;
            return Ok(());
        };
        let (mut overflowed, order) = (0, &mut self.order);
        let mut put = |due: Time, bytes: &[u8]| {
            *order += 1;
            let entry =
                Entry { due, order: *order, from, bytes: BytesMut::from(bytes), size: train.size.max(1) };
            let frames = entry.frames();
            overflowed += if open.put(entry) { 0 } else { frames };
        };
        match way.pass_whole(now, train.frames().len() as u64) {
            Some(due) => put(due, train.bytes),
            None => train.frames().for_each(|frame| way.pass(now, frame, &mut put)),
        }
        way.counts.overflowed += overflowed;
        way.counts.passed -= overflowed;
        self.woken.extend(open.receiver.take());
        Ok(())
    }

    /// Moves what is due into `received`. When there is nothing, `waker` is woken as soon as that may have changed.
    pub(super) fn receive(
        &mut self,
        id: Id,
        mine: Opening,
        received: &mut Received,
        waker: &Waker,
    ) -> Result<Look, Refusal> {
        self.mine(id, mine)?;
        let now = self.now();
        let before = (received.arrivals.len(), received.heard.len());
        self.hear(id, now, received);
        let Some(open) = self.slots.get_mut(id as usize).and_then(|slot| slot.open.as_mut()) else {
            return Err(Refusal::Closed);
        };
        open.take(now, received);
        if before != (received.arrivals.len(), received.heard.len()) {
            return Ok(Look::Came);
        }
        open.receiver = Some(waker.clone());
        let next = open.queue.peek().map(|Reverse(entry)| entry.due);
        Ok(Look::Wait([next, open.next_beacon].into_iter().flatten().min()))
    }

    /// How long it is until then.
    pub(super) fn until(&self, time: Time) -> Duration {
        time.since(self.now())
    }

    /// Who is there and not cut off, if it is time to hear that.
    fn hear(&mut self, id: Id, now: Time, received: &mut Received) {
        let Some(open) = self.slots.get_mut(id as usize).and_then(|slot| slot.open.as_mut()) else { return };
        match open.next_beacon {
            Some(due) if due <= now => open.next_beacon = Some(now + BEACON),
            _ => return,
        }
        for (other, slot) in (0..).zip(&self.slots) {
            let Some(open) = &slot.open else { continue };
            let way = self.ways.get(&(other, id)).map_or(&self.everywhere, Impairer::impairments);
            if other != id && open.next_beacon.is_some() && !way.cut {
                received.heard.push(Heard { endpoint: endpoint(other), instance: open.instance });
            }
        }
    }

    /// Somebody came, or a way has changed: all that discover hear at once who is there now.
    fn beacon_soon(&mut self) {
        for open in self.slots.iter_mut().filter_map(|slot| slot.open.as_mut()) {
            if let Some(next) = &mut open.next_beacon {
                *next = Time::ZERO;
                self.woken.extend(open.receiver.take());
            }
        }
    }

    pub(super) fn take_woken(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.woken)
    }

    fn mine(&self, id: Id, mine: Opening) -> Result<(), Refusal> {
        let slot = self.slots.get(id as usize).ok_or(Refusal::Nobody)?;
        match &slot.open {
            Some(open) if open.opening == mine => Ok(()),
            _ if slot.failed => Err(Refusal::Failed),
            _ => Err(Refusal::Closed),
        }
    }

    fn way(&mut self, way: (Id, Id)) -> &mut Impairer {
        // The seed goes by name, so that the order in which nodes came has no say in it.
        let seed = match self.ways.contains_key(&way) {
            true => [0; 32],
            false => self.draw(&[
                "way",
                self.name(way.0).unwrap_or_default(),
                self.name(way.1).unwrap_or_default(),
            ]),
        };
        self.ways.entry(way).or_insert_with(|| Impairer::new(seed, self.everywhere.clone()))
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
        Time::ZERO + self.started.elapsed()
    }
}

impl Slot {
    /// Loses what was under way, and gives back who waited for it.
    fn shut(&mut self) -> Option<Waker> {
        self.open.take().and_then(|open| open.receiver)
    }
}

impl Open {
    fn put(&mut self, entry: Entry) -> bool {
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
            let Some(Reverse(Entry { from, bytes, size, .. })) = self.queue.pop() else { return };
            self.queued_bytes -= bytes.len();
            received.arrivals.push(Arrival { endpoint: endpoint(from), bytes, size });
        }
    }
}

impl Entry {
    fn frames(&self) -> u64 {
        self.bytes.len().div_ceil(self.size) as u64
    }
}

pub(super) fn endpoint(id: Id) -> Endpoint {
    // Four bytes always fit.
    Endpoint::new(&id.to_be_bytes()).unwrap_or_else(|| std::net::SocketAddr::from(([0; 4], 0)).into())
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}
