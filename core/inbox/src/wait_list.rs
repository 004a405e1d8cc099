//! The list of waiting tasks, in order of arrival, on which both [`Notify`](crate::notify::Notify) and
//! [`Inbox`](crate::inbox::Inbox) are built.
//!
//! The list has no lock of its own. It is kept under the lock of the data that is waited for, so that looking and
//! parking are one step and no write falls between them. It never calls a waker: it hands wakers out, and the holder
//! of the lock calls them after it has released the lock. Wakers that are no longer needed are handed out as well
//! rather than dropped, since dropping one may run the destructor of a task.
//!
//! A waiting future has one slot from its first pending poll until it is ready or dropped. The slot is *waiting* until
//! it is woken, and *woken* until its future is polled or dropped. A woken future that finds nothing returns to its
//! old place in the line and not to its end, since otherwise faster tasks could overtake it for ever.

use std::task::Waker;

use slab::Slab;

/// The slot of a future in a [`WaitList`]; `None` while it has none.
pub(crate) type WaitKey = Option<usize>;

/// A list that has room for more slots gives it back when it becomes empty, since a crowd that waited once would otherwise
/// keep its memory for as long as the data exists.
const KEPT_SLOTS: usize = 64;

/// A list of wakers with room for more is freed after its use, for the same reason.
const KEPT_WAKERS: usize = 256;

/// The absent slot, which ends the line. Links have 32 bits, so that a slot fits a cache line.
const NONE: u32 = u32::MAX;

/// The state of a slot when its future left the list.
pub(crate) enum SlotState {
    /// The future had no slot.
    Absent,
    /// The slot had not been woken. The waker is to be dropped after the lock is released.
    Waiting(Waker),
    /// Woken and not polled since: a future that did not receive its item must hand the wake on.
    Woken,
}

/// The waiting tasks in order of arrival; the [module](self) describes the states of a slot.
///
/// The fields that every write and read of the owner looks at are first, so that they share one cache line.
#[repr(C)]
pub(crate) struct WaitList {
    waiting: u32,
    woken: u32,
    head: u32,
    tail: u32,
    slots: Slab<WaitSlot>,
    next_ticket: u64,
    woken_need: usize,
}

/// A [`WaitList`] that is allocated when the first future waits, for a list that is rarely used.
#[derive(Default)]
pub(crate) struct LazyWaitList(Option<Box<WaitList>>);

static EMPTY: WaitList = WaitList::new();

impl std::ops::Deref for LazyWaitList {
    type Target = WaitList;

    #[inline]
    fn deref(&self) -> &WaitList {
        self.0.as_deref().unwrap_or(&EMPTY)
    }
}

impl LazyWaitList {
    /// See [`WaitList::park`].
    pub(crate) fn park(&mut self, key: &mut WaitKey, waker: &Waker, need: usize) -> Option<Waker> {
        self.0.get_or_insert_with(|| Box::new(WaitList::new())).park(key, waker, need)
    }

    /// See [`WaitList::leave`].
    pub(crate) fn leave(&mut self, key: &mut WaitKey) -> SlotState {
        self.0.as_mut().map_or(SlotState::Absent, |list| list.leave(key))
    }

    /// See [`WaitList::wake_first`].
    pub(crate) fn wake_first(&mut self) -> Option<Waker> {
        self.0.as_mut()?.wake_first()
    }
}

/// The entry of one waiting future. Slots form a doubly linked list by index, so that any future can leave at once.
struct WaitSlot {
    /// `Some` while the slot is waiting, `None` once it is woken.
    waker: Option<Waker>,
    /// The position in the order of arrival, by which a woken slot finds its old place again.
    ticket: u64,
    /// The amount that the future waits for, in the owner's unit (an inbox uses bytes).
    need: usize,
    previous: u32,
    next: u32,
}

impl WaitList {
    pub(crate) const fn new() -> Self {
        WaitList {
            waiting: 0,
            woken: 0,
            head: NONE,
            tail: NONE,
            slots: Slab::new(),
            next_ticket: 0,
            woken_need: 0,
        }
    }

