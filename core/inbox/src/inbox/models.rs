//! Models of the inbox under loom: every interleaving of up to three threads, with at most three preemptions.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p rouse-inbox --lib models`
//!
//! The models are generic over [`Queue`], so that the models which the inbox passes are the same ones that refute the
//! queues of [`flawed`].

mod flawed;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::Condvar;
use loom::thread;

use super::*;

/// Explores every interleaving of `model`.
pub(crate) fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 10_000;
    builder.check(model);
}

/// A task that sleeps until it is woken, and counts its wakes.
pub(crate) struct Sleeper {
    wakes: Mutex<usize>,
    woken: Condvar,
}

impl Sleeper {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Sleeper { wakes: Mutex::new(0), woken: Condvar::new() })
    }

    pub(crate) fn wakes(&self) -> usize {
        *self.wakes.lock()
    }

    /// Runs a future to its end. It is polled once, and once more after every wake since the last poll.
    pub(crate) fn run<F: Future>(self: &Arc<Self>, future: F) -> F::Output {
        let mut future = pin!(future);
        let waker: Waker = self.clone().into();
        loop {
            let seen = self.wakes();
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            let mut wakes = self.wakes.lock();
            while *wakes == seen {
                wakes = self.woken.wait(wakes).unwrap();
            }
        }
    }
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        *self.wakes.lock() += 1;
        self.woken.notify_one();
    }
}

/// Runs a future to its end on a task of its own.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    Sleeper::new().run(future)
}

/// Polls once, as a task that never runs again.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A waker that asserts, at the moment it is woken, that a lock is free.
pub(crate) struct LockCheck<F>(pub(crate) F);

impl<F: Fn() -> bool + Send + Sync + 'static> Wake for LockCheck<F> {
    fn wake(self: Arc<Self>) {
        assert!(self.0(), "woken under the lock");
    }
}

/// The operations of a queue that the models use.
trait Queue: Send + Sync + 'static {
    fn put(&self, item: u64);
    fn get(&self) -> impl Future<Output = u64> + Unpin;
    fn is_free(&self) -> bool;
}

/// A receive on a queue that is never closed, reduced to its item.
struct Get<'a>(Recv<'a, u64>);

impl Future for Get<'_> {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        Pin::new(&mut self.0).poll(cx).map(|item| item.expect("the inbox is never closed"))
    }
}

impl Queue for Inbox<u64> {
    fn put(&self, item: u64) {
        self.try_push(item).expect("there is room");
    }

    fn get(&self) -> impl Future<Output = u64> + Unpin {
        Get(self.recv())
    }

    fn is_free(&self) -> bool {
        self.state.is_free()
    }
}

fn inbox(items: usize) -> Arc<Inbox<u64>> {
    Arc::new(Inbox::new(items, Full::Wait))
}

fn assert_left(inbox: &Inbox<u64>) {
    let state = inbox.state.lock();
    assert_eq!((state.readers.len(), state.writers.len()), (0, 0), "an entry was left behind");
}

/// One reader and one item: the item is received, after at most one wake.
fn one_item_reaches_one_reader<Q: Queue>(queue: Arc<Q>) {
    let sleeper = Sleeper::new();
    let reader = thread::spawn({
        let (queue, sleeper) = (queue.clone(), sleeper.clone());
        move || sleeper.run(queue.get())
    });
    queue.put(7);
    assert_eq!(reader.join().unwrap(), 7);
    assert!(sleeper.wakes() <= 1, "an item wakes once, and taking it out does not wake");
}

/// Two readers and two items: both items are received, after at most two wakes.
fn two_items_reach_two_readers<Q: Queue>(queue: Arc<Q>) {
    let sleepers = [Sleeper::new(), Sleeper::new()];
    let readers = sleepers.clone().map(|sleeper| {
        let queue = queue.clone();
        thread::spawn(move || sleeper.run(queue.get()))
    });
    queue.put(1);
    queue.put(2);
    assert_eq!(readers.map(|reader| reader.join().unwrap()).iter().sum::<u64>(), 3);
    let wakes: usize = sleepers.iter().map(|sleeper| sleeper.wakes()).sum();
    assert!(wakes <= 2, "{wakes} wakes for two items");
}

/// A reader that is woken finds the lock free. (Only the writer touches the lock while it wakes.)
fn a_woken_reader_finds_the_lock_free<Q: Queue>(queue: Arc<Q>) {
    let mut reader = queue.get();
    let waker = Waker::from(Arc::new(LockCheck({
        let queue = queue.clone();
        move || queue.is_free()
    })));
    assert!(Pin::new(&mut reader).poll(&mut Context::from_waker(&waker)).is_pending());
    let writer = thread::spawn({
        let queue = queue.clone();
        move || queue.put(1)
    });
    writer.join().unwrap();
    assert_eq!(block_on(reader), 1);
}

