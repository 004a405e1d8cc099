//! A small queue that is sound, or has the one fault it is told to have.

use std::collections::VecDeque;
use std::future::poll_fn;

use loom::sync::{Mutex, MutexGuard};

use super::*;

pub const SOUND: u8 = 0;
/// The waker is called first, the item written after it.
pub const WAKES_BEFORE_THE_WRITE: u8 = 1;
/// The waker is called while the lock is held.
pub const WAKES_UNDER_THE_LOCK: u8 = 2;
/// Whoever parks puts out the one who parked before.
pub const HAS_ONE_SLOT: u8 = 3;
/// A reader that is dropped after it was woken tells nobody.
pub const KEEPS_ITS_WAKE: u8 = 4;
/// Taking an item counts as a change, and whoever looks next is woken for it.
pub const WAKES_ITSELF: u8 = 5;

pub struct Toy<const FAULT: u8> {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    items: VecDeque<u32>,
    /// Who waits, with a waker until it is woken.
    line: Vec<(usize, Option<Waker>)>,
    next: usize,
    /// Only where taking counts as a change.
    changed: bool,
}

impl State {
    fn first(&mut self) -> Option<Waker> {
        self.line.iter_mut().find_map(|(_, waker)| waker.take())
    }
}

impl<const FAULT: u8> Toy<FAULT> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn poll(&self, me: usize, cx: &mut Context<'_>) -> Poll<u32> {
        let mut state = self.lock();
        if let Some(item) = state.items.pop_front() {
            state.changed = FAULT == WAKES_ITSELF;
            state.line.retain(|(who, _)| *who != me);
            return Poll::Ready(item);
        }
        if FAULT == HAS_ONE_SLOT {
            state.line.clear();
        }
        match state.line.iter_mut().find(|(who, _)| *who == me) {
            Some((_, waker)) => *waker = Some(cx.waker().clone()),
            None => state.line.push((me, Some(cx.waker().clone()))),
        }
        let waker = if std::mem::take(&mut state.changed) { state.first() } else { None };
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        Poll::Pending
    }
}

/// A reader's slot in the line.
struct Slot<'a, const FAULT: u8>(&'a Toy<FAULT>, usize);

impl<const FAULT: u8> Drop for Slot<'_, FAULT> {
    fn drop(&mut self) {
        // A thread that is unwound because the model failed must not enter it again.
        if std::thread::panicking() {
            return;
        }
        let mut state = self.0.lock();
        let woken = state.line.iter().any(|(who, waker)| *who == self.1 && waker.is_none());
        state.line.retain(|(who, _)| *who != self.1);
        let hand_on = woken && !state.items.is_empty() && FAULT != KEEPS_ITS_WAKE;
        let waker = if hand_on { state.first() } else { None };
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl<const FAULT: u8> Queue for Toy<FAULT> {
    fn make() -> Self {
        Toy { state: Mutex::new(State::default()) }
    }

    fn write(&self, item: u32) {
        if FAULT == WAKES_BEFORE_THE_WRITE {
            let waker = self.lock().first();
            waker.into_iter().for_each(Waker::wake);
            self.lock().items.push_back(item);
            return;
        }
        let mut state = self.lock();
        state.items.push_back(item);
        let waker = state.first();
        if FAULT == WAKES_UNDER_THE_LOCK {
            waker.into_iter().for_each(Waker::wake);
            return;
        }
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    async fn read(&self) -> u32 {
        let me = {
            let mut state = self.lock();
            state.next += 1;
            state.next
        };
        let slot = Slot(self, me);
        poll_fn(|cx| slot.0.poll(me, cx)).await
    }

    fn touch(&self) {
        // In the model that calls this nobody else can be in the midst of anything when a waker is called: the reader has
        // parked, and the writer calls it.
        assert!(self.state.try_lock().is_ok(), "the lock is held");
    }
}
