//! No waker of an application is called, or dropped, while a lock is held, because it may use the connection itself.

use std::sync::Weak;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::task::Wake;
use std::{pin::pin, thread};

use futures::FutureExt;
use futures::executor::block_on;

use super::*;
use crate::identity::Identity;

/// The time after which a test counts as deadlocked. Without a deadlock it ends at once.
const DEADLOCK_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn connection() -> Arc<ClientConnection> {
    let address = Identity::from_seed(&[1; 32]).address();
    Arc::new(ClientConnection { mux: Arc::default(), address, version: String::new() })
}

/// Calls every method that waits or takes a lock, from a waker.
fn use_it(connection: &Arc<ClientConnection>, locked: &AtomicUsize) {
    // A panic would abort the test where a waker is dropped by another.
    if connection.mux.calls.try_lock().is_err() || !connection.mux.outbox.is_free() {
        locked.fetch_add(1, SeqCst);
        return;
    }
    let _ = pin!(connection.call(Call::Status)).now_or_never();
    let mut events = connection.begin_now(Call::Events).open();
    let _ = events.poll_item(&mut Context::from_waker(Waker::noop()));
    let _ = pin!(connection.flushed()).now_or_never();
    let _ = pin!(connection.closed()).now_or_never();
    connection.forget(7);
    connection.give_back(vec![7], true);
}

/// A waker that uses the connection when it is called and when it is dropped.
struct Caller {
    connection: Weak<ClientConnection>,
    woken: Arc<AtomicUsize>,
    locked: Arc<AtomicUsize>,
}

impl Wake for Caller {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, SeqCst);
        self.connection.upgrade().iter().for_each(|connection| use_it(connection, &self.locked));
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.connection.upgrade().iter().for_each(|connection| use_it(connection, &self.locked));
    }
}

/// A connection, the number of calls to the wakers that wait on it, and the number of those that found a lock held.
struct Scene {
    connection: Arc<ClientConnection>,
    woken: Arc<AtomicUsize>,
    locked: Arc<AtomicUsize>,
}

impl Scene {
    fn waker(&self) -> Waker {
        let (woken, locked) = (self.woken.clone(), self.locked.clone());
        Waker::from(Arc::new(Caller { connection: Arc::downgrade(&self.connection), woken, locked }))
    }

    /// Polls a future twice, each time with another waker: the first is dropped for the second.
    fn wait<F: Future + Unpin>(&self, future: &mut F) {
        for _ in 0..2 {
            assert!(future.poll_unpin(&mut Context::from_waker(&self.waker())).is_pending());
        }
    }

    fn is_woken(&self, what: &str) {
        assert!(self.woken.swap(0, SeqCst) > 0, "no waker is called: {what}");
    }
}

/// Runs a test that fails, and does not hang, when a lock is waited for by the thread that holds it.
fn without_deadlock(test: impl FnOnce(Scene) + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let thread = thread::spawn(move || {
        let locked = Arc::new(AtomicUsize::new(0));
        test(Scene { connection: connection(), woken: Arc::default(), locked: locked.clone() });
        assert_eq!(locked.load(SeqCst), 0, "a waker is called or dropped while a lock is held");
        done.send(())
    });
    match ended.recv_timeout(DEADLOCK_TIMEOUT) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("a waker waits for a lock of its own thread"),
        _ => assert!(thread.join().is_ok(), "see above"),
    }
}