/// A reader that is cancelled at any moment does not take the wake of another reader along.
fn a_cancelled_reader_hands_its_wake_on<Q: Queue>(queue: Arc<Q>) {
    let cancelled = thread::spawn({
        let queue = queue.clone();
        move || {
            let mut reader = queue.get();
            if let Poll::Ready(item) = poll_once(&mut reader) {
                queue.put(item);
            }
        }
    });
    let reader = thread::spawn({
        let queue = queue.clone();
        move || block_on(queue.get())
    });
    queue.put(7);
    cancelled.join().unwrap();
    assert_eq!(reader.join().unwrap(), 7);
}

#[test]
fn no_wake_is_lost_and_a_reader_does_not_wake_itself() {
    check(|| {
        let inbox = inbox(2);
        one_item_reaches_one_reader(inbox.clone());
        assert_left(&inbox);
    });
}

#[test]
fn every_item_wakes_a_reader_of_its_own() {
    check(|| {
        let inbox = inbox(2);
        two_items_reach_two_readers(inbox.clone());
        assert_left(&inbox);
    });
}

#[test]
fn no_task_is_woken_under_the_lock() {
    check(|| a_woken_reader_finds_the_lock_free(inbox(2)));
}

#[test]
fn cancelling_a_reader_loses_no_wake() {
    check(|| {
        let inbox = inbox(2);
        a_cancelled_reader_hands_its_wake_on(inbox.clone());
        assert_left(&inbox);
    });
}

#[test]
fn a_batch_of_one_wakes_one_and_closing_wakes_all() {
    check(|| {
        let inbox = inbox(2);
        let sleepers = [Sleeper::new(), Sleeper::new()];
        let readers = sleepers.clone().map(|sleeper| {
            let inbox = inbox.clone();
            thread::spawn(move || sleeper.run(inbox.recv()))
        });
        assert_eq!(inbox.try_push_batch(&mut vec![5]), Ok(1));
        let woken: usize = sleepers.iter().map(|sleeper| sleeper.wakes()).sum();
        assert!(woken <= 1, "{woken} wakes for one item");
        inbox.close();
        let mut got = readers.map(|reader| reader.join().unwrap().ok());
        got.sort();
        assert_eq!(got, [None, Some(5)]);
        assert_left(&inbox);
    });
}

#[test]
fn a_deferred_wake_is_not_lost() {
    check(|| {
        let inbox = inbox(1);
        let sleeper = Sleeper::new();
        let reader = thread::spawn({
            let (inbox, sleeper) = (inbox.clone(), sleeper.clone());
            move || sleeper.run(inbox.recv())
        });
        let (result, wake) = inbox.try_push_deferred(7);
        assert_eq!(result, Ok(()));
        drop(wake);
        assert_eq!(reader.join().unwrap(), Ok(7));
        assert!(sleeper.wakes() <= 1);
        assert_left(&inbox);
    });
}

#[test]
fn closing_wakes_every_reader() {
    check(|| {
        let inbox = inbox(2);
        let readers = [(); 2].map(|()| {
            let inbox = inbox.clone();
            thread::spawn(move || block_on(inbox.recv()))
        });
        inbox.close();
        assert_eq!(readers.map(|reader| reader.join().unwrap()), [Err(Closed); 2]);
        assert_left(&inbox);
    });
}

#[test]
fn a_writer_that_waits_for_room_is_woken_by_a_reader() {
    check(|| {
        let inbox = inbox(1);
        let sleeper = Sleeper::new();
        let writer = thread::spawn({
            let (inbox, sleeper) = (inbox.clone(), sleeper.clone());
            move || {
                sleeper.run(inbox.push(1)).unwrap();
                sleeper.run(inbox.push(2)).unwrap();
            }
        });
        assert_eq!(block_on(inbox.recv()), Ok(1));
        assert_eq!(block_on(inbox.recv()), Ok(2));
        writer.join().unwrap();
        assert!(sleeper.wakes() <= 1, "the second item alone may have had to wait");
        assert_left(&inbox);
    });
}

#[test]
fn a_writer_is_not_woken_under_the_lock() {
    check(|| {
        let inbox = inbox(1);
        inbox.put(1);
        let mut writer = inbox.push(2);
        let waker = Waker::from(Arc::new(LockCheck({
            let inbox = inbox.clone();
            move || inbox.is_free()
        })));
        assert!(Pin::new(&mut writer).poll(&mut Context::from_waker(&waker)).is_pending());
        let reader = thread::spawn({
            let inbox = inbox.clone();
            move || poll_once(&mut inbox.recv())
        });
        assert_eq!(reader.join().unwrap(), Poll::Ready(Ok(1)));
        assert_eq!(block_on(writer), Ok(()));
    });
}

#[test]
fn cancelling_a_writer_loses_no_wake() {
    check(|| {
        let inbox = inbox(1);
        inbox.put(1);
        let cancelled = thread::spawn({
            let inbox = inbox.clone();
            move || {
                let _ = poll_once(&mut inbox.push(2));
            }
        });
        let writer = thread::spawn({
            let inbox = inbox.clone();
            move || block_on(inbox.push(3))
        });
        while block_on(inbox.recv()) != Ok(3) {}
        cancelled.join().unwrap();
        assert_eq!(writer.join().unwrap(), Ok(()));
        assert!(inbox.len() <= 1);
        assert_left(&inbox);
    });
}
