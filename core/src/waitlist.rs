//! The list of tasks that wait, in order of arrival: what [`Notify`](crate::notify::Notify) and
//! [`Inbox`](crate::inbox::Inbox) both stand on.
//!
//! The list has no lock of its own. It lives under the lock of what is waited for, so that looking and parking are
//! one step and no write falls between them. It never calls a waker: it hands wakers out, and whoever holds the
//! lock calls them after letting go of it. For the same reason wakers that are no longer needed are handed out
//! rather than dropped, since dropping one may run a task's destructor.
//!
//! A waiting future has one slot from its first pending poll until it is done or dropped. The slot is *in line* until
//! it is woken, and *woken* until its future is polled or dropped. A woken future that finds nothing goes back
//! to its old place in the line, not to the end.

use std::task::Waker;

use slab::Slab;

/// A future's slot in a [`WaitList`]; `None` while it has none.
pub(crate) type WaitKey = Option<usize>;

/// No slot: the end of the line. Links are short, so that a slot fits a cache line.
const NONE: u32 = u32::MAX;

/// What a slot was when its future left the list.
pub(crate) enum SlotState {
    /// There was none.
    Absent,
    /// In line: nobody had woken it. The waker is to be dropped after the lock.
    Waiting(Waker),
    /// Woken but not polled since: if the future did not get what it was woken for, the wake is to be handed on.
    Woken,
}

/// See the [module](self).
///
/// What a write or a read looks at first stands first.
#[repr(C)]
pub(crate) struct WaitList {
    waiting: u32,
    woken: u32,
    head: u32,
    tail: u32,
    slots: Slab<Slot>,
    next_ticket: u64,
    woken_need: usize,
}

/// A [`WaitList`] that is made when the first future waits.
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

struct Slot {
    /// Present while in line, gone once woken.
    waker: Option<Waker>,
    /// The place in the order of arrival.
    ticket: u64,
    /// How much the future waits for, in the owner's unit.
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

    /// How many futures have a place here, in line or woken.
    #[cfg(all(test, feature = "loom"))]
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many stand in line, not yet woken.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting as usize
    }

    /// How many were woken and have not been polled since.
    pub(crate) fn woken(&self) -> usize {
        self.woken as usize
    }

    /// What the woken ones need together.
    pub(crate) fn woken_need(&self) -> usize {
        self.woken_need
    }

    /// What the first in line needs.
    pub(crate) fn first_waiting_need(&self) -> Option<usize> {
        (self.head != NONE).then(|| self.slots[self.head as usize].need)
    }

    /// What the future with this slot needs, if it has been woken.
    pub(crate) fn need_if_woken(&self, key: WaitKey) -> Option<usize> {
        key.map(|index| &self.slots[index]).filter(|slot| slot.waker.is_none()).map(|slot| slot.need)
    }

    /// Puts a future in line, or back in line at its old place, or replaces its waker. Returns a waker that is no
    /// longer needed, to be dropped after the lock.
    pub(crate) fn park(&mut self, key: &mut WaitKey, waker: &Waker, need: usize) -> Option<Waker> {
        let Some(index) = *key else {
            let ticket = self.next_ticket;
            self.next_ticket += 1;
            if self.slots.capacity() == 0 {
                // Mostly one task waits: it need not pay for four.
                self.slots.reserve_exact(1);
            }
            let slot = Slot { waker: Some(waker.clone()), ticket, need, previous: NONE, next: NONE };
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

    /// Frees the slot of a future that is done or dropped.
    pub(crate) fn leave(&mut self, key: &mut WaitKey) -> SlotState {
        let Some(index) = key.take() else { return SlotState::Absent };
        if self.slots[index].waker.is_some() {
            self.unlink(index as u32);
        }
        let slot = self.slots.remove(index);
        match slot.waker {
            Some(waker) => SlotState::Waiting(waker),
            None => {
                self.woken -= 1;
                self.woken_need -= slot.need;
                SlotState::Woken
            }
        }
    }

    /// Takes the first out of the line. The caller wakes it after the lock.
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

    /// Links the slot behind `previous`, or at the head.
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

    /// Links a slot that comes back. It was woken from the head, so those before it now can only be others that
    /// came back: a short walk from the front finds its place.
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

/// Things to deal with after the lock: usually none or one, so those cost no memory.
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
    /// Adds a waker; the second one moves into the list that an earlier wake has left behind in `spare`.
    #[inline]
    pub(crate) fn push_reusing(&mut self, waker: Waker, spare: &mut Vec<Waker>) {
        if self.first.is_some() && self.more.capacity() == 0 {
            self.more = std::mem::take(spare);
        }
        self.push(waker);
    }

    /// Wakes all, in order. Returns the empty list for the next time, if one was needed. Never under a lock.
    #[inline]
    pub(crate) fn wake(self) -> Option<Vec<Waker>> {
        let Deferred { first, mut more } = self;
        first.map(Waker::wake)?;
        more.drain(..).for_each(Waker::wake);
        (more.capacity() > 0).then_some(more)
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
