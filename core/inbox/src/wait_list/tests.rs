use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Wake, Waker};

use super::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn waker() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count::default());
    (count.clone(), count.into())
}

fn woken(list: &mut WaitList, wakers: &[&Waker]) -> Option<usize> {
    let first = list.wake_first()?;
    wakers.iter().position(|waker| waker.will_wake(&first))
}

#[test]
fn waiters_are_woken_in_the_order_they_arrived() {
    let (mut list, mut a, mut b, mut c) = (WaitList::new(), None, None, None);
    let ((_, wa), (_, wb), (_, wc)) = (waker(), waker(), waker());
    list.park(&mut a, &wa, 0);
    list.park(&mut b, &wb, 0);
    list.park(&mut c, &wc, 0);
    assert!(matches!(list.leave(&mut b), SlotState::Waiting(_)));
    assert_eq!(woken(&mut list, &[&wa, &wb, &wc]), Some(0));
    assert_eq!(woken(&mut list, &[&wa, &wb, &wc]), Some(2));
    assert_eq!(woken(&mut list, &[&wa, &wb, &wc]), None);
}

#[test]
fn a_waiter_that_was_woken_without_result_keeps_its_place() {
    let (mut list, mut a, mut b, mut c) = (WaitList::new(), None, None, None);
    let ((_, wa), (_, wb), (_, wc)) = (waker(), waker(), waker());
    let all = [&wa, &wb, &wc];
    list.park(&mut a, &wa, 0);
    list.park(&mut b, &wb, 0);
    list.park(&mut c, &wc, 0);
    assert_eq!(woken(&mut list, &all), Some(0));
    assert_eq!(woken(&mut list, &all), Some(1));
    // They return in the opposite order.
    list.park(&mut b, &wb, 0);
    list.park(&mut a, &wa, 0);
    assert_eq!((list.waiting(), list.woken()), (3, 0));
    assert_eq!([0, 1, 2].map(|_| woken(&mut list, &all)), [Some(0), Some(1), Some(2)]);
}

#[test]
fn a_waiter_polled_again_replaces_its_own_waker_only_when_it_changed() {
    let (mut list, mut a) = (WaitList::new(), None);
    let ((first, w1), (second, w2)) = (waker(), waker());
    list.park(&mut a, &w1, 0);
    assert!(list.park(&mut a, &w1, 0).is_none(), "the same task keeps its waker");
    assert!(list.park(&mut a, &w2, 0).is_some_and(|old| old.will_wake(&w1)));
    assert_eq!(list.waiting(), 1);
    list.wake_first().unwrap().wake();
    assert_eq!((first.0.load(SeqCst), second.0.load(SeqCst)), (0, 1));
}

#[test]
fn the_slot_is_freed_when_its_future_leaves() {
    let mut list = WaitList::new();
    let (_, w) = waker();
    for _ in 0..1000 {
        let (mut a, mut b) = (None, None);
        list.park(&mut a, &w, 7);
        list.park(&mut b, &w, 5);
        list.wake_first().unwrap();
        assert_eq!((list.woken_need(), list.first_waiting_need()), (7, Some(5)));
        assert!(matches!(list.leave(&mut a), SlotState::Woken));
        assert!(matches!(list.leave(&mut b), SlotState::Waiting(_)));
        assert!(matches!(list.leave(&mut b), SlotState::Absent));
    }
    assert_eq!((list.slots.len(), list.woken(), list.woken_need(), list.waiting()), (0, 0, 0, 0));
    assert!(list.slots.capacity() <= 4, "slots are used again");
}

#[test]
fn waking_many_uses_the_same_list_again() {
    let mut spare = Vec::new();
    let (count, w) = waker();
    for round in 1..=3 {
        let mut few = Deferred::new();
        (0..10).for_each(|_| few.push_reusing(w.clone(), &mut spare));
        spare = few.wake().unwrap();
        assert_eq!(count.0.load(SeqCst), 10 * round);
        assert!(spare.is_empty() && spare.capacity() >= 9);
    }
}

#[test]
fn a_crowd_that_has_left_leaves_no_memory_behind() {
    let (mut list, (_, w)) = (WaitList::new(), waker());
    let mut crowd = vec![None; 1000];
    crowd.iter_mut().for_each(|key| drop(list.park(key, &w, 0)));
    let mut wakers = Deferred::new();
    std::iter::from_fn(|| list.wake_first()).for_each(|waker| wakers.push(waker));
    assert!(wakers.wake().is_none(), "the list of a thousand wakers is too long to be kept");
    // The last one stays for a while, and finds its slot until it leaves too.
    crowd.iter_mut().rev().for_each(|key| assert!(matches!(list.leave(key), SlotState::Woken)));
    assert!(list.slots.capacity() <= KEPT_SLOTS, "{}", list.slots.capacity());
    let mut next = None;
    list.park(&mut next, &w, 0);
    assert_eq!(list.waiting(), 1);
}
