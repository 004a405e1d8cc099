//! Queues with one flaw each, which the models must refute. A model that passed them would prove nothing about the
//! inbox.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use std::collections::VecDeque;

use super::*;

/// The single deviation of a queue from the contract.
#[derive(Clone, Copy, PartialEq)]
enum Flaw {
    /// No deviation: shows that the models refute the flaw and not the rest of this queue.
    None,
    /// Wakes before it writes.
    WakesFirst,
    /// Wakes while it holds the lock (contract 3).
    WakesUnderLock,
    /// Looks, releases the lock, and parks under a second lock (contract 1).
    LooksThenParks,
    /// Keeps one waker: that of a second reader is ignored (contract 4).
    OneSlot,
    /// A cancelled reader keeps the wake that it had received (contract 6).
    KeepsItsWake,
    /// A reader that takes an item wakes itself, as if it had written (contract 2).
    WakesItself,
}

struct FlawedQueue {
    flaw: Flaw,
    state: Mutex<FlawedQueueState>,
}

#[derive(Default)]
struct FlawedQueueState {
    items: VecDeque<u64>,
    waiting: VecDeque<(usize, Waker)>,
    arrivals: usize,
}

impl FlawedQueue {
    fn new(flaw: Flaw) -> Arc<Self> {
        Arc::new(FlawedQueue { flaw, state: Mutex::new(FlawedQueueState::default()) })
    }

    fn wake_one(&self) {
        let waiting = self.state.lock().waiting.pop_front();
        if let Some((_, waker)) = waiting {
            waker.wake();
        }
    }
}

impl Queue for FlawedQueue {
    fn put(&self, item: u64) {
        if self.flaw == Flaw::WakesFirst {
            self.wake_one();
            self.state.lock().items.push_back(item);
            return;
        }
        let mut state = self.state.lock();
        state.items.push_back(item);
        let waiting = state.waiting.pop_front();
        if self.flaw != Flaw::WakesUnderLock {
            drop(state);
        }
        if let Some((_, waker)) = waiting {
            waker.wake();
        }
    }

    fn get(&self) -> impl Future<Output = u64> + Unpin {
        FlawedGet { queue: self, arrival: None }
    }

    fn is_free(&self) -> bool {
        self.state.is_free()
    }
}

struct FlawedGet<'a> {
    queue: &'a FlawedQueue,
    arrival: Option<usize>,
}

impl Future for FlawedGet<'_> {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        let mut state = self.queue.state.lock();
        if let Some(item) = state.items.pop_front() {
            if let Some(arrival) = self.arrival.take() {
                state.waiting.retain(|(other, _)| *other != arrival);
            }
            drop(state);
            if self.queue.flaw == Flaw::WakesItself {
                cx.waker().wake_by_ref();
            }
            return Poll::Ready(item);
        }
        if self.queue.flaw == Flaw::LooksThenParks {
            drop(state);
            state = self.queue.state.lock();
        }
        let arrival = match self.arrival {
            Some(arrival) => arrival,
            None => {
                state.arrivals += 1;
                state.arrivals
            }
        };
        let is_parked = state.waiting.iter().any(|(other, _)| *other == arrival);
        if !is_parked && (self.queue.flaw != Flaw::OneSlot || state.waiting.is_empty()) {
            state.waiting.push_back((arrival, cx.waker().clone()));
        }
        drop(state);
        self.arrival = Some(arrival);
        Poll::Pending
    }
}

impl Drop for FlawedGet<'_> {
    fn drop(&mut self) {
        // Unwinding from a model that has failed: its lock must not be used any more.
        if std::thread::panicking() {
            return;
        }
        let Some(arrival) = self.arrival else { return };
        let mut state = self.queue.state.lock();
        let before = state.waiting.len();
        state.waiting.retain(|(other, _)| *other != arrival);
        let hands_on = state.waiting.len() == before && !state.items.is_empty();
        drop(state);
        if hands_on && self.queue.flaw != Flaw::KeepsItsWake {
            self.queue.wake_one();
        }
    }
}

thread_local! {
    /// Whether the panics of this thread are expected. (loom runs the threads of a model on the thread of the test.)
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// The panic message of a model that fails, or `None` if it passes.
fn refuted(model: impl Fn() + Send + Sync + 'static) -> Option<String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| check(model)));
    QUIET.set(false);
    let why = result.err()?;
    Some(match why.downcast::<String>() {
        Ok(why) => *why,
        Err(why) => why.downcast::<&str>().map_or_else(|_| "a panic".into(), |why| why.to_string()),
    })
}

/// Asserts that a model fails, and for the expected reason.
fn assert_refuted(reason: &str, model: impl Fn() + Send + Sync + 'static) {
    let why = refuted(model).expect("the model passes a flawed queue");
    assert!(why.contains(reason), "refuted, but because of: {why}");
}

#[test]
fn a_queue_without_a_flaw_passes() {
    check(|| one_item_reaches_one_reader(FlawedQueue::new(Flaw::None)));
    check(|| two_items_reach_two_readers(FlawedQueue::new(Flaw::None)));
    check(|| a_woken_reader_finds_the_lock_free(FlawedQueue::new(Flaw::None)));
    check(|| a_cancelled_reader_hands_its_wake_on(FlawedQueue::new(Flaw::None)));
}

#[test]
fn waking_before_the_write_is_refuted() {
    assert_refuted("deadlock", || one_item_reaches_one_reader(FlawedQueue::new(Flaw::WakesFirst)));
}

#[test]
fn waking_with_the_lock_held_is_refuted() {
    assert_refuted("woken under the lock", || {
        a_woken_reader_finds_the_lock_free(FlawedQueue::new(Flaw::WakesUnderLock))
    });
}

#[test]
fn looking_and_parking_in_two_steps_is_refuted() {
    assert_refuted("deadlock", || one_item_reaches_one_reader(FlawedQueue::new(Flaw::LooksThenParks)));
}

#[test]
fn one_waker_slot_for_two_waiters_is_refuted() {
    assert_refuted("deadlock", || two_items_reach_two_readers(FlawedQueue::new(Flaw::OneSlot)));
}

#[test]
fn keeping_the_wake_of_a_cancelled_reader_is_refuted() {
    assert_refuted("deadlock", || a_cancelled_reader_hands_its_wake_on(FlawedQueue::new(Flaw::KeepsItsWake)));
}

#[test]
fn a_reader_that_wakes_itself_is_refuted() {
    assert_refuted("does not wake", || one_item_reaches_one_reader(FlawedQueue::new(Flaw::WakesItself)));
}
