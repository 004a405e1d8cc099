use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use super::*;

/// A waker that counts its wakes, and those among them at which the lock of the cell was held.
struct CountingWaker {
    notify: Arc<Notify<u32>>,
    wakes: AtomicUsize,
    under_lock: AtomicUsize,
}

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.under_lock.fetch_add(usize::from(!self.notify.cell.is_free()), SeqCst);
        self.wakes.fetch_add(1, SeqCst);
    }
}

impl CountingWaker {
    /// The number of wakes. The lock is asserted here and not in the waker, because the panic of a waker is caught.
    fn wakes(&self) -> usize {
        assert_eq!(self.under_lock.load(SeqCst), 0, "woken under the lock");
        self.wakes.load(SeqCst)
    }
}

fn probe(notify: &Arc<Notify<u32>>) -> (Arc<CountingWaker>, Waker) {
    let (wakes, under_lock) = Default::default();
    let probe = Arc::new(CountingWaker { notify: notify.clone(), wakes, under_lock });
    (probe.clone(), probe.into())
}

fn above(limit: u32) -> impl FnMut(&u32) -> Option<u32> {
    move |value| (*value > limit).then_some(*value)
}

#[test]
fn reading_wakes_no_task() {
    let notify = Arc::new(Notify::new(0));
    let (probe, waker) = probe(&notify);
    let mut waiting = pin!(notify.when(above(0)));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(*notify.read(), 0);
    assert_eq!(*notify.write(), 0, "read through a write guard");
    assert_eq!(format!("{notify:?}"), "Notify(0)");
    assert_eq!(probe.wakes(), 0);
}

#[test]
fn one_write_wakes_each_waiter_once_and_outside_the_lock() {
    let notify = Arc::new(Notify::new(0));
    let ((first, w1), (second, w2)) = (probe(&notify), probe(&notify));
    let (mut a, mut b) = (pin!(notify.when(above(0))), pin!(notify.when(above(1))));
    assert!(a.as_mut().poll(&mut Context::from_waker(&w1)).is_pending());
    assert!(b.as_mut().poll(&mut Context::from_waker(&w2)).is_pending());
    {
        let mut guard = notify.write();
        *guard += 1;
        *guard += 0;
        assert_eq!(first.wakes(), 0, "not before the guard is gone");
    }
    assert_eq!((first.wakes(), second.wakes()), (1, 1));
    assert_eq!(a.as_mut().poll(&mut Context::from_waker(&w1)), Poll::Ready(1));
    assert!(b.as_mut().poll(&mut Context::from_waker(&w2)).is_pending());
    *notify.write() += 1;
    assert_eq!((first.wakes(), second.wakes()), (1, 2));
    assert_eq!(b.as_mut().poll(&mut Context::from_waker(&w2)), Poll::Ready(2));
}

#[test]
fn taking_wakes_no_task() {
    let notify = Arc::new(Notify::new(5));
    let (probe, waker) = probe(&notify);
    let mut waiting = pin!(notify.when(above(9)));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let taken = pin!(notify.take_when(|value| Some(std::mem::take(value))));
    assert_eq!(taken.poll(&mut Context::from_waker(&waker)), Poll::Ready(5));
    assert_eq!((*notify.read(), probe.wakes()), (0, 0));
}

#[test]
fn a_waiting_future_that_is_dropped_leaves_the_cell() {
    let notify = Arc::new(Notify::new(0));
    let (probe, waker) = probe(&notify);
    {
        let mut waiting = pin!(notify.when(above(0)));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let mut taking = pin!(notify.take_when(|value: &mut u32| (*value > 0).then_some(())));
        assert!(taking.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(Arc::strong_count(&probe), 4);
    }
    assert_eq!(Arc::strong_count(&probe), 2, "no slot holds the waker any more");
    *notify.write() += 1;
    assert_eq!(probe.wakes(), 0);
}

#[test]
fn a_panic_in_the_holder_neither_poisons_the_cell_nor_strands_a_waiter() {
    let notify = Arc::new(Notify::new(0));
    let (probe, waker) = probe(&notify);
    let mut waiting = pin!(notify.when(above(0)));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut guard = notify.write();
        *guard = 7;
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    assert_eq!(probe.wakes(), 1);
    assert_eq!(waiting.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(7));
    *notify.write() = 8;
    assert_eq!(*notify.read(), 8);
}

#[test]
fn a_waker_that_panics_harms_neither_the_writer_nor_another_waiter() {
    struct Panicking;
    impl Wake for Panicking {
        fn wake(self: Arc<Self>) {
            panic!("a fault of a waker");
        }
    }
    let notify = Arc::new(Notify::new(0));
    let (probe, waker) = probe(&notify);
    let broken = Waker::from(Arc::new(Panicking));
    let mut waiting = [Box::pin(notify.when(above(0))), Box::pin(notify.when(above(0)))];
    for (waiting, waker) in waiting.iter_mut().zip([&broken, &waker]) {
        assert!(waiting.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
    }
    *notify.write() = 1;
    assert_eq!(probe.wakes(), 1);
}

#[test]
fn a_panic_in_a_look_strands_no_other_waiter() {
    let notify = Arc::new(Notify::new(0));
    let (probe, waker) = probe(&notify);
    let mut cx = Context::from_waker(&waker);
    let mut sound = pin!(notify.when(above(0)));
    assert!(sound.as_mut().poll(&mut cx).is_pending());
    let mut broken = Box::pin(notify.when(|value: &u32| match value {
        0 => None::<()>,
        _ => panic!("on purpose"),
    }));
    assert!(broken.as_mut().poll(&mut cx).is_pending());
    *notify.write() = 1;
    assert!(catch_unwind(AssertUnwindSafe(|| broken.as_mut().poll(&mut cx).is_ready())).is_err());
    drop(broken);
    assert_eq!(sound.as_mut().poll(&mut cx), Poll::Ready(1));
    assert_eq!(Arc::strong_count(&probe), 2, "no slot is left");
}

#[test]
fn many_waiters_are_woken_without_a_new_list_each_time() {
    let notify = Arc::new(Notify::new(0));
    let (probe, waker) = probe(&notify);
    let mut waiting: Vec<_> = (0..100).map(|_| Box::pin(notify.when(above(1000)))).collect();
    for round in 1..=3 {
        for future in &mut waiting {
            assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        *notify.write() += 1;
        assert_eq!(probe.wakes(), 100 * round);
        assert!(notify.cell.lock().spare.capacity() >= 99);
    }
}
