//! The list of those who wait: what [`Inbox`](crate::inbox::Inbox) and [`Notify`](crate::notify::Notify) stand on.
//!
//! It lives under the lock of the data it belongs to, so that looking at the data and parking are one step. It never
//! wakes anybody itself: it hands out the [`Wakers`], which the caller wakes after the lock is released.
//!
//! A waiting future has one entry, at the place where it first parked, for as long as it lives. An entry is *parked*
//! (it holds a waker) or *woken* (its waker was handed out). A future that was woken and finds that a faster one has
//! taken what it waited for parks again in the same place. One that is dropped after it was woken has used up a wake
//! that another may need: [`WaitList::remove`] says so.

use std::task::Waker;

use slab::Slab;

/// Marks the end of the list.
const NONE: usize = usize::MAX;

/// A waiting future's entry in the list.
pub(crate) type Key = usize;

#[derive(Debug)]
pub(crate) struct WaitList {
    entries: Slab<Entry>,
    head: usize,
    tail: usize,
    /// How many entries are parked.
    parked: usize,
}

#[derive(Debug)]
struct Entry {
    /// `None` once it was woken.
    waker: Option<Waker>,
    previous: usize,
    next: usize,
}

impl WaitList {
    pub(crate) const fn new() -> Self {
        WaitList { entries: Slab::new(), head: NONE, tail: NONE, parked: 0 }
    }

    /// Whether nobody is parked.
    pub(crate) fn is_idle(&self) -> bool {
        self.parked == 0
    }

    /// Parks a future: at the end of the list, or, when it is in the list already, where it is. Returns a waker that it
    /// had left before and needs no more, to be dropped after the lock is released: dropping one may run any code.
    pub(crate) fn park(&mut self, key: &mut Option<Key>, waker: &Waker) -> Option<Waker> {
        if let Some(entry) = key.and_then(|key| self.entries.get_mut(key)) {
            return match &entry.waker {
                Some(known) if known.will_wake(waker) => None,
                Some(_) => entry.waker.replace(waker.clone()),
                None => {
                    entry.waker = Some(waker.clone());
                    self.parked += 1;
                    None
                }
            };
        }
        let entry = Entry { waker: Some(waker.clone()), previous: self.tail, next: NONE };
        let new = self.entries.insert(entry);
        match self.entries.get_mut(self.tail) {
            Some(last) => last.next = new,
            None => self.head = new,
        }
        self.tail = new;
        self.parked += 1;
        *key = Some(new);
        None
    }

    /// Takes a future off the list. Returns whether it had been woken, and a waker to be dropped after the lock is
    /// released.
    pub(crate) fn remove(&mut self, key: &mut Option<Key>) -> (bool, Option<Waker>) {
        let Some(entry) = key.take().and_then(|key| self.entries.try_remove(key)) else {
            return (false, None);
        };
        match self.entries.get_mut(entry.previous) {
            Some(previous) => previous.next = entry.next,
            None => self.head = entry.next,
        }
        match self.entries.get_mut(entry.next) {
            Some(next) => next.previous = entry.previous,
            None => self.tail = entry.previous,
        }
        if entry.waker.is_some() {
            self.parked -= 1;
        }
        (entry.waker.is_none(), entry.waker)
    }

    /// Hands out the wakers of the first `most` who are parked, in the order of their arrival.
    pub(crate) fn wake(&mut self, most: usize, wakers: &mut Wakers) {
        let mut left = most.min(self.parked);
        let mut at = self.head;
        while left > 0
            && let Some(entry) = self.entries.get_mut(at)
        {
            if let Some(waker) = entry.waker.take() {
                wakers.push(waker);
                self.parked -= 1;
                left -= 1;
            }
            at = entry.next;
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// How many wakers are carried without an allocation.
const INLINE: usize = 4;

/// Wakers to be woken once the lock is released. Dropping it unused would lose wakes.
#[derive(Default)]
#[must_use]
pub(crate) struct Wakers {
    inline: [Option<Waker>; INLINE],
    rest: Vec<Waker>,
}

impl Wakers {
    pub(crate) fn push(&mut self, waker: Waker) {
        match self.inline.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(waker),
            None => self.rest.push(waker),
        }
    }

    /// Wakes them, in their order. Never call it under the lock.
    pub(crate) fn wake(self) {
        self.inline.into_iter().flatten().chain(self.rest).for_each(Waker::wake);
    }
}