    /// The number of futures with a slot, waiting or woken.
    #[cfg(all(test, loom))]
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The number of slots that are waiting, hence not woken.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting as usize
    }

    /// The number of slots that were woken and have not been polled since.
    pub(crate) fn woken(&self) -> usize {
        self.woken as usize
    }

    /// The sum of the needs of the woken slots.
    pub(crate) fn woken_need(&self) -> usize {
        self.woken_need
    }

    /// The need of the first slot in line.
    pub(crate) fn first_waiting_need(&self) -> Option<usize> {
        (self.head != NONE).then(|| self.slots[self.head as usize].need)
    }

    /// The need of this slot, if it has been woken.
    pub(crate) fn need_if_woken(&self, key: WaitKey) -> Option<usize> {
        key.map(|index| &self.slots[index]).filter(|slot| slot.waker.is_none()).map(|slot| slot.need)
    }

    /// Appends a future to the line, returns a woken one to its old place, or replaces the waker of a waiting one.
    /// Returns a waker that is no longer needed, to be dropped after the lock is released.
    pub(crate) fn park(&mut self, key: &mut WaitKey, waker: &Waker, need: usize) -> Option<Waker> {
        let Some(index) = *key else {
            let ticket = self.next_ticket;
            self.next_ticket += 1;
            if self.slots.capacity() == 0 {
                // `Slab` would start with room for four; mostly one task waits.
                self.slots.reserve_exact(1);
            }
            let slot = WaitSlot { waker: Some(waker.clone()), ticket, need, previous: NONE, next: NONE };
            let index = self.slots.insert(slot);
            *key = Some(index);
            self.link(index as u32, self.tail);
            return None;
        };
        let slot = &mut self.slots[index];
        let old_need = std::mem::replace(&mut slot.need, need);
        match &mut slot.waker {
            Some(own) if own.will_wake(waker) => None,
            Some(own) => Some(std::mem::replace(own, waker.clone())),
            empty => {
                *empty = Some(waker.clone());
                self.woken -= 1;
                self.woken_need -= old_need;
                self.link_by_ticket(index as u32);
                None
            }
        }
    }

    /// Frees the slot of a future that is ready or dropped.
    pub(crate) fn leave(&mut self, key: &mut WaitKey) -> SlotState {
        let Some(index) = key.take() else { return SlotState::Absent };
        if self.slots[index].waker.is_some() {
            self.unlink(index as u32);
        }
        let slot = self.slots.remove(index);
        if self.slots.is_empty() && self.slots.capacity() > KEPT_SLOTS {
            // No future has a key now, so that none can find another one in its slot.
            self.slots = Slab::new();
        }
        match slot.waker {
            Some(waker) => SlotState::Waiting(waker),
            None => {
                self.woken -= 1;
                self.woken_need -= slot.need;
                SlotState::Woken
            }
        }
    }

    /// Marks the first slot in line as woken. The caller calls the waker after the lock is released.
    #[inline]
    pub(crate) fn wake_first(&mut self) -> Option<Waker> {
        if self.head == NONE {
            return None;
        }
        let index = self.head;
        self.unlink(index);
        let slot = &mut self.slots[index as usize];
        self.woken += 1;
        self.woken_need += slot.need;
        slot.waker.take()
    }

    /// Links the slot behind `previous`, or at the head if that is `NONE`.
    fn link(&mut self, index: u32, previous: u32) {
        let next = match previous {
            NONE => std::mem::replace(&mut self.head, index),
            _ => std::mem::replace(&mut self.slots[previous as usize].next, index),
        };
        match next {
            NONE => self.tail = index,
            _ => self.slots[next as usize].previous = index,
        }
        let slot = &mut self.slots[index as usize];
        slot.previous = previous;
        slot.next = next;
        self.waiting += 1;
    }

    /// Links a woken slot back into the line at its old place. Only slots that returned before it can be ahead of it,
    /// because slots are woken from the head: a short walk from the front finds the place.
    fn link_by_ticket(&mut self, index: u32) {
        let ticket = self.slots[index as usize].ticket;
        let (mut previous, mut next) = (NONE, self.head);
        while next != NONE && self.slots[next as usize].ticket < ticket {
            previous = next;
            next = self.slots[next as usize].next;
        }
        self.link(index, previous);
    }

    fn unlink(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        let (previous, next) = (slot.previous, slot.next);
        match previous {
            NONE => self.head = next,
            _ => self.slots[previous as usize].next = next,
        }
        match next {
            NONE => self.tail = previous,
            _ => self.slots[next as usize].previous = previous,
        }
        self.waiting -= 1;
    }
}

/// A list of values to handle after the lock is released. The first value is stored inline, since mostly there is
/// at most one, which then needs no heap memory.
pub(crate) struct Deferred<T> {
    first: Option<T>,
    more: Vec<T>,
}

impl<T> Deferred<T> {
    #[inline]
    pub(crate) const fn new() -> Self {
        Deferred { first: None, more: Vec::new() }
    }

    #[inline]
    pub(crate) fn push(&mut self, thing: T) {
        match self.first {
            None => self.first = Some(thing),
            Some(_) => self.more.push(thing),
        }
    }
}

impl Deferred<Waker> {
    /// Adds a waker. The second one moves into `spare`, the empty list that an earlier wake left behind.
    #[inline]
    pub(crate) fn push_reusing(&mut self, waker: Waker, spare: &mut Vec<Waker>) {
        if self.first.is_some() && self.more.capacity() == 0 {
            self.more = std::mem::take(spare);
        }
        self.push(waker);
    }

    /// Wakes all, in order. Returns the emptied list for reuse, if one was needed and it is
    /// not too long to be kept. No lock may be held.
    #[inline]
    pub(crate) fn wake(self) -> Option<Vec<Waker>> {
        let Deferred { first, mut more } = self;
        first.map(wake)?;
        more.drain(..).for_each(wake);
        (1..=KEPT_WAKERS).contains(&more.capacity()).then_some(more)
    }
}

/// Calls a waker. No lock may be held. A panic of the waker is a fault of the task that waits: it must neither keep the
/// tasks behind it asleep nor unwind the task that writes. The panic hook has reported it.
#[inline]
pub(crate) fn wake(waker: Waker) {
    #[cfg(not(loom))]
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| waker.wake()));
    // loom reports the failure of a model by a panic, wherever it finds that.
    #[cfg(loom)]
    waker.wake();
}

#[cfg(all(test, not(loom)))]
mod tests;
