use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use futures_core::Stream;

use super::*;

mod model;
mod panicking;
mod writers;

/// A waker that counts its wakes, and those among them at which the lock of the inbox was held.
struct CountingWaker {
    inbox: Arc<Inbox<u32>>,
    wakes: AtomicUsize,
    under_lock: AtomicUsize,
}

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.under_lock.fetch_add(usize::from(!self.inbox.state.is_free()), SeqCst);
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

/// A task that the test polls by hand, with a waker that counts.
struct Task<F> {
    future: Option<Pin<Box<F>>>,
    probe: Arc<CountingWaker>,
}

impl<F: Future> Task<F> {
    fn new(inbox: &Arc<Inbox<u32>>, future: F) -> Self {
        let (wakes, under_lock) = Default::default();
        let probe = Arc::new(CountingWaker { inbox: inbox.clone(), wakes, under_lock });
        Task { future: Some(Box::pin(future)), probe }
    }

    /// A task that was polled once and is pending.
    fn parked(inbox: &Arc<Inbox<u32>>, future: F) -> Self {
        let mut task = Task::new(inbox, future);
        assert!(task.poll().is_pending());
        task
    }

    fn poll(&mut self) -> Poll<F::Output> {
        let waker = Waker::from(self.probe.clone());
        self.future.as_mut().unwrap().as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn wakes(&self) -> usize {
        self.probe.wakes()
    }

    fn cancel(&mut self) {
        self.future = None;
    }
}

fn inbox(items: usize, full: Full) -> Arc<Inbox<u32>> {
    Arc::new(Inbox::new(items, full))
}

#[test]
fn an_idle_inbox_wakes_no_task_and_one_write_is_one_wake() {
    let inbox = inbox(8, Full::Wait);
    let mut reader = Task::parked(&inbox, inbox.recv());
    assert_eq!(inbox.try_recv(), Err(TryRecvError::Empty));
    assert_eq!((inbox.len(), inbox.is_closed(), inbox.counters()), (0, false, Counters::default()));
    assert_eq!(reader.wakes(), 0);
    inbox.try_push(5).unwrap();
    assert_eq!(reader.wakes(), 1);
    assert_eq!(reader.poll(), Poll::Ready(Ok(5)));
    assert_eq!(reader.wakes(), 1, "taking does not wake the taker");
}

#[test]
fn taking_an_item_wakes_no_other_reader() {
    for inbox in [inbox(8, Full::Wait), Arc::new(Inbox::with_bytes(8, 8, |_| 1, Full::Wait))] {
        let mut first = Task::parked(&inbox, inbox.recv());
        let second = Task::parked(&inbox, inbox.recv_batch(4));
        inbox.try_push(1).unwrap();
        assert_eq!(first.poll(), Poll::Ready(Ok(1)));
        assert_eq!(second.wakes(), 0);
    }
}

#[test]
fn a_batch_of_n_wakes_at_most_n_in_the_order_they_arrived() {
    let inbox = inbox(8, Full::Wait);
    let tasks: Vec<_> = (0..5).map(|_| Task::parked(&inbox, inbox.recv())).collect();
    let woken = |tasks: &[Task<_>]| tasks.iter().map(Task::wakes).collect::<Vec<_>>();
    inbox.try_push_batch(&mut vec![1, 2, 3]).unwrap();
    assert_eq!(woken(&tasks), [1, 1, 1, 0, 0]);
    inbox.push_front(0);
    assert_eq!(woken(&tasks), [1, 1, 1, 1, 0]);
    inbox.try_push_batch(&mut Vec::new()).unwrap();
    assert_eq!(woken(&tasks), [1, 1, 1, 1, 0], "an empty batch is no write");
}

#[test]
fn closing_wakes_all_and_readers_get_what_is_left_first() {
    let inbox = inbox(1, Full::Wait);
    inbox.try_push(1).unwrap();
    let mut writer = Task::parked(&inbox, inbox.push(2));
    assert!(inbox.close());
    assert!(!inbox.close(), "it was closed already");
    assert_eq!(writer.wakes(), 1);
    assert_eq!(writer.poll(), Poll::Ready(Err(PushError::Closed(2))));
    assert_eq!(inbox.try_recv(), Ok(1));
    assert_eq!(inbox.try_recv(), Err(TryRecvError::Closed));

    let empty = self::inbox(1, Full::Wait);
    let mut readers: Vec<_> = (0..40).map(|_| Task::parked(&empty, empty.recv())).collect();
    empty.close();
    assert!(
        readers.iter_mut().all(|reader| reader.wakes() == 1 && reader.poll() == Poll::Ready(Err(Closed)))
    );
}

#[test]
fn a_cancelled_receive_hands_its_wake_on() {
    let inbox = inbox(8, Full::Wait);
    let mut first = Task::parked(&inbox, inbox.recv());
    let mut second = Task::parked(&inbox, inbox.recv());
    inbox.try_push(1).unwrap();
    assert_eq!((first.wakes(), second.wakes()), (1, 0));
    first.cancel();
    assert_eq!(second.wakes(), 1);
    assert_eq!(second.poll(), Poll::Ready(Ok(1)), "the item had not left the inbox");
}

#[test]
fn a_cancelled_receive_that_was_not_woken_just_leaves() {
    let inbox = inbox(8, Full::Wait);
    let mut first = Task::parked(&inbox, inbox.recv());
    let mut second = Task::parked(&inbox, inbox.recv());
    first.cancel();
    assert_eq!(second.wakes(), 0);
    assert_eq!(Arc::strong_count(&first.probe), 1, "its waker is gone");
    inbox.try_push(1).unwrap();
    assert_eq!((first.wakes(), second.wakes()), (0, 1));
    assert_eq!(second.poll(), Poll::Ready(Ok(1)));
}

#[test]
fn a_reader_whose_item_was_taken_keeps_its_place() {
    let inbox = inbox(8, Full::Wait);
    let mut first = Task::parked(&inbox, inbox.recv());
    let second = Task::parked(&inbox, inbox.recv());
    inbox.try_push(1).unwrap();
    assert_eq!(inbox.try_recv(), Ok(1), "a faster task takes it");
    assert!(first.poll().is_pending());
    inbox.try_push(2).unwrap();
    assert_eq!((first.wakes(), second.wakes()), (2, 0));
    assert_eq!(first.poll(), Poll::Ready(Ok(2)));
}

#[test]
fn a_task_polled_with_another_waker_is_woken_by_that_one() {
    let inbox = inbox(8, Full::Wait);
    let mut task = Task::parked(&inbox, inbox.recv());
    let old = std::mem::replace(&mut task.probe, Task::new(&inbox, inbox.recv()).probe);
    assert!(task.poll().is_pending());
    inbox.try_push(1).unwrap();
    assert_eq!((old.wakes(), task.wakes()), (0, 1));
    assert_eq!(Arc::strong_count(&old), 1);
}

#[test]
fn a_batch_is_read_in_one_wake_and_not_beyond_its_limit() {
    let inbox = inbox(100, Full::Wait);
    let mut reader = Task::parked(&inbox, inbox.recv_batch(3));
    inbox.try_push_batch(&mut (0..10).collect()).unwrap();
    assert_eq!(reader.wakes(), 1);
    assert_eq!(reader.poll(), Poll::Ready(Ok(vec![0, 1, 2])));
    let mut buffer = vec![99];
    assert_eq!(Task::new(&inbox, inbox.recv_batch_into(&mut buffer, 0)).poll(), Poll::Ready(Ok(1)));
    assert_eq!(buffer, [99, 3]);
    assert_eq!(inbox.try_recv_batch(&mut buffer, usize::MAX), Ok(6));
    assert_eq!(inbox.try_recv_batch(&mut buffer, 1), Err(TryRecvError::Empty));
    inbox.close();
    assert_eq!(inbox.try_recv_batch(&mut buffer, 1), Err(TryRecvError::Closed));
    assert_eq!(Task::new(&inbox, inbox.recv_batch(1)).poll(), Poll::Ready(Err(Closed)));
}

#[test]
fn a_stream_yields_the_items_and_ends_with_the_inbox() {
    use futures_core::stream::FusedStream;
    let inbox = inbox(8, Full::Wait);
    let mut stream = pin!(inbox.clone().into_stream());
    let waker = Waker::from(Task::new(&inbox, inbox.recv()).probe);
    let mut cx = Context::from_waker(&waker);
    assert!(stream.as_mut().poll_next(&mut cx).is_pending());
    inbox.try_push_batch(&mut vec![1, 2]).unwrap();
    inbox.close();
    assert_eq!(stream.as_mut().poll_next(&mut cx), Poll::Ready(Some(1)));
    assert_eq!(stream.as_mut().poll_next(&mut cx), Poll::Ready(Some(2)));
    assert!(!stream.is_terminated());
    assert_eq!(stream.as_mut().poll_next(&mut cx), Poll::Ready(None));
    assert!(stream.is_terminated());
}

#[test]
fn an_idle_inbox_is_small_and_owns_no_heap() {
    let inbox = Inbox::<[u8; 64]>::new(1000, Full::Wait);
    assert!(size_of_val(&inbox) <= 400, "which leaves room for the slot of a waiting task");
    let state = inbox.state.lock();
    assert_eq!((state.items.capacity(), state.spare.capacity()), (0, 0));
}

#[test]
fn an_inbox_that_was_once_full_becomes_small_again_and_one_in_use_keeps_its_buffer() {
    let inbox = inbox(1000, Full::Wait);
    let capacity = || inbox.state.lock().items.capacity();
    let burst = |count| {
        let mut reader = Task::parked(&inbox, inbox.recv_batch(1000));
        inbox.try_push_batch(&mut (0..count).collect()).unwrap();
        assert!(reader.poll().is_ready());
    };
    (0..3).for_each(|_| burst(1000));
    assert!(capacity() >= 1000);
    burst(1);
    assert!(capacity() >= 1000, "one small burst does not show that it is idle");
    burst(1);
    assert!(capacity() <= 4);
}

#[test]
fn an_item_that_comes_back_to_the_inbox_when_it_is_dropped_does_no_harm() {
    /// Locks its inbox from its destructor.
    struct LooksAtItsInbox(std::sync::Weak<Inbox<LooksAtItsInbox>>);
    impl Drop for LooksAtItsInbox {
        fn drop(&mut self) {
            if let Some(inbox) = self.0.upgrade() {
                assert!(inbox.state.is_free(), "dropped under the lock");
            }
        }
    }
    let inbox = Arc::new(Inbox::new(1, Full::DropOldest));
    for _ in 0..3 {
        assert!(inbox.try_push(LooksAtItsInbox(Arc::downgrade(&inbox))).is_ok());
    }
    assert!(
        inbox.try_push_batch(&mut (0..3).map(|_| LooksAtItsInbox(Arc::downgrade(&inbox))).collect()).is_ok()
    );
    assert_eq!(inbox.counters().evicted, 5);
}