#[test]
fn an_answer_calls_wakers_while_no_lock_is_held() {
    without_deadlock(|scene| {
        let (connection, mux) = (&scene.connection, &scene.connection.mux);
        let mut call = block_on(connection.begin(Call::Status, 0)).unwrap();
        scene.wait(&mut call);
        mux.handle(DaemonFrame::Reply { id: call.id, reply: Reply::Done });
        scene.is_woken("a reply");
        assert!(call.now_or_never().is_some());

        let mut call = block_on(connection.begin(Call::Status, 0)).unwrap();
        scene.wait(&mut call);
        mux.handle(DaemonFrame::Failed { id: call.id, failure: Failure::Busy });
        scene.is_woken("a failure");

        let mut events = connection.begin_now(Call::Events).open();
        let id = events.id;
        let mut next = std::future::poll_fn(|cx| events.poll_item(cx));
        scene.wait(&mut next);
        let event = crate::types::Event::Drop { cause: String::new(), count: 1 };
        mux.handle(DaemonFrame::Item { id, item: StreamItem::Event(crate::types::Timestamp(0), event) });
        scene.is_woken("an item");
        assert!(matches!(next.now_or_never(), Some(Some(Ok(_)))));
        let mut next = std::future::poll_fn(|cx| events.poll_item(cx));
        scene.wait(&mut next);
        mux.handle(DaemonFrame::End { id });
        scene.is_woken("the end of a stream");
    });
}

#[test]
fn room_calls_wakers_while_no_lock_is_held() {
    without_deadlock(|scene| {
        let connection = &scene.connection;
        let mut calls: Vec<_> =
            (0..MAX_CALLS / 2).map(|_| block_on(connection.begin(Call::Status, 0)).unwrap()).collect();
        let mut one_more = Box::pin(connection.begin(Call::Status, 0));
        scene.wait(&mut one_more);
        drop(calls.pop());
        scene.is_woken("room for a call");
        drop(calls);
        drop(one_more);

        // More than is written at once.
        let address = connection.address;
        while connection.mux.outbox.has_room() {
            let _ = connection
                .mux
                .outbox
                .push(&ClientFrame::Call { id: 0, call: Call::AddName { name: "x".repeat(4096), address } });
        }
        let mut send = Box::pin(connection.call(Call::Status));
        let mut flushed = Box::pin(connection.flushed());
        scene.wait(&mut send);
        scene.wait(&mut flushed);
        let mut sink = futures::io::sink();
        let mut writer = Box::pin(connection.mux.outbox.write_to(&mut sink, WRITE_TIMEOUT));
        scene.wait(&mut writer);
        scene.is_woken("room in the outbox");
    });
}

#[test]
fn the_loss_of_the_connection_calls_wakers_while_no_lock_is_held() {
    without_deadlock(|scene| {
        let connection = &scene.connection;
        let mut calls: Vec<_> =
            (0..MAX_CALLS / 2).map(|_| block_on(connection.begin(Call::Status, 0)).unwrap()).collect();
        let mut closed = Box::pin(connection.closed());
        let mut one_more = Box::pin(connection.begin(Call::Status, 0));
        let mut writer = Box::pin(connection.mux.outbox.write_to(futures::io::sink(), WRITE_TIMEOUT));
        scene.wait(&mut writer);
        scene.wait(&mut closed);
        scene.wait(&mut one_more);
        scene.wait(&mut calls[0]);
        connection.mux.lose(ClientError::Stopped);
        assert!(scene.woken.swap(0, SeqCst) >= 4, "all of them are woken");
        assert!(closed.now_or_never().is_some() && one_more.now_or_never().is_some());
    });
}

#[test]
fn a_task_that_begins_a_call_lets_the_next_waiting_task_look() {
    let connection = connection();
    let mut calls: Vec<_> =
        (0..MAX_CALLS / 2).map(|_| block_on(connection.begin(Call::Status, 0)).unwrap()).collect();
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(connection.begin(Call::Status, 0))).collect();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(waiting.iter_mut().all(|call| call.poll_unpin(&mut cx).is_pending()));
    // Two at once make one token. The first that is dropped before it is polled loses nothing for the others.
    calls.truncate(calls.len() - 2);
    drop(waiting.remove(0));
    let mut begun = Vec::new();
    for call in &mut waiting {
        match call.poll_unpin(&mut cx) {
            Poll::Ready(pending) => begun.push(pending.unwrap()),
            Poll::Pending => panic!("there is room for it"),
        }
    }
}
